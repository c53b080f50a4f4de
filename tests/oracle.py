"""The oracle: what table, lake and quarantine hold, and whether a row is lost, repeated or altered between them.

Reads the lake as any stranger would, file by file through pyarrow or DuckDB, and the table through PostgreSQL's own
texts of its values; nothing of foodstream takes part. Small lakes are compared here row by row; `differences` compares
those of millions of rows, and the verdicts of the rules as well.
"""

import contextlib
import functools
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

COLUMNS = ("order_id", "customer_name", "restaurant_name", "item", "amount", "order_status", "created_at")
# What a failure prints of each kind: enough to see a pattern.
SHOWN = 20

Row = tuple[Any, ...]

# The documents' rules for orders, stated once more and apart from the product: why a row of the table is to be
# rejected, in the words of the quarantine; empty for a row to be accepted.
REASONS = "concat_ws(',', {}, {}, {}, {}, {})".format(
    *(
        f"CASE WHEN {name} IS NULL THEN 'null:{name}' WHEN btrim({name}, E' \\t\\r\\n') = '' THEN 'empty:{name}' END"
        for name in COLUMNS[1:4]
    ),
    "CASE WHEN amount IS NULL THEN 'null:amount' WHEN amount <= 0 THEN 'not_positive:amount' END",
    "CASE WHEN order_status IS NULL THEN 'null:order_status' WHEN order_status NOT IN "
    "('PLACED', 'PREPARING', 'DELIVERED', 'CANCELLED') THEN 'unknown_status:order_status' END",
)
ROWS_AT_ONCE = 50_000


def files(root: Path) -> list[Path]:
    """Every file under a root, hidden ones too."""
    return sorted(Path(folder, name) for folder, _, names in os.walk(root) for name in names)


def count(root: Path) -> int:
    """Rows in the Parquet files under a root that may not be there yet.

    Tests ask all the time until something has arrived, so each file is opened once: under its name it does not change.
    """
    return sum(_rows_of(entry.path, entry.inode()) for entry in _entries(str(root)))


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _entries(entry.path)
            else:
                yield entry


@functools.cache
def _rows_of(path: str, _inode: int) -> int:
    return rows(Path(path))


def rows(path: Path) -> int:
    """Rows in one file, by its footer."""
    return int(pq.read_metadata(path).num_rows)


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


def differences(connection: Any, lake_root: Path, quarantine_root: Path) -> dict[str, list[Any]]:
    """What is wrong between the table of orders and the folders, by kind, each with the keys or rows concerned.

    ``lost``, ``invented``, ``repeated``, ``altered``, ``invalid accepted``, ``valid rejected``, ``other reasons``; the
    lists are empty if all is well. Messages with a key that is no number are a stranger's and left out. ``connection``
    is psycopg's, to the table's database.
    """
    with duckdb.connect() as database:
        _load_table(connection, database)
        _load_lake(database, files(lake_root))
        _load_quarantine(database, files(quarantine_root))
        return {kind: [_bare(row) for row in database.execute(sql).fetchall()] for kind, sql in _DIFFERENCES.items()}


_SAME_ROW = " AND ".join(f"t.{name} IS NOT DISTINCT FROM l.{name}" for name in COLUMNS)
_DIFFERENCES = {
    "lost": "SELECT order_id FROM t ANTI JOIN (SELECT order_id FROM l UNION ALL SELECT order_id FROM q) USING "
    "(order_id) ORDER BY 1",
    "invented": "SELECT order_id FROM (SELECT order_id FROM l UNION ALL SELECT order_id FROM q) ANTI JOIN t USING "
    "(order_id) ORDER BY 1",
    "repeated": "SELECT order_id FROM (SELECT order_id FROM l UNION ALL SELECT order_id FROM q) GROUP BY 1 "
    "HAVING count(*) > 1 ORDER BY 1",
    # The folder is part of a row: a reader that prunes by it would not see the row elsewhere.
    "altered": f"SELECT l.* FROM l JOIN t USING (order_id) WHERE NOT ({_SAME_ROW}) OR l.folder <> l.created_at[:10]",
    "invalid accepted": "SELECT order_id, t.reasons FROM l JOIN t USING (order_id) WHERE t.reasons <> '' ORDER BY 1",
    "valid rejected": "SELECT order_id, q.reasons FROM q JOIN t USING (order_id) WHERE t.reasons = '' ORDER BY 1",
    "other reasons": "SELECT order_id, t.reasons, q.reasons FROM q JOIN t USING (order_id) "
    "WHERE t.reasons NOT IN ('', q.reasons) ORDER BY 1",
}


def _load_table(connection: Any, database: duckdb.DuckDBPyConnection) -> None:
    names = (*COLUMNS, "reasons")
    database.execute(f"CREATE TABLE t (order_id BIGINT, {', '.join(f'{name} VARCHAR' for name in names[1:])})")
    # A cursor of the server's, or its whole answer would lie here in the driver's objects first.
    with connection.transaction(), connection.cursor(name="oracle") as cursor:
        cursor.execute(
            "SELECT order_id, customer_name, restaurant_name, item, amount::text, order_status, "
            f"to_char(created_at, 'YYYY-MM-DD HH24:MI:SS.US'), {REASONS} FROM orders"
        )
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            types = [pa.int64()] + [pa.string()] * (len(names) - 1)
            columns = [pa.array(values, kind) for values, kind in zip(zip(*rows, strict=True), types, strict=True)]
            page = pa.table(columns, names=list(names))
            database.register("page", page)
            database.execute("INSERT INTO t SELECT * FROM page")
            database.unregister("page")


def _load_lake(database: duckdb.DuckDBPyConnection, paths: list[Path]) -> None:
    texts = "order_id, customer_name, restaurant_name, item, CAST(amount AS VARCHAR) AS amount, order_status"
    # By way of the integer, so that no session's zone has a say.
    created = "strftime(make_timestamp(epoch_us(created_at)), '%Y-%m-%d %H:%M:%S.%f') AS created_at"
    folder = "regexp_extract(filename, 'date=([0-9-]+)', 1) AS folder"
    _load(
        database,
        "l",
        f"{texts}, {created}, {folder}",
        paths,
        "NULL::BIGINT AS order_id, 'x' AS created_at, '' AS folder",
    )


def _load_quarantine(database: duckdb.DuckDBPyConnection, paths: list[Path]) -> None:
    columns = "CAST(decode(raw_key) AS BIGINT) AS order_id, reasons"
    only_ours = "WHERE regexp_full_match(decode(coalesce(raw_key, ''::BLOB)), '[0-9]+')"
    _load(database, "q", columns, paths, "NULL::BIGINT AS order_id, '' AS reasons", only_ours)


def _load(
    database: duckdb.DuckDBPyConnection, name: str, columns: str, paths: list[Path], nothing: str, where: str = ""
) -> None:
    if not paths:
        database.execute(f"CREATE TABLE {name} AS SELECT {nothing} WHERE false")
        return
    source = "read_parquet($1, filename = true, hive_partitioning = false)"
    names = [str(path) for path in paths]
    database.execute(f"CREATE TABLE {name} AS SELECT {columns} FROM {source} {where}", [names])


def _bare(row: tuple[Any, ...]) -> Any:
    return row[0] if len(row) == 1 else row


def _texts(row: dict[str, Any]) -> Row:
    # Written out, since %Y and %f would pad differently from one platform to the next.
    created = row["created_at"].isoformat(sep=" ", timespec="microseconds").removesuffix("+00:00")
    return (*(row[name] for name in COLUMNS[:4]), str(row["amount"]), row["order_status"], created)


def _words(problems: dict[str, list[Any]]) -> str:
    return "; ".join(f"{len(those)} {kind}: {those[:SHOWN]}" for kind, those in problems.items() if those)
