"""What must be true when the faults have ended: the oracles of the run as a whole.

Each reports what it finds to the ledger and none stops at its first; an oracle that itself fails is a finding, too.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import oracle
import topics

from torture import commits
from torture.ledger import SHOWN, Ledger
from torture.load import POISON
from torture.rig import Rig

FAILURE = 1


def report(ledger: Ledger, problems: Mapping[str, Iterable[Any]]) -> None:
    """Each thing that is wrong as a finding of its own, so that the ledger counts them."""
    for kind, found in problems.items():
        for what in found:
            ledger.finds(kind, str(what))


def first_hop(rig: Rig) -> None:
    """O1 and O2 from table to topic: each row of the table was published once, and nothing else with its key."""
    keys = {key for (key,) in rig.sql("SELECT order_id FROM orders")}
    missing = set(keys)
    problems: dict[str, list[Any]] = {"published twice": [], "published and not in the table": []}
    for message in topics.each(rig.stack.brokers, rig.topic):
        if message.key is None or message.key.startswith(POISON):
            continue
        key = int(message.key)
        if key in missing:
            missing.remove(key)
        else:
            problems["published twice" if key in keys else "published and not in the table"].append(key)
    report(rig.ledger, {"not published": sorted(missing), **problems})
    rig.ledger.checked["rows of the table looked for in the topic"] = len(keys)


def both_hops(rig: Rig) -> None:
    """O1 to O4: table = lake and quarantine, each row once, unaltered, and where the rules say."""
    with rig.connect() as connection:
        problems = oracle.differences(connection, rig.lake, rig.quarantine)
    report(rig.ledger, problems)
    rig.ledger.checked["rows of the table held against lake and quarantine"] = rig.ledger.rows["in the table"]


def rejects(rig: Rig) -> None:
    """O4: each reject has the bytes that stand at its position in the topic, and all poison is among them."""
    kept = {(row["partition"], row["offset"]): row for row in oracle.quarantine(rig.quarantine)}
    poison = 0
    for message in topics.each(rig.stack.brokers, rig.topic):
        row = kept.pop((message.partition, message.offset), None)
        is_poison = message.key is not None and message.key.startswith(POISON)
        poison += is_poison
        if row is None:
            if is_poison:
                rig.ledger.finds("invalid accepted", f"poison at {message.partition}/{message.offset} is not kept")
        elif (row["raw_key"], row["raw_value"]) != (message.key, message.value):
            rig.ledger.finds("altered", f"the reject at {message.partition}/{message.offset} has other bytes")
        elif not row["reasons"]:
            rig.ledger.finds("altered", f"the reject at {message.partition}/{message.offset} has no reason")
    for place in kept:
        rig.ledger.finds("invented", f"a reject at {place}, where the topic holds none")
    rig.ledger.rows["poison in the topic"] = poison


def log(rig: Rig) -> None:
    """O6, and that log and files are of one piece."""
    rig.ledger.checked["commits, their chain and their totals"] = commits.check(
        rig.checkpoint, rig.lake, rig.quarantine, rig.ledger.finds
    )


def own_verdict(rig: Rig) -> None:
    """The product's own check has to come to the same end as ours."""
    done = rig.run("verify")
    if done.returncode != 0:
        rig.ledger.finds("verify", f"exit code {done.returncode}: {done.stdout[-2_000:]}{done.stderr[-500:]}")


def loud(rig: Rig) -> None:
    """O8: records deleted before they were read stop the consumer, which names them and leaves all as it was.

    The last of all, since the lake is behind the table for good after it.
    """
    rig.sql("INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status) "
            "SELECT 'c', 'r', 'i', n, 'PLACED' FROM generate_series(1, 100) n")  # fmt: skip
    published = rig.run("producer", "--once")
    if published.returncode != 0:
        rig.ledger.finds("loud", f"the producer ended with {published.returncode}: {published.stderr[-500:]}")
        return
    before = fingerprint(rig.checkpoint), fingerprint(rig.lake), fingerprint(rig.quarantine)
    ends = {partition: end for partition, (_, end) in topics.bounds(rig.stack.brokers, rig.topic).items()}
    topics.delete_before(rig.stack.brokers, rig.topic, ends)
    done = rig.run("consumer", "--once")
    said = done.stderr.splitlines()[-1:] or [""]
    named = [f", {end})" in done.stderr for end in ends.values()]
    if done.returncode != FAILURE or "failOnDataLoss" not in done.stderr or not any(named):
        rig.ledger.finds("loud", f"deleted records: exit code {done.returncode}: {said[0]}")
    if before != (fingerprint(rig.checkpoint), fingerprint(rig.lake), fingerprint(rig.quarantine)):
        rig.ledger.finds("loud", "a consumer that stopped for lost records has changed the lake or its log")
    rig.ledger.checked["stops that name what was lost"] = 1


def fingerprint(root: Path) -> str:
    """Of the names and bytes of every file below."""
    digest = hashlib.sha256()
    for path in oracle.files(root):
        digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def all_rows(ledger: Ledger) -> str:
    """One line for a progress log."""
    return ", ".join(f"{name} {count:,}" for name, count in list(ledger.rows.items())[:SHOWN])
