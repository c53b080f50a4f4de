"""What a part of the benchmark is asked with and what it hands back; the report is made from these alone.

A part is a module with ``run(services, options, say) -> Section``: ``consume``, ``publish``, ``latency`` and the others
that ``measure`` lists. It measures, judges nothing and prints only through ``say``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compare.contest import Contestant, Outcome, Sample, Spread, cpu, wall
from compare.data import Size

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What is measured, and where."""

    size: Size
    rounds: int
    seed: int
    # An empty folder of this part's own, deleted when it is done.
    folder: Path


@dataclass(frozen=True)
class Column:
    """One figure of a run in the table of a section: the median, with both ends where ``ends`` is set."""

    title: str
    # None where the run has no such figure.
    figure: Callable[[Outcome], float | None]
    # How a number is written, as in ``format(number, form)``.
    form: str = ",.2f"
    ends: bool = False


def extra(name: str, scale: float = 1.0) -> Callable[[Outcome], float | None]:
    """The figure ``name`` among a run's further ones, times ``scale``."""

    def figure(outcome: Outcome) -> float | None:
        found = outcome.extra.get(name)
        return None if found is None else found * scale

    return figure


def _rate(outcome: Outcome) -> float | None:
    return outcome.rows / outcome.usage.wall_sec if outcome.rows else None


def _bytes_per_row(outcome: Outcome) -> float | None:
    return None if outcome.bytes_written is None else outcome.bytes_written / outcome.rows


# The table of a contest in speed.
SPEED = (
    Column("wall s", wall, ends=True),
    Column("rows/s", _rate, ",.0f"),
    Column("CPU s", cpu),
    Column("peak MB", lambda outcome: outcome.usage.peak_bytes / 1e6, ",.0f"),
    Column("bytes/row", _bytes_per_row, ",.1f"),
)


@dataclass(frozen=True)
class Goal:
    """One line of what must be shown. The worse end of the spread decides, not the median."""

    name: str
    must: float
    # None where only a must is set.
    aim: float | None
    # True if more is better (a ratio), False if less is (milliseconds, megabytes).
    at_least: bool
    # None if it could not be measured here; ``reason`` then says why.
    spread: Spread | None
    unit: str = "×"
    reason: str = ""


@dataclass(frozen=True)
class Section:
    """A part's result."""

    title: str
    contestants: Sequence[Contestant]
    samples: Sequence[Sample]
    goals: Sequence[Goal]
    columns: Sequence[Column] = SPEED
    # Whole sentences a reader of the table needs, such as what was the same for all.
    notes: Sequence[str] = ()
    # Fingerprint all were held against, sizes of the topic and the like; into the JSON as they are.
    facts: Mapping[str, object] = field(default_factory=dict)
