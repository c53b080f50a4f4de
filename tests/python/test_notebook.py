"""The notebook of the examples, its cells run in order as a notebook would, on a stack that it starts itself."""

import ast
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars
import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "orders.ipynb"
MAX_OUTPUT = 50_000


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run one cell and return the value of its last expression, which a notebook would show."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(NOTEBOOK), "exec"), names)
    return (
        eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names) if isinstance(last, ast.Expr) else None
    )


@contextmanager
def cleaned(names: dict[str, Any]) -> Iterator[None]:
    """A notebook that fails half-way leaves its stack running, as it should for whoever looks for the reason."""
    try:
        yield
    finally:
        if "stack" in names:
            names["stack"].reset()
            shutil.rmtree(names["folder"], ignore_errors=True)


def test_the_notebook_runs_from_the_stack_to_the_verification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    with cleaned(names):
        for cell in cells:
            if cell["cell_type"] == "code":
                assert cell["outputs"] == [], "committed without outputs"
                shown.append(run_cell("".join(cell["source"]), names))
    pages = [value._repr_html_() for value in shown if hasattr(value, "_repr_html_")]
    assert all(len(page) < MAX_OUTPUT and "<script" not in page for page in pages)
    assert sum("<svg" in page for page in pages) == 2
    frames = [value for value in shown if isinstance(value, polars.DataFrame)]
    assert frames[0].height == 5
    assert sum(frames[-1]["orders"]) == 50 + 330
    assert names["report"] and not names["folder"].exists()
