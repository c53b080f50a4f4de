"""Wrong configuration, services, folders: a clear last line, the right exit code, no trace, no secret, nothing lost."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import oracle
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import topics
from conftest import PASSWORD
from foodstream._stack import ports
from foodstream._stack.postgres import Postgres

FAILURE, USAGE, DIFFERENCE, UNAVAILABLE = 1, 2, 3, 75
SECRET = "correct-horse-battery"


def refused(pipeline: Any, *command: str, expect: int, says: list[str]) -> str:
    """Run a command that must fail like this; returns its last line."""
    done = pipeline.run(*command, expect=expect)
    said = done.stdout + done.stderr
    for forbidden in ("Traceback", "panicked", "RUST_BACKTRACE", PASSWORD, SECRET):
        assert forbidden not in said
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, said
    for words in says:
        assert words in errors[0], errors[0]
    return str(errors[0])


def nothing_was_written(pipeline: Any) -> bool:
    return not pipeline.state_file.exists() and pipeline.topic not in topics.names(pipeline.database.services.brokers)


# Configuration: every error has its golden test in Rust; these few show that the commands tell them.


def test_an_unknown_key_is_named_with_its_line_and_the_key_that_was_meant(pipeline: Any) -> None:
    pipeline.config["kafka"]["partitons"] = 3
    done = pipeline.run("producer", "--once", expect=USAGE)
    line = next(n for n, text in enumerate(pipeline.config_file.read_text().splitlines(), 1) if "partitons" in text)
    assert f"{pipeline.config_file}:{line}:" in done.stderr
    assert "num_partitions" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        (b"", "empty"),
        (b"postgres:\n  host: \xff\xfe\n", "utf-8"),
        (b"postgres:\n\thost: db\n", "tab"),
        (b"postgres:\n  port: 0\n", "port"),
        (b"postgres:\n  host: a\n  host: b\n", "host"),
        (b"cdc:\n  batch_limit: many\n", "batch_limit"),
        (b"postgres:\n  password: ${FOODSTREAM_TEST_NEVER_SET}\n", "FOODSTREAM_TEST_NEVER_SET"),
    ],
    ids=["missing", "empty", "not utf-8", "tab", "port 0", "duplicate key", "wrong type", "unset variable"],
)
def test_a_file_that_is_no_configuration_is_refused_with_exit_code_2(
    content: bytes | None, says: str, pipeline: Any
) -> None:
    path = pipeline.folder / "wrong.yml"
    if content is not None:
        path.write_bytes(content)
    words = [sys.executable, "-m", "foodstream", "config", "check", "--config", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=pipeline.folder)
    assert done.returncode == USAGE, done.stderr
    assert str(path) in done.stderr
    assert says in done.stderr.lower() or says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_host_beyond_this_network_is_not_spoken_to_in_plain_text(pipeline: Any) -> None:
    pipeline.config["postgres"].update(host="db.example.org", sslmode="disable")
    done = pipeline.run("producer", "--once", expect=USAGE)
    assert "security.allow_plaintext" in done.stderr
    pipeline.config["postgres"].update(host="localhost")
    del pipeline.config["postgres"]["sslmode"]
    pipeline.config["kafka"]["brokers"] = "kafka.example.org:9092"
    done = pipeline.run("consumer", "--once", expect=USAGE)
    assert "security.allow_plaintext" in done.stderr


# PostgreSQL


def test_a_database_host_that_does_not_resolve_or_answer_ends_a_bounded_run_with_75(pipeline: Any) -> None:
    pipeline.config["retry"] = {"start_timeout_sec": 0.5}
    right = dict(pipeline.config["postgres"])
    pipeline.config["postgres"]["host"] = "no-such-host"
    refused(pipeline, "producer", "--once", expect=UNAVAILABLE, says=["no-such-host"])
    nobody = ports.spare(set())
    pipeline.config["postgres"].update(right, port=nobody)
    refused(pipeline, "producer", "--once", expect=UNAVAILABLE, says=[f":{nobody}"])
    assert nothing_was_written(pipeline)


def test_a_broker_that_does_not_resolve_or_answer_ends_a_bounded_run_with_75(pipeline: Any) -> None:
    pipeline.config["retry"] = {"start_timeout_sec": 0.5}
    pipeline.config["kafka"]["brokers"] = f"no-such-host:9092,127.0.0.1:{ports.spare(set())}"
    assert pipeline.config_file.exists()
    with ThreadPoolExecutor(4) as pool:
        sides = [
            pool.submit(refused, pipeline, side, *bound, expect=UNAVAILABLE, says=["no-such-host:9092"])
            for side in ("producer", "consumer")
            for bound in (["--once"], ["--timeout", "600"])
        ]
        for side in sides:
            side.result()
    assert not pipeline.state_file.exists()
    assert oracle.count(pipeline.lake) == 0


def test_a_wrong_password_ends_the_run_at_once_and_is_shown_nowhere(pipeline: Any) -> None:
    pipeline.config["postgres"]["password"] = SECRET
    refused(pipeline, "producer", "--once", expect=FAILURE, says=["password", "student", "postgres.password"])
    streaming = pipeline.run("producer", expect=FAILURE)
    assert SECRET not in streaming.stderr
    assert nothing_was_written(pipeline)


def test_a_missing_database_table_or_column_is_named_with_where_it_was_looked_for(pipeline: Any) -> None:
    right = json.loads(json.dumps(pipeline.config))
    pipeline.config["postgres"]["db"] = "nowhere_db"
    refused(pipeline, "producer", "--once", expect=FAILURE, says=["nowhere_db", "does not exist"])
    pipeline.config = json.loads(json.dumps(right))
    pipeline.config["postgres"]["table"] = "odrers"
    refused(pipeline, "producer", "--once", expect=FAILURE, says=["odrers", "does not exist"])
    pipeline.config = json.loads(json.dumps(right))
    pipeline.config["cdc"]["timestamp_column"] = "updated_on"
    refused(pipeline, "producer", "--once", expect=FAILURE, says=["updated_on", "created_at"])
    pipeline.config = json.loads(json.dumps(right))
    pipeline.config["schema"] = [
        {"name": "order_id", "type": "bigint"},
        {"name": "created_at", "type": "timestamp"},
        {"name": "tip", "type": "decimal(10,2)"},
    ]
    refused(pipeline, "producer", "--once", expect=FAILURE, says=["tip", "public.orders"])
    pipeline.config = right
    assert nothing_was_written(pipeline)


def test_a_user_without_the_right_to_read_is_told_which_grant_is_missing(pipeline: Any) -> None:
    role = f"{pipeline.database.name}_reader"
    with pipeline.database.administer() as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
        connection.execute(f"GRANT pg_read_all_stats TO {role}")
    try:
        pipeline.config["postgres"].update(user=role, password=SECRET)
        refused(pipeline, "producer", "--once", expect=FAILURE, says=[role, "GRANT SELECT"])
        assert nothing_was_written(pipeline)
        with pipeline.database.administer() as connection:
            connection.execute(f"GRANT foodstream_reader TO {role}")
        pipeline.run("producer", "--once")
        with pipeline.database.administer() as connection:
            connection.execute(f"REVOKE foodstream_reader FROM {role}")
            connection.execute(f"REVOKE pg_read_all_stats FROM {role}")
            connection.execute(f"GRANT SELECT ON orders TO {role}")
        # Without sight of other transactions a late commit would be lost: that is no warning.
        refused(pipeline, "producer", "--once", expect=FAILURE, says=["pg_read_all_stats"])
    finally:
        with pipeline.database.administer() as connection:
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")


def test_a_table_without_a_single_column_key_is_refused_and_one_without_an_index_only_warned_of(pipeline: Any) -> None:
    pipeline.database.sql("CREATE TABLE keyless (LIKE orders INCLUDING DEFAULTS)")
    refused(pipeline, "producer", "--once", "--table", "keyless", expect=FAILURE, says=["keyless", "primary key"])
    assert nothing_was_written(pipeline)
    pipeline.database.sql("DROP INDEX orders_created_at_order_id_idx")
    planned = pipeline.run("producer", "--dry-run").stdout
    warned = next(line for line in planned.splitlines() if line.startswith("! index"))
    assert "no index on (`created_at`, `order_id`)" in warned
    assert "CREATE INDEX" in planned
    assert nothing_was_written(pipeline)
    done = pipeline.run("producer", "--once")
    assert "no index on" in done.stderr
    assert pipeline.run("consumer", "--once")
    oracle.assert_conserved(pipeline)


class Standby(Postgres):
    """A server that says `standby` where a primary says `ready`."""

    def _accepts_connections(self, started: Any) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(started.pid) and lines[7].strip() in ("ready", "standby")


@pytest.fixture
def standby(tmp_path: Path) -> Iterator[Postgres]:
    server = Standby(tmp_path / "standby", ports.spare(set()), PASSWORD)
    server.start()
    server.stop()
    (server.data / "standby.signal").touch()
    server.start()
    yield server
    server.stop()


def test_a_standby_is_refused_since_it_does_not_show_the_primarys_transactions(
    pipeline: Any, standby: Postgres
) -> None:
    pipeline.config["postgres"].update(port=standby.port, user="postgres", db="postgres")
    refused(pipeline, "producer", "--once", expect=FAILURE, says=["standby", "primary"])
    assert nothing_was_written(pipeline)


# State file


def test_a_state_file_that_is_damaged_or_ahead_stops_the_producer_and_offers_a_way_out(pipeline: Any) -> None:
    pipeline.run("producer", "--once")
    good = pipeline.state_file.read_text(encoding="utf-8")
    pipeline.run("insert-orders")
    for content, says in [
        ("", "empty"),
        ("2025-11-1", "cut off"),
        ("2025-11-18 12:00", "cut off"),
        ("2025-11-18 12:00:00.000000|", "does not hold a position"),
        ("2099-01-01 00:00:00.000000|7", "ahead of the published cursor"),
    ]:
        pipeline.state_file.write_text(content, encoding="utf-8")
        ways = [says, str(pipeline.state_file), "--start-from"]
        refused(pipeline, "producer", "--once", expect=FAILURE, says=ways)
        assert pipeline.state_file.read_text(encoding="utf-8") == content
    # Restored, or accepted knowingly, nothing is missing and nothing comes twice.
    pipeline.state_file.write_text(good, encoding="utf-8")
    assert pipeline.report("producer", "--once")["rows"] == 5
    pipeline.run("insert-orders")
    pipeline.state_file.write_text("2025-", encoding="utf-8")
    assert pipeline.report("producer", "--once", "--adopt")["rows"] == 5
    pipeline.run("consumer", "--once")
    oracle.assert_conserved(pipeline)


def test_a_state_file_that_is_gone_is_written_again_from_the_cursor(pipeline: Any) -> None:
    pipeline.run("producer", "--once")
    pipeline.state_file.unlink()
    pipeline.run("insert-orders")
    assert pipeline.report("producer", "--once")["rows"] == 5
    assert pipeline.state_file.read_text(encoding="utf-8").rstrip().endswith("|15")
    pipeline.run("consumer", "--once")
    oracle.assert_conserved(pipeline)


# Lake and checkpoint


def test_a_lake_or_checkpoint_written_by_spark_is_refused_with_the_advice_to_name_another(pipeline: Any) -> None:
    spark = pipeline.lake / "_spark_metadata"
    spark.mkdir(parents=True)
    (spark / "0").write_text("v1\n", encoding="utf-8")
    refused(pipeline, "consumer", "--once", expect=USAGE, says=["Spark", str(pipeline.lake), "datalake.path"])
    shutil.rmtree(pipeline.lake)
    checkpoint = Path(pipeline.config["streaming"]["checkpoint_location"])
    for name in ("offsets", "commits"):
        (checkpoint / name).mkdir(parents=True, exist_ok=True)
        (checkpoint / name / "0").write_text("v1\n{}\n", encoding="utf-8")
    refused(pipeline, "consumer", "--once", expect=USAGE, says=["Spark", str(checkpoint), "checkpoint_location"])
    assert (checkpoint / "offsets" / "0").read_text(encoding="utf-8") == "v1\n{}\n"


def test_staging_on_another_file_system_is_refused_before_anything_is_read(pipeline: Any) -> None:
    elsewhere = Path("/dev/shm")
    assert elsewhere.stat().st_dev != pipeline.folder.stat().st_dev, "set TMPDIR to a folder outside /dev/shm"
    staging = elsewhere / pipeline.database.name
    try:
        pipeline.run("producer", "--once")
        pipeline.config["datalake"]["staging_path"] = str(staging)
        refused(
            pipeline, "consumer", "--once", expect=USAGE, says=["datalake.staging_path", str(staging), "file system"]
        )
        assert oracle.files(pipeline.lake) == []
        del pipeline.config["datalake"]["staging_path"]
        assert pipeline.report("consumer", "--once")["accepted"] == 10
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def foreign_parquet(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "part-00000-foreign.snappy.parquet"
    pq.write_table(pa.table({"order_id": [1]}), path)
    return path


def foreign_text(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "notes.txt"
    path.write_text("hello", encoding="utf-8")
    return path


def test_foreign_files_in_the_lake_root_are_named_and_left_alone(pipeline: Any) -> None:
    for _ in ("before the first commit", "between two commits"):
        pipeline.run("producer", "--once")
        for foreign in (foreign_parquet, foreign_text):
            path = foreign(pipeline.lake / "date=2025-11-18")
            before = path.read_bytes()
            refused(pipeline, "consumer", "--once", expect=FAILURE, says=[path.name, "move ", " away"])
            assert path.read_bytes() == before
            path.unlink()
        pipeline.run("consumer", "--once")
        oracle.assert_conserved(pipeline)
        pipeline.run("insert-orders")


@pytest.fixture
def log(pipeline: Any) -> list[Path]:
    """The records of a lake with fifteen rows in it, by number; five rows more wait in the topic."""
    for _ in range(2):
        pipeline.run("producer", "--once")
        pipeline.run("consumer", "--once")
        pipeline.run("insert-orders")
    pipeline.run("producer", "--once")
    commits = Path(pipeline.config["streaming"]["checkpoint_location"]) / "commits"
    records = sorted(commits.rglob("*.json"))
    # The one that founds the lake, one for each run with rows, and perhaps such as only pass a transaction's marker.
    assert len(records) >= 3
    return records


def test_a_gap_or_a_flipped_byte_in_the_commit_log_stops_the_consumer_which_names_the_record(
    pipeline: Any, log: list[Path]
) -> None:
    files = oracle.files(pipeline.lake)
    for record in log:
        content = record.read_bytes()
        place = len(content) // 2
        record.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        refused(pipeline, "consumer", "--once", expect=FAILURE, says=[record.name, "rebuild-log"])
        record.write_bytes(content)
    record.write_bytes(content[:place])
    refused(pipeline, "consumer", "--once", expect=FAILURE, says=[record.name, "rebuild-log"])
    assert pipeline.run("verify", expect=DIFFERENCE)
    record.write_bytes(content)
    missing = log[1].read_bytes()
    log[1].unlink()
    refused(pipeline, "consumer", "--once", expect=FAILURE, says=["lacks record 1", "rebuild-log"])
    assert pipeline.run("verify", expect=DIFFERENCE)
    log[1].write_bytes(missing)
    assert oracle.files(pipeline.lake) == files
    pipeline.run("consumer", "--once")
    oracle.assert_conserved(pipeline)


def test_a_log_that_is_gone_is_rebuilt_from_the_files_and_no_row_comes_twice(pipeline: Any, log: list[Path]) -> None:
    shutil.rmtree(log[0].parent.parent)
    refused(pipeline, "consumer", "--once", expect=FAILURE, says=["rebuild-log"])
    pipeline.run("lake rebuild-log", "--yes")
    pipeline.run("consumer", "--once")
    oracle.assert_conserved(pipeline)
    pipeline.run("verify")
