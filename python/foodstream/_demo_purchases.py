"""``foodstream purchases demo``: a thousand purchase events in three batches, and totals that are summed twice.

The generator and the streaming job are ordinary processes started with ordinary commands. At the end the totals of
the commit record are compared, to the cent, with a sum over the topic's messages that shares neither decoder nor
arithmetic with them: Python's ``json`` and ``decimal``.
Neighbours: ``_walk`` is the folder and its end; the commands themselves are the Rust core's.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from foodstream import _walk
from foodstream._walk import DemoError, Walk

TOPIC = "purchasing_events"
# Three batches of output, a thousand events together.
ROUNDS = (400, 350, 250)

_CONFIGURATION = f"""\
kafka:
  bootstrap_servers: localhost:9092
  topic_name: {TOPIC}
producer:
  seed: 20250626
  rate: unlimited
spark:
  trigger_processing_time: "1 second"
"""


class Result(NamedTuple):
    """What was published, shown and summed."""

    events: int
    batches: int
    totals: dict[str, str]
    output: str


class PurchasesWalk(Walk):
    """The walk with a streaming job of purchase events."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "purchases.yml", _CONFIGURATION)

    def totals(self) -> tuple[int, dict[str, Decimal]]:
        """Events and exact sums by currency, as the commit record has them."""
        lines = self.output("purchases", "totals", "--format", "json").splitlines()
        rows = [json.loads(line, parse_float=Decimal) for line in lines]
        sums: dict[str, Decimal] = {}
        for row in rows:
            sums[row["currency"]] = sums.get(row["currency"], Decimal(0)) + Decimal(row["sum_total_amount"])
        return sum(row["rows"] for row in rows), sums

    def summed_over_the_topic(self) -> tuple[int, dict[str, Decimal]]:
        """The same from the messages themselves, added up by Python."""
        peeked = self.command("peek", "topic", "--limit", str(sum(ROUNDS) + 1))["messages"]
        events = [json.loads(message["value"], parse_float=Decimal) for message in peeked]
        sums: dict[str, Decimal] = {}
        for event in events:
            sums[event["currency"]] = sums.get(event["currency"], Decimal(0)) + event["total_amount"]
        return len(events), sums


def _walk_through(walk: PurchasesWalk) -> Result:
    walk.up(sample=False)
    walk.say(f"Kafka is on {walk.stack.brokers}")
    walk.start("streaming_job", "purchases", "run")
    for number in range(len(ROUNDS)):
        _round(walk, number)
    walk.wait(lambda: _blocks(walk) >= len(ROUNDS), lambda: f"{len(ROUNDS)} batches of output, saw {_blocks(walk)}")
    events, totals = walk.totals()
    counted, summed = walk.summed_over_the_topic()
    if (events, totals) != (counted, summed):
        raise DemoError(f"the totals are {totals} of {events} events, the topic has {summed} of {counted}")
    output = walk.log("streaming_job").read_text(encoding="utf-8")
    shown = {currency: str(total) for currency, total in sorted(totals.items())}
    return Result(events, _blocks(walk), shown, output)


def _blocks(walk: PurchasesWalk) -> int:
    return walk.log("streaming_job").read_text(encoding="utf-8").count("STREAMING DATA PIPELINE OUTPUT - BATCH")


def _round(walk: PurchasesWalk, number: int) -> None:
    count, expected = ROUNDS[number], sum(ROUNDS[: number + 1])
    done = walk.command("purchases", "produce", "--max-events", str(count))
    if done["events"] != count or done["delivery_errors"]:
        raise DemoError(f"round {number + 1}: {done}")
    arrived = walk.at_news("streaming_job", lambda: _shown(walk) == expected)
    walk.wait(arrived, lambda: f"{expected} events in the totals, saw {_shown(walk)}")
    walk.say(f"round {number + 1}: {count} events published, {expected} in the totals")


def _shown(walk: PurchasesWalk) -> int:
    """Events in the totals so far; none before the job has founded the lake."""
    try:
        return walk.totals()[0]
    except DemoError:
        return 0


def _summary(result: Result) -> str:
    blocks = result.output[result.output.index("=" * 80) :]
    lines = [line for line in blocks.splitlines() if " INFO " not in line and " WARN " not in line]
    totals = ", ".join(f"{total} {currency}" for currency, total in result.totals.items())
    return "\n".join(
        [
            *lines,
            "",
            f"{result.events} events in {result.batches} batches; totals: {totals}",
            "Python's decimals over the topic's messages come to the same, to the cent.",
        ]
    )


def _report(result: Result) -> dict[str, Any]:
    return {"events": result.events, "batches": result.batches, "totals": result.totals}


def run(options: Mapping[str, Any]) -> int:
    """``foodstream purchases demo``; takes the options of ``_walk.run`` and returns the exit code."""
    return _walk.run(options, PurchasesWalk, _walk_through, _report, _summary)
