"""Kafka to validated Parquet: foodstream, Python by hand, PySpark's streaming job, and a mere drain of the topic.

All read one topic that foodstream's producer filled once, and begin with an empty lake. Each lake is held against the
table, column by column, before its time counts.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from compare import consumers, fingerprint
from compare.consumers import FOODSTREAM, KCAT, POLARS, PYSPARK, Topic
from compare.contest import Outcome, Sample, Spread, contest, cpu, ratios, spread, wall
from compare.data import Size
from compare.process import Failed
from compare.sections import SPEED, Column, Goal, Options, Say, Section, extra
from compare.services import Services

_COLUMNS = (*SPEED, Column("files", extra("files"), ",.0f"))
_NOTES = (
    "All validate by the same rules and wrote the same rows, which is checked by count and by a hash a column against "
    "the table; amounts of Python with polars and of PySpark are doubles, compared after rounding to cents.",
    "Start-up is included. Peak memory is the sum over processes that ran beside each other.",
)


def run(services: Services, options: Options, say: Say) -> Section:
    """One contest over a topic of ``options.size``."""
    topic, payload, expected = fill(services, options.size, f"consume-{options.size.kind}", options.folder, say)
    runners = [
        make(topic)
        for make in (consumers.foodstream, consumers.documented, consumers.polars, consumers.pyspark, consumers.kcat)
    ]
    samples = contest(runners, options.rounds, options.seed, options.folder / "runs", say, expected=expected)
    services.delete_topic(topic.name)
    return Section(
        title=f"Kafka → validated Parquet, {options.size.rows:,} {options.size.kind} orders",
        contestants=runners,
        samples=samples,
        goals=[*goals(samples), *([_size_goal(samples, payload)] if options.size.kind == "narrow" else [])],
        columns=_COLUMNS,
        notes=_NOTES,
        facts={"messages": topic.messages, "payload_bytes": payload, "rows": dict(expected)},
    )


def fill(services: Services, size: Size, name: str, folder: Path, say: Say) -> tuple[Topic, int, dict[str, str]]:
    """Table and topic with the rows of ``size``, the bytes of the messages, and what every lake must hold."""
    say(f"filling table and topic with {size.rows:,} {size.kind} orders")
    services.fill_table(size)
    services.fill_topic(name, folder / "fill")
    messages, payload = services.count(name)
    if messages != size.rows:
        raise Failed(f"the topic holds {messages:,} messages in place of {size.rows:,}")
    expected = dict(fingerprint.of_table(services.dsn))
    return Topic(services, name, services.ends(name), messages, size.invalid), payload, expected


def goals(samples: Sequence[Sample]) -> list[Goal]:
    """What must be shown of the consumer."""
    ratio = partial(ratios, samples)
    return [
        Goal("wall time, Python with polars over foodstream", 2.2, 3.5, True, ratio(POLARS, FOODSTREAM, wall)),
        Goal("wall time with start-up, PySpark over foodstream", 18, 30, True, ratio(PYSPARK, FOODSTREAM, wall)),
        Goal("rows/s, foodstream over kcat's mere drain", 0.7, 1.1, True, ratio(KCAT, FOODSTREAM, wall)),
        Goal("CPU seconds, Python with polars over foodstream", 2, 3, True, ratio(POLARS, FOODSTREAM, cpu)),
        Goal("CPU seconds, PySpark over foodstream", 20, 30, True, ratio(PYSPARK, FOODSTREAM, cpu)),
        Goal("bytes a row, ours (zstd) over PySpark (snappy)", 0.6, 0.4, False, ratio(FOODSTREAM, PYSPARK, _bytes)),
        Goal("peak memory", 220, 120, False, _own(samples, lambda run: run.usage.peak_bytes / 1e6), "MB"),
    ]


def _size_goal(samples: Sequence[Sample], payload_bytes: int) -> Goal:
    """The documents' claim, of data like the documents': digits at random are as many bits in any file."""
    share = _own(samples, lambda run: _bytes(run) * run.rows / payload_bytes)
    return Goal("bytes of Parquet over bytes of JSON", 0.25, None, False, share)


def _own(samples: Sequence[Sample], figure: Callable[[Outcome], float]) -> Spread:
    return spread([figure(sample.outcome) for sample in samples if sample.contestant == FOODSTREAM])


def _bytes(outcome: Outcome) -> float:
    assert outcome.bytes_written is not None
    return outcome.bytes_written / outcome.rows
