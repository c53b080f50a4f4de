"""Every example of the documents and docstrings runs, and the pages that are made are those that would be made now."""

import importlib.util
import math
import re
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import foodstream
import polars
import psycopg
import pytest
from foodstream import purchases

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[str]:
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
WITH_CODE = [page for page in PAGES if blocks(page) and page.name != "API.md"]


@pytest.fixture
def place(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder as a reader has it, with the shipped configurations over the services of this test."""
    database, folder = pipeline.database, pipeline.folder
    (folder / "configs").mkdir()
    for name in ("orders_stream.yml", "purchases.yml"):
        text = (ROOT / "configs" / name).read_text(encoding="utf-8")
        for shipped in (
            "food_orders_raw",
            "purchasing_events",
            "food_orders_consumer_group",
            "streaming_consumer_group",
        ):
            text = text.replace(shipped, f"{database.name}_{shipped}")
        (folder / "configs" / name).write_text(text, encoding="utf-8")
    address = database.services.address
    for key, value in {
        "POSTGRES__HOST": address["host"],
        "POSTGRES__PORT": address["port"],
        "POSTGRES__DB": database.name,
        "KAFKA__BROKERS": database.services.brokers,
    }.items():
        monkeypatch.setenv(f"FOODSTREAM__{key}", value)
    database.sql("CREATE TABLE arrived (at timestamptz, orders int)")
    monkeypatch.chdir(folder)
    return pipeline


@pytest.fixture
def reports(place: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The examples' own database is that of the test; connections they leave open are closed with the test."""
    real = psycopg.connect
    opened: list[psycopg.Connection[Any]] = []

    def connect(target: str = "", **options: Any) -> psycopg.Connection[Any]:
        if target != "dbname=reports":
            return real(target, **options)
        opened.append(place.database.connect(autocommit=False))
        return opened[-1]

    monkeypatch.setattr(psycopg, "connect", connect)
    yield
    for connection in opened:
        connection.close()


# What the ledger's examples do with each batch.
ARRIVES = "INSERT INTO arrived"


def run(code: str, names: dict[str, Any], page: Path, number: int) -> None:
    exec(compile(code, f"{page.name}, example {number}", "exec"), names)


def act_on_rows(place: Any, code: str, names: dict[str, Any], page: Path, number: int) -> None:
    """Run an example; one that acts on batches has new rows to act on, which those before it have not consumed."""
    acts = ARRIVES in code
    if acts:
        config = "configs/orders_stream.yml"
        foodstream.insert_test_orders(config, count=2)
        foodstream.Producer(config).run(once=True)
    before = place.database.count("arrived")
    run(code, names, page, number)
    assert not acts or place.database.count("arrived") > before, f"example {number} acted on no batch"


def stand_in(name: str, monkeypatch: pytest.MonkeyPatch, **members: Any) -> types.ModuleType:
    """A scheduler is not installed for a recipe: what the recipe takes of it stands here."""
    module = types.ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)
    return module


class Result:
    """Dagster's results carry what they are given."""

    def __init__(self, **given: Any) -> None:
        vars(self).update(given)


def decorating(function: Callable[..., Any] | None = None, **_: Any) -> Any:
    return function if function is not None else lambda decorated: decorated


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
@pytest.mark.usefixtures("reports")
def test_the_examples_of_a_page_run_in_their_order(page: Path, place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in("pendulum", monkeypatch, datetime=lambda *_, **__: None)
    stand_in("airflow", monkeypatch)
    stand_in("airflow.sdk", monkeypatch, dag=decorating, task=decorating)
    stand_in(
        "dagster",
        monkeypatch,
        asset=decorating,
        asset_check=decorating,
        RetryPolicy=Result,
        MaterializeResult=Result,
        AssetCheckResult=Result,
    )
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, code in enumerate(blocks(page), 1):
        act_on_rows(place, code, names, page, number)
    if page.name == "RECIPES.md":
        assert names["orders_topic"]().metadata["rows"] == 0
        assert names["orders_lake"]().metadata["rejected"] == 0
        assert names["nothing_lost"]().passed


@pytest.mark.usefixtures("reports")
def test_the_examples_of_the_docstrings_run(place: Any) -> None:
    page = DOCS / "API.md"
    config = "configs/orders_stream.yml"
    events = [purchases.EventProducer("configs/purchases.yml").generate()]
    codes = blocks(page)
    assert len(codes) >= 5
    for number, code in enumerate(codes, 1):
        with foodstream.Consumer(config) as consumer:
            known = {name: getattr(purchases, name) for name in purchases.__all__}
            names = {"foodstream": foodstream, "psycopg": psycopg, "polars": polars, "math": math, "events": events}
            act_on_rows(place, code, {**known, **names, "config": config, "consumer": consumer}, page, number)


def test_the_pages_that_are_made_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for name, make in generate.PAGES.items():
        assert (DOCS / name).read_text(encoding="utf-8") == make(), f"docs/{name}: run `make docs`"


def test_the_reference_by_hand_names_the_defaults_of_the_schema() -> None:
    row = re.compile(r"^\| `([a-z_]+\.[a-zA-Z_]+)` \| [^|]* \| `?([^|`]*)`? \|", re.MULTILINE)
    schema = {key: default.strip('"') for key, default in row.findall((DOCS / "KEYS.md").read_text(encoding="utf-8"))}
    by_hand = re.findall(
        r"^\| `([a-z_.]+)` \| `?([^|`]*)`? \|", (DOCS / "CONFIGURATION.md").read_text("utf-8"), re.MULTILINE
    )
    # "–" is none; 5 and 5.0 are one number.
    same = {"[]": "–"}
    plain = {key: same.get(default, default.removesuffix(".0")) for key, default in schema.items()}
    compared = [(key, default, plain[key]) for key, default in by_hand if plain.get(key)]
    assert len(compared) > 20
    assert [row for row in compared if row[1] != row[2]] == []


def test_the_pages_make_a_site_whose_links_all_lead_somewhere(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert {page.with_suffix(".html").name for page in DOCS.glob("*.md")} < {page.name for page in tmp_path.iterdir()}
    assert "foodstream.BatchLedger" in (tmp_path / "index.html").read_text(encoding="utf-8")
    for page in tmp_path.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "```" not in text, f"{page.name}: a fence that Markdown did not take for one"
        assert not re.search(r'<(?:script|link|img)[^>]*="https?:', text), f"{page.name} loads from elsewhere"


def test_names_of_the_migration_table_exist() -> None:
    text = (DOCS / "MIGRATING.md").read_text(encoding="utf-8")
    for name in set(re.findall(r"foodstream\.([A-Za-z_]+)\(", text)):
        assert hasattr(foodstream, name), name
    for name in set(re.findall(r"consumer\.([a-z_]+)\(", text)):
        assert hasattr(foodstream.Consumer, name), name
    assert len(re.findall(r"^\| `", text, re.MULTILINE)) > 30
