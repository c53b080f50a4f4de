"""Two that may not both be: a second producer of one pipeline, and a consumer that slept while it was replaced."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import oracle
import topics

FAILURE = 1
INSERT = (
    "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status) "
    "SELECT 'c', 'r', 'i', n, 'PLACED' FROM generate_series(1, %s) n"
)
BATCH = 6_000
# Between a look at the staging folder and the signal lies less than a commit takes.
CATCH_TIMEOUT_SEC = 60.0


def log_of(pipeline: Any, name: str) -> str:
    return str((pipeline.folder / f"{name}.log").read_text(encoding="utf-8"))


def test_of_two_producers_of_one_pipeline_one_ends_as_fenced_and_the_other_publishes_every_row_once(
    pipeline: Any, eventually: Callable[..., None]
) -> None:
    pipeline.config["cdc"]["poll_interval_sec"] = 0.02
    first = pipeline.start("producer")
    eventually(lambda: pipeline.state_file.exists(), "the first producer to publish")
    second = pipeline.start("producer")

    def one_has_ended() -> bool:
        pipeline.database.sql(INSERT, 5)
        return first.poll() is not None or second.poll() is not None

    eventually(one_has_ended, "one of the two to give up", 60)
    number, ended, living = (1, first, second) if first.poll() is not None else (2, second, first)
    assert ended.returncode == FAILURE
    last_words = log_of(pipeline, f"producer-{number}").splitlines()[-1]
    assert last_words.startswith("error: ")
    assert "cdc.pipeline_id" in last_words, "it says what to do"

    published = len(topics.read(pipeline.database.services.brokers, pipeline.topic))
    pipeline.database.sql(INSERT, 5)
    eventually(
        lambda: len(topics.read(pipeline.database.services.brokers, pipeline.topic)) > published, "the other one's rows"
    )
    assert living.poll() is None, "the one that lives was disturbed once and goes on"
    living.send_signal(signal.SIGTERM)
    assert living.wait(10) == 0
    pipeline.run("producer", "--once")
    keys = [int(message.key or b"") for message in topics.read(pipeline.database.services.brokers, pipeline.topic)]
    oracle.assert_once(keys, [row[0] for row in oracle.table(pipeline.database)])
    pipeline.run("consumer", "--once")
    oracle.assert_conserved(pipeline)


def staged(pipeline: Any) -> set[str]:
    """Names of the files that wait to be renamed into the lake or the quarantine."""
    staging = pipeline.lake.with_name(f"{pipeline.lake.name}_staging")
    return {path.name for path in staging.glob("*/part-*.parquet")}


def recorded(pipeline: Any) -> set[str]:
    """Names of all files that the commit log names."""
    commits = Path(pipeline.config["streaming"]["checkpoint_location"]) / "commits"
    records = [json.loads(path.read_bytes()) for path in commits.rglob("*.json")]
    return {Path(file["name"]).name for record in records for file in [*record["files"], *record["quarantine"]]}


def stop_in_the_middle_of_a_commit(pipeline: Any, pid: int) -> None:
    """Stops the process while files of its batch are staged and no record names them."""
    until = time.monotonic() + CATCH_TIMEOUT_SEC
    while time.monotonic() < until:
        if not staged(pipeline):
            continue
        os.kill(pid, signal.SIGSTOP)
        waiting = staged(pipeline)
        if waiting and not waiting & recorded(pipeline):
            return
        os.kill(pid, signal.SIGCONT)
    raise AssertionError("no commit was caught between its files and its record")


def test_a_consumer_that_sleeps_in_the_middle_of_its_commit_while_another_commits_drops_its_batch_and_goes_on(
    pipeline: Any, eventually: Callable[..., None]
) -> None:
    pipeline.config["kafka"]["num_partitions"] = 1
    pipeline.config["consumer"].update(trigger_interval_ms=50, maxOffsetsPerTrigger=BATCH)
    pipeline.database.sql(INSERT, 3 * BATCH)
    pipeline.run("producer", "--once")
    rows = pipeline.database.count()

    sleeper = pipeline.start("consumer")
    stop_in_the_middle_of_a_commit(pipeline, sleeper.pid)
    asleep = staged(pipeline)
    heir = pipeline.start("consumer")
    # The group lets go of the sleeper after its session, and the heir reads from the log, not from where it stood.
    eventually(lambda: oracle.count(pipeline.lake) == rows, "the heir to commit everything", 60)
    assert staged(pipeline) >= asleep, "the heir leaves the staging of the living alone"
    sleeper.send_signal(signal.SIGCONT)
    overtaken = re.compile("another worker committed these partitions first")
    eventually(lambda: bool(overtaken.search(log_of(pipeline, "consumer-1"))), "the sleeper to learn of it")

    # Both are of use still: whoever holds the partition takes what comes.
    pipeline.database.sql(INSERT, 10)
    pipeline.run("producer", "--once")
    eventually(lambda: oracle.count(pipeline.lake) == rows + 10, "rows behind the race")
    for stream in (sleeper, heir):
        assert stream.poll() is None
        stream.send_signal(signal.SIGTERM)
        assert stream.wait(10) == 0
    assert staged(pipeline) == set(), "what the sleeper had staged is gone"
    oracle.assert_conserved(pipeline)
    pipeline.run("verify")
