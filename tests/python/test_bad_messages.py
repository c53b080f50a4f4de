"""Messages no producer of ours would send: each in quarantine with bytes, position and reason; no valid row lost."""

import json
from typing import Any

import oracle
import pytest
import topics

GOOD = {
    "order_id": 1,
    "customer_name": "c",
    "restaurant_name": "r",
    "item": "i",
    "amount": 12.50,
    "order_status": "PLACED",
    "created_at": "2025-11-18T10:00:00Z",
}


def order(**changed: Any) -> bytes:
    """A good order with some values changed, or left out where they are `...`."""
    made = {name: value for name, value in {**GOOD, **changed}.items() if value is not ...}
    return json.dumps(made).encode()


MEGABYTE = "x" * 1_000_000
# What came, and the reasons that must be given; a code with a column concerns that column.
BAD: dict[str, tuple[bytes | None, str]] = {
    "no bytes": (b"", "empty_message"),
    "a tombstone": (None, "tombstone"),
    "not JSON": (b"hello", "not_json"),
    "half JSON": (order()[:-10], "not_json"),
    "JSON and more": (order() + b"{}", "not_json"),
    "not UTF-8": (order().replace(b'"c"', b'"\xff\xfe"'), "not_utf8"),
    "a list": (b"[1, 2]", "not_object"),
    "a number": (b"42", "not_object"),
    "null": (b"null", "not_object"),
    "the same key twice": (order()[:-1] + b', "amount": 1}', "duplicate_key:amount"),
    "ten thousand deep": (b'{"order_id":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "too_deep"),
    "another shape": (
        b'{"event": "click", "at": 5}',
        "null:order_id,null:customer_name,null:restaurant_name,null:item,null:amount,null:order_status,null:created_at",
    ),
    "an object inside": (order(item={"name": "i"}), "wrong_type:item"),
    "an unknown status": (order(order_status="LOST"), "unknown_status:order_status"),
    "a negative amount": (order(amount=-0.01), "not_positive:amount"),
    "a zero amount": (order(amount=0), "not_positive:amount"),
    "a third decimal": (order(amount=1.005), "out_of_range:amount"),
    "an amount beyond all": (order().replace(b"12.5", b"1e400"), "out_of_range:amount"),
    "an amount in words": (order(amount="twelve"), "wrong_type:amount"),
    "empty names": (order(customer_name="", restaurant_name="  "), "empty:customer_name,empty:restaurant_name"),
    "a missing name": (order(customer_name=...), "null:customer_name"),
    "no created_at": (order(created_at=...), "null:created_at"),
    "created_at null": (order(created_at=None), "null:created_at"),
    "created_at in words": (order(created_at="yesterday"), "unparseable:created_at"),
    "a day that is none": (order(created_at="2025-02-30T10:00:00Z"), "unparseable:created_at"),
    "a megabyte of nothing": (MEGABYTE.encode(), "not_json"),
    "a megabyte in a bad row": (order(item=MEGABYTE, amount=-1), "not_positive:amount"),
    "several at once": (
        order(order_id=None, amount=-5, order_status="LOST", created_at=...),
        "null:order_id,not_positive:amount,unknown_status:order_status,null:created_at",
    ),
}


@pytest.fixture
def topic(pipeline: Any) -> str:
    """The topic with one partition, so that positions are the order of sending."""
    pipeline.config["kafka"]["num_partitions"] = 1
    topics.create(pipeline.database.services.brokers, pipeline.topic)
    return str(pipeline.topic)


def send(pipeline: Any, messages: list[tuple[bytes | None, bytes | None]]) -> list[topics.Message]:
    return topics.produce(pipeline.database.services.brokers, pipeline.topic, messages)


@pytest.mark.usefixtures("topic")
def test_every_bad_message_is_kept_with_its_bytes_its_position_and_its_reason(pipeline: Any) -> None:
    messages: list[tuple[bytes | None, bytes | None]] = []
    for number, (value, _) in enumerate(BAD.values()):
        messages.append((f"good {number}".encode(), order(order_id=number)))
        messages.append((f"bad {number}".encode(), value))
    sent = send(pipeline, messages)
    report = pipeline.report("consumer", "--once")
    assert (report["rows"], report["accepted"], report["rejected"]) == (2 * len(BAD), len(BAD), len(BAD))

    kept = oracle.quarantine(pipeline.quarantine)
    given = {name: row["reasons"] for name, row in zip(BAD, kept, strict=True)}
    assert given == {name: reasons for name, (_, reasons) in BAD.items()}
    for row, message in zip(kept, sent[1::2], strict=True):
        assert (row["topic"], row["partition"], row["offset"]) == (pipeline.topic, 0, message.offset)
        assert (row["raw_key"], row["raw_value"]) == (message.key, message.value)
        assert row["timestamp"] is not None
    assert sorted(row[0] for row in oracle.lake(pipeline.lake).elements()) == list(range(len(BAD)))
    # Read again, from what is committed, nothing comes a second time.
    assert pipeline.report("consumer", "--once")["rows"] == 0


@pytest.mark.usefixtures("topic")
def test_values_that_parsed_stand_beside_the_raw_bytes_of_a_reject(pipeline: Any) -> None:
    send(pipeline, [(b"7", order(order_id=7, amount=-3.25)), (b"8", order(order_id=8, created_at="soon"))])
    pipeline.run("consumer", "--once")
    negative, undated = oracle.quarantine(pipeline.quarantine)
    assert (negative["order_id"], str(negative["amount"]), negative["item"]) == (7, "-3.25", "i")
    assert (undated["order_id"], str(undated["amount"]), undated["created_at"]) == (8, "12.50", None)
    assert oracle.files(pipeline.lake) == []


@pytest.mark.usefixtures("topic")
def test_messages_of_a_foreign_producer_in_unusual_but_sound_json_are_accepted(pipeline: Any) -> None:
    shuffled = json.dumps(dict(reversed(GOOD.items())), indent=2).encode()
    sound = [
        shuffled,
        order(order_id=2, extra={"unknown": ["key"]}),
        order(order_id=3, created_at="2025-11-18T15:30:00.5+05:30"),
        order(order_id=4, item='p\u00e2t\u00e9 \U0001f355 "quoted" \\ \n'),
        order(order_id=5, item=MEGABYTE[:900_000]),
        order(order_id=6).replace(b"12.5", b"1.25e1"),
    ]
    send(pipeline, [(None, value) for value in sound])
    report = pipeline.report("consumer", "--once")
    assert (report["accepted"], report["rejected"]) == (len(sound), 0)
    rows = {row[0]: row[1:] for row in oracle.lake(pipeline.lake)}
    assert rows[1] == ("c", "r", "i", "12.50", "PLACED", "2025-11-18 10:00:00.000000")
    assert rows[3][-1] == "2025-11-18 10:00:00.500000"
    assert rows[4][2] == 'p\u00e2t\u00e9 \U0001f355 "quoted" \\ \n'
    assert len(rows[5][2]) == 900_000
    assert rows[6][3] == "12.50"


@pytest.mark.usefixtures("topic")
def test_rows_kept_on_request_are_tagged_in_the_lake_and_unreadable_ones_still_go_to_quarantine(pipeline: Any) -> None:
    pipeline.config["validation"] = {"drop_invalid_rows": False}
    send(pipeline, [(b"1", order()), (b"2", order(order_id=2, amount=-1)), (b"3", b"hello")])
    report = pipeline.report("consumer", "--once")
    assert (report["rows"], report["accepted"], report["rejected"]) == (3, 2, 1)
    assert [row["reasons"] for row in oracle.quarantine(pipeline.quarantine)] == ["not_json"]
    shown = pipeline.run("read", "--format", "json").stdout.splitlines()
    tags = {row["order_id"]: row["validation_errors"] for row in map(json.loads, (s for s in shown if s[:1] == "{"))}
    assert tags[2] == "not_positive:amount"
    assert not tags[1]


@pytest.mark.usefixtures("topic")
def test_bad_messages_between_the_producers_own_rows_change_no_count_of_them(pipeline: Any) -> None:
    pipeline.run("producer", "--once")
    send(pipeline, [(b"bad", value) for value, _ in BAD.values()])
    pipeline.run("insert-orders")
    pipeline.run("producer", "--once")
    report = pipeline.report("consumer", "--once")
    assert (report["rows"], report["accepted"], report["rejected"]) == (15 + len(BAD), 15, len(BAD))
    assert oracle.lake(pipeline.lake) == oracle.table(pipeline.database)
    assert len(oracle.quarantine(pipeline.quarantine)) == len(BAD)
