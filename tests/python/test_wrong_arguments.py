"""A wrong argument of any public call is refused in a sentence that says what to write instead."""

import asyncio
import datetime
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import foodstream
import pytest
from foodstream import purchases
from nowhere import settings

CONFIG = "a path, a mapping of sections, or a Config"
OVERRIDES = "overrides as a mapping of sections"
SECONDS = "a number of seconds, such as 2.5"
WHOLE = "a whole number, such as 5"
FLAG = "True or False"
COLUMNS = "a list of column names"
DAY = "YYYY-MM-DD or a datetime.date"
NO_TIME = "is a number of seconds from 0 on"
UNCALLABLE = "on_progress must be callable as on_progress(progress), not str"


async def awaited(*_: object) -> None:
    """Stands for a function that would have to be awaited."""


# What else a call needs; the configuration is one whose services nobody offers.
GIVEN: dict[str, dict[str, Any]] = {
    "Consumer.for_each_batch": {"fn": print},
    "StreamingJob.for_each_batch": {"fn": print},
    "peek": {"what": "topic"},
    "EventProducer.publish": {"event": {}},
    "BatchLedger": {"connection": print},
    "BatchLedger.record": {"cursor": None},
}
OVER_PURCHASES = {"EventProducer", "StreamingJob", "DataValidator"}

Cases = list[tuple[dict[str, Any], str]]

OPENING: Cases = [({"config": 5}, CONFIG), ({"overrides": 5}, OVERRIDES)]
RUN_CONSUMER: Cases = [
    ({"available_now": None}, f"'available_now': expected {FLAG}"),
    ({"once": 1}, f"'once': expected {FLAG}"),
    ({"max_batches": "all"}, f"'max_batches': expected {WHOLE}"),
    ({"max_batches": -1}, "max_batches is a whole number from 0 on, not -1"),
    ({"timeout": []}, f"'timeout': expected {SECONDS}"),
    ({"timeout": -1}, f"timeout {NO_TIME}, not -1"),
    ({"on_progress": "print"}, UNCALLABLE),
]
FOR_EACH: Cases = [
    *RUN_CONSUMER,
    ({"fn": "f"}, "fn must be callable as fn(batch, batch_id), not str"),
    ({"fn": awaited}, "fn must not be async"),
]
PRUNED: Cases = [
    ({"overrides": 5}, OVERRIDES),
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
TOTALS: Cases = [
    ({"by": "date"}, f"'by': expected {COLUMNS}"),
    ({"by": ["tip"]}, "tip"),
    ({"running": "yes"}, f"'running': expected {FLAG}"),
]

# By the call, each with the argument that is wrong and the words of the answer.
WRONG: dict[str, Cases] = {
    "Config": [*OPENING, ({"preset": "sales"}, "use orders or purchases")],
    "Producer": [
        *OPENING,
        ({"start_from": 5}, "'start_from': expected a text"),
        ({"start_from": "x"}, "2025-11-18 12:30:45.123456|42"),
        ({"adopt": 1}, f"'adopt': expected {FLAG}"),
        ({"once_wait": "5"}, f"'once_wait': expected {SECONDS}"),
        ({"once_wait": -5}, f"once_wait {NO_TIME}, not -5"),
    ],
    "Producer.run": [
        ({"once": "no"}, f"'once': expected {FLAG}, not str"),
        ({"timeout": "5 s"}, f"'timeout': expected {SECONDS}, not str"),
        ({"timeout": datetime.timedelta(seconds=1)}, f"'timeout': expected {SECONDS}, not timedelta"),
        ({"timeout": float("nan")}, f"timeout {NO_TIME}, not NaN"),
        ({"max_rows": 1.5}, f"'max_rows': expected {WHOLE}, not float"),
        ({"max_rows": True}, f"'max_rows': expected {WHOLE}, not bool"),
        ({"max_rows": -1}, "max_rows is a whole number from 0 on, not -1"),
        ({"max_rows": 1 << 80}, "'max_rows': expected a whole number of at most 64 bits"),
        ({"on_progress": "print"}, UNCALLABLE),
        ({"on_progress": awaited}, "on_progress must not be async"),
    ],
    "Consumer": [
        *OPENING,
        ({"available_now": "yes"}, f"'available_now': expected {FLAG}"),
        ({"once_wait": None}, f"'once_wait': expected {SECONDS}"),
    ],
    "Consumer.run": [*RUN_CONSUMER, ({"on_progress": awaited}, "on_progress must not be async")],
    "Consumer.for_each_batch": FOR_EACH,
    "StreamingJob": [
        *OPENING,
        ({"available_now": "yes"}, f"'available_now': expected {FLAG}"),
        ({"once_wait": None}, f"'once_wait': expected {SECONDS}"),
    ],
    "StreamingJob.run": [*RUN_CONSUMER, ({"output": "html"}, "output is 'table', 'json' or 'none', not \"html\"")],
    "StreamingJob.for_each_batch": FOR_EACH,
    "StreamingJob.totals": TOTALS,
    "verify_pipeline": OPENING,
    "doctor": [
        *OPENING,
        ({"section": 5}, "'section': expected a text"),
        ({"section": "spark"}, "use postgres, kafka, lake or program"),
    ],
    "insert_test_orders": [
        *OPENING,
        ({"count": "5"}, f"'count': expected {WHOLE}, not str"),
        ({"count": -5}, "count is a whole number from 0 on, not -5"),
        ({"count": None}, f"'count': expected {WHOLE}"),
    ],
    "read": [*PRUNED, ({"source": 5}, CONFIG), ({"source": "nowhere"}, "no such file")],
    "quarantine": [*PRUNED, ({"config": 5}, CONFIG)],
    "totals": [*OPENING, *TOTALS],
    "peek": [
        *OPENING,
        ({"what": "lake"}, 'peek looks into "topic" or "table", not "lake"'),
        ({"what": None}, "'what': expected a text"),
        ({"n": 0}, "n is a whole number from 1 on, not 0"),
        ({"n": "all"}, f"'n': expected {WHOLE}"),
        ({"topic": 5}, "'topic': expected a text"),
        ({"partition": -1}, "partition is a whole number from 0 on"),
        ({"partition": 1, "what": "table"}, 'leave them out for "table"'),
        ({"offset": "first"}, f"'offset': expected {WHOLE}"),
        ({"offset": -2}, "offset is a whole number from 0 on"),
        ({"timestamp": "now"}, "such as datetime.now(UTC), or seconds since 1970"),
        ({"timestamp": -1.0}, "seconds since 1970; not -1.0"),
        ({"timestamp": datetime.datetime(2025, 1, 1)}, "has none"),
        ({"timestamp": 1.0, "offset": 1}, "offset or timestamp as the place"),
    ],
    "EventProducer": OPENING,
    "EventProducer.run": [
        ({"max_events": 0.5}, f"'max_events': expected {WHOLE}"),
        ({"max_events": -1}, "max_events is a whole number from 0 on"),
        ({"rate": "fast"}, "'rate': expected a number"),
        ({"rate": 0}, "math.inf for no limit; not 0"),
        ({"timeout": "1"}, f"'timeout': expected {SECONDS}"),
        ({"on_progress": "print"}, UNCALLABLE),
    ],
    "EventProducer.publish": [
        ({"event": 5}, "expected a dict, str or bytes, not int"),
        ({"event": {"x": object()}}, "object"),
        ({"key": 5}, "key is a str or bytes"),
    ],
    "DataValidator": OPENING,
    "DataValidator.validate": [
        ({"messages": "{}"}, "put a single one into a list"),
        ({"messages": [5]}, "expected a dict, str or bytes, not int"),
        ({"messages": 5}, "expected a list of messages, not int"),
    ],
    "BatchLedger": [
        ({"connection": "dbname=x"}, "connection is a DB-API connection"),
        ({"table": "a b"}, "table must be a plain name"),
        ({"table": 5}, "table must be a plain name"),
        ({"pipeline": 5}, "pipeline is a text (str), not int"),
    ],
    "BatchLedger.record": [({"batch_id": 5}, "batch_id is the text")],
    "BatchLedger.once": [({"batch_id": 5}, "batch_id is the text")],
    "ProgressBar": [
        ({"total": "all"}, "total is a number of rows from 0 on, or None, not 'all'"),
        ({"total": -1}, "total is a number of rows from 0 on"),
        ({"unit": 5}, "unit is a text (str), not int"),
        ({"file": "bar.txt"}, "file is a text file, such as sys.stderr, not str"),
    ],
}
# Classes whose objects only the package makes.
MADE = {"Batch", "LakeProgress", "Progress", "Report", "Rows", "EventProgress", "QualityReport"}


def public_calls() -> Iterator[tuple[str, Any]]:
    """Every call that takes an argument, by the name that a reader gives it."""
    for package in (foodstream, purchases):
        for name in package.__all__:
            value = getattr(package, name)
            if not callable(value) or (inspect.isclass(value) and issubclass(value, Exception)):
                continue
            if name not in MADE:
                yield name, value
            if inspect.isclass(value):
                for member in dir(value):
                    if not member.startswith("_") and callable(getattr(value, member)):
                        yield f"{name}.{member}", getattr(value, member)


def public(name: str) -> Any:
    return getattr(foodstream, name, None) or getattr(purchases, name)


def taken(call: Any) -> set[str]:
    return set(inspect.signature(call).parameters) - {"self"}


def test_every_argument_of_every_public_call_has_its_case() -> None:
    calls = {name: taken(call) for name, call in public_calls() if taken(call)}
    # An awaited run hands its options to the run.
    asked = {name: calls[name.replace(".arun", ".run")] for name in calls if name.endswith(".arun")}
    assert asked == {name: calls.pop(name) for name in asked} and len(asked) == 4
    # The ledger's own cursor, which any DB-API module may have made.
    calls["BatchLedger.record"].remove("cursor")
    cases = {name: {argument for options, _ in cases for argument in options} for name, cases in WRONG.items()}
    assert cases == calls


@pytest.mark.parametrize("name", sorted(MADE))
def test_what_only_the_package_makes_is_not_made_by_hand(name: str) -> None:
    with pytest.raises(TypeError, match=r"cannot create|No constructor"):
        public(name)()


def call(name: str, options: dict[str, Any], folder: Path) -> Any:
    """Call it with these options and with right ones for all it needs besides."""
    owner, _, member = name.partition(".")
    opened = public(owner)
    config: dict[str, Any] = {} if owner in OVER_PURCHASES else settings(folder)
    first = next(iter(taken(opened) & {"config", "source"}), None)
    if member:
        made = opened(config) if first else opened(**GIVEN.get(owner, {}))
        return getattr(made, member)(**GIVEN.get(name, {}) | options)
    needed = {first: config} if first else {}
    return opened(**needed | GIVEN.get(name, {}) | options)


def flat(error: BaseException) -> str:
    return " ".join([str(error), *getattr(error, "__notes__", [])])


def check(name: str, options: dict[str, Any], words: str, folder: Path) -> None:
    with pytest.raises((TypeError, ValueError, foodstream.FoodstreamError)) as caught:
        answer = call(name, options, folder)
        if inspect.iscoroutine(answer):
            asyncio.run(answer)
    # `'name': what is expected`: pyo3 names the argument in a note.
    argument, _, expected = words.rpartition("': ")
    assert expected in flat(caught.value) and argument in flat(caught.value), flat(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [(name, options, words) for name, cases in WRONG.items() for options, words in cases],
    ids=lambda value: value if isinstance(value, str) and "." in value else None,
)
def test_a_wrong_argument_is_answered_with_what_to_write(
    name: str, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    check(name, options, words, tmp_path)


@pytest.mark.parametrize("name", ["Producer", "Consumer", "StreamingJob", "EventProducer"])
def test_awaited_runs_refuse_what_runs_refuse(name: str, tmp_path: Path) -> None:
    for options, words in WRONG[f"{name}.run"]:
        # In an event loop it may be async.
        if options.get("on_progress") is not awaited:
            check(f"{name}.arun", options, words, tmp_path)
    with pytest.raises(TypeError, match="unexpected keyword argument 'forever'"):
        asyncio.run(call(f"{name}.arun", {"forever": True}, tmp_path))
