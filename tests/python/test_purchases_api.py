"""`EventProducer` and `StreamingJob`: the purchase pipeline as a library, over real Kafka."""

import contextlib
import io
import json
import math
import secrets
import threading
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import foodstream
import oracle
import polars
import pytest
import topics
from foodstream import BrokerError, FoodstreamError
from foodstream.purchases import EventProducer, StreamingJob
from purchases import first_batch, message, second_batch

FIELDS = (
    "event_id timestamp customer_id customer_segment product_id product_category product_name quantity unit_price "
    "total_amount currency payment_method order_source location discount_percentage is_new_customer device_type"
)
# What each kind of broken event must be rejected for, by the rules of the shipped configuration.
REASONS = {
    "zero_quantity": "too_small:quantity",
    "negative_total": "too_small:total_amount",
    "wrong_total": "total_mismatch:total_amount",
    "missing_customer": "null:customer_id",
    "unknown_currency": "no_match:currency",
    "bad_timestamp": "unparseable:timestamp",
    "quantity_in_words": "wrong_type:quantity",
}
REPEATED = "duplicate_id:event_id"


def place(purchases: Any) -> tuple[str, str]:
    """Brokers and topic."""
    return purchases.config["kafka"]["bootstrap_servers"], purchases.config["kafka"]["topic_name"]


def values(purchases: Any) -> list[Any]:
    """What is on the topic, key and value, amounts exact."""
    read = topics.read(*place(purchases))
    return [(message.key, json.loads(message.value or b"", parse_float=Decimal)) for message in read]


def has_its_total(event: dict[str, Any]) -> bool:
    exact = event["quantity"] * event["unit_price"] * (100 - event["discount_percentage"]) / 100
    return bool(event["total_amount"] == exact.quantize(Decimal("0.01"), ROUND_HALF_UP))


def publish(producer: EventProducer, events: list[dict[str, Any]]) -> None:
    for key, value in map(message, events):
        producer.publish(value, key=key)
    producer.flush()


def printed(job: StreamingJob, **options: Any) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        job.run(**options)
    return text.getvalue()


def test_a_generated_event_is_the_documented_one_with_exact_amounts(purchases: Any) -> None:
    producer = EventProducer(purchases.config, overrides={"producer": {"seed": 7}})
    for event in (producer.generate() for _ in range(200)):
        assert " ".join(event) == FIELDS
        assert event["location"].keys() == {"country", "city"}
        assert has_its_total(event)
    assert "seed" not in repr(producer) and "idle" in repr(producer)


def test_every_function_takes_a_short_file_that_says_its_preset(purchases: Any) -> None:
    file = purchases.folder / "short.yml"
    file.write_text(json.dumps({"preset": "purchases", **purchases.config}), encoding="utf-8")
    with EventProducer(file) as producer:
        made = producer.run(max_events=30, rate=math.inf)
    shown = polars.DataFrame(foodstream.peek(file, "topic", n=5))
    assert shown.height == 5 and "total_amount" in shown.columns
    foodstream.Consumer(file).run(once=True)
    report = foodstream.verify_pipeline(file)
    assert report, str(report)
    assert len(foodstream.read(file)) + len(foodstream.quarantine(file)) == made.events
    assert sum(polars.DataFrame(foodstream.totals(file))["rows"]) == len(foodstream.read(file))
    with pytest.raises(foodstream.ConfigError, match="postgres"):
        foodstream.peek(file, "table")


def test_the_same_seed_makes_the_same_events(purchases: Any) -> None:
    def made() -> list[dict[str, Any]]:
        producer = EventProducer(purchases.config, overrides={"producer": {"seed": 7}})
        events = [producer.generate() for _ in range(20)]
        return [{name: event[name] for name in event if name not in ("event_id", "timestamp")} for event in events]

    assert made() == made()


def test_published_events_arrive_as_they_are_under_their_customer(purchases: Any) -> None:
    with EventProducer(purchases.config) as producer:
        event = producer.generate()
        producer.publish(event)
        producer.flush()
        assert values(purchases) == [(event["customer_id"].encode(), event)]
        producer.publish('{"total_amount": 12.30}', key="customer_1")
        producer.publish({"no": "customer"})
    # Closing delivered the rest.
    assert values(purchases)[1:] == [(b"customer_1", {"total_amount": Decimal("12.30")}), (b"", {"no": "customer"})]
    producer.close()
    with pytest.raises(FoodstreamError, match="closed"):
        producer.publish(event)


def test_an_event_that_the_broker_refused_is_told_by_the_next_flush(purchases: Any, eventually: Any) -> None:
    purchases.config["kafka"]["topic_name"] += "_narrow"
    topics.create(*place(purchases), partitions=1, **{"max.message.bytes": "1000"})
    with EventProducer(purchases.config) as producer:
        producer.publish({"customer_id": "c", "note": secrets.token_hex(5_000)})  # which no compression makes fit

        def another_arrived() -> bool:
            producer.publish({"customer_id": "c"})
            return bool(topics.bounds(*place(purchases))[0][1])

        eventually(another_arrived, "an event after the refused one")
        with pytest.raises(BrokerError, match="events are not known to be in the topic: "):
            producer.flush()
        producer.flush()


def test_a_run_keeps_its_limits_and_ends_when_it_is_told_to(purchases: Any, eventually: Any) -> None:
    with EventProducer(purchases.config) as producer:
        first = producer.run(max_events=100, rate=math.inf)
        assert (first.events, first.valid, first.duplicates, first.delivery_errors) == (100, 100, 0, 0)
        ended: list[Any] = []
        endless = threading.Thread(target=lambda: ended.append(producer.run(rate=50)))
        endless.start()
        eventually(lambda: topics.bounds(*place(purchases))[0][1] > 110, "events of the second run")
        producer.stop()
        endless.join(30)
        (second,) = ended
        assert len(values(purchases)) == 100 + second.events
        for rate in (0, -1, math.nan):
            with pytest.raises(ValueError, match="rate is events a second"):
                producer.run(rate=rate)
    ids = [event["event_id"] for _, event in values(purchases)]
    assert len(ids) == len(set(ids))


def test_runs_that_follow_each_other_at_once_lose_no_event(purchases: Any) -> None:
    with EventProducer(purchases.config) as producer:
        made = [producer.run(max_events=2, rate=math.inf) for _ in range(400)]
    assert [(each.events, each.delivery_errors) for each in made] == [(2, 0)] * 400
    assert len(values(purchases)) == 800


def test_what_was_planted_is_what_is_rejected_reason_by_reason(purchases: Any) -> None:
    planted = {"producer": {"seed": 3, "invalid_share": 0.05, "duplicate_share": 0.05}}
    with EventProducer(purchases.config, overrides=planted) as producer:
        made = producer.run(max_events=5_000, rate=math.inf)
    assert made.invalid.keys() == REASONS.keys() and made.duplicates > 0
    with StreamingJob(purchases.config, available_now=True) as job:
        done = job.run(output="none")
        frame = polars.DataFrame(job.totals(by=[]))
    assert (done.rows, done.accepted) == (5_000, made.valid)
    expected = Counter({REASONS[flaw]: count for flaw, count in made.invalid.items()})
    expected[REPEATED] = made.duplicates
    assert Counter(row["reasons"] for row in oracle.quarantine(purchases.quarantine)) == expected
    assert frame["rows"].sum() == made.valid
    valid = {event["event_id"]: event["total_amount"] for _, event in values(purchases) if is_whole(event)}
    assert frame["sum_total_amount"].sum() == sum(valid.values())


def is_whole(event: dict[str, Any]) -> bool:
    """By a statement of the rules of our own, for the flaws that the generator knows."""
    if not isinstance(event["quantity"], int) or event["timestamp"] == "yesterday":
        return False
    named = event["customer_id"] is not None and event["currency"] == "USD"
    return named and event["quantity"] > 0 and has_its_total(event)


def test_the_job_prints_both_documented_batches_where_python_prints(purchases: Any) -> None:
    with EventProducer(purchases.config) as producer, StreamingJob(purchases.config, available_now=True) as job:
        publish(producer, first_batch())
        table = printed(job)
        assert "STREAMING DATA PIPELINE - STARTED" in table and "RUNNING TOTAL: $18,457.50" in table
        publish(producer, second_batch())
        (batch,) = [json.loads(line) for line in printed(job, output="json").splitlines()]
    assert batch["running_totals"] == {"USD": "24134.15"}
    assert batch["accepted"] == 11
    with pytest.raises(ValueError, match="'table', 'json' or 'none'"):
        job.run(output="xml")  # type: ignore[arg-type]


def test_a_printer_that_fails_ends_the_run_with_its_exception_and_loses_nothing(purchases: Any) -> None:
    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError("disk full")

    with EventProducer(purchases.config) as producer:
        producer.run(max_events=50, rate=math.inf)
    job = StreamingJob(purchases.config, available_now=True)
    with pytest.raises(OSError, match="disk full"), contextlib.redirect_stdout(Full()):
        job.run()
    job.run(output="none")
    assert polars.DataFrame(job.totals())["rows"].sum() == 50
    job.close()


def test_the_job_hands_batches_to_a_function_as_a_consumer_does(purchases: Any) -> None:
    with EventProducer(purchases.config) as producer:
        producer.run(max_events=30, rate=math.inf)
    seen = []
    with StreamingJob(purchases.config) as job:
        job.for_each_batch(lambda batch, batch_id: seen.append((len(batch), batch_id)), available_now=True)
    assert sum(count for count, _ in seen) == 30
