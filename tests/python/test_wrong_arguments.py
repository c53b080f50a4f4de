"""A wrong argument of any public call is refused in a sentence that says what to write instead."""

import asyncio
import datetime
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import foodstream
import pytest
from foodstream import purchases
from nowhere import settings

Call = Callable[[dict[str, Any]], object]

CONFIG = "a path, a mapping of sections, or a Config"
OVERRIDES = "overrides as a mapping of sections"
SECONDS = "a number of seconds, such as 2.5"
WHOLE = "a whole number, such as 5"
FLAG = "True or False"
COLUMNS = "a list of column names"
DAY = "YYYY-MM-DD or a datetime.date"
OPENERS: list[Any] = [
    foodstream.Config,
    foodstream.Producer,
    foodstream.Consumer,
    foodstream.verify_pipeline,
    foodstream.insert_test_orders,
    foodstream.read,
    foodstream.quarantine,
    foodstream.totals,
    lambda config, **options: foodstream.peek(config, "topic", **options),
    purchases.EventProducer,
    purchases.StreamingJob,
    purchases.DataValidator,
]


def producer(**options: Any) -> Call:
    return lambda config: foodstream.Producer(config).run(**options)


def consumer(**options: Any) -> Call:
    return lambda config: foodstream.Consumer(config).run(**options)


def events(**options: Any) -> Call:
    return lambda _: purchases.EventProducer({}).run(**options)


def job(**options: Any) -> Call:
    return lambda _: purchases.StreamingJob({}).run(**options)


# Given by place above, or to every opener.
BY_PLACE = {"config", "overrides", "source", "event", "messages", "connection", "cursor", "pipeline", "fn"}


async def awaited(batch: object, batch_id: object) -> None:
    """Stands for a function that would have to be awaited."""


WRONG: list[tuple[Call, str]] = [
    *((lambda _, opener=opener: opener(5), CONFIG) for opener in OPENERS),
    *((lambda config, opener=opener: opener(config, overrides=5), OVERRIDES) for opener in OPENERS),
    (lambda config: foodstream.Config(config, preset="sales"), "use orders or purchases"),  # type: ignore[arg-type]
    (lambda config: foodstream.Producer(config, start_from=5), "'start_from': expected a text"),  # type: ignore[arg-type]
    (lambda config: foodstream.Producer(config, start_from="x").run(once=True), "2025-11-18 12:30:45.123456|42"),
    (lambda config: foodstream.Producer(config, adopt=1), f"'adopt': expected {FLAG}"),  # type: ignore[arg-type]
    (lambda config: foodstream.Producer(config, once_wait="5"), f"'once_wait': expected {SECONDS}"),  # type: ignore[arg-type]
    (lambda config: foodstream.Producer(config, once_wait=-5), "once_wait is a number of seconds from 0 on, not -5"),
    (producer(once="no"), f"'once': expected {FLAG}, not str"),
    (producer(timeout="5 s"), f"'timeout': expected {SECONDS}, not str"),
    (producer(timeout=datetime.timedelta(seconds=1)), f"'timeout': expected {SECONDS}, not timedelta"),
    (producer(timeout=float("nan")), "timeout is a number of seconds from 0 on, not NaN"),
    (producer(max_rows=1.5), f"'max_rows': expected {WHOLE}, not float"),
    (producer(max_rows=True), f"'max_rows': expected {WHOLE}, not bool"),
    (producer(max_rows=-1), "max_rows is a whole number from 0 on, not -1"),
    (producer(max_rows=1 << 80), "'max_rows': expected a whole number of at most 64 bits"),
    (producer(on_progress="print"), r"on_progress must be callable as on_progress(progress), not str"),
    (producer(on_progress=awaited), "on_progress must not be async"),
    (lambda config: foodstream.Consumer(config, available_now="yes"), f"'available_now': expected {FLAG}"),  # type: ignore[arg-type]
    (lambda config: foodstream.Consumer(config, once_wait=None), f"'once_wait': expected {SECONDS}"),  # type: ignore[arg-type]
    (consumer(available_now=None), f"'available_now': expected {FLAG}"),
    (consumer(once=1), f"'once': expected {FLAG}"),
    (consumer(max_batches="all"), f"'max_batches': expected {WHOLE}"),
    (consumer(max_batches=-1), "max_batches is a whole number from 0 on, not -1"),
    (consumer(timeout=[]), f"'timeout': expected {SECONDS}"),
    (consumer(on_progress=5), "on_progress must be callable"),
    (
        lambda config: foodstream.Consumer(config).for_each_batch("f"),  # type: ignore[arg-type]
        "fn must be callable as fn(batch, batch_id), not str",
    ),
    (lambda config: foodstream.Consumer(config).for_each_batch(awaited), "fn must not be async"),
    (
        lambda config: foodstream.Consumer(config).for_each_batch(print, max_batches="1"),  # type: ignore[arg-type]
        f"'max_batches': expected {WHOLE}",
    ),
    (
        lambda config: foodstream.Consumer(config).for_each_batch(print, timeout=-1),
        "timeout is a number of seconds from 0",
    ),
    (lambda config: foodstream.insert_test_orders(config, count="5"), f"'count': expected {WHOLE}, not str"),  # type: ignore[arg-type]
    (lambda config: foodstream.insert_test_orders(config, count=-5), "count is a whole number from 0 on, not -5"),
    (lambda config: foodstream.insert_test_orders(config, count=None), f"'count': expected {WHOLE}"),  # type: ignore[arg-type]
    *(
        (lambda config, read=read, options=options: read(config, **options), words)
        for read in (foodstream.read, foodstream.quarantine)
        for options, words in [
            ({"columns": "amount"}, f"'columns': expected {COLUMNS}, such as [\"amount\"], not str"),
            ({"columns": [1]}, f"'columns': expected {COLUMNS}"),
            ({"columns": ["tip"]}, "no column `tip`; it has"),
            ({"date": "yesterday"}, f"date is {DAY}, not yesterday"),
            ({"date": datetime.datetime(2025, 11, 18)}, f"date is {DAY}"),
            ({"dates": "2025-11-18"}, "for a single day write date='2025-11-18'"),
            ({"dates": ("2025-11-18",)}, "dates is a pair of days"),
            ({"dates": ("2025-11-18", "soon")}, f"a side of dates is {DAY}, not soon"),
            ({"dates": ("2025-11-19", "2025-11-18")}, 'write ("2025-11-18", "2025-11-19")'),
            ({"date": "2025-11-18", "dates": (None, None)}, "give date for one day or dates for several"),
            ({"snapshot": "last"}, f"'snapshot': expected {WHOLE}"),
            ({"snapshot": -1}, "snapshot is a whole number from 0 on"),
            ({"snapshot": 3}, "the lake has not been founded yet"),
        ]
    ),
    (lambda _: foodstream.read("nowhere"), "no such file"),
    (lambda config: foodstream.totals(config, by="date"), f"'by': expected {COLUMNS}"),  # type: ignore[arg-type]
    (lambda config: foodstream.totals(config, by=["tip"]), "tip"),
    (lambda config: foodstream.totals(config, running="yes"), f"'running': expected {FLAG}"),  # type: ignore[arg-type]
    (lambda config: foodstream.peek(config, "lake"), 'peek looks into "topic" or "table", not "lake"'),  # type: ignore[arg-type]
    (lambda config: foodstream.peek(config, None), "'what': expected a text"),  # type: ignore[arg-type]
    (lambda config: foodstream.peek(config, "topic", n=0), "n is a whole number from 1 on, not 0"),
    (lambda config: foodstream.peek(config, "topic", n="all"), f"'n': expected {WHOLE}"),  # type: ignore[arg-type]
    (lambda config: foodstream.peek(config, "topic", topic=5), "'topic': expected a text"),  # type: ignore[arg-type]
    (lambda config: foodstream.peek(config, "topic", partition=-1), "partition is a whole number from 0 on"),
    (lambda config: foodstream.peek(config, "topic", offset="first"), f"'offset': expected {WHOLE}"),  # type: ignore[arg-type]
    (lambda config: foodstream.peek(config, "topic", offset=-2), "offset is a whole number from 0 on"),
    (
        lambda config: foodstream.peek(config, "topic", timestamp="now"),  # type: ignore[arg-type]
        "such as datetime.now(UTC), or seconds since 1970",
    ),
    (lambda config: foodstream.peek(config, "topic", timestamp=-1.0), "seconds since 1970; not -1.0"),
    (lambda config: foodstream.peek(config, "topic", timestamp=datetime.datetime(2025, 1, 1)), "has none"),
    (lambda config: foodstream.peek(config, "topic", offset=1, timestamp=1.0), "offset or timestamp as the place"),
    (lambda config: foodstream.peek(config, "table", partition=1), 'leave them out for "table"'),
    (events(max_events=0.5), f"'max_events': expected {WHOLE}"),
    (events(max_events=-1), "max_events is a whole number from 0 on"),
    (events(rate="fast"), "'rate': expected a number"),
    (events(rate=0), "math.inf for no limit; not 0"),
    (events(timeout="1"), f"'timeout': expected {SECONDS}"),
    (lambda _: purchases.EventProducer({}).publish(5), "expected a dict, str or bytes, not int"),  # type: ignore[arg-type]
    (lambda _: purchases.EventProducer({}).publish({}, key=5), "key is a str or bytes"),  # type: ignore[arg-type]
    (lambda _: purchases.EventProducer({}).publish({"x": object()}), "object"),
    (job(output="html"), "output is 'table', 'json' or 'none', not \"html\""),
    (job(once="no"), f"'once': expected {FLAG}"),
    (job(max_batches=-1), "max_batches is a whole number from 0 on"),
    (lambda _: purchases.StreamingJob({}).totals(by="currency"), f"'by': expected {COLUMNS}"),  # type: ignore[arg-type]
    (lambda _: purchases.DataValidator({}).validate("{}"), "put a single one into a list"),
    (lambda _: purchases.DataValidator({}).validate([5]), "expected a dict, str or bytes, not int"),  # type: ignore[list-item]
    (lambda _: purchases.DataValidator({}).validate(5), "expected a list of messages, not int"),  # type: ignore[arg-type]
    (lambda _: foodstream.BatchLedger("dbname=x"), "connection is a DB-API connection"),  # type: ignore[arg-type]
    (lambda _: foodstream.BatchLedger(print, table="a b"), "table must be a plain name"),  # type: ignore[arg-type]
    (lambda _: foodstream.BatchLedger(print).record(None, batch_id=5), "batch_id is the text"),  # type: ignore[arg-type]
]


def flat(error: BaseException) -> str:
    return " ".join([str(error), *getattr(error, "__notes__", [])])


@pytest.mark.parametrize(("call", "words"), WRONG)
def test_a_wrong_argument_is_answered_with_what_to_write(call: Call, words: str, tmp_path: Path) -> None:
    with pytest.raises((TypeError, ValueError, foodstream.FoodstreamError)) as caught:
        call(settings(tmp_path))
    # `'name': what is expected`: pyo3 names the argument in a note.
    argument, _, expected = words.rpartition("': ")
    assert expected in flat(caught.value) and argument in flat(caught.value), flat(caught.value)


def test_awaited_calls_refuse_the_same(tmp_path: Path) -> None:
    async def run(**options: Any) -> object:
        return await foodstream.Consumer(settings(tmp_path)).arun(**options)

    wrong: list[tuple[dict[str, Any], str]] = [
        ({"once": "no"}, FLAG),
        ({"timeout": -1}, "timeout is a number"),
        ({"max_batches": "x"}, WHOLE),
    ]
    for options, words in wrong:
        with pytest.raises((TypeError, ValueError), match=words):
            asyncio.run(run(**options))


def public_calls() -> Iterator[tuple[str, Any]]:
    for package in (foodstream, purchases):
        for name in package.__all__:
            value = getattr(package, name)
            if inspect.isclass(value) and not issubclass(value, Exception):
                yield name, value
                yield from ((f"{name}.{member}", call) for member, call in vars(value).items() if callable(call))
            elif callable(value) and not inspect.isclass(value):
                yield name, value


def test_every_public_call_that_takes_an_argument_is_gone_through() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    for name, call in public_calls():
        if name.rpartition(".")[2].startswith("_"):
            continue
        try:
            taken = set(inspect.signature(call).parameters) - {"self"}
        except ValueError:  # classes that only the package makes
            continue
        for argument in taken - BY_PLACE:
            said = (f"{argument}=", f'"{argument}"', f"'{argument}'")
            assert any(word in source for word in said), f"{name}({argument})"
