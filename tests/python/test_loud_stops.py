"""What cannot be kept any more stops its side, names the interval, changes nothing, and says what accepts the loss.

Deleted records, and a topic made anew under the consumer, are in ``test_groups``; state files and commit logs in
``test_bad_input``.
"""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import oracle
import pytest
import topics
from conftest import ORDERS_SQL, PASSWORD
from foodstream._stack import ports
from foodstream._stack.postgres import ADMINISTRATOR, Postgres

FAILURE = 1
INSERT = (
    "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status) "
    "SELECT 'c', 'r', 'i', n, 'PLACED' FROM generate_series(1, {rows}) n"
)


def state(pipeline: Any) -> tuple[bytes, dict[str, int], list[Path]]:
    """All that the producer and the consumer remember: state file, messages by topic, files of lake and log."""
    brokers = pipeline.database.services.brokers
    known = topics.names(brokers)
    counts = {
        name: len(topics.read(brokers, name)) for name in (pipeline.topic, cursor_topic(pipeline)) if name in known
    }
    return pipeline.state_file.read_bytes(), counts, oracle.files(pipeline.folder / "output")


def cursor_topic(pipeline: Any) -> str:
    return str(pipeline.config["cdc"]["cursor_topic"])


@pytest.fixture
def pipeline(pipeline: Any) -> Any:
    pipeline.config["cdc"]["cursor_topic"] = f"{pipeline.topic}_cursor"
    return pipeline


def refused(pipeline: Any, *says: str) -> None:
    """The producer stops at once, as often as it is started, for a loss that it names; nothing has changed then."""
    before = state(pipeline)
    for bound in (["--once"], [], ["--dry-run"]):
        stopped = pipeline.run("producer", *bound, "--report", "json", expect=FAILURE)
        assert '"kind":"dataloss"' in stopped.stdout.replace(" ", "")
        last_words = stopped.stderr.splitlines()[-1]
        assert last_words.startswith("error: ")
        for words in says:
            assert words in last_words, last_words
    assert state(pipeline) == before


def keys(pipeline: Any) -> list[int]:
    return sorted(int(found.key or b"") for found in topics.read(pipeline.database.services.brokers, pipeline.topic))


def test_a_topic_that_was_made_anew_under_the_producer_is_another_topic(pipeline: Any) -> None:
    brokers = pipeline.database.services.brokers
    pipeline.run("producer", "--once")
    topics.delete(brokers, pipeline.topic)
    topics.create(brokers, pipeline.topic, 3)
    pipeline.database.sql(INSERT.format(rows=5))
    says = [pipeline.topic, "deleted and created anew", "2025-11-18 12:00:00.000000|10", "--adopt", "--start-from"]
    refused(pipeline, *says)
    # Accepted, the rows before the position stay away, and it is accepted once.
    assert pipeline.report("producer", "--once", "--adopt")["rows"] == 5
    assert keys(pipeline) == list(range(11, 16))
    assert pipeline.report("producer", "--once")["rows"] == 0


def test_a_topic_that_was_deleted_under_the_producer_is_not_made_again_without_a_word(pipeline: Any) -> None:
    brokers = pipeline.database.services.brokers
    pipeline.run("producer", "--once")
    topics.delete(brokers, pipeline.topic)
    refused(pipeline, pipeline.topic, "was deleted", "2025-11-18 12:00:00.000000|10", "--adopt", "--start-from")
    assert pipeline.topic not in topics.names(brokers)
    # The other way: all rows again, for a lake that has none of them.
    assert pipeline.report("producer", "--once", "--start-from", "2025-11-18 00:00:00")["rows"] == 10
    assert keys(pipeline) == list(range(1, 11))
    assert pipeline.report("producer", "--once")["rows"] == 0


def test_a_topic_that_was_deleted_under_the_consumer_names_where_the_lake_stands(pipeline: Any) -> None:
    pipeline.run("producer", "--once")
    positions = pipeline.report("consumer", "--once")["positions"]
    topics.delete(pipeline.database.services.brokers, pipeline.topic)
    topics.create(pipeline.database.services.brokers, pipeline.topic, 3)
    before = state(pipeline)
    stopped = pipeline.run("consumer", "--once", "--report", "json", expect=FAILURE)
    assert '"kind":"dataloss"' in stopped.stdout.replace(" ", "")
    last_words = stopped.stderr.splitlines()[-1]
    for partition, offset in positions.items():
        assert f"{partition} from {offset}" in last_words
    assert "checkpoint_location" in last_words
    assert state(pipeline) == before


def test_a_table_whose_keys_are_given_out_anew_stops_the_producer_until_that_is_accepted(pipeline: Any) -> None:
    pipeline.run("insert-orders")
    pipeline.run("producer", "--once")
    pipeline.database.sql("TRUNCATE orders RESTART IDENTITY")
    # An empty table may be a table that was emptied; a sequence that went back gives out keys that are in the lake.
    refused(pipeline, "|15", "highest key", "none", "--adopt", "foodstream verify")
    pipeline.database.sql(INSERT.format(rows=3))
    refused(pipeline, "|15", "highest key", "3", "--adopt", "foodstream verify")
    assert pipeline.report("producer", "--once", "--adopt")["rows"] == 3
    # What is accepted once is accepted: the position is among the new keys now.
    pipeline.database.sql(INSERT.format(rows=2))
    assert pipeline.report("producer", "--once")["rows"] == 2
    assert keys(pipeline) == sorted([*range(1, 16), *range(1, 6)])


def test_rows_deleted_from_the_end_of_a_table_are_no_loss(pipeline: Any) -> None:
    pipeline.run("insert-orders")
    pipeline.run("producer", "--once")
    pipeline.database.sql("DELETE FROM orders WHERE order_id > 7")
    assert pipeline.report("producer", "--once")["rows"] == 0
    pipeline.database.sql("DELETE FROM orders")
    assert pipeline.report("producer", "--once")["rows"] == 0
    pipeline.database.sql(INSERT.format(rows=2))
    assert pipeline.report("producer", "--once")["rows"] == 2
    assert keys(pipeline) == list(range(1, 18))


def test_a_key_put_in_by_hand_and_deleted_again_stops_the_producer_until_that_is_accepted(pipeline: Any) -> None:
    # From the database alone it is a table whose keys come again: nothing reaches the published one any more.
    by_hand = INSERT.replace("(customer_name", "(order_id, customer_name").replace("SELECT", "SELECT {key},")
    pipeline.database.sql(by_hand.format(key=1_000, rows=1))
    pipeline.run("producer", "--once")
    pipeline.database.sql("DELETE FROM orders WHERE order_id = 1000")
    refused(pipeline, "|1000", "highest key", "put in by hand and deleted again, it is no loss", "--adopt")
    assert pipeline.report("producer", "--once", "--adopt")["rows"] == 0
    # Accepted for good, also while nothing new has come.
    assert pipeline.report("producer", "--once")["rows"] == 0
    pipeline.database.sql(by_hand.format(key=2_000, rows=1))
    pipeline.run("producer", "--once")
    pipeline.database.sql("DELETE FROM orders WHERE order_id = 2000")
    refused(pipeline, "|2000", "highest key")
    # The other way: the sequence is told of the key.
    pipeline.database.sql("SELECT setval(pg_get_serial_sequence('orders', 'order_id'), 2000)")
    assert pipeline.report("producer", "--once")["rows"] == 0
    assert keys(pipeline) == [*range(1, 11), 1_000, 2_000]


@pytest.fixture
def server(pipeline: Any, tmp_path: Path) -> Iterator[Postgres]:
    """A server of the test's own, which the pipeline reads from."""
    server = Postgres(tmp_path / "server", ports.spare(set()), PASSWORD)
    server.start()
    server.psql(ORDERS_SQL.read_text(encoding="utf-8"))
    pipeline.config["postgres"].update(port=server.port, user=ADMINISTRATOR, db="postgres")
    yield server
    server.stop()


def copy(source: Path, target: Path) -> None:
    # With their owner, who is not always the one who runs the tests.
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def test_a_database_that_was_restored_from_an_older_copy_stops_the_producer_until_that_is_accepted(
    pipeline: Any, server: Postgres, eventually: Callable[..., None]
) -> None:
    pipeline.run("producer", "--once")
    server.stop()
    copy(server.data, server.folder / "copy")
    server.start()
    producer = pipeline.start("producer")
    for _ in range(5):
        server.psql(INSERT.format(rows=1))
    eventually(lambda: pipeline.state_file.read_text(encoding="utf-8").endswith("|15\n"), "rows behind the copy")
    # Replaced under a producer that lives: it waits for the server, and goes no further with the older one.
    server.stop()
    copy(server.folder / "copy", server.data)
    server.start()
    eventually(lambda: producer.poll() is not None, "the producer to see that the database has gone back")
    assert producer.returncode == FAILURE
    log = (pipeline.folder / "producer-1.log").read_text(encoding="utf-8")
    assert "the database has gone back" in log.splitlines()[-1]
    # In one transaction, so that keys have overtaken the position and transactions have not.
    server.psql(INSERT.format(rows=20))
    refused(pipeline, "|15", "gone back", "--adopt", "foodstream verify")
    assert pipeline.report("producer", "--once", "--adopt")["rows"] == 20
    assert pipeline.report("producer", "--once")["rows"] == 0
    assert keys(pipeline) == sorted([*range(1, 16), *range(11, 31)])


def test_another_database_cluster_stops_the_producer_which_names_both(pipeline: Any, server: Postgres) -> None:
    pipeline.config["cdc"]["pipeline_id"] = pipeline.topic
    pipeline.run("producer", "--once")
    identifier = server.psql("SELECT system_identifier FROM pg_control_system()")
    # The same table, the same keys, another history.
    services = pipeline.database.services
    pipeline.config["postgres"].update(
        port=int(services.address["port"]),
        db=pipeline.database.name,
        user=services.address["user"],
        password=services.address["password"],
    )
    refused(pipeline, identifier, "another one", "2025-11-18 12:00:00", "cdc.pipeline_id", "--start-from")
    pipeline.config["cdc"].update(pipeline_id=f"{pipeline.topic}_new", cursor_topic=f"{pipeline.topic}_cursor_new")
    pipeline.database.sql(INSERT.format(rows=2))
    assert pipeline.report("producer", "--once", "--start-from", "2025-11-18 12:00:00|10")["rows"] == 2


def test_what_was_accepted_on_an_empty_table_stays_accepted(pipeline: Any) -> None:
    pipeline.run("insert-orders")
    pipeline.run("producer", "--once")
    pipeline.database.sql("TRUNCATE orders RESTART IDENTITY")
    assert pipeline.report("producer", "--once", "--adopt")["rows"] == 0
    assert pipeline.report("producer", "--once")["rows"] == 0
    pipeline.database.sql(INSERT.format(rows=2))
    assert pipeline.report("producer", "--once")["rows"] == 2
    assert keys(pipeline) == sorted([*range(1, 16), 1, 2])


def test_a_sequence_that_was_set_ahead_and_never_called_gives_no_key_out_anew(pipeline: Any) -> None:
    pipeline.run("insert-orders")
    pipeline.run("producer", "--once")
    pipeline.database.sql("DELETE FROM orders WHERE order_id > 7")
    # As after an import: the next key is the 16th.
    pipeline.database.sql("SELECT setval(pg_get_serial_sequence('orders', 'order_id'), 16, false)")
    assert pipeline.report("producer", "--once")["rows"] == 0
