"""Every supported type, from PostgreSQL through Kafka into Parquet: what the lake holds is PostgreSQL's own text.

The oracle takes nothing from foodstream: the expected texts are the server's output, the found ones are made here from
what pyarrow reads. ``FOODSTREAM_TEST_VALUES`` sets the number of rows, ``FOODSTREAM_TEST_SEED`` replays a failure.
"""

import math
import os
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import oracle
import pyarrow.parquet as pq
import pytest
import values
from values import COLUMNS, Column

ROWS = int(os.environ.get("FOODSTREAM_TEST_VALUES", "20000"))
SEED = int(os.environ.get("FOODSTREAM_TEST_SEED", "20251120"))
TABLE = "samples"
# What a failure prints: enough to see a pattern.
SHOWN = 10


def moment(value: Any) -> str:
    """As PostgreSQL writes a timestamp in UTC: a fraction without zeros at its end."""
    text = value.replace(tzinfo=None).isoformat(sep=" ")
    return str(text.rstrip("0") if "." in text else text)


def same_double(found: float, expected: str) -> bool:
    wanted = float(expected)
    return found == wanted and math.copysign(1, found) == math.copysign(1, wanted)


# Text of what was read, where there is one text a value; a comparison where there are several.
AS_TEXT: dict[str, Callable[[Any], str]] = {
    "boolean": lambda value: "true" if value else "false",
    "smallint": str,
    "int": str,
    "bigint": str,
    "string": str,
    "json": str,
    "date": lambda value: str(value.isoformat()),
    "timestamp": moment,
    "timestamptz": lambda value: moment(value) + "+00",
}


def agrees(column: Column, found: Any, expected: str | None) -> bool:
    if column.lake_type == "json" and expected is not None:
        # A document's null is JSON's null, which a message cannot tell from none; space around it is no part of it.
        expected = expected.strip(" \t\r\n")
        expected = None if expected == "null" else expected
    if found is None or expected is None:
        return found is None and expected is None
    if column.lake_type == "double":
        return same_double(found, expected)
    if column.lake_type.startswith("decimal"):
        # The text where the column fixes the scale; else the number, as PostgreSQL keeps the digits that were written.
        exact = column.name != "free" and column.name != "rounded"
        return format(found, "f") == expected if exact else Decimal(expected) == found
    return AS_TEXT[column.lake_type](found) == expected


def expected_rows(database: Any) -> Iterator[tuple[Any, ...]]:
    texts = ", ".join(column.text for column in COLUMNS)
    with database.connect() as connection:
        connection.execute("SET timezone = 'UTC'")
        yield from connection.execute(f"SELECT id, {texts} FROM {TABLE} ORDER BY id")


# Of the usual number it takes a tenth of this.
@pytest.mark.timeout(900)
def test_random_rows_of_every_type_are_postgresqls_own_text_in_the_lake_or_in_quarantine_with_their_reason(
    pipeline: Any,
) -> None:
    database = pipeline.database
    database.sql(values.TYPES)
    database.sql(values.table(TABLE))
    reasons: dict[int, list[str]] = {}
    with database.connect() as connection, connection.cursor().copy(f"COPY {TABLE} FROM STDIN") as copy:
        for row, why in values.rows(SEED, ROWS):
            copy.write_row(row)
            reasons[int(row[0] or 0)] = why
    pipeline.config["postgres"]["table"] = TABLE
    pipeline.config["schema"] = values.schema()
    pipeline.config["cdc"].update(batch_limit=10_000, key_column="id")
    assert pipeline.report("producer", "--once")["rows"] == ROWS
    pipeline.run("consumer", "--once")

    lake: dict[int, dict[str, Any]] = {}
    for path in oracle.files(pipeline.lake):
        for row in pq.ParquetFile(path).read().to_pylist():
            assert lake.setdefault(row["id"], row) is row, f"{row['id']} is in the lake twice"
    rejected = {int(row["raw_key"]): row["reasons"] for row in oracle.quarantine(pipeline.quarantine)}
    assert len(rejected) == oracle.count(pipeline.quarantine), "a row is in quarantine twice"
    wild = {key: ",".join(why) for key, why in reasons.items() if why}
    assert len(wild) > ROWS / 20, "the load is too tame"
    assert rejected == wild
    assert lake.keys() == reasons.keys() - wild.keys()

    altered = []
    for key, *texts in expected_rows(database):
        found = lake.get(key)
        if found is None:
            continue
        altered += [
            (key, column.name, found[column.name], text)
            for column, text in zip(COLUMNS, texts, strict=True)
            if not agrees(column, found[column.name], text)
        ]
    assert not altered, (
        f"{len(altered)} values of seed {SEED} were altered (key, column, lake, table): {altered[:SHOWN]}"
    )
