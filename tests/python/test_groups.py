"""Several workers of one consumer group, and records that were deleted before anybody read them."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import oracle
import topics

FAILURE, USAGE, DIFFERENCE = 1, 2, 3
BATCH = 40


def insert(pipeline: Any, rows: int) -> None:
    pipeline.database.sql(
        "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status) "
        "SELECT 'c', 'r', 'i', n, 'PLACED' FROM generate_series(1, %s) n",
        rows,
    )


def batches(pipeline: Any, number: int) -> int:
    log = (pipeline.folder / f"consumer-{number}.log").read_text(encoding="utf-8")
    return int(log.count("Micro-batch with"))


def test_two_workers_of_one_group_share_the_partitions_and_lose_or_repeat_nothing(
    pipeline: Any, eventually: Callable[..., None]
) -> None:
    pipeline.config["consumer"].update(trigger_interval_ms=50, maxOffsetsPerTrigger=BATCH)
    pipeline.config["cdc"]["poll_interval_sec"] = 0.05
    first = pipeline.start("consumer")
    producer = pipeline.start("producer")
    eventually(lambda: oracle.count(pipeline.lake) == 10, "the first worker alone")
    second = pipeline.start("consumer")

    def both_work() -> bool:
        insert(pipeline, BATCH)
        return batches(pipeline, 1) > alone and batches(pipeline, 3) > 0

    alone = batches(pipeline, 1)
    eventually(both_work, "both workers to commit batches of their own", 60)
    # A worker that leaves, and one that dies, give their partitions to the other.
    first.send_signal(signal.SIGTERM)
    assert first.wait(10) == 0
    insert(pipeline, 5 * BATCH)
    eventually(lambda: oracle.count(pipeline.lake) == pipeline.database.count(), "the second worker alone")
    third = pipeline.start("consumer")
    insert(pipeline, 5 * BATCH)
    second.kill()
    eventually(lambda: oracle.count(pipeline.lake) == pipeline.database.count(), "the third worker to take over")
    for stream in (third, producer):
        stream.send_signal(signal.SIGTERM)
        assert stream.wait(10) == 0
    oracle.assert_conserved(pipeline)
    pipeline.run("verify")


def test_a_bounded_worker_beside_a_living_one_ends_when_the_log_has_reached_the_ends(
    pipeline: Any, eventually: Callable[..., None]
) -> None:
    pipeline.run("producer", "--once")
    living = pipeline.start("consumer")
    eventually(lambda: oracle.count(pipeline.lake) == 10, "the living worker")
    insert(pipeline, 500)
    pipeline.run("producer", "--once")
    pipeline.run("consumer", "--once")
    assert oracle.count(pipeline.lake) == 510
    assert living.poll() is None
    living.send_signal(signal.SIGTERM)
    assert living.wait(10) == 0
    oracle.assert_conserved(pipeline)


def test_deleted_records_stop_the_consumer_which_names_them_until_the_loss_is_accepted(pipeline: Any) -> None:
    brokers = pipeline.database.services.brokers
    pipeline.config["kafka"]["num_partitions"] = 1
    pipeline.run("producer", "--once")
    position = pipeline.report("consumer", "--once")["positions"]["0"]
    insert(pipeline, 20)
    pipeline.run("producer", "--once")
    (kept_from,) = [found.offset for found in topics.read(brokers, pipeline.topic) if found.key == b"21"]
    topics.delete_before(brokers, pipeline.topic, {0: kept_from})

    interval = f"[{position}, {kept_from})"
    for _ in range(2):
        stopped = pipeline.run("consumer", "--once", expect=FAILURE).stderr.splitlines()[-1]
        assert stopped.startswith("error: ")
        assert interval in stopped
        assert "failOnDataLoss" in stopped
        assert oracle.count(pipeline.lake) == 10
    # A streaming run stops as well, by itself.
    assert interval in pipeline.run("consumer", expect=FAILURE).stderr

    pipeline.config["consumer"]["failOnDataLoss"] = False
    accepted = pipeline.run("consumer", "--once")
    assert interval in accepted.stderr
    keys = sorted(row[0] for row in oracle.lake(pipeline.lake))
    assert keys == [*range(1, 11), *range(21, 31)]
    commits = Path(pipeline.config["streaming"]["checkpoint_location"]) / "commits"
    log = [json.loads(path.read_bytes()) for path in commits.rglob("*.json")]
    lost = [those for record in log for those in record.get("lost", [])]
    assert lost == [{"partition": 0, "from": position, "to": kept_from}]
    # Accepted is not unseen: the rows are named for as long as they are missing.
    verified = pipeline.run("verify", expect=DIFFERENCE).stdout
    assert "11, 12, 13" in verified
    # And it is accepted once, not for every later loss in silence: nothing is lost now.
    assert interval not in pipeline.run("consumer", "--once").stderr


def test_a_topic_that_was_deleted_and_made_anew_is_another_topic(pipeline: Any) -> None:
    brokers = pipeline.database.services.brokers
    pipeline.run("producer", "--once")
    pipeline.run("consumer", "--once")
    topics.delete(brokers, pipeline.topic)
    topics.create(brokers, pipeline.topic, 3)
    stopped = pipeline.run("consumer", "--once", expect=FAILURE).stderr.splitlines()[-1]
    assert "deleted and created anew" in stopped
    assert oracle.count(pipeline.lake) == 10


def test_another_topic_in_the_configuration_is_not_taken_for_one_that_was_made_anew(pipeline: Any) -> None:
    pipeline.run("producer", "--once")
    pipeline.run("consumer", "--once")
    old = pipeline.topic
    pipeline.config["kafka"]["topic"] = f"{old}_v2"
    stopped = pipeline.run("consumer", "--once", expect=USAGE).stderr.splitlines()[-1]
    assert f"kafka.topic is {old}_v2, but the lake was made from {old}," in stopped
    assert "checkpoint_location" in stopped
    pipeline.config["kafka"]["topic"] = old
    assert pipeline.report("consumer", "--once")["rows"] == 0
