"""The commit log held against the files it names: a chain without a gap, and totals that are exact at every commit.

Nothing of the product takes part: records are read as JSON, files by DuckDB, and the totals of each record are those
of DuckDB over the files of all records up to it (O6).
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import oracle

Finds = Callable[[str, str], None]


def check(checkpoint: Path, lake: Path, quarantine: Path, finds: Finds) -> int:
    """Checks the whole log; returns how many commits it has."""
    days = _days_of_files(lake)
    rejects = _rows_of_files(quarantine)
    named: set[str] = set()
    positions: dict[int, int] = {}
    totals: dict[str, tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
    counted: Counter[str] = Counter()
    previous: str | None = None
    number = -1
    for number, (path, record) in enumerate(records(checkpoint)):
        where = f"commit {number}"
        if record["number"] != number:
            finds("commits", f"{path.name} is where {where} should be")
        if number and record["previous"] != previous:
            finds("commits", f"{where} does not follow from the one before it")
        previous = hashlib.sha256(path.read_bytes()).hexdigest()
        for part in record["ranges"]:
            expected = positions.get(part["partition"], part["from"])
            if part["from"] != expected or part["to"] < part["from"]:
                finds("commits", f"{where} holds {part} of a partition that was read up to {expected}")
            positions[part["partition"]] = part["to"]
        accepted = sum(days[entry["name"]].total() for entry in record["files"] if entry["name"] in days)
        rejected = sum(rejects.get(entry["name"], 0) for entry in record["quarantine"])
        if record["counts"] != {"input": accepted + rejected, "accepted": accepted, "rejected": rejected}:
            finds("totals", f"{where} counts {record['counts']}, its files hold {accepted} rows and {rejected} rejects")
        for entry in (*record["files"], *record["quarantine"]):
            if entry["name"] in named:
                finds("commits", f"{where} names {entry['name']}, which an earlier one named")
            named.add(entry["name"])
        for entry in record["files"]:
            for day, rows in days.get(entry["name"], _Day()).items():
                count, amount = totals[day]
                totals[day] = (count + rows, amount + days[entry["name"]].amounts[day])
        running = record["running"]["counts"], Decimal(record["running"].get("sums", {}).get("amount", "0"))
        counted += Counter(record["counts"])
        summed = sum((amount for _, amount in totals.values()), Decimal(0))
        if running != ({"input": 0, "accepted": 0, "rejected": 0} | counted, summed):
            finds("totals", f"{where} runs up to {running}, all commits to {dict(counted)} and {summed}")
        for day, told in totals_of(record):
            if told != totals[day]:
                finds("totals", f"{where} totals {day} to {told}, its files and those before to {totals[day]}")
    for name in sorted({*days, *rejects} - named):
        finds("commits", f"{name} is visible, and no commit names it")
    return number + 1


def records(checkpoint: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The commit records in their order."""
    for path in sorted((checkpoint / "commits").rglob("*.json"), key=lambda path: path.stem):
        yield path, json.loads(path.read_bytes())


def totals_of(record: dict[str, Any]) -> Iterator[tuple[str, tuple[int, Decimal]]]:
    """Rows and sum of amounts of each day that the commit has touched, as the record tells them."""
    for day, groups in record["totals"].items():
        for group in groups:
            yield day, (group["rows"], Decimal(group["columns"]["amount"]["sum"]))


class _Day(Counter[str]):
    """Rows by day, with the sums of their amounts."""

    def __init__(self) -> None:
        super().__init__()
        self.amounts: dict[str, Decimal] = {}


def _days_of_files(root: Path) -> dict[str, _Day]:
    paths = [str(path) for path in oracle.files(root)]
    found: dict[str, _Day] = defaultdict(_Day)
    if not paths:
        return found
    rows = duckdb.execute(
        "SELECT filename, strftime(make_timestamp(epoch_us(created_at)), '%Y-%m-%d'), count(*), sum(amount)::VARCHAR "
        "FROM read_parquet($1, filename = true, hive_partitioning = false) GROUP BY 1, 2",
        [paths],
    ).fetchall()
    for path, day, count, amount in rows:
        name = str(Path(path).relative_to(root))
        found[name][day] = count
        found[name].amounts[day] = Decimal(amount)
    return found


def _rows_of_files(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): oracle.rows(path) for path in oracle.files(root)}
