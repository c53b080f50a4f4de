"""The lake as other readers see it: pyarrow, polars and duckdb, over the folder and over ``**/*.parquet``."""

from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest

UNUSUAL = [
    ("Ünïcødé 🍕", "", "2025-11-19 00:00:00", "0.01"),
    ('"quoted", and\nbroken', "x", "2025-11-19 23:59:59.999999", "99999999.99"),
    ("tab\tand \\ backslash", "y", "2026-02-28 12:00:00.000001", "12.30"),
]
DAYS = {date(2025, 11, 18): 10, date(2025, 11, 19): 2, date(2026, 2, 28): 1}


@pytest.fixture
def lake(pipeline: Any) -> str:
    with pipeline.database.connect() as connection:
        for customer, item, created_at, amount in UNUSUAL:
            connection.execute(
                "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status, created_at) "
                "VALUES (%s, 'r', %s, %s, 'PLACED', %s)",
                [customer, item or "i", amount, created_at],
            )
    pipeline.run("producer", "--once")
    pipeline.run("consumer", "--once")
    return str(pipeline.lake)


def places(lake: str) -> list[str]:
    return [lake, f"{lake}/**/*.parquet"]


def assert_values(rows: list[tuple[int, str, Decimal, datetime, date]]) -> None:
    """Rows of (order_id, customer_name, amount, created_at, date)."""
    assert sorted(row[0] for row in rows) == list(range(1, 14))
    assert Counter(row[4] for row in rows) == DAYS
    by_id = {row[0]: row[1:] for row in rows}
    assert by_id[1] == (
        "Alice Smith",
        Decimal("350.00"),
        datetime(2025, 11, 18, 10, tzinfo=UTC),
        date(2025, 11, 18),
    )
    for order_id, (customer, _, created_at, amount) in enumerate(UNUSUAL, start=11):
        moment = datetime.fromisoformat(created_at).replace(tzinfo=UTC)
        assert by_id[order_id] == (customer, Decimal(amount), moment, moment.date())


def test_pyarrow_reads_decimals_utc_microseconds_and_the_date(lake: str) -> None:
    as_dates = pyarrow.dataset.HivePartitioning(pa.schema([("date", pa.date32())]))
    table = pyarrow.parquet.read_table(lake, partitioning=as_dates)
    assert table.schema.field("amount").type == pa.decimal128(10, 2)
    assert table.schema.field("created_at").type == pa.timestamp("us", tz="UTC")
    assert table.schema.field("order_id").type == pa.int64()
    assert table.schema.field("customer_name").type == pa.string()
    names = ("order_id", "customer_name", "amount", "created_at", "date")
    assert_values(list(zip(*(table.column(name).to_pylist() for name in names), strict=True)))
    # Without being told of the type it takes the folder's text, and finds the same rows.
    assert pyarrow.dataset.dataset(lake, partitioning="hive").count_rows() == 13


def test_polars_reads_the_folder_and_the_pattern_alike(lake: str) -> None:
    for place in places(lake):
        frame = pl.read_parquet(place, hive_partitioning=True, hive_schema={"date": pl.Date})
        assert frame.schema["amount"] == pl.Decimal(10, 2)
        assert frame.schema["created_at"] == pl.Datetime("us", "UTC")
        assert frame.schema["date"] == pl.Date
        assert_values(frame.select("order_id", "customer_name", "amount", "created_at", "date").rows())
        found = pl.scan_parquet(place, hive_partitioning=True).filter(pl.col("date") == date(2025, 11, 19)).collect()
        assert found.height == 2


def test_duckdb_reads_the_folder_and_the_pattern_alike(lake: str) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for place in places(lake):
            rows = connection.execute(
                "SELECT order_id, customer_name, amount, created_at, date "
                "FROM read_parquet(?, hive_partitioning = true)",
                [place],
            )
            assert [str(column[1]) for column in rows.description] == [
                "BIGINT",
                "VARCHAR",
                "DECIMAL(10,2)",
                "TIMESTAMP WITH TIME ZONE",
                "DATE",
            ]
            assert_values(rows.fetchall())


def test_all_three_count_the_same_while_invalid_rows_lie_in_quarantine_beside_it(pipeline: Any, lake: str) -> None:
    with pipeline.database.connect() as connection:
        connection.execute(
            "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status, created_at) "
            "SELECT 'c', 'r', 'i', CASE WHEN n % 4 = 0 THEN -n ELSE n END, 'PLACED', "
            "timestamp '2026-03-01' + n * interval '10 hours' FROM generate_series(1, 100) n"
        )
    pipeline.run("producer", "--once")
    report = pipeline.report("consumer", "--once")
    assert (report["accepted"], report["rejected"]) == (75, 25)
    with duckdb.connect() as connection:
        for place in places(lake):
            counted = connection.execute("SELECT count(*) FROM read_parquet(?)", [place]).fetchall()
            assert counted == [(13 + 75,)]
            assert pl.scan_parquet(place).select(pl.len()).collect().item() == 13 + 75
    assert pyarrow.dataset.dataset(lake, partitioning="hive").count_rows() == 13 + 75
    assert pyarrow.dataset.dataset(str(pipeline.quarantine), partitioning="hive").count_rows() == 25
