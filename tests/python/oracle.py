"""The oracle: what table, lake and quarantine hold, and whether a row is lost, repeated or altered between them.

Reads the lake as any stranger would, file by file through pyarrow, and the table through PostgreSQL's own texts of its
values; nothing of foodstream takes part.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

COLUMNS = ("order_id", "customer_name", "restaurant_name", "item", "amount", "order_status", "created_at")
# What a failure prints of each kind: enough to see a pattern.
SHOWN = 20

Row = tuple[Any, ...]


def files(root: Path) -> list[Path]:
    """Every file under a root, hidden ones too."""
    return sorted(path for path in root.rglob("*") if path.is_file())


def count(root: Path) -> int:
    """Rows in the Parquet files under a root that may not be there yet."""
    return sum(int(pq.read_metadata(path).num_rows) for path in files(root))


def lake(root: Path, zone: str = "UTC") -> Counter[Row]:
    """The lake's rows as texts, each with how often it is there; the folder must be the row's day in ``zone``."""
    rows: Counter[Row] = Counter()
    for path in files(root):
        for row in pq.ParquetFile(path).read().to_pylist():
            assert path.parent.name == f"date={row['created_at'].astimezone(ZoneInfo(zone)).date()}", path
            rows[_texts(row)] += 1
    return rows


def quarantine(root: Path) -> list[dict[str, Any]]:
    """The rejects, in the order of their positions."""
    tables = [pq.ParquetFile(path).read() for path in files(root)]
    rows = pa.concat_tables(tables).to_pylist() if tables else []
    return sorted(rows, key=lambda row: (row["partition"], row["offset"]))


def table(database: Any, table: str = "orders") -> Counter[Row]:
    """The table's rows as texts."""
    selected = database.sql(
        "SELECT order_id, customer_name, restaurant_name, item, amount::text, order_status, "
        f"to_char(created_at, 'YYYY-MM-DD HH24:MI:SS.US') FROM {table}"
    )
    return Counter(selected)


def assert_conserved(pipeline: Any) -> None:
    """Every row of the table is in the lake once and unaltered, or in the quarantine once, and nothing else is."""
    expected = table(pipeline.database)
    found = lake(pipeline.lake)
    rejected = Counter(row["order_id"] for row in quarantine(pipeline.quarantine))
    keys = Counter(row[0] for row in found.elements()) + rejected
    expected_keys = {row[0] for row in expected}
    altered = [row for row in found if row not in expected and row[0] in expected_keys]
    problems = {
        "missing": sorted(expected_keys - set(keys)),
        "extra": sorted(set(keys) - expected_keys),
        "repeated": sorted(key for key, times in keys.items() if times > 1),
        "altered": altered,
    }
    assert not any(problems.values()), _words(problems)


def assert_once(keys: Iterable[Any], expected: Iterable[Any]) -> None:
    """Each expected key is there exactly once, and no other is."""
    found, wanted = Counter(keys), set(expected)
    problems = {
        "missing": sorted(wanted - set(found)),
        "extra": sorted(set(found) - wanted),
        "repeated": sorted(key for key, times in found.items() if times > 1),
    }
    assert not any(problems.values()), _words(problems)


def _texts(row: dict[str, Any]) -> Row:
    # Written out, since %Y and %f would pad differently from one platform to the next.
    created = row["created_at"].isoformat(sep=" ", timespec="microseconds").removesuffix("+00:00")
    return (*(row[name] for name in COLUMNS[:4]), str(row["amount"]), row["order_status"], created)


def _words(problems: dict[str, list[Any]]) -> str:
    return "; ".join(f"{len(those)} {kind}: {those[:SHOWN]}" for kind, those in problems.items() if those)
