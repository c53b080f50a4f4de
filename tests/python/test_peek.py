"""Looking at topic, table and quarantine, which moves nothing."""

import datetime
import time
from decimal import Decimal
from typing import Any

import foodstream
import polars
import pytest
import topics

INVALID = (
    "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status)"
    " VALUES ('N', 'R', 'I', -1, 'PLACED')"
)


def published(pipeline: Any) -> None:
    pipeline.database.sql(INVALID)
    assert foodstream.Producer(pipeline.config).run(once=True).rows == 11


def test_messages_are_shown_decoded_with_what_the_consumer_would_say(pipeline: Any) -> None:
    published(pipeline)
    frame = polars.DataFrame(foodstream.peek(pipeline.config, "topic"))
    assert frame.columns[:7] == ["raw_key", "raw_value", "topic", "partition", "offset", "timestamp", "reasons"]
    assert frame.height == 11
    assert frame["amount"].dtype == polars.Decimal(10, 2)
    assert frame.filter(polars.col("reasons").is_not_null()).select("amount", "reasons").rows() == [
        (Decimal("-1.00"), "not_positive:amount")
    ]
    assert sorted(frame["order_id"]) == list(range(1, 12))
    newest = polars.DataFrame(foodstream.peek(pipeline.config, "topic", n=1))
    assert newest.height == 1 and newest["timestamp"][0] == frame["timestamp"].max()


def test_a_look_begins_where_it_is_told_to(pipeline: Any) -> None:
    published(pipeline)
    of_one = polars.DataFrame(foodstream.peek(pipeline.config, "topic", partition=1))
    assert of_one["partition"].unique().to_list() == [1]
    begin = of_one["offset"][1]
    later = polars.DataFrame(foodstream.peek(pipeline.config, "topic", partition=1, offset=begin, n=2))
    assert later["offset"].to_list() == of_one["offset"].to_list()[1:3]
    hour = datetime.timedelta(hours=1)
    now = datetime.datetime.now(datetime.UTC)
    assert len(foodstream.peek(pipeline.config, "topic", timestamp=now - hour)) == 11
    assert len(foodstream.peek(pipeline.config, "topic", timestamp=now + hour)) == 0
    assert len(foodstream.peek(pipeline.config, "topic", timestamp=time.time() - 3600, n=4)) == 4
    said = pipeline.report("peek topic", "--timestamp", (now - hour).isoformat(), "--limit", "20")
    assert len(said["messages"]) == 11


def test_the_newest_rows_come_first_and_those_without_a_time_last(pipeline: Any) -> None:
    pipeline.database.sql("ALTER TABLE orders ALTER created_at DROP NOT NULL")
    pipeline.database.sql("UPDATE orders SET created_at = NULL WHERE order_id IN (9, 10)")

    def shown(n: int) -> list[int]:
        frame = polars.DataFrame(foodstream.peek(pipeline.config, "table", n=n))
        return [int(key) for key in frame["order_id"]]

    assert shown(3) == [8, 7, 6]
    assert shown(9) == [8, 7, 6, 5, 4, 3, 2, 1, 10]
    rows = pipeline.report("peek table", "--limit", "20")["rows"]
    assert [int(row[0]) for row in rows[:8]] == [8, 7, 6, 5, 4, 3, 2, 1] and len(rows) == 10


def test_a_look_moves_nothing(pipeline: Any) -> None:
    published(pipeline)
    foodstream.peek(pipeline.config, "topic")
    foodstream.peek(pipeline.config, "table")
    group = pipeline.database.services.brokers, pipeline.config["kafka"]["consumer_group"]
    assert not topics.has_group(*group)
    assert not pipeline.folder.joinpath("checkpoints").exists()
    assert foodstream.Consumer(pipeline.config).run(once=True).rows == 11
    assert topics.has_group(*group), "seen where there is one"
    assert foodstream.verify_pipeline(pipeline.config)


def test_what_is_no_order_is_shown_with_its_bytes(pipeline: Any) -> None:
    topics.create(pipeline.database.services.brokers, pipeline.topic)
    topics.produce(pipeline.database.services.brokers, pipeline.topic, [(None, b"{broken"), (b"1", None)])
    frame = polars.DataFrame(foodstream.peek(pipeline.config, "topic"))
    assert sorted(frame.select("raw_value", "reasons").rows(), key=str) == [
        (None, "tombstone"),
        (b"{broken", "not_json"),
    ]
    assert frame["order_id"].null_count() == 2


def test_rows_of_the_table_are_shown_as_their_messages_would_be(pipeline: Any) -> None:
    pipeline.database.sql(INVALID)
    frame = polars.DataFrame(foodstream.peek(pipeline.config, "table", n=3))
    assert frame.height == 3
    assert (frame["order_id"][0], frame["amount"][0]) == (11, Decimal("-1.00"))
    assert frame["created_at"].is_sorted(descending=True)
    foodstream.Producer(pipeline.config).run(once=True)
    messages = polars.DataFrame(foodstream.peek(pipeline.config, "topic"))
    whole = polars.DataFrame(foodstream.peek(pipeline.config, "table"))
    assert messages.select(whole.columns).sort("order_id").equals(whole.sort("order_id"))


def test_the_quarantine_is_read_as_the_lake_is(pipeline: Any) -> None:
    published(pipeline)
    days = [datetime.datetime.now(datetime.UTC).date()]
    done = foodstream.Consumer(pipeline.config).run(once=True)
    days.append(datetime.datetime.now(datetime.UTC).date())
    frame = polars.DataFrame(foodstream.quarantine(pipeline.config))
    assert frame["reasons"].to_list() == ["not_positive:amount"] and frame["order_id"].to_list() == [11]
    assert frame["date"][0] in days
    only = foodstream.quarantine(pipeline.config, columns=["offset", "reasons"], snapshot=done.commit)
    assert (only.columns, len(only)) == (["offset", "reasons"], 1)
    assert len(foodstream.quarantine(pipeline.config, snapshot=0)) == 0
    assert len(foodstream.quarantine(pipeline.config, dates=(None, "2020-01-01"))) == 0


def test_what_cannot_be_looked_at_is_refused(pipeline: Any) -> None:
    with pytest.raises(foodstream.BrokerError, match="no topic"):
        foodstream.peek(pipeline.config, "topic")
    foodstream.Producer(pipeline.config).run(once=True)
    with pytest.raises(foodstream.ConfigError, match="counted from 0"):
        foodstream.peek(pipeline.config, "topic", partition=7)
    assert len(foodstream.peek(pipeline.config, "topic", topic=pipeline.topic, n=2)) == 2
