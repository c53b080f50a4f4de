"""Which side starts first does not matter; a broker that cannot do transactions is named and waited for."""

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import oracle
import pytest
import topics
from foodstream._stack import ports
from foodstream._stack.kafka import Kafka, new_cluster_id

UNAVAILABLE = 75


class WithoutTransactions(Kafka):
    """One broker that wants three copies of its transaction topic, as Kafka's defaults do."""

    def _settings(self) -> dict[str, object]:
        return {**super()._settings(), "transaction.state.log.replication.factor": 3}


@pytest.fixture(scope="module")
def lone_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    first = ports.spare(set())
    folder = tmp_path_factory.mktemp("lone") / "kafka"
    broker = WithoutTransactions(folder, first, ports.spare({first}), new_cluster_id())
    broker.start()
    yield broker.address
    broker.stop()


def test_a_consumer_started_before_topic_producer_and_rows_waits_and_then_takes_all(
    pipeline: Any, eventually: Callable[..., None]
) -> None:
    pipeline.database.sql("TRUNCATE orders RESTART IDENTITY")
    brokers = pipeline.database.services.brokers
    assert pipeline.topic not in topics.names(brokers)
    consumer = pipeline.start("consumer")
    log = pipeline.folder / "consumer-1.log"
    eventually(lambda: "STREAMING QUERY STARTED" in log.read_text(encoding="utf-8"), "the consumer to stand ready")
    assert pipeline.topic in topics.names(brokers)
    producer = pipeline.start("producer")
    eventually(lambda: "STARTING CDC POLLING LOOP" in (pipeline.folder / "producer-2.log").read_text(), "the producer")
    assert oracle.count(pipeline.lake) == 0
    pipeline.run("insert-orders", "--count", "7")
    eventually(lambda: oracle.count(pipeline.lake) == 7, "the first rows ever in the lake")
    for stream in (consumer, producer):
        stream.send_signal(signal.SIGTERM)
        assert stream.wait(10) == 0
    oracle.assert_conserved(pipeline)


def test_a_bounded_consumer_before_everything_else_ends_at_once_with_an_empty_lake(pipeline: Any) -> None:
    report = pipeline.report("consumer", "--once")
    assert (report["rows"], report["accepted"]) == (0, 0)
    assert oracle.count(pipeline.lake) == 0
    verified = pipeline.run("verify").stdout
    assert "pending" in verified.lower()
    # What the first run founded does not keep the rows of later from it.
    pipeline.run("producer", "--once")
    assert pipeline.report("consumer", "--once")["accepted"] == 10
    oracle.assert_conserved(pipeline)


def test_rows_published_before_any_consumer_existed_are_read_from_the_start(pipeline: Any) -> None:
    for _ in range(2):
        pipeline.run("producer", "--once")
        pipeline.run("insert-orders")
    pipeline.run("producer", "--once")
    assert pipeline.report("consumer", "--once")["accepted"] == 20
    oracle.assert_conserved(pipeline)


def test_a_bounded_producer_says_that_the_broker_cannot_do_transactions_and_exits_75(
    pipeline: Any, lone_broker: str
) -> None:
    pipeline.config["kafka"]["brokers"] = lone_broker
    pipeline.config["retry"] = {"start_timeout_sec": 2}
    begun = time.monotonic()
    done = pipeline.run("producer", "--once", expect=UNAVAILABLE)
    took = time.monotonic() - begun
    last = done.stderr.splitlines()[-1]
    assert "transaction" in last
    assert "transaction.state.log.replication.factor" in last
    assert took < 20, took
    assert not pipeline.state_file.exists()
    assert topics.bounds(lone_broker, pipeline.topic) == {0: (0, 0), 1: (0, 0), 2: (0, 0)}


def test_a_streaming_producer_waits_for_such_a_broker_and_stops_when_told(
    pipeline: Any, lone_broker: str, eventually: Callable[..., None]
) -> None:
    pipeline.config["kafka"]["brokers"] = lone_broker
    producer = pipeline.start("producer")

    def waits() -> bool:
        # Both topics are there, and the broker was asked for its transaction coordinator.
        return any(
            name.startswith("foodstream-cursor-") and pipeline.topic in name for name in topics.names(lone_broker)
        )

    eventually(waits, "the producer to come to where it waits")
    assert producer.poll() is None
    producer.send_signal(signal.SIGTERM)
    assert producer.wait(10) == 0
    assert not pipeline.state_file.exists()
