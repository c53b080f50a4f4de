"""What must be true when the faults have ended: the oracles of the run as a whole.

Each reports all that it finds to the ledger, and none stops at its first.
"""

import hashlib
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import oracle
import psycopg
import topics

from torture import commits
from torture.ledger import Ledger
from torture.watch import POISON

FAILURE = 1
SOME_ROWS = (
    "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status) "
    "SELECT 'c', 'r', 'i', n, 'PLACED' FROM generate_series(1, 100) n"
)


@dataclass(frozen=True)
class Pipeline:
    """What the oracles look at: both ends, what lies between them, and the product's commands."""

    connect: Callable[[], psycopg.Connection[Any]]
    brokers: str
    topic: str
    lake: Path
    quarantine: Path
    checkpoint: Path
    run: Callable[..., subprocess.CompletedProcess[str]]

    def messages(self) -> Iterable[topics.Message]:
        """Every committed message of the topic."""
        return topics.each(self.brokers, self.topic)


def report(ledger: Ledger, problems: Mapping[str, Iterable[Any]]) -> None:
    """Each thing that is wrong as a finding of its own, so that the ledger counts them."""
    for kind, found in problems.items():
        for what in found:
            ledger.finds(kind, str(what))


def first_hop(pipeline: Pipeline, ledger: Ledger) -> None:
    """O1 and O2 from table to topic: each row of the table was published once, and nothing else with its key."""
    with pipeline.connect() as connection:
        keys = {key for (key,) in connection.execute("SELECT order_id FROM orders")}
    missing = set(keys)
    problems: dict[str, list[Any]] = {"published twice": [], "published and not in the table": []}
    for message in pipeline.messages():
        if message.key is None or message.key.startswith(POISON):
            continue
        key = int(message.key)
        if key in missing:
            missing.remove(key)
        else:
            problems["published twice" if key in keys else "published and not in the table"].append(key)
    report(ledger, {"not published": sorted(missing), **problems})
    ledger.checked["rows of the table looked for in the topic"] = len(keys)


def both_hops(pipeline: Pipeline, ledger: Ledger) -> None:
    """O1 to O4: table = lake and quarantine, each row once, unaltered, and where the rules say."""
    with pipeline.connect() as connection:
        problems = oracle.differences(connection, pipeline.lake, pipeline.quarantine)
        ((rows,),) = connection.execute("SELECT count(*) FROM orders").fetchall()
    report(ledger, problems)
    ledger.checked["rows of the table held against lake and quarantine"] = rows


def rejects(pipeline: Pipeline, ledger: Ledger) -> None:
    """O4: each reject has the bytes that stand at its position in the topic, and all poison is among them."""
    kept: dict[tuple[int, int], dict[str, Any]] = {}
    for row in oracle.quarantine(pipeline.quarantine):
        place = row["partition"], row["offset"]
        if place in kept:
            ledger.finds("repeated", f"the reject at {place} is kept twice")
        kept[place] = row
    poison = 0
    for message in pipeline.messages():
        found = kept.pop((message.partition, message.offset), None)
        is_poison = message.key is not None and message.key.startswith(POISON)
        poison += is_poison
        if found is None:
            if is_poison:
                ledger.finds("invalid accepted", f"poison at {message.partition}/{message.offset} is not kept")
        elif (found["raw_key"], found["raw_value"]) != (message.key, message.value):
            ledger.finds("altered", f"the reject at {message.partition}/{message.offset} has other bytes")
        elif not found["reasons"]:
            ledger.finds("altered", f"the reject at {message.partition}/{message.offset} has no reason")
    for place in kept:
        ledger.finds("invented", f"a reject at {place}, where the topic holds none")
    ledger.rows["poison in the topic"] = poison


def log(pipeline: Pipeline, ledger: Ledger) -> None:
    """O6, and that log and files are of one piece."""
    ledger.checked["commits, their chain and their totals"] = commits.check(
        pipeline.checkpoint, pipeline.lake, pipeline.quarantine, ledger.finds
    )


def own_verdict(pipeline: Pipeline, ledger: Ledger) -> None:
    """The product's own check has to come to the same end as ours."""
    done = pipeline.run("verify")
    if done.returncode != 0:
        ledger.finds("verify", f"exit code {done.returncode}: {done.stdout[-2_000:]}{done.stderr[-500:]}")


def loud(pipeline: Pipeline, ledger: Ledger) -> None:
    """O8: records deleted before they were read stop the consumer, which names them and leaves all as it was.

    The last of all, since the lake is behind the table for good after it.
    """
    with pipeline.connect() as connection:
        connection.execute(SOME_ROWS)
    published = pipeline.run("producer", "--once")
    if published.returncode != 0:
        ledger.finds("loud", f"the producer ended with {published.returncode}: {published.stderr[-500:]}")
        return
    before = fingerprint(pipeline.checkpoint), fingerprint(pipeline.lake), fingerprint(pipeline.quarantine)
    ends = {partition: end for partition, (_, end) in topics.bounds(pipeline.brokers, pipeline.topic).items()}
    topics.delete_before(pipeline.brokers, pipeline.topic, ends)
    done = pipeline.run("consumer", "--once")
    said = done.stderr.splitlines()[-1:] or [""]
    named = [f", {end})" in done.stderr for end in ends.values()]
    if done.returncode != FAILURE or "failOnDataLoss" not in done.stderr or not any(named):
        ledger.finds("loud", f"deleted records: exit code {done.returncode}: {said[0]}")
    if before != (fingerprint(pipeline.checkpoint), fingerprint(pipeline.lake), fingerprint(pipeline.quarantine)):
        ledger.finds("loud", "a consumer that stopped for lost records has changed the lake or its log")
    ledger.checked["stops that name what was lost"] = 1


def fingerprint(root: Path) -> str:
    """Of the names and bytes of every file below."""
    digest = hashlib.sha256()
    for path in oracle.files(root):
        digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
