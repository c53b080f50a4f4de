"""From the start of a process to its first committed row: what a restart, a test or a small job waits for.

A topic of a thousand messages, so that next to nothing but the start is seen.
"""

from compare import consumers
from compare.consume import fill
from compare.consumers import FOODSTREAM, PYSPARK
from compare.contest import Outcome, contest, cpu, ratios, wall
from compare.data import Size
from compare.sections import Column, Goal, Options, Say, Section, extra
from compare.services import Services

MESSAGES = 1_000
_COLUMNS = (
    Column("first row s", extra("first_row_sec"), ends=True),
    Column("wall s", wall),
    Column("CPU s", cpu),
    Column("peak MB", lambda outcome: outcome.usage.peak_bytes / 1e6, ",.0f"),
)


def run(services: Services, options: Options, say: Say) -> Section:
    """One contest over a small topic; of ``options.size`` only the kind counts."""
    topic, _, expected = fill(services, Size(MESSAGES, options.size.kind), "start", options.folder, say)
    runners = [make(topic) for make in (consumers.foodstream, consumers.polars, consumers.pyspark)]
    samples = contest(runners, options.rounds, options.seed, options.folder / "runs", say, expected=expected)
    services.delete_topic(topic.name)
    return Section(
        title=f"Start of the process → first committed row, {MESSAGES:,} messages",
        contestants=runners,
        samples=samples,
        goals=[
            Goal(
                "start → first committed row, PySpark over foodstream",
                15,
                60,
                True,
                ratios(samples, PYSPARK, FOODSTREAM, _first_row),
            )
        ],
        columns=_COLUMNS,
        notes=(
            "A row is there when its file and its batch's commit are: the record in foodstream's commit log, "
            "`_spark_metadata` of PySpark; of Python by hand the file alone.",
        ),
    )


def _first_row(outcome: Outcome) -> float:
    return outcome.extra["first_row_sec"]
