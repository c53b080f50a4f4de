"""Latency at the documents' settings: a poll and a trigger of five seconds, a thousand rows a page and a batch.

Apart from ``latency``, whose runs are many: what the documents claim is judged here.
"""

from collections.abc import Callable, Mapping

from compare.contest import Spread, spread
from compare.latency import RATES, Figures, measure, name
from compare.probes.pipeline import Rhythm
from compare.sections import Goal, Options, Say, Section
from compare.services import Services

DOCUMENTS = Rhythm(5.0, trigger_ms=5_000)
RHYTHMS = (Rhythm(5.0), DOCUMENTS)
# A dozen polls: every row of one waits for it.
_COUNTED_SEC = 60


def run(services: Services, options: Options, say: Say) -> Section:
    """Measures both ways at every rate."""
    return measure(
        services,
        options,
        say,
        "Latency at the documents' settings",
        RHYTHMS,
        _goals,
        # The first batch is not of the rhythm yet.
        warm_up_sec=10,
        counted_sec=_COUNTED_SEC,
    )


def _goals(found: Figures) -> list[Goal]:
    def documents(figure: Callable[[Mapping[str, float]], float], *rates: int) -> Spread:
        return spread([figure(found[name(DOCUMENTS, rate)]) for rate in rates])

    slow, fast = RATES
    latency = documents(lambda each: each["intended_p99_ms"] / 1_000, slow, fast)
    longest = documents(lambda each: each["batch_max_sec"], slow, fast)
    share = documents(lambda each: each["parquet_bytes"] / each["json_bytes"], fast)
    return [
        Goal("insert → readable, p99", 10, None, False, latency, "s"),
        Goal("longest micro-batch", 1, None, False, longest, "s"),
        Goal(f"bytes of Parquet over bytes of JSON, {fast:,} rows/s", 0.25, None, False, share),
    ]
