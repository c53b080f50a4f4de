"""Rows cross as Arrow's own capsules: every library takes them as they are, and none is needed."""

import datetime
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import arro3.core
import datafusion
import duckdb
import foodstream
import pandas
import polars
import pyarrow
import pyarrow.parquet
import pytest
from foodstream.purchases import DataValidator
from nowhere import settings

AMOUNTS = ["350.00", "12.50", "0.05"]


def rows() -> foodstream.Rows:
    """Three orders, made without any service."""
    made = [
        {
            "order_id": number,
            "customer_name": "Ann",
            "restaurant_name": "R",
            "item": "pie",
            "amount": Decimal(amount),
            "order_status": "PLACED",
            "created_at": "2025-11-18T10:00:00.123456Z",
        }
        for number, amount in enumerate(AMOUNTS)
    ]
    columns = {
        "order_id": "bigint",
        "customer_name": "string",
        "restaurant_name": "string",
        "item": "string",
        "amount": "decimal(10,2)",
        "order_status": "string",
        "created_at": "timestamp",
    }
    schema = [{"name": name, "type": kind} for name, kind in columns.items()]
    report = DataValidator({"schema": schema, "cdc": {"timestamp_column": "created_at"}}).validate(made)
    assert report, report
    return report.accepted


CREATED = datetime.datetime(2025, 11, 18, 10, 0, 0, 123456, tzinfo=datetime.UTC)


def test_polars_takes_the_rows() -> None:
    frame = polars.DataFrame(rows())
    assert frame["amount"].to_list() == [Decimal(amount) for amount in AMOUNTS]
    assert frame.schema["amount"] == polars.Decimal(10, 2)
    assert frame["created_at"].to_list() == [CREATED] * 3


def test_pyarrow_takes_the_rows() -> None:
    given = rows()
    table = pyarrow.table(given)
    assert table["amount"].to_pylist() == [Decimal(amount) for amount in AMOUNTS]
    assert table.schema.field("created_at").type == pyarrow.timestamp("us", "UTC")
    assert pyarrow.schema(given) == table.schema
    assert pyarrow.record_batch(given).to_pylist() == table.to_pylist()
    assert pyarrow.RecordBatchReader.from_stream(given).read_all() == table


def test_duckdb_takes_the_rows() -> None:
    given = rows()
    asked = duckdb.sql("SELECT sum(amount), min(order_id), max(created_at) FROM given")
    assert asked.fetchall() == [(sum(map(Decimal, AMOUNTS)), 0, CREATED)]
    assert len(given) == 3


def test_pandas_takes_the_rows() -> None:
    frame = pandas.DataFrame.from_arrow(rows())
    assert frame["order_id"].tolist() == [0, 1, 2]
    assert [Decimal(str(amount)) for amount in frame["amount"]] == [Decimal(amount) for amount in AMOUNTS]


def test_arro3_takes_the_rows() -> None:
    table = arro3.core.Table.from_arrow(rows())
    assert table.num_rows == 3
    assert pyarrow.table(table)["amount"].to_pylist() == [Decimal(amount) for amount in AMOUNTS]
    assert arro3.core.Schema.from_arrow(rows()).names == rows().columns


def test_datafusion_takes_the_rows() -> None:
    given = rows()
    context = datafusion.SessionContext()
    frame = context.from_arrow(given, name="orders")
    assert frame.schema().field("amount").type == pyarrow.decimal128(10, 2)
    (asked,) = context.sql("SELECT sum(amount) AS amount, max(created_at) AS newest FROM orders").collect()
    assert asked.to_pylist() == [{"amount": sum(map(Decimal, AMOUNTS)), "newest": CREATED}]


def test_a_requested_schema_is_honoured_and_one_that_cannot_be_is_not_made_up() -> None:
    given = rows()
    asked = pyarrow.schema(
        [
            field.with_type(pyarrow.large_string()) if field.type == pyarrow.string() else field
            for field in given_schema()
        ]
    ).set(0, pyarrow.field("order_id", pyarrow.int32()))
    table = pyarrow.RecordBatchReader.from_stream(given, schema=asked).read_all()
    assert table.schema.types == asked.types
    assert table["order_id"].to_pylist() == [0, 1, 2]
    assert table["customer_name"].to_pylist() == ["Ann"] * 3
    # By the capsules alone: `pyarrow.record_batch` would cast by itself what we did not.
    batch = pyarrow.RecordBatch._import_from_c_capsule(*given.__arrow_c_array__(asked.__arrow_c_schema__()))
    assert batch.to_pylist() == table.to_pylist() and batch.schema.types == asked.types
    assert pyarrow.record_batch(given, schema=asked).schema.types == asked.types
    other = pyarrow.schema([("other", pyarrow.int8())])
    as_it_is = pyarrow.RecordBatch._import_from_c_capsule(*given.__arrow_c_array__(other.__arrow_c_schema__()))
    assert as_it_is.equals(pyarrow.record_batch(given))
    assert pyarrow.RecordBatchReader.from_stream(given, schema=other).read_all().equals(pyarrow.table(given))


def test_a_value_that_the_requested_type_cannot_hold_is_an_error_and_no_null() -> None:
    given = rows()
    asked = given_schema().set(4, pyarrow.field("amount", pyarrow.decimal128(4, 2)))
    with pytest.raises(Exception, match=r"350\.00|35000"):
        pyarrow.RecordBatchReader.from_stream(given, schema=asked).read_all()
    with pytest.raises(Exception, match=r"350\.00|35000"):
        given.__arrow_c_array__(asked.__arrow_c_schema__())


def given_schema() -> pyarrow.Schema:
    return pyarrow.schema(rows())


def test_a_stream_that_was_consumed_raises_and_the_rows_can_be_read_again() -> None:
    given = rows()
    capsule = given.__arrow_c_stream__()
    assert pyarrow.RecordBatchReader._import_from_c_capsule(capsule).read_all().num_rows == 3
    with pytest.raises(ValueError, match="released"):
        pyarrow.RecordBatchReader._import_from_c_capsule(capsule)
    assert polars.DataFrame(given).height == polars.DataFrame(given).height == 3


_DAMAGED = """
import pathlib, sys, foodstream, pyarrow.parquet
lake = pathlib.Path(sys.argv[1])
file = lake / "date=2025-11-18" / "part-1.parquet"
whole = file.read_bytes()
column = pyarrow.parquet.read_metadata(file).row_group(0).column(0)
begin = column.dictionary_page_offset
for place in range(begin, begin + column.total_compressed_size):
    file.write_bytes(whole[:place] + b"\\xff" + whole[place + 1 :])
    try:
        pyarrow.table(foodstream.read(lake))
    except Exception as error:
        print(error)
"""


def test_a_panic_while_others_take_the_rows_is_an_error_and_no_end_of_the_process(tmp_path: Path) -> None:
    file = tmp_path / "date=2025-11-18" / "part-1.parquet"
    file.parent.mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"item": ["pie", "tea", "pie"]}), file, compression="none")
    words = [sys.executable, "-c", _DAMAGED, str(tmp_path)]
    environment = {**os.environ, "RUST_BACKTRACE": "0"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Of most damaged bytes the Parquet reader says an error; at some it panics.
    assert "panicked" in done.stderr
    assert "External error: " in done.stdout


def test_no_python_package_is_needed(tmp_path: Path) -> None:
    program = (
        "import json, sys, foodstream\n"
        "rows = foodstream.read(json.loads(sys.argv[1]))\n"
        "rows.__arrow_c_stream__(), rows.__arrow_c_array__(), rows.__arrow_c_schema__()\n"
        "print(*{'pyarrow', 'polars', 'pandas', 'numpy', 'asyncio'} & set(sys.modules))\n"
    )
    words = [sys.executable, "-c", program, json.dumps(settings(tmp_path))]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "\n"


# With services


def three_days(pipeline: Any) -> list[int]:
    """Ten orders of 2025-11-18 and one of each of the two days before, in three commits; returns their numbers."""
    commits = []
    for statement in (
        "SELECT 1",
        "INSERT INTO orders SELECT 100, customer_name, restaurant_name, item, amount, order_status,"
        " created_at + interval '1 day' FROM orders WHERE order_id = 1",
        "INSERT INTO orders SELECT 101, customer_name, restaurant_name, item, amount, order_status,"
        " created_at + interval '2 days' FROM orders WHERE order_id = 1",
    ):
        pipeline.database.sql(statement)
        foodstream.Producer(pipeline.config).run(once=True)
        done = foodstream.Consumer(pipeline.config).run(once=True)
        assert done.commit is not None
        commits.append(done.commit)
    return commits


def test_a_read_is_pruned_to_columns_days_and_a_commit(pipeline: Any) -> None:
    commits = three_days(pipeline)
    config = pipeline.config
    assert [len(foodstream.read(config, snapshot=commit)) for commit in commits] == [10, 11, 12]
    assert len(foodstream.read(config, snapshot=0)) == 0, "the lake's foundation"
    narrow = foodstream.read(config, columns=["date", "amount"], dates=("2025-11-19", None))
    assert narrow.columns == ["date", "amount"]
    assert polars.DataFrame(narrow)["date"].sort().to_list() == [
        datetime.date(2025, 11, 19),
        datetime.date(2025, 11, 20),
    ]
    assert foodstream.read(config, columns=["amount"]).columns == ["amount"]
    assert len(foodstream.read(config, dates=(None, datetime.date(2025, 11, 18)))) == 10
    assert len(foodstream.read(config, dates=("2025-11-18", "2025-11-19"), snapshot=commits[0])) == 10
    assert len(foodstream.read(pipeline.lake, dates=("2025-11-19", "2025-11-19"), columns=["order_id"])) == 1

    # Of a file no other column is read.
    (file,) = pipeline.lake.glob("date=2025-11-19/*.parquet")
    whole = file.read_bytes()
    (item,) = (
        column
        for column in map(pyarrow.parquet.read_metadata(file).row_group(0).column, range(7))
        if column.path_in_schema == "item"
    )
    start = item.dictionary_page_offset or item.data_page_offset
    file.write_bytes(whole[:start] + b"\xff" * item.total_compressed_size + whole[start + item.total_compressed_size :])
    assert polars.DataFrame(foodstream.read(config, columns=["amount"], date="2025-11-19")).height == 1
    with pytest.raises(Exception, match="restore the file"):
        polars.DataFrame(foodstream.read(config, date="2025-11-19"))
    file.write_bytes(whole)

    # A file of another day is not opened.
    (damaged,) = pipeline.lake.glob("date=2025-11-20/*.parquet")
    damaged.write_bytes(b"not Parquet")
    assert polars.DataFrame(foodstream.read(config, dates=(None, "2025-11-19"))).height == 11
    with pytest.raises(Exception, match="restore the file"):
        polars.DataFrame(foodstream.read(config))

    with pytest.raises(foodstream.ConfigError, match=f"no commit 99: the last one is {commits[-1]}"):
        foodstream.read(config, snapshot=99)
    with pytest.raises(foodstream.SchemaError, match="no column `tip`; it has order_id"):
        foodstream.read(config, columns=["tip"])
    with pytest.raises(foodstream.ConfigError, match="a folder has no commits"):
        foodstream.read(pipeline.lake, snapshot=1)
    with pytest.raises(foodstream.ConfigError, match="a folder has no settings that overrides could stand above"):
        foodstream.read(pipeline.lake, overrides={"cdc": {"timezone": "Asia/Kolkata"}})


def test_an_empty_lake_has_the_columns_that_are_asked_for(pipeline: Any) -> None:
    assert foodstream.read(pipeline.config).columns[-2:] == ["created_at", "date"]
    assert foodstream.read(pipeline.config, columns=["date", "item"]).columns == ["date", "item"]
    assert polars.DataFrame(foodstream.read(pipeline.config, columns=["amount"])).schema["amount"] == polars.Decimal(
        10, 2
    )
    assert foodstream.quarantine(pipeline.config).columns[:2] == ["raw_key", "raw_value"]
    with pytest.raises(foodstream.SchemaError, match="tip"):
        foodstream.read(pipeline.config, columns=["tip"])
    with pytest.raises(foodstream.ConfigError, match="no commit 0: the lake has not been founded"):
        foodstream.read(pipeline.config, snapshot=0)
