"""How long an order takes from its commit in PostgreSQL to a Kafka reader, and to a readable Parquet file.

Open loop: orders are inserted on a schedule that waits for nothing (``probes/write_orders.py``) while foodstream
streams, and the time each was meant to be inserted stands in its row. Latency is counted from the acknowledged commit,
and beside it from the intended time, which also holds what the insert took and how late the writer was. All times are
of one clock. Every row is accounted for: one that is never seen, or is seen twice, fails the run.
"""

import json
import math
import secrets
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compare import product
from compare.contest import (
    CLEARLY_BETTER,
    IN_VAIN,
    Contestant,
    Outcome,
    Spread,
    contest,
    runs_until_steady,
    spread,
)
from compare.probes.pipeline import InLake, Rhythm, changes, pipeline
from compare.probes.write_orders import Schedule
from compare.process import Failed, without_settings
from compare.sections import Column, Goal, Options, Say, Section, extra
from compare.services import Services

# Rows a second, and how many of them share a transaction: 1,000 rows are 200 transactions, one each 5 ms.
RATES = {10: 1, 1_000: 5}

FAST_BARE = Rhythm(0.02, margin_ms=0)
FAST = Rhythm(0.02)
FAST_LAKE = Rhythm(0.02, trigger_ms=100)
# Many transactions and fetches a second, so that the broker has soon compiled the code they run through.
WARMING = Rhythm(0.005, margin_ms=0)
# Of each run by its name.
Figures = Mapping[str, Mapping[str, float]]
RHYTHMS = (FAST_BARE, FAST, Rhythm(0.05), FAST_LAKE, Rhythm(0.05, trigger_ms=50))

COLUMNS = (
    Column("rows", lambda outcome: outcome.rows, ",.0f"),
    Column("p50 ms", extra("p50_ms"), ",.1f"),
    Column("p99 ms", extra("p99_ms"), ",.1f"),
    Column("max ms", extra("max_ms"), ",.1f"),
    Column("margin ms", extra("margin_ms"), ",.0f"),
    Column("p99 ms from intended", extra("intended_p99_ms"), ",.1f"),
    Column("writer late p99 ms", extra("late_p99_ms"), ",.1f"),
    Column("writer late max ms", extra("late_max_ms"), ",.1f"),
    Column("% of a core", lambda outcome: 100 * outcome.usage.cpu_sec / outcome.usage.wall_sec, ",.0f"),
    Column("peak MB", lambda outcome: outcome.usage.peak_bytes / 1e6, ",.0f"),
)


@dataclass(frozen=True)
class Load:
    """What is inserted: ``rate`` rows a second, for the seconds of the warm-up and for those that count."""

    rate: int
    warm_up_sec: int
    counted_sec: int
    seed: int

    @property
    def schedule(self) -> Schedule:
        """The id 1 is that of the pipeline's first row."""
        a_second = self.rate // RATES[self.rate]
        transactions = (self.warm_up_sec + self.counted_sec) * a_second
        return Schedule(2, RATES[self.rate], transactions, 1_000_000_000 // a_second, self.seed)

    @property
    def warm_up_transactions(self) -> int:
        """How many of the schedule's do not count."""
        return self.warm_up_sec * self.rate // RATES[self.rate]


def run(services: Services, options: Options, say: Say) -> Section:
    """Measures the fast rhythms."""
    return measure(services, options, say, "Latency", RHYTHMS, _goals, most_warm_ups=10)


def measure(
    services: Services,
    options: Options,
    say: Say,
    title: str,
    rhythms: Sequence[Rhythm],
    goals: Callable[[Figures], list[Goal]],
    *,
    warm_up_sec: int = 5,
    counted_sec: int = 30,
    most_warm_ups: int = 1,
) -> Section:
    """Measures every rhythm at every rate, each with a topic and a lake of its own.

    Before that, runs that do not count: until the broker is warm, but at most ``most_warm_ups``.
    """
    margin_ms = _default_margin_ms(services, options.folder)

    def contestant(rhythm: Rhythm, rate: int) -> Contestant:
        said = name(rhythm, rate)
        load = Load(rate, warm_up_sec, counted_sec, options.seed)

        def once(folder: Path) -> Outcome:
            topic = f"latency_{secrets.token_hex(8)}"
            outcome = _measure(services, rhythm, load, margin_ms, topic, folder)
            p50, p99, most = (outcome.extra[f"{figure}_ms"] for figure in ("p50", "p99", "max"))
            say(f"{said}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {most:.1f} ms")
            return outcome

        return Contestant(said, "", once)

    contestants = [contestant(rhythm, rate) for rhythm in rhythms for rate in RATES]
    warming = contestant(WARMING, max(RATES))

    def warm_up() -> float:
        (sample,) = contest([warming], 1, options.seed, options.folder / "warm-up", say, warm_up=False)
        return sample.outcome.extra["p50_ms"]

    warm_ups, steady = runs_until_steady(warm_up, most_warm_ups)
    until = f", until {IN_VAIN} in a row were less than {1 - CLEARLY_BETTER:.0%} faster than the best"
    # Once: each run holds its own distribution, and is long.
    samples = contest(contestants, 1, options.seed, options.folder / "latency", say, warm_up=False)
    return Section(
        title=f"{title}: commit in PostgreSQL to a Kafka reader, and to readable Parquet",
        contestants=contestants,
        samples=samples,
        goals=goals({sample.contestant: sample.outcome.extra for sample in samples}),
        columns=COLUMNS,
        notes=(
            "Open loop: rows are inserted at a fixed rate whatever happens behind the table, one transaction in each "
            "slot of time, at a random moment of it. At 1,000 rows/s five rows share a transaction, one each 5 ms. "
            f"{counted_sec} s are counted, after a warm-up of {warm_up_sec} s.",
            "p50, p99 and max are from the acknowledged commit until a read_committed reader has the message, or "
            "until the Parquet file is under its final name; beside them the p99 from the time the insert was meant "
            "to begin.",
            "The margin (cdc.begin_margin_ms) is a delay foodstream keeps on purpose, so that no transaction that "
            "began earlier can be missed; goals above the margin are judged with it taken off.",
            "Each was run once; the spread of a goal is over the rates. A broker compiles its code while it first "
            f"runs: {warm_ups} before them did not count{until if steady else ''}.",
        ),
        facts={
            "begin_margin_ms_default": margin_ms,
            "warm_up_sec": warm_up_sec,
            "counted_sec": counted_sec,
            "warm_ups": warm_ups,
            "is_steady": steady,
        },
    )


def name(rhythm: Rhythm, rate: int) -> str:
    """Of a rhythm at a rate, in the table and among the figures."""
    margin = "" if rhythm.margin_ms is None else f", margin {rhythm.margin_ms}"
    target = "Kafka" if rhythm.trigger_ms is None else f"Parquet, trigger {_time(rhythm.trigger_ms)}"
    return f"{target}, poll {_time(rhythm.poll_sec * 1_000)}{margin}, {rate} a second"


def _time(milliseconds: float) -> str:
    return f"{milliseconds:g} ms" if milliseconds < 1_000 else f"{milliseconds / 1_000:g} s"


def _default_margin_ms(services: Services, folder: Path) -> int:
    config = product.configuration(folder, services.postgres, services.brokers, "defaults", changes(FAST))
    words: list[str | Path] = [product.COMMAND, "config", "show", "--config", config, "--report", "json"]
    shown = subprocess.run(words, capture_output=True, text=True, check=False, env=without_settings())
    if shown.returncode != 0:
        raise Failed(f"foodstream config show ended with {shown.returncode}: {shown.stderr.strip()}")
    return int(json.loads(shown.stdout.splitlines()[-1])["cdc.begin_margin_ms"])


def _measure(
    services: Services, rhythm: Rhythm, load: Load, default_margin_ms: int, topic: str, folder: Path
) -> Outcome:
    """One rhythm under one load: figures in milliseconds unless the name says otherwise."""
    schedule = load.schedule
    with pipeline(services, rhythm, topic, folder) as streaming:
        transactions, usage = streaming.insert(schedule)
    passages = streaming.passages()
    of_lake = {}
    if isinstance(streaming.sight, InLake):
        of_lake = _lake_figures(streaming.sight, services.count(topic)[1])
    first_counted = schedule.first_id + load.warm_up_transactions * schedule.rows
    counted = [passages[order_id] for order_id in range(first_counted, schedule.last_id + 1)]
    from_commit = [(row.seen_ns - row.committed_ns) / 1e6 for row in counted]
    from_intended = [(row.seen_ns - row.intended_ns) / 1e6 for row in counted]
    late = [(sent.sent_ns - sent.intended_ns) / 1e6 for sent in transactions[load.warm_up_transactions :]]
    commit = [(sent.committed_ns - sent.sent_ns) / 1e6 for sent in transactions[load.warm_up_transactions :]]
    figures = {
        **_percentiles("", from_commit),
        **_percentiles("intended_", from_intended),
        **_percentiles("late_", late),
        **_percentiles("commit_", commit),
        "margin_ms": default_margin_ms if rhythm.margin_ms is None else rhythm.margin_ms,
    }
    return Outcome(usage, len(counted), extra={**figures, **of_lake})


def _lake_figures(lake: InLake, json_bytes: int) -> dict[str, float]:
    """Of everything the consumer wrote, warm-up included."""
    batches = [(commit["stage_ms"] + commit["commit_ms"]) / 1_000 for commit in lake.commits()]
    return {
        "batches": len(batches),
        "batch_p50_sec": percentile(batches, 0.5),
        "batch_p99_sec": percentile(batches, 0.99),
        "batch_max_sec": max(batches),
        "parquet_bytes": lake.bytes(),
        "json_bytes": json_bytes,
    }


def _percentiles(prefix: str, values: Sequence[float]) -> dict[str, float]:
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
    return {f"{prefix}{name}_ms": percentile(values, share) for name, share in shares.items()}


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of all do not exceed: one that was measured, nothing between two."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _goals(found: Figures) -> list[Goal]:
    slow, fast = RATES

    def above_margin(rhythm: Rhythm, figure: str, *rates: int) -> Spread:
        figures = [found[name(rhythm, rate)] for rate in rates]
        return spread([each[figure] - each["margin_ms"] for each in figures])

    committed = "insert committed → "
    return [
        *(
            Goal(f"{committed}Kafka reader, poll 20 ms, {margin}: {figure}", must, aim, False, measured, "ms")
            for margin, rhythm in (("margin 0", FAST_BARE), ("above the default margin", FAST))
            for figure, must, aim in (("p50", 20, 10), ("p99", 40, 20))
            for measured in (above_margin(rhythm, f"{figure}_ms", slow, fast),)
        ),
        Goal(
            f"{committed}Parquet, trigger 100 ms, {fast:,} rows/s, above the default margin: p99",
            500,
            250,
            False,
            above_margin(FAST_LAKE, "p99_ms", fast),
            "ms",
        ),
    ]
