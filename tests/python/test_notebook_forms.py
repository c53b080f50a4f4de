"""What notebooks and terminals show of an object: small, without script, without secrets."""

import math
import re
from pathlib import Path
from typing import Any

import foodstream
import pytest
from foodstream.purchases import DataValidator, EventProducer, StreamingJob
from nowhere import SECRET, settings

MAX_HTML = 50_000
# Of the shown texts, not of messages.
MARKUP = "<script>alert(1)</script>"


def check(thing: Any) -> str:
    page: str = thing._repr_html_()
    assert len(page) < MAX_HTML and "<script" not in page and "onload" not in page
    assert "\n" not in repr(thing)
    for element in ("table", "tbody", "tr", "td"):
        assert len(re.findall(rf"<{element}[ >]", page)) == len(re.findall(f"</{element}>", page)), element
    return page


def test_progress_report_and_batch_show_themselves_as_tables(pipeline: Any) -> None:
    pipeline.database.sql(
        "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status)"
        f" VALUES ('{MARKUP}', 'R', '{'long ' * 40}', 5, 'PLACED')"
    )
    published = foodstream.Producer(pipeline.config).run(once=True)
    assert "<td>rows</td><td>11</td>" in check(published) and str(published.cursor) in check(published)
    with foodstream.Consumer(pipeline.config, available_now=True) as consumer:
        (batch,) = consumer
        page = check(batch)
        assert "<td>accepted</td><td>11</td>" in page and "<th>customer_name</th>" in page
        assert page.count("<tr>") == 3 + 1 + 5, "three facts, a head and five rows"
        assert "<td>last commit</td>" in check(consumer.run())
    check(foodstream.verify_pipeline(pipeline.config))
    check(foodstream.doctor(pipeline.config))


def test_markup_in_a_row_is_text(pipeline: Any) -> None:
    pipeline.database.sql("DELETE FROM orders")
    pipeline.database.sql(
        "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status)"
        f" VALUES ('{MARKUP}', 'R', '{'long ' * 40}', 5, 'PLACED')"
    )
    foodstream.Producer(pipeline.config).run(once=True)
    (batch,) = foodstream.Consumer(pipeline.config, available_now=True)
    page = check(batch)
    assert "&lt;script&gt;" in page
    assert max(map(len, re.findall(r"<td>(.*?)</td>", page))) < 100


def test_events_and_quality_show_themselves_as_tables(purchases: Any) -> None:
    with EventProducer(purchases.config) as producer:
        assert "<td>events</td><td>3</td>" in check(producer.run(max_events=3, rate=math.inf))
    assert "<td>messages</td><td>1</td>" in check(DataValidator({}).validate([MARKUP]))


def test_markup_in_the_name_of_a_column_is_text(pipeline: Any) -> None:
    pipeline.database.sql(f'ALTER TABLE orders ADD COLUMN "{MARKUP}" text NOT NULL DEFAULT $$x$$')
    pipeline.config["schema"] = [
        {"name": "order_id", "type": "bigint"},
        {"name": MARKUP, "type": "string"},
        {"name": "created_at", "type": "timestamp"},
    ]
    foodstream.Producer(pipeline.config).run(once=True)
    (batch,) = foodstream.Consumer(pipeline.config, available_now=True)
    assert "<th>&lt;script&gt;" in check(batch)
    schema = [column | {"nullable": False} for column in pipeline.config["schema"]]
    judged = DataValidator({"schema": schema, "cdc": {"timestamp_column": "created_at"}}).validate([{"order_id": 1}])
    assert "&lt;script&gt;" in check(judged)


def test_markup_in_what_reports_quote_is_text(pipeline: Any) -> None:
    pipeline.database.sql(f'ALTER TABLE orders RENAME TO "{MARKUP}"')
    pipeline.config["postgres"]["table"] = f'"{MARKUP}"'
    pipeline.database.sql("DROP INDEX orders_created_at_order_id_idx")
    for report in (foodstream.doctor(pipeline.config), foodstream.verify_pipeline(pipeline.config)):
        assert MARKUP in str(report)
        assert "&lt;script&gt;" in check(report)


@pytest.mark.parametrize(
    "make",
    [foodstream.Config, foodstream.Producer, foodstream.Consumer, EventProducer, StreamingJob, DataValidator],
)
def test_no_form_of_an_object_shows_a_secret(make: Any, tmp_path: Path) -> None:
    config = settings(tmp_path, properties={"sasl.password": SECRET})
    config["status"] = {"token": f"{SECRET}-of-the-page"}
    kind = {} if make in (foodstream.Config, foodstream.Producer, foodstream.Consumer) else {"preset": "purchases"}
    thing = make(config | kind)
    shown = [repr(thing), str(thing), str(getattr(thing, "status", "")), str(getattr(thing, "last_progress", ""))]
    assert not any(SECRET in text or "\n" in text for text in shown)
