"""A table whose times are those of Asia/Kolkata: its own time in the state file, UTC beyond, local days in the lake."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import oracle
import pytest
import topics

ZONE = "Asia/Kolkata"
# The column's own time, the same in UTC, and the local day.
MOMENTS = [
    ("2025-11-18 00:00:00", "2025-11-17T18:30:00Z", "2025-11-18"),
    ("2025-11-18 05:29:59.999999", "2025-11-17T23:59:59.999999Z", "2025-11-18"),
    ("2025-11-18 05:30:00", "2025-11-18T00:00:00Z", "2025-11-18"),
    ("2025-11-18 23:59:59.999999", "2025-11-18T18:29:59.999999Z", "2025-11-18"),
    ("2025-11-19 00:00:00", "2025-11-18T18:30:00Z", "2025-11-19"),
    ("2025-11-19 00:00:00.5", "2025-11-18T18:30:00.5Z", "2025-11-19"),
]


@pytest.fixture
def kolkata(pipeline: Any) -> Any:
    """The pipeline over a database whose sessions, column default and configuration are in the zone."""
    with pipeline.database.administer() as connection:
        connection.execute(f"ALTER DATABASE {pipeline.database.name} SET timezone = '{ZONE}'")
    with pipeline.database.connect() as connection:
        connection.execute("TRUNCATE orders RESTART IDENTITY")
        connection.execute(f"ALTER TABLE orders ALTER created_at SET DEFAULT (now() AT TIME ZONE '{ZONE}')")
        for local, _, _ in MOMENTS:
            connection.execute(
                "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status, created_at) "
                "VALUES ('c', 'r', 'i', 1, 'PLACED', %s)",
                [local],
            )
    pipeline.config["cdc"]["timezone"] = ZONE
    return pipeline


def test_rows_around_midnight_keep_their_local_day_and_are_utc_in_messages_and_lake(kolkata: Any) -> None:
    kolkata.run("producer", "--once")
    # Midnight of the 18th is the start itself, cdc.default_start_timestamp, in the column's own time: it belongs to it.
    assert kolkata.state_file.read_text(encoding="utf-8") == "2025-11-19 00:00:00.500000|6\n"
    messages = [
        json.loads(message.value or b"") for message in topics.read(kolkata.database.services.brokers, kolkata.topic)
    ]
    said = {message["order_id"]: re.sub(r"(\.\d*?)0+Z", r"\1Z", message["created_at"]) for message in messages}
    assert said == {key: utc for key, (_, utc, _) in enumerate(MOMENTS, start=1)}

    kolkata.run("consumer", "--once")
    lake = oracle.lake(kolkata.lake, ZONE)  # which also compares each row's local day with its folder
    expected = {key: utc.removesuffix("Z").replace("T", " ") for key, (_, utc, _) in enumerate(MOMENTS, start=1)}
    for row in lake:
        assert datetime.fromisoformat(row[-1]) == datetime.fromisoformat(expected[row[0]])
    assert sorted(row[0] for row in lake) == list(range(1, len(MOMENTS) + 1))
    days = {path.name.removeprefix("date=") for path in kolkata.lake.iterdir()}
    assert days == {day for _, _, day in MOMENTS}
    kolkata.run("verify")


def test_a_row_of_this_moment_is_captured_at_once_and_not_when_utc_gets_there(kolkata: Any) -> None:
    kolkata.database.sql(
        "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status) "
        "VALUES ('now', 'r', 'i', 1, 'PLACED')"
    )
    ((local,),) = kolkata.database.sql("SELECT created_at FROM orders WHERE customer_name = 'now'")
    kolkata.run("producer", "--once")
    kolkata.run("consumer", "--once")
    stamp, key = kolkata.state_file.read_text(encoding="utf-8").split("|")
    assert (datetime.fromisoformat(stamp), key) == (local, "7\n")
    (row,) = (row for row in oracle.lake(kolkata.lake, ZONE) if row[1] == "now")
    moment = datetime.fromisoformat(row[-1]).replace(tzinfo=UTC)
    assert moment == (local - timedelta(hours=5, minutes=30)).replace(tzinfo=UTC)
    kolkata.run("verify")


def test_a_pipeline_does_not_go_on_in_another_zone_than_it_began(kolkata: Any) -> None:
    kolkata.run("producer", "--once")
    before = kolkata.state_file.read_bytes()
    kolkata.config["cdc"]["timezone"] = "UTC"
    refused = kolkata.run("producer", "--once", expect=1).stderr
    assert ZONE in refused
    assert "UTC" in refused
    assert kolkata.state_file.read_bytes() == before
