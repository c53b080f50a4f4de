"""What a run wrote, as one number a column: equal for equal rows in any order, files and encodings.

    python -m compare.fingerprint lake FOLDER      rows of every Parquet file below it
    python -m compare.fingerprint count FOLDER     how many they are, whatever their columns
    python -m compare.fingerprint table DSN        rows of the table that keep the rules: what each lake must hold

Columns are first brought to one type each: amounts to ``decimal(10,2)`` (of one kept as a double, to its nearest),
times to microseconds in UTC. ``row`` is a hash of all columns together, so that a swap between rows shows. Run apart
from the caller, since it needs memory in the order of the rows.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from compare.process import Failed

# Name, and the expression whose values are compared.
_COLUMNS = {
    "order_id": "order_id::BIGINT",
    "customer_name": "customer_name::VARCHAR",
    "restaurant_name": "restaurant_name::VARCHAR",
    "item": "item::VARCHAR",
    "amount": "amount::DECIMAL(10, 2)",
    "order_status": "order_status::VARCHAR",
    # Of both kinds of timestamp, with a zone and without, whatever the session's zone is.
    "created_at": "epoch_us(created_at)",
    "date": "date::DATE",
}
_TABLE = {
    "order_id": "BIGINT",
    "customer_name": "VARCHAR",
    "restaurant_name": "VARCHAR",
    "item": "VARCHAR",
    "amount": "DECIMAL(10, 2)",
    "order_status": "VARCHAR",
    "created_at": "TIMESTAMP",
    "date": "DATE",
}
# The rules of the shipped configuration in SQL, as a second opinion on what the contestants accept.
_ACCEPTED = """
    SELECT order_id, customer_name, restaurant_name, item, amount, order_status, created_at, created_at::date
      FROM orders
     WHERE amount > 0 AND btrim(customer_name) <> '' AND btrim(restaurant_name) <> '' AND btrim(item) <> ''
       AND order_status IN ('PLACED', 'PREPARING', 'DELIVERED', 'CANCELLED')
"""


def of_lake(folder: Path) -> Mapping[str, str]:
    """Fingerprint of all Parquet files below ``folder``."""
    return _apart("lake", str(folder))


def of_table(dsn: str) -> Mapping[str, str]:
    """Fingerprint of the rows of the table ``orders`` that keep the rules."""
    return _apart("table", dsn)


def files(folder: Path) -> list[Path]:
    """The Parquet files below ``folder``."""
    return sorted(folder.rglob("*.parquet"))


def count(folder: Path) -> int:
    """Rows of all Parquet files below ``folder``; 0 if there is none."""
    return int(_apart("count", str(folder))["rows"]) if files(folder) else 0


def _apart(*arguments: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "compare.fingerprint", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Failed(f"the rows of the {arguments[0]} could not be compared:\n{done.stderr.strip()}")
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _lake(folder: str) -> dict[str, str]:
    return _of(f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true)")


def _count(folder: str) -> dict[str, str]:
    import duckdb

    with duckdb.connect() as database:
        found = database.execute(f"SELECT count(*) FROM read_parquet('{folder}/**/*.parquet')").fetchone()
        assert found is not None
        return {"rows": str(found[0])}


def _table(dsn: str) -> dict[str, str]:
    import psycopg

    with tempfile.NamedTemporaryFile(suffix=".csv") as rows:
        with (
            psycopg.connect(dsn) as database,
            database.cursor().copy(f"COPY ({_ACCEPTED}) TO STDOUT (FORMAT csv)") as copy,
        ):
            rows.writelines(copy)
        rows.flush()
        return _of(f"read_csv('{rows.name}', header = false, columns = {_TABLE})")


def _of(relation: str) -> dict[str, str]:
    import duckdb

    sums = ", ".join(f"sum(hash({expression}))::VARCHAR AS {name}" for name, expression in _COLUMNS.items())
    row = f"sum(hash({', '.join(_COLUMNS.values())}))::VARCHAR AS row"
    with duckdb.connect() as database:
        found = database.execute(f"SELECT count(*)::VARCHAR AS rows, {sums}, {row} FROM {relation}").fetchone()
        assert found is not None and database.description is not None
        return {column[0]: value for column, value in zip(database.description, found, strict=True)}


if __name__ == "__main__":
    print(json.dumps({"lake": _lake, "count": _count, "table": _table}[sys.argv[1]](sys.argv[2])))
