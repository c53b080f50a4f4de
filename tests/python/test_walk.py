"""The guide's walk: ten orders, then two rounds of five, with producer and consumer running all the while."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import oracle
import psycopg
from conftest import PASSWORD, ROOT, USER

LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (?:INFO|WARN|ERROR) +(?P<text>.*)$")
LAKE_FILE = re.compile(r"date=\d{4}-\d\d-\d\d/part-\d{20}-[0-9a-f]{8}-\d+\.parquet")


def test_the_walk_ends_with_fifteen_and_twenty_rows_in_the_lake_and_no_row_twice(
    pipeline: Any, eventually: Callable[..., None]
) -> None:
    producer = pipeline.start("producer")
    eventually(pipeline.state_file.exists, "the state file of the first poll")
    assert pipeline.state_file.read_text(encoding="utf-8") == "2025-11-18 12:00:00.000000|10\n"
    consumer = pipeline.start("consumer")
    eventually(lambda: oracle.count(pipeline.lake) == 10, "the ten sample orders in the lake")

    inserted = pipeline.run("insert-orders").stdout.splitlines()
    assert inserted[:3] == [
        "[INSERT] Successfully inserted 5 records",
        "[INSERT] Inserted Order IDs: [11, 12, 13, 14, 15]",
        "[INSERT] Total records in orders table: 15",
    ]
    assert inserted[4] == "[INSERT] Recently inserted records:"
    recent = [re.match(r"  Order #(\d+): Test Customer (\d) \| \$\d+\.\d\d \| ", line) for line in inserted[5:]]
    assert [found and found.groups() for found in recent] == [(str(10 + n), str(n)) for n in (5, 4, 3, 2, 1)]
    eventually(lambda: oracle.count(pipeline.lake) == 15, "round 1 in the lake")

    insert_as_the_guide_does(pipeline)
    eventually(lambda: oracle.count(pipeline.lake) == 20, "round 2 in the lake")

    for stream in (producer, consumer):
        stream.send_signal(signal.SIGTERM)
        assert stream.wait(10) == 0
    oracle.assert_conserved(pipeline)
    for path in oracle.files(pipeline.lake):
        assert LAKE_FILE.fullmatch(str(path.relative_to(pipeline.lake)))
    assert pipeline.state_file.read_text(encoding="utf-8").rstrip().endswith("|20")
    assert verified(pipeline) == {
        "PostgreSQL": "PostgreSQL OK (20 records)",
        "Kafka": "Kafka OK (20 messages in topic)",
        "Data Lake": f"Data lake OK ({len(oracle.files(pipeline.lake))} parquet files, 20 records)",
        "State File": "State file OK (timestamp updated)",
        "Checkpoint": "Checkpoint OK",
    }


def insert_as_the_guide_does(pipeline: Any) -> None:
    address = pipeline.database.services.address
    words = [sys.executable, str(ROOT / "scripts" / "insert_test_orders.py"), "--count", "5"]
    words += ["--host", address["host"], "--port", address["port"], "--database", pipeline.database.name]
    words += ["--user", USER, "--password", PASSWORD]
    done = subprocess.run(words, cwd=pipeline.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[INSERT] Inserted Order IDs: [16, 17, 18, 19, 20]\n" in done.stdout


def verified(pipeline: Any) -> dict[str, str]:
    """The table that `verify` ends with, by section."""
    printed = pipeline.run("verify").stdout
    assert "✓ All checks passed. Pipeline is ready.\n" in printed
    assert "✓ PIPELINE HEALTHY\n" in printed
    rows = re.findall(r"^✓ OK \| (.+?) *\| (.+)$", printed, re.MULTILINE)
    return dict(rows)


def test_the_producer_says_what_the_documents_show_in_their_words(pipeline: Any) -> None:
    said = spoken(pipeline.run("producer", "--once").stderr)
    rule = "[PRODUCER] ========================================"
    assert block(said, rule, 3) == [rule, "[PRODUCER] STARTING CDC POLLING LOOP", rule]
    assert block(said, "[PRODUCER] ========== POLL #1 ==========", 9) == [
        "[PRODUCER] ========== POLL #1 ==========",
        "[PRODUCER] Last processed timestamp: 2025-11-18 00:00:00",
        "[PRODUCER] Reading from PostgreSQL...",
        "[PRODUCER] Fetched 10 new records",
        "[PRODUCER] Converted 10 rows to JSON format",
        f"[PRODUCER] Publishing 10 messages to Kafka topic: {pipeline.topic}",
        "[PRODUCER] Successfully published to Kafka topic",
        "[PRODUCER] STATE UPDATED: last_processed_timestamp = 2025-11-18 12:00:00",
        "[PRODUCER] Sleeping for 0.05 seconds...",
    ]


def test_the_producer_tells_only_polls_that_found_rows_and_how_long_it_sleeps(
    pipeline: Any, eventually: Callable[..., None]
) -> None:
    pipeline.config["cdc"]["poll_interval_sec"] = 1
    producer = pipeline.start("producer")
    eventually(pipeline.state_file.exists, "the first poll")
    pipeline.run("insert-orders")
    eventually(lambda: pipeline.state_file.read_text(encoding="utf-8").rstrip().endswith("|15"), "the second poll")
    producer.send_signal(signal.SIGTERM)
    assert producer.wait(10) == 0
    said = spoken((pipeline.folder / "producer-1.log").read_text(encoding="utf-8"))
    polls = [line for line in said if " POLL #" in line]
    assert len(polls) == 2, said
    last = block(said, polls[1], 9)
    assert last[1] == "[PRODUCER] Last processed timestamp: 2025-11-18 12:00:00"
    assert last[3:5] == ["[PRODUCER] Fetched 5 new records", "[PRODUCER] Converted 5 rows to JSON format"]
    assert re.fullmatch(r"\[PRODUCER\] STATE UPDATED: last_processed_timestamp = \d{4}-\d\d-\d\d [\d:.]+", last[7])
    assert last[8] == "[PRODUCER] Sleeping for 1 seconds..."


def test_of_polls_that_follow_each_other_fast_one_a_second_is_told_and_all_rows_are_counted(
    pipeline: Any, eventually: Callable[..., None]
) -> None:
    pipeline.config["cdc"]["poll_interval_sec"] = 0.02
    producer = pipeline.start("producer", "--log-format", "json")
    eventually(pipeline.state_file.exists, "the first poll")
    begun = time.monotonic()
    log = pipeline.folder / "producer-1.log"

    def said() -> list[dict[str, Any]]:
        whole = log.read_text(encoding="utf-8").rpartition("\n")[0]
        # The file holds the report of the end as well, in plain words.
        events = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [event | event["fields"] for event in events]

    def told() -> int:
        return sum(event["rows"] for event in said() if event.get("operation") == "publish")

    def insert_one_by_one(connection: psycopg.Connection, count: int) -> None:
        for _ in range(count):
            row = connection.execute(
                "INSERT INTO orders (customer_name, restaurant_name, item, amount) VALUES ('A', 'B', 'C', 1) "
                "RETURNING order_id"
            ).fetchone()
            assert row is not None
            position = f"|{row[0]}\n"
            eventually(lambda end=position: pipeline.state_file.read_text(encoding="utf-8").endswith(end), "its poll")

    with pipeline.database.connect() as connection:
        insert_one_by_one(connection, 10)
        eventually(lambda: told() == 20, "the lines of all rows")
        insert_one_by_one(connection, 10)
    most = 2 + (time.monotonic() - begun) / 0.9
    producer.send_signal(signal.SIGTERM)
    assert producer.wait(10) == 0
    assert told() == 30, "the end tells what was not told before"
    messages = [event["message"] for event in said()]
    for words in (" POLL #", "Sleeping for", "Successfully published", "since the last line"):
        assert 0 < sum(words in message for message in messages) <= most, messages


def test_the_consumer_says_what_the_documents_show_in_their_words(
    pipeline: Any, eventually: Callable[..., None]
) -> None:
    pipeline.run("producer", "--once")
    consumer = pipeline.start("consumer")
    log = pipeline.folder / "consumer-1.log"
    written = f"[CONSUMER] Written to: {pipeline.lake}/date=2025-11-18/"
    eventually(lambda: written in spoken(log.read_text(encoding="utf-8")), "the line of the first file")
    consumer.send_signal(signal.SIGTERM)
    assert consumer.wait(10) == 0
    said = spoken(log.read_text(encoding="utf-8"))
    rule = "[CONSUMER] ========================================"
    assert block(said, rule, 12) == [
        rule,
        "[CONSUMER] STARTING STRUCTURED STREAMING",
        rule,
        "[CONSUMER] STEP 1: Reading from Kafka topic...",
        "[CONSUMER] Kafka stream initialized",
        "[CONSUMER] STEP 2: Parsing JSON messages...",
        "[CONSUMER] STEP 3: Applying data validation...",
        "[CONSUMER] STEP 4: Adding date partition...",
        "[CONSUMER] STEP 5: Writing to Parquet...",
        "[CONSUMER] STEP 6: Starting streaming query...",
        "[CONSUMER] STREAMING QUERY STARTED",
        "[CONSUMER] Running indefinitely (Ctrl+C to stop)...",
    ]
    counts = [int(found[1]) for line in said if (found := re.match(r"\[CONSUMER\] Micro-batch with (\d+) mess", line))]
    assert sum(counts) == 10


def spoken(log: str) -> list[str]:
    """The two loops' own lines of a text log, without time and level."""
    texts = [found["text"] for line in log.splitlines() if (found := LOG_LINE.match(line))]
    return [text for text in texts if text.startswith(("[PRODUCER] ", "[CONSUMER] "))]


def block(lines: list[str], first: str, length: int) -> list[str]:
    assert first in lines, lines
    start = lines.index(first)
    return lines[start : start + length]
