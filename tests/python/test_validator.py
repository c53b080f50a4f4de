"""`DataValidator`: messages at hand, judged as the consumer would judge them, without any service."""

import copy
import datetime
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import foodstream
import polars
import pyarrow
import pytest
from foodstream.purchases import DataValidator

CONFIG: dict[str, Any] = {
    "cdc": {"timestamp_column": "timestamp"},
    "validation": {
        "total": {
            "total": "total_amount",
            "quantity": "quantity",
            "unit_price": "unit_price",
            "discount_percentage": "discount_percentage",
        },
        "unique_column": "event_id",
        "rules": [
            {"column": "customer_id", "not_empty": True},
            {"column": "quantity", "not_null": True, "min": 1, "max": 100},
            {"column": "currency", "one_of": ["USD", "EUR"]},
        ],
    },
    "schema": [
        {"name": "event_id", "type": "string", "nullable": False},
        {"name": "timestamp", "type": "timestamptz", "nullable": False},
        {"name": "customer_id", "type": "string"},
        {"name": "quantity", "type": "int"},
        {"name": "unit_price", "type": "decimal(12,2)"},
        {"name": "total_amount", "type": "decimal(12,2)"},
        {"name": "currency", "type": "string"},
        {"name": "location", "type": "json"},
        {"name": "discount_percentage", "type": "decimal(5,2)"},
        {"name": "is_new_customer", "type": "boolean"},
    ],
}


def event(number: int = 1, **changed: Any) -> dict[str, Any]:
    """A good event with some values changed, or left out where they are `...`."""
    good = {
        "event_id": f"purchase_1705315845123_{number}",
        "timestamp": "2024-01-15T10:30:45.123Z",
        "customer_id": "customer_1234",
        "quantity": 2,
        "unit_price": 149.99,
        "total_amount": 284.98,
        "currency": "USD",
        "location": {"country": "US", "city": "New York"},
        "discount_percentage": 5.0,
        "is_new_customer": False,
    }
    return {name: value for name, value in {**good, **changed}.items() if value is not ...}


def test_good_messages_of_every_kind_are_accepted_with_their_values() -> None:
    moment = datetime.datetime(2024, 1, 15, 10, 30, 45, 123000, tzinfo=datetime.UTC)
    exact = event(3, unit_price=Decimal("149.99"), total_amount=Decimal("284.98"), timestamp=moment)
    given: list[Any] = [event(1), json.dumps(event(2)), exact, json.dumps(event(4)).encode()]
    report = DataValidator(CONFIG).validate(message for message in given)
    assert report, report.by_reason
    assert (report.input_count, report.accepted_count, report.rejected_count) == (4, 4, 0)
    rows = pyarrow.table(report.accepted).to_pylist()
    assert {row["total_amount"] for row in rows} == {Decimal("284.98")}
    assert {row["timestamp"] for row in rows} == {moment}
    assert json.loads(rows[2]["location"]) == {"country": "US", "city": "New York"}
    assert len(report.rejected) == 0


def test_each_fault_is_counted_by_reason_and_by_column() -> None:
    messages: list[Any] = [
        event(1),
        event(1),
        event(2, quantity=0),
        event(2, total_amount=284.99),
        event(3, customer_id=..., currency="XXX"),
        event(3),
        "nonsense",
        b"\xff",
        None,
    ]
    report = DataValidator(CONFIG).validate(messages)
    assert not report
    assert (report.input_count, report.accepted_count, report.rejected_count) == (9, 2, 7)
    assert report.by_reason == {
        "duplicate_id": 1,
        "not_json": 1,
        "not_one_of": 1,
        "not_utf8": 1,
        "null": 1,
        "tombstone": 1,
        "too_small": 1,
        "total_mismatch": 1,
    }
    assert report.by_reason_and_column["null:customer_id"] == 1
    assert report.by_reason_and_column["total_mismatch:total_amount"] == 1
    rejected = polars.DataFrame(report.rejected)
    assert rejected["offset"].to_list() == [1, 2, 3, 4, 6, 7, 8]
    assert rejected["reasons"][0] == "duplicate_id:event_id"
    assert json.loads(rejected["raw_value"][1]) == messages[2]
    assert report.to_dict()["by_reason"] == report.by_reason
    assert "total_mismatch" in report._repr_html_() and "QualityReport(input=9" in repr(report)


def test_each_call_stands_for_itself() -> None:
    validator = DataValidator(CONFIG)
    assert validator.validate([event(1)])
    assert validator.validate([event(1)])
    assert validator.validate([])


def test_a_rule_that_cannot_be_is_refused_before_any_message() -> None:
    wrong = copy.deepcopy(CONFIG)
    wrong["validation"]["total"]["quantity"] = "currency"
    with pytest.raises(foodstream.ConfigError, match="`currency` is string") as caught:
        DataValidator(wrong)
    assert caught.value.key == "validation.total.quantity"
    with pytest.raises(foodstream.ConfigError, match="event_id"):
        DataValidator(CONFIG, overrides={"validation": {"unique_column": "event"}})


@pytest.mark.parametrize("single", [event(), json.dumps(event()), b"{}"])
def test_a_single_message_is_no_list(single: Any) -> None:
    with pytest.raises(TypeError, match="list of messages"):
        DataValidator(CONFIG).validate(single)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (object(), ValueError, "JSON has no word"),
        (float("nan"), ValueError, "JSON has no word"),
        (Decimal("NaN"), ValueError, "JSON has no word"),
    ],
)
def test_a_value_without_a_json_form_is_named_with_its_message(value: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        DataValidator(CONFIG).validate([event(1), event(2, quantity=value)])
    assert caught.value.__notes__ == ["in message 1"]
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="nested deeper"):
        DataValidator(CONFIG).validate([event(1, location=loop)])
    with pytest.raises(TypeError, match="not int"):
        DataValidator(CONFIG).validate([3])  # type: ignore[list-item]


def test_importing_the_purchases_loads_no_core() -> None:
    script = "import sys, foodstream.purchases; sys.exit('foodstream._core' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_report_command_reads_a_lake_that_is_not_there_yet(tmp_path: Path) -> None:
    config = tmp_path / "purchases.yml"
    lake = {"datalake": {"path": str(tmp_path / "lake")}, "streaming": {"checkpoint_location": str(tmp_path / "c")}}
    config.write_text(json.dumps({**CONFIG, **lake}), encoding="utf-8")
    command = [sys.executable, "-m", "foodstream", "purchases", "report", "--config", str(config)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Nothing was consumed yet." in told
    answer = subprocess.run([*command, "--report", "json"], capture_output=True, text=True, check=True).stdout
    report = json.loads(answer)
    assert (report["input"], report["by_reason"], report["first_commit"]) == (0, {}, None)
