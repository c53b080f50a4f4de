"""Each fault planted once: the check that is made for it names it, with a remedy that mends it where it is SQL."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foodstream
import oracle
import pytest
import topics
from conftest import PASSWORD
from foodstream._stack import ports
from psycopg import sql

FINE = {"ok", "not_applicable"}
FAULTS = 3
AWAY = 75
SECRET = "hunter-2-is-nobodys-business"
INSERT = (
    "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status) "
    "SELECT 'c', 'r', 'i', n, 'PLACED' FROM generate_series(1, {rows}) n"
)

Found = dict[str, Any]


def examine(pipeline: Any, section: Any = None) -> dict[str, Found]:
    """Every finding by its check's name."""
    return {found["check"]: found for found in foodstream.doctor(pipeline.config, section=section).checks}


def bad(findings: dict[str, Found]) -> dict[str, str]:
    return {check: found["fact"] for check, found in findings.items() if found["verdict"] not in FINE}


@pytest.fixture
def running(pipeline: Any) -> Any:
    """A pipeline whose ten rows are in the lake; both sides have ended."""
    foodstream.Producer(pipeline.config).run(once=True)
    with foodstream.Consumer(pipeline.config, available_now=True) as consumer:
        assert consumer.run().accepted == 10
    return pipeline


def test_a_healthy_pipeline_is_fine_and_is_left_as_it_was(running: Any) -> None:
    before = {path: path.stat().st_mtime_ns for path in oracle.files(running.folder)}
    brokers = running.database.services.brokers

    def own_topics() -> set[str]:
        return {name for name in topics.names(brokers) if running.topic in name}

    known = own_topics()
    report = foodstream.doctor(running.config)
    findings = {found["check"]: found for found in report.checks}
    assert bad(findings) == {}
    assert report and report.exit_code == 0
    assert [check for check, found in findings.items() if found["verdict"] != "ok"] == []
    assert "Python 3." in findings["versions"]["fact"]
    assert "orders_created_at_order_id_idx" in findings["index"]["fact"]
    assert "orders_created_at_order_id_idx" in findings["query_plan"]["fact"]
    assert "0 offsets behind" in findings["position"]["fact"]
    assert "date=2025-11-18" in findings["files"]["fact"]
    assert "0 consumers" in findings["group"]["fact"]
    assert {path: path.stat().st_mtime_ns for path in oracle.files(running.folder)} == before
    assert own_topics() == known
    # The command says the same.
    shown = running.run("doctor")
    assert "✓ index" in shown.stdout and shown.stdout.endswith("✓ All checks passed.\n")
    assert PASSWORD not in shown.stdout + shown.stderr + repr(report) + str(report) + json.dumps(report.to_dict())
    assert "Butter Chicken" not in shown.stdout


def test_a_table_that_was_just_filled_is_polled_by_its_index(pipeline: Any, eventually: Any) -> None:
    rows, index = 40_000, "orders_created_at_order_id_idx"
    # Never analysed: the planner thinks that a few rows follow any position, and would sort them all for each page.
    pipeline.database.sql("ALTER TABLE orders SET (autovacuum_enabled = false)")
    pipeline.database.sql(
        "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status, created_at) "
        "SELECT 'A', 'B', 'C', 1, 'PLACED', '2025-11-18 12:00'::timestamp + n * interval '1 second' "
        f"FROM generate_series(1, {rows}) AS n"
    )
    assert examine(pipeline)["query_plan"]["fact"] == f"the next page is read by {index}"
    pipeline.config["cdc"] = {**pipeline.config.get("cdc", {}), "batch_limit": 1_000, "transaction_max_rows": 1_000}
    producer = foodstream.Producer(pipeline.config)
    producer.run(once=True)
    producer.close()

    def read() -> int:
        ((found,),) = pipeline.database.sql(
            f"SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = '{index}'"
        )
        return int(found)

    eventually(lambda: read() >= rows, "the server's account")
    assert read() < 2 * rows


def test_before_the_first_start_nothing_is_wrong_and_nothing_is_made(pipeline: Any) -> None:
    findings = examine(pipeline)
    assert bad(findings) == {}
    begun = {check for check, found in findings.items() if found["verdict"] == "ok"}
    assert {"server", "table", "index", "brokers", "transactions", "free_space"} <= begun
    assert not begun & {"topic", "cursor_topic", "position", "commit_log", "files"}
    assert pipeline.topic not in topics.names(pipeline.database.services.brokers)
    assert oracle.files(pipeline.folder) == []


# What to do to the table, the check that sees it, and how bad it is.
IN_SQL = {
    "no index": ("DROP INDEX orders_created_at_order_id_idx", "index", "warning"),
    "a default of the writer's zone": (
        "ALTER TABLE orders ALTER created_at SET DEFAULT now()",
        "timestamp_default",
        "",
    ),
    "a default of another zone": (
        "ALTER TABLE orders ALTER created_at SET DEFAULT (now() AT TIME ZONE 'Asia/Kolkata')",
        "timestamp_default",
        "fault",
    ),
    "no default": ("ALTER TABLE orders ALTER created_at DROP DEFAULT", "timestamp_default", "warning"),
    "times may be null": ("ALTER TABLE orders ALTER created_at DROP NOT NULL", "null_timestamps", "warning"),
}


def test_what_is_wrong_with_the_table_is_mended_by_the_remedy_as_it_is_pasted(pipeline: Any) -> None:
    for name, (planted, check, verdict) in IN_SQL.items():
        pipeline.database.sql(planted)
        findings = examine(pipeline, "postgres")
        assert set(bad(findings)) == {check}, name
        found = findings[check]
        assert found["verdict"] in ({verdict} if verdict else {"warning", "fault"}), name
        (remedy,) = found["remedies"]
        pipeline.database.sql(remedy)
        assert bad(examine(pipeline, "postgres")) == {}, name


def test_rows_without_a_time_are_counted_and_the_remedy_makes_them_readable(pipeline: Any) -> None:
    pipeline.database.sql("ALTER TABLE orders ALTER created_at DROP NOT NULL")
    pipeline.database.sql("UPDATE orders SET created_at = NULL WHERE order_id > 7")
    found = examine(pipeline, "postgres")["null_timestamps"]
    assert found["verdict"] == "fault" and found["fact"].startswith("3 rows with created_at IS NULL")
    pipeline.database.sql(found["remedies"][0])
    found = examine(pipeline, "postgres")["null_timestamps"]
    assert found["verdict"] == "warning"
    pipeline.database.sql(found["remedies"][0])
    assert examine(pipeline, "postgres")["null_timestamps"]["verdict"] == "ok"
    assert foodstream.Producer(pipeline.config).run(once=True).rows == 10


def test_transactions_that_hold_rows_back_are_named_with_what_ends_them(pipeline: Any) -> None:
    with pipeline.database.connect(autocommit=False, application_name="a long dump") as connection:
        connection.execute("SELECT 'a value of a statement'")
        found = examine(pipeline, "postgres")["open_transactions"]
        assert f"pid {connection.info.backend_pid} (a long dump), user student" in found["fact"]
        assert "a value of" not in json.dumps(found)
    gid = f"{pipeline.database.name}-it's"
    with pipeline.database.connect(autocommit=False) as connection:
        connection.execute(INSERT.format(rows=1))
        connection.execute(sql.SQL("PREPARE TRANSACTION {}").format(sql.Literal(gid)))
    found = examine(pipeline, "postgres")["prepared_transactions"]
    assert found["verdict"] == "warning" and gid in found["fact"] and "user student" in found["fact"]
    commit, rollback = found["remedies"]
    assert commit.startswith("COMMIT")
    pipeline.database.sql(rollback)
    assert bad(examine(pipeline, "postgres")) == {}


def test_rights_that_are_missing_are_named_with_the_grant(pipeline: Any) -> None:
    role = f"{pipeline.database.name}_reader"
    with pipeline.database.administer() as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
    try:
        pipeline.config["postgres"].update(user=role, password=SECRET)
        found = examine(pipeline, "postgres")
        assert found["table"]["verdict"] == "fault" and "GRANT SELECT" in found["table"]["fact"]
        assert found["index"]["verdict"] == "could_not_tell"
        assert found["visibility"]["verdict"] == "fault"
        with pipeline.database.administer() as connection:
            connection.execute(f"GRANT SELECT ON orders TO {role}")
            connection.execute(found["visibility"]["remedies"][0])
        assert bad(examine(pipeline, "postgres")) == {}
        pipeline.config["postgres"]["password"] = SECRET[::-1]
        report = foodstream.doctor(pipeline.config, section="postgres")
        assert report.exit_code == FAULTS and "password" in report.checks[0]["fact"]
        assert SECRET[::-1] not in str(report)
    finally:
        with pipeline.database.administer() as connection:
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")


def test_what_is_wrong_with_the_topics_is_named_with_the_command_that_mends_it(running: Any) -> None:
    brokers, topic = running.database.services.brokers, running.topic
    running.config["kafka"]["num_partitions"] = 5
    (found,) = examine(running, "kafka")["topic"]["remedies"]
    assert found == f"kafka-topics.sh --bootstrap-server {brokers} --alter --topic {topic} --partitions 5"
    running.config["kafka"]["num_partitions"] = 3

    (cursor_topic,) = (
        name for name in topics.names(brokers) if name.startswith(f"foodstream-cursor-{running.database.name}.")
    )
    topics.configure(brokers, topic, min_insync_replicas="2", retention_ms="3600000")
    topics.configure(brokers, cursor_topic, cleanup_policy="delete")
    findings = examine(running, "kafka")
    verdicts = {check: findings[check]["verdict"] for check in bad(findings)}
    assert verdicts == {"replication": "fault", "retention": "warning", "cursor_topic": "fault"}
    alter = f"kafka-configs.sh --bootstrap-server {brokers} --alter --topic"
    assert findings["replication"]["remedies"] == [f"{alter} {topic} --add-config min.insync.replicas=1"]
    assert findings["retention"]["remedies"] == [f"{alter} {topic} --add-config retention.ms=604800000"]
    assert findings["cursor_topic"]["remedies"] == [f"{alter} {cursor_topic} --add-config cleanup.policy=compact"]


def test_messages_that_wait_for_nobody_are_warned_of_and_deleted_ones_are_a_fault(running: Any) -> None:
    running.database.sql(INSERT.format(rows=30))
    assert foodstream.Producer(running.config).run(once=True).rows == 30
    findings = examine(running, "kafka")
    assert set(bad(findings)) == {"group"}
    assert findings["group"]["verdict"] == "warning"
    assert findings["group"]["remedies"] == ["foodstream consumer"]
    # As retention does while the consumer is away.
    brokers = running.database.services.brokers
    ends = {partition: end for partition, (_, end) in topics.bounds(brokers, running.topic).items()}
    topics.delete_before(brokers, running.topic, ends)
    report = foodstream.doctor(running.config)
    assert report.exit_code == FAULTS and not report
    lost = next(found for found in report.checks if found["check"] == "position")
    assert lost["verdict"] == "fault" and "were deleted before they were read" in lost["fact"]
    assert "--start-from" in lost["remedies"][0] and lost["remedies"][1] == "consumer.failOnDataLoss: false"
    shown = running.run("doctor", "--section", "kafka", expect=FAULTS).stdout
    assert "✗ position" in shown and "✗ Something is wrong: position\n" in shown and "PostgreSQL" not in shown


def damage(record: Path) -> None:
    record.write_bytes(record.read_bytes().replace(b'"accepted"', b'"excepted"'))


IN_THE_LAKE: dict[str, tuple[Callable[[Any], object], str, str]] = {
    "a stranger's file": (lambda pipeline: (pipeline.lake / "_SUCCESS").touch(), "files", "mv "),
    "a damaged record": (
        lambda pipeline: damage(sorted((pipeline.folder / "checkpoints").rglob("*.json"))[-1]),
        "commit_log",
        "",
    ),
    "no log": (lambda pipeline: shutil.rmtree(pipeline.folder / "checkpoints"), "commit_log", "lake rebuild-log"),
}


def test_what_is_wrong_with_the_lake_is_named(running: Any) -> None:
    for name, (plant, check, remedy) in IN_THE_LAKE.items():
        shutil.copytree(running.folder, running.folder.with_name("copy"))
        plant(running)
        report = foodstream.doctor(running.config, section="lake")
        wrong = [found for found in report.checks if found["verdict"] == "fault"]
        assert [found["check"] for found in wrong] == [check], name
        assert report.exit_code == FAULTS
        assert any(remedy in line for line in wrong[0]["remedies"]) or not remedy, wrong
        shutil.rmtree(running.folder)
        running.folder.with_name("copy").rename(running.folder)
    assert bad(examine(running, "lake")) == {}
    elsewhere = Path("/dev/shm") / running.database.name
    assert elsewhere.parent.stat().st_dev != running.folder.stat().st_dev, "set TMPDIR to a folder outside /dev/shm"
    try:
        elsewhere.mkdir()
        running.config["datalake"]["staging_path"] = str(elsewhere)
        found = examine(running, "lake")["file_system"]
        assert found["verdict"] == "fault" and found["remedies"] == [f"datalake.staging_path: {running.lake}_staging"]
    finally:
        elsewhere.rmdir()


def test_a_service_that_is_away_takes_only_its_own_section_with_it(running: Any) -> None:
    nowhere = ports.spare(set())
    for section, key, value in (
        ("postgres", "port", nowhere),
        ("kafka", "brokers", f"localhost:{nowhere}"),
    ):
        overrides = {"retry": {"start_timeout_sec": 5}, section: {key: value}}
        report = foodstream.doctor(running.config, overrides=overrides)
        assert report.exit_code == AWAY and not report and report.to_dict()["away"] == [section]
        untold = {found["section"] for found in report.checks if found["verdict"] == "could_not_tell"}
        # The cursor topic's name follows from the table.
        assert untold == ({"postgres", "kafka"} if section == "postgres" else {"kafka"})
        fine = {found["section"] for found in report.checks if found["verdict"] == "ok"}
        assert fine >= {"program", "postgres", "kafka", "lake"} - {section}
    (running.lake / "_SUCCESS").touch()
    assert foodstream.doctor(running.config, overrides=overrides).exit_code == FAULTS


def test_a_section_that_is_not_configured_or_not_known_is_refused(purchases: Any) -> None:
    config = foodstream.Config(purchases.config, preset="purchases")
    report = foodstream.doctor(config)
    assert {found["verdict"] for found in report.checks if found["section"] == "postgres"} == {"not_applicable"}
    assert report
    with pytest.raises(foodstream.ConfigError, match="postgres"):
        foodstream.doctor(config, section="postgres")
    with pytest.raises(ValueError, match="use postgres, kafka, lake or program"):
        foodstream.doctor(config, section="spark")  # type: ignore[arg-type]
