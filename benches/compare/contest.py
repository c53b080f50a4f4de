"""Several ways to do one job: rounds in random order or all at once, ratios within each round.

Machines drift and neighbours come and go; two figures are comparable only within one round. So a ratio is made of two
runs of the same round, and the median and the spread over the rounds are what is said. Of a few rounds that spread is
the whole of it. Where two are nearly equal, the runs of one differ by more than the two do; many rounds then tell where
their median lies, and the spread is the interval that holds it with 95 % certainty. Run at once, such two share what
the machine does to them. They also share its processors, so that of a difference in wall time a part shows: some half
of it where one has more to do on its own way, less where a thread beside it has. Processor time is each one's own.
"""

import itertools
import math
import random
import shutil
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from compare.process import Failed, Usage


@dataclass(frozen=True)
class Outcome:
    """One run. What is not the contestant's work (preparing, checking) is outside of ``usage``."""

    usage: Usage
    # Rows it handled: what rows a second are made of.
    rows: int
    # What it wrote, if it wrote files.
    bytes_written: int | None = None
    # Count and order-free hash by column of what it wrote; equal work has equal ones. None for one that only reads.
    fingerprint: Mapping[str, str] | None = None
    # Further figures of the run, seconds unless the name says otherwise.
    extra: Mapping[str, float] = field(default_factory=dict)


def wall(outcome: Outcome) -> float:
    """Seconds from the start of the process to its end."""
    return outcome.usage.wall_sec


def cpu(outcome: Outcome) -> float:
    """Seconds of processor time, of the process and of all it started."""
    return outcome.usage.cpu_sec


@dataclass(frozen=True)
class Contestant:
    """One way to do the job: its name, what it is made of, and how to run it once in an empty folder."""

    name: str
    # Versions and the settings it was tuned with, as a reader of the table wants to see them.
    settings: str
    run: Callable[[Path], Outcome]
    # Why it cannot run here; it is then named in the table instead of measured.
    missing: str | None = None


@dataclass(frozen=True)
class Sample:
    """One run in its round."""

    contestant: str
    round: int
    outcome: Outcome


def contest(
    contestants: Sequence[Contestant],
    rounds: int,
    seed: int,
    folder: Path,
    say: Callable[[str], None],
    warm_up: bool = True,
    expected: Mapping[str, str] | None = None,
    at_once: bool = False,
) -> list[Sample]:
    """Runs all that are not missing, ``rounds`` times, each round in another order, or at the same time if ``at_once``.

    The first round is a warm-up that is not counted. Raises ``Failed`` if a run fails, or if it wrote other rows than
    ``expected`` or than another run. The folder of a run is deleted after it.
    """
    shuffle = random.Random(seed)
    runners = [contestant for contestant in contestants if contestant.missing is None]
    samples: list[Sample] = []
    wrote = None if expected is None else ("the table holds", expected)
    for number in range(0 if warm_up else 1, rounds + 1):
        for contestant, place, outcome in _round(shuffle.sample(runners, len(runners)), folder, number, at_once):
            if outcome.fingerprint is not None:
                wrote = wrote or (f"{contestant.name} did", outcome.fingerprint)
                _compare(wrote, (contestant.name, outcome.fingerprint))
            shutil.rmtree(place)
            say(f"{'warm-up' if number == 0 else f'round {number}'}: {contestant.name} {_brief(outcome)}")
            if number > 0:
                samples.append(Sample(contestant.name, number, outcome))
    return samples


def _round(
    contestants: Sequence[Contestant], folder: Path, number: int, at_once: bool
) -> Iterator[tuple[Contestant, Path, Outcome]]:
    places = [folder / f"{contestant.name.replace(' ', '-')}-{number}" for contestant in contestants]
    outcomes: Iterable[Outcome]
    for place in places:
        place.mkdir(parents=True)
    if at_once:
        with ThreadPoolExecutor(max(1, len(contestants))) as pool:
            outcomes = list(pool.map(lambda contestant, place: contestant.run(place), contestants, places))
    else:
        outcomes = (contestant.run(place) for contestant, place in zip(contestants, places, strict=True))
    yield from zip(contestants, places, outcomes, strict=True)


# A run that takes this share of the best before or more is no clear improvement: as much lies between two of the same.
CLEARLY_BETTER = 0.97
# One in vain may be the machine's mood.
IN_VAIN = 2


def runs_until_steady(run: Callable[[], float], most: int) -> tuple[int, bool]:
    """Runs until two in a row were no clear improvement on the best before.

    How many runs that took, and whether it came to that within ``most``.
    """
    best, in_vain = math.inf, 0
    for number in range(1, most + 1):
        figure = run()
        in_vain = 0 if figure < CLEARLY_BETTER * best else in_vain + 1
        best = min(best, figure)
        if in_vain == IN_VAIN:
            return number, True
    return most, False


# The usual one.
CERTAINTY = 0.95


@dataclass(frozen=True)
class Spread:
    """Median and both ends."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """Median and both ends of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def of_median(values: Sequence[float]) -> Spread:
    """Median and the ends of the interval that holds the true one with 95 % certainty, whatever the distribution.

    The ends are two of the values, the k-th from below and from above: fewer than k of them lie on one side of the true
    median as seldom as a fair coin falls so. Fewer than six values leave no choice, and the ends are those of them all.
    """
    ordered, tosses = sorted(values), 2 ** len(values)
    missed = itertools.accumulate(2 * math.comb(len(values), beyond) / tosses for beyond in range(len(values)))
    rank = max(1, sum(1 for chance in missed if chance <= 1 - CERTAINTY))
    return Spread(statistics.median(ordered), ordered[rank - 1], ordered[-rank])


# Wilcoxon's statistic of as many is close enough to the normal distribution.
_MANY = 10


def of_many_ratios(values: Sequence[float]) -> Spread:
    """Where many ratios of two nearly equal lie, and the ends of Wilcoxon's interval of 95 % certainty.

    The middle is Hodges and Lehmann's: the median of the means of all pairs of values, here of their logarithms. A few
    wild values move it no more than they move a median, and it takes two thirds as many values for an interval as
    narrow. It rests on ratios that lie as far above the true one as below, which those of two runs in random order do.
    Raises ``ValueError`` for fewer than ten.
    """
    if len(values) < _MANY:
        raise ValueError(f"{len(values)} ratios are too few for this interval")
    logarithms = [math.log(value) for value in values]
    means = sorted((one + other) / 2 for one, other in itertools.combinations_with_replacement(logarithms, 2))
    count = len(values)
    z = statistics.NormalDist().inv_cdf((1 + CERTAINTY) / 2)
    rank = math.floor(count * (count + 1) / 4 - z * math.sqrt(count * (count + 1) * (2 * count + 1) / 24))
    return Spread(*(math.exp(mean) for mean in (statistics.median(means), means[rank], means[-rank - 1])))


def ratios(
    samples: Sequence[Sample],
    over: str,
    under: str,
    figure: Callable[[Outcome], float],
    estimate: Callable[[Sequence[float]], Spread] = of_median,
) -> Spread | None:
    """``figure`` of ``over`` divided by that of ``under``, round by round; None if either did not run."""
    pairs = list(_pairs(samples, over, under))
    return estimate([figure(first) / figure(second) for first, second in pairs]) if pairs else None


def _pairs(samples: Sequence[Sample], first: str, second: str) -> Iterator[tuple[Outcome, Outcome]]:
    by_round = {(sample.contestant, sample.round): sample.outcome for sample in samples}
    for (name, number), outcome in by_round.items():
        other = by_round.get((second, number))
        if name == first and other is not None:
            yield outcome, other


def _compare(expected: tuple[str, Mapping[str, str]], found: tuple[str, Mapping[str, str]]) -> None:
    differing = sorted(key for key in {*expected[1], *found[1]} if expected[1].get(key) != found[1].get(key))
    if differing:
        raise Failed(f"{found[0]} wrote other rows than {expected[0]}: {', '.join(differing)} differ")


def _brief(outcome: Outcome) -> str:
    usage = outcome.usage
    return (
        f"{usage.wall_sec:.2f} s, {usage.cpu_sec:.2f} CPU s, {outcome.rows / usage.wall_sec:,.0f} rows/s, "
        f"{usage.peak_bytes / 1e6:,.0f} MB"
    )
