"""The purchase pipeline over real Kafka: the documents' output to the digit, and totals that survive anything."""

import fcntl
import json
import re
import signal
import struct
import subprocess
import sys
import termios
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import topics
from purchases import DAY, event, first_batch, message, second_batch

SUMMARY = """\
DAILY AGGREGATION SUMMARY:
+-------------------+----------+-----------+-------------+---------+-----------------+
|Timestamp          |Date      |Daily_Total|Running_Total|Day_Total|Transaction_Count|
+-------------------+----------+-----------+-------------+---------+-----------------+
|<now>|2025-06-26|{daily:<11}|{running:<13}|{running:<9}|{count:<17}|
+-------------------+----------+-----------+-------------+---------+-----------------+
"""
FIRST_CATEGORIES = """\
CATEGORY BREAKDOWN:
+----------------+--------------+-----------------+
|product_category|category_total|transaction_count|
+----------------+--------------+-----------------+
|     Electronics|      16592.56|                5|
|          Sports|       1265.50|                3|
|        Clothing|        599.44|                1|
+----------------+--------------+-----------------+
"""
SECOND_CATEGORIES = """\
CATEGORY BREAKDOWN:
+----------------+--------------+-----------------+
|product_category|category_total|transaction_count|
+----------------+--------------+-----------------+
|            Home|       3260.71|                4|
|        Clothing|       1115.42|                3|
|          Sports|       1075.64|                2|
|           Books|        224.88|                2|
+----------------+--------------+-----------------+
"""


def publish(purchases: Any, events: list[dict[str, Any]]) -> None:
    brokers, topic = purchases.config["kafka"]["bootstrap_servers"], purchases.config["kafka"]["topic_name"]
    topics.produce(brokers, topic, [message(made) for made in events])


def shown(purchases: Any) -> str:
    """What a bounded run prints, with the moment of each batch taken out."""
    done = purchases.run("purchases run", "--once")
    return re.sub(r"\|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\|(?=\d{4}-\d\d-\d\d\|)", "|<now>|", done.stdout)


def batches(purchases: Any) -> list[dict[str, Any]]:
    done = purchases.run("purchases run", "--once", "--output", "json")
    return [json.loads(line, parse_float=Decimal) for line in done.stdout.splitlines()]


def totals(purchases: Any) -> dict[tuple[str, str, str], tuple[int, Decimal]]:
    done = purchases.run("purchases totals", "--format", "json")
    rows = [json.loads(line, parse_float=Decimal) for line in done.stdout.splitlines()]
    return {
        (row["date"], row["currency"], row["product_category"]): (row["rows"], Decimal(row["sum_total_amount"]))
        for row in rows
    }


def totals_of_the_lake(lake: Path) -> dict[tuple[str, str, str], tuple[int, Decimal]]:
    """The same by DuckDB over the files, which knows nothing of the log."""
    rows = duckdb.sql(
        f"""SELECT strftime(date, '%Y-%m-%d'), currency, product_category, count(*), sum(total_amount)
              FROM read_parquet('{lake}/**/*.parquet', hive_partitioning = true) GROUP BY ALL"""
    ).fetchall()
    return {(date, currency, category): (count, total) for date, currency, category, count, total in rows}


def test_both_documented_batches_are_shown_to_the_cent_with_a_restart_between_them(purchases: Any) -> None:
    publish(purchases, first_batch())
    first = shown(purchases)
    assert "STREAMING DATA PIPELINE - STARTED" in first
    assert "STREAMING DATA PIPELINE OUTPUT - BATCH 1" in first
    assert SUMMARY.format(daily="18457.50", running="18457.50", count=9) in first
    assert "|purchase_1|customer_1 |Electronics     |6611.35     |2025-06-26 14:11:11|" in first
    assert FIRST_CATEGORIES in first
    assert "RUNNING TOTAL: $18,457.50\n" in first

    publish(purchases, second_batch())
    second = shown(purchases)
    assert "STREAMING DATA PIPELINE OUTPUT - BATCH 2" in second
    assert SUMMARY.format(daily="5676.65", running="24134.15", count=11) in second
    assert SECOND_CATEGORIES in second
    assert "RUNNING TOTAL: $24,134.15\n" in second


def test_a_late_event_corrects_its_own_day_and_every_later_running_total(purchases: Any) -> None:
    publish(
        purchases, [event(1, "Books", "10.00", f"{DAY}T10:00:00Z"), event(2, "Books", "1.00", "2025-06-28T10:00:00Z")]
    )
    batches(purchases)
    late = event(3, "Home", "0.10", f"{DAY}T23:59:59.999Z")
    publish(purchases, [late, event(4, "Books", "2.00", "2025-06-28T11:00:00Z")])
    (batch,) = batches(purchases)
    days = {day["date"]: day for day in batch["days"]}
    assert days[DAY]["daily_total"] == "0.10" and days[DAY]["day_total"] == "10.10"
    assert days[DAY]["running_total"] == "10.10"
    assert days["2025-06-28"]["day_total"] == "3.00" and days["2025-06-28"]["running_total"] == "13.10"
    assert batch["running_totals"] == {"USD": "13.10"}


def test_totals_never_mix_currencies(purchases: Any) -> None:
    publish(
        purchases,
        [
            event(1, "Books", "10.00", f"{DAY}T10:00:00Z"),
            event(2, "Books", "5.00", f"{DAY}T10:00:00Z", currency="EUR"),
        ],
    )
    text = shown(purchases)
    assert "RUNNING TOTAL: EUR 5.00\nRUNNING TOTAL: $10.00\n" in text
    assert totals(purchases) == {
        (DAY, "EUR", "Books"): (1, Decimal("5.00")),
        (DAY, "USD", "Books"): (1, Decimal("10.00")),
    }


def test_kills_on_the_way_change_no_total(purchases: Any, eventually: Any) -> None:
    purchases.config["consumer"]["maxOffsetsPerTrigger"] = 500
    publish(purchases, [event(n, "Books", f"{n % 97 + 1}.0{n % 10}", f"{DAY}T10:00:00Z") for n in range(1, 20_001)])
    checkpoints = purchases.folder / "checkpoints" / "commits"

    def commits() -> int:
        return len(list(checkpoints.glob("*/*.json")))

    for kill in range(5):
        seen = commits()
        job = purchases.start("purchases run", "--output", "none")
        eventually(lambda seen=seen: commits() > seen + 1, f"commits before kill {kill + 1}")
        job.send_signal(signal.SIGKILL)
        job.wait()
    purchases.run("purchases run", "--once")
    assert sum(count for count, _ in totals(purchases).values()) == 20_000
    assert totals(purchases) == totals_of_the_lake(purchases.lake)


def test_a_reader_that_has_paused_holds_up_no_stop(purchases: Any, eventually: Any) -> None:
    purchases.config["consumer"]["maxOffsetsPerTrigger"] = 100
    publish(purchases, [event(n, "Books", "1.00", f"{DAY}T10:00:00Z") for n in range(1, 6_001)])
    words = [sys.executable, "-m", "foodstream", "purchases", "run", "--config", str(purchases.config_file)]
    job = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=purchases.folder)
    assert job.stdout is not None
    pipe = job.stdout.fileno()
    looks: list[int] = []

    def is_full() -> bool:
        """Whether nothing was added for two seconds' looks; a kernel may call a pipe full that has bytes left."""
        (unread,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))
        looks.append(unread)
        return unread > fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) / 2 and len(looks) > 40 and len(set(looks[-40:])) == 1

    try:
        eventually(is_full, "a full pipe")
        job.send_signal(signal.SIGTERM)
        assert job.wait(30) == 130
    finally:
        job.kill()
        job.wait()
        job.stdout.close()
    purchases.run("purchases run", "--once")
    assert totals(purchases) == totals_of_the_lake(purchases.lake)


def test_the_quick_start_names_what_is_wrong_and_what_to_do(purchases: Any) -> None:
    assert purchases.report("purchases check")["ok"] is True
    purchases.config["kafka"]["bootstrap_servers"] = "localhost:1"
    away = purchases.report("purchases check", expect=75)
    (kafka,) = [check for check in away["checks"] if not check["ok"]]
    assert kafka["name"] == "Kafka" and "foodstream local up" in kafka["remedy"]
    purchases.config["kafka"]["bootstrap_server"] = "localhost:1"
    wrong = purchases.run("purchases check", expect=1)
    assert "✗ Configuration" in wrong.stdout and "bootstrap_server" in wrong.stdout
