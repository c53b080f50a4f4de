"""Totals of orders grouped as configured: equal to DuckDB's over the lake after any kill, and published in order."""

import datetime
import json
import random
import signal
import time
from collections.abc import Callable
from decimal import Decimal
from itertools import accumulate
from pathlib import Path
from typing import Any

import duckdb
import foodstream
import pyarrow as pa
import pytest
import topics

KILLS = 5
SEED = 20_251_118
RESTAURANTS = 6


def grouped(pipeline: Any, **more: Any) -> None:
    pipeline.config["aggregate"] = {
        "group_by": ["restaurant_name"],
        "sum": ["amount"],
        "min": ["amount"],
        "max": ["amount"],
        "avg": ["amount"],
        **more,
    }


def insert(pipeline: Any, rows: int) -> None:
    """Orders of a few restaurants, cents and all."""
    pipeline.database.sql(
        "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status, created_at) "
        "SELECT 'c', 'Restaurant ' || n %% %s, 'i', 1 + (n * 37 %% 9999) / 100.0, 'PLACED', "
        "now() AT TIME ZONE 'UTC' FROM generate_series(1, %s) n",
        RESTAURANTS,
        rows,
    )


def by_duckdb(pipeline: Any) -> list[tuple[Any, ...]]:
    """The same totals over the files, made by another program."""
    answer = duckdb.sql(
        "SELECT date, restaurant_name, count(*), sum(amount), min(amount), max(amount), "
        "round(sum(amount)::DECIMAL(38, 10) / count(amount), 4) "
        f"FROM read_parquet('{pipeline.lake}/**/*.parquet', hive_partitioning = true) GROUP BY 1, 2 ORDER BY 1, 2"
    )
    rows: list[tuple[Any, ...]] = answer.fetchall()
    return rows


def by_foodstream(pipeline: Any) -> list[tuple[Any, ...]]:
    table = pa.table(foodstream.totals(str(pipeline.config_file)))
    assert table.column_names == [
        "date",
        "restaurant_name",
        "rows",
        "sum_amount",
        "min_amount",
        "max_amount",
        "avg_amount",
    ]
    assert [str(field.type) for field in table.schema] == [
        "date32[day]",
        "string",
        "int64",
        "decimal128(38, 2)",
        "decimal128(38, 2)",
        "decimal128(38, 2)",
        "decimal128(38, 4)",
    ]
    return [tuple(row.values()) for row in table.to_pylist()]


def assert_equal(found: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> None:
    assert [row[:6] for row in found] == [row[:6] for row in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert abs(Decimal(ours[6]) - Decimal(str(theirs[6]))) <= Decimal("0.0001"), (ours, theirs)


def published(pipeline: Any, topic: str) -> dict[str, dict[str, Any]]:
    """What a compacted topic keeps; the commits of a key's records never fall."""
    kept: dict[str, dict[str, Any]] = {}
    for message in topics.read(pipeline.database.services.brokers, topic):
        key, value = (message.key or b"").decode(), json.loads(message.value or b"")
        assert value["commit"] >= kept.get(key, {"commit": 0})["commit"], key
        kept[key] = value
    return kept


def test_totals_by_restaurant_equal_duckdbs_over_the_lake_and_the_topic_holds_them(pipeline: Any) -> None:
    topic = f"{pipeline.topic}_totals"
    grouped(pipeline, topic=topic)
    assert len(pa.table(foodstream.totals(str(pipeline.config_file)))) == 0
    for rows in (500, 300):
        insert(pipeline, rows)
        pipeline.run("producer", "--once")
        pipeline.run("consumer", "--once", "--set", "consumer.maxOffsetsPerTrigger=90")
    found = by_foodstream(pipeline)
    assert sum(row[2] for row in found) == 810
    assert len(found) > RESTAURANTS, "the ten sample rows have a day of their own"
    assert_equal(found, by_duckdb(pipeline))

    kept = published(pipeline, topic)
    assert {
        (key["period"], key["restaurant_name"], value["rows"], value["columns"]["amount"]["sum"])
        for key, value in ((json.loads(text), value) for text, value in kept.items())
    } == {(str(row[0]), row[1], row[2], str(row[3])) for row in found}
    average = next(iter(kept.values()))["columns"]["amount"]
    assert set(average) == {"sum", "count", "min", "max", "avg"}
    # A start without news publishes nothing again.
    before = len(topics.read(pipeline.database.services.brokers, topic))
    pipeline.run("consumer", "--once")
    assert len(topics.read(pipeline.database.services.brokers, topic)) == before


def test_the_command_shows_running_sums_by_the_columns_that_are_asked_for(pipeline: Any) -> None:
    grouped(pipeline)
    insert(pipeline, 60)
    pipeline.run("producer", "--once")
    pipeline.run("consumer", "--once")
    whole = pipeline.run("totals", "--by", "--format", "csv").stdout.splitlines()
    assert whole[0] == "date,rows,sum_amount,min_amount,max_amount,avg_amount,running_sum_amount"
    sums = [(Decimal(line.split(",")[2]), Decimal(line.split(",")[6])) for line in whole[1:]]
    assert [running for _, running in sums] == list(accumulate(own for own, _ in sums))
    assert sums[-1][1] == pipeline.database.sql("SELECT sum(amount) FROM orders")[0][0]
    report = pipeline.report("totals", "--by", "restaurant_name")
    assert sum(group["rows"] for group in report["totals"]) == 70
    assert all(isinstance(group["sum_amount"], str) for group in report["totals"])
    assert "Restaurant 1" in pipeline.run("totals").stdout
    assert "`town`" in pipeline.run("totals", "--by", "town", expect=2).stderr
    columns = pa.table(foodstream.totals(str(pipeline.config_file), by=[], running=True)).column_names
    assert columns[:2] == ["date", "rows"]
    assert columns[-1] == "running_sum_amount"
    with pytest.raises(foodstream.ConfigError, match="restaurant_name"):
        foodstream.totals(str(pipeline.config_file), by=["town"])


def test_kills_change_no_total_and_leave_none_out_of_the_topic(pipeline: Any, eventually: Callable[..., None]) -> None:
    topic = f"{pipeline.topic}_totals"
    grouped(pipeline, topic=topic)
    pipeline.config["consumer"] = {"trigger_interval_ms": 50, "max_offsets_per_trigger": 40}
    chance = random.Random(SEED)
    for round_number in range(KILLS):
        insert(pipeline, 400)
        pipeline.run("producer", "--once")
        consumer = pipeline.start("consumer")
        log = Path(pipeline.folder / f"consumer-{round_number + 1}.log")
        seen = chance.randrange(1, 8)
        eventually(
            lambda log=log, seen=seen: log.read_text(encoding="utf-8").count("messages processed") >= seen,
            f"{seen} commits of round {round_number}",
        )
        time.sleep(chance.random() * 0.02)  # not a wait for anything: where between two steps the kill falls
        consumer.send_signal(signal.SIGKILL)
        consumer.wait()
    pipeline.run("consumer", "--once")
    found = by_foodstream(pipeline)
    assert sum(row[2] for row in found) == 10 + 400 * KILLS
    assert_equal(found, by_duckdb(pipeline))
    kept = {tuple(json.loads(key).values()): value for key, value in published(pipeline, topic).items()}
    assert {key: (value["rows"], value["columns"]["amount"]["sum"]) for key, value in kept.items()} == {
        (str(row[0]), row[1]): (row[2], str(row[3])) for row in found
    }


def test_other_totals_need_a_rebuilt_log_and_then_count_every_row(pipeline: Any) -> None:
    insert(pipeline, 50)
    pipeline.run("producer", "--once")
    pipeline.run("consumer", "--once")
    whole = pa.table(foodstream.totals(str(pipeline.config_file)))
    assert whole.column_names == ["date", "rows", "sum_amount"]
    grouped(pipeline, every="hour")
    refused = pipeline.run("consumer", "--once", expect=2).stderr
    assert "`aggregate.every` is hour" in refused
    assert "rebuild-log" in refused
    pipeline.run("lake rebuild-log", "--yes")
    pipeline.run("consumer", "--once")
    hours = pa.table(foodstream.totals(str(pipeline.config_file), by=[]))
    assert str(hours.schema.field("period").type) == "timestamp[us, tz=UTC]"
    assert sum(hours["sum_amount"].to_pylist()) == sum(whole["sum_amount"].to_pylist())
    assert all(start.minute == 0 for start in hours["period"].to_pylist())
    assert datetime.datetime(2025, 11, 18, 10, tzinfo=datetime.UTC) in hours["period"].to_pylist()


def test_a_column_of_unique_values_stops_the_consumer_before_the_commit(pipeline: Any) -> None:
    pipeline.config["aggregate"] = {"group_by": ["order_id"], "max_groups": 9}
    pipeline.run("producer", "--once")
    stopped = pipeline.run("consumer", "--once", expect=2).stderr
    assert "more than 9 groups of 2025-11-18 by `order_id`" in stopped
    pipeline.config["aggregate"]["max_groups"] = 10
    assert pipeline.report("consumer", "--once")["accepted"] == 10
