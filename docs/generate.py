"""The two reference pages that nobody writes by hand: ``make docs`` writes them, and a test compares.

``API.md`` comes from the stub of the core and from the Python modules beside it, ``KEYS.md`` from the JSON Schema that
``foodstream config schema`` prints.
"""

import ast
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
PACKAGE = DOCS.parent / "python" / "foodstream"
SECTIONS = [
    ("foodstream", PACKAGE / "__init__.py"),
    ("foodstream.purchases", PACKAGE / "purchases" / "__init__.py"),
]
SOURCES = [PACKAGE / "_core.pyi", PACKAGE / "_ledger.py", PACKAGE / "_bar.py"]
# What a reader calls by name; other names with underscores are for Python and for notebooks.
SHOWN_SPECIAL = {"__iter__", "__aiter__", "__len__", "__bool__"}
ARROW = "__arrow_c_"
MADE = "This page is made by `make docs`"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def markdown(doc: str) -> str:
    """A docstring in Markdown: its blocks of code fenced, its literals in single ticks."""
    lines: list[str] = []
    code: list[str] = []
    for line in [*doc.splitlines(), ""]:
        if code and line and not line.startswith("    "):
            lines += fenced(code)
            code = []
        if code:
            code.append(line)
        elif line.endswith("::"):
            if line != "::":
                lines.append(line[:-1])
            code = [""]
        else:
            lines.append(line)
    if code:
        lines += fenced(code)
    return re.sub(r"(?<!`)``(?!`)([^`]+)``(?!`)", r"`\1`", "\n".join(lines)).strip()


def fenced(code: list[str]) -> list[str]:
    return ["```python", *textwrap.dedent("\n".join(code)).strip("\n").splitlines(), "```", ""]


def definitions() -> dict[str, ast.ClassDef | Function]:
    """Classes and functions of the sources by name."""
    found: dict[str, ast.ClassDef | Function] = {}
    for source in SOURCES:
        for node in ast.parse(source.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found[node.name] = node
    return found


def exported(module: Path) -> tuple[str, list[str]]:
    """The docstring of a module and the names it offers."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.get_docstring(tree) or "", ast.literal_eval(node.value)
    raise ValueError(f"{module} has no __all__")


def signature(node: Function, name: str) -> str:
    """As one calls it, without ``self``; types are in the stub's words."""
    arguments = ast.parse(ast.unparse(node)).body[0]
    assert isinstance(arguments, Function)
    taken = arguments.args
    for group in (taken.posonlyargs, taken.args):
        if group and group[0].arg in ("self", "cls"):
            del group[0]
            break
    returned = f" -> {ast.unparse(node.returns)}" if node.returns and name == node.name else ""
    called = f"{name}({ast.unparse(taken)}){returned}".replace("_ConfigLike", "ConfigLike")
    return ("await " if isinstance(node, ast.AsyncFunctionDef) else "") + called


def is_property(node: Function) -> bool:
    return any(isinstance(decorator, ast.Name) and decorator.id == "property" for decorator in node.decorator_list)


def members(node: ast.ClassDef) -> Iterator[str]:
    body = node.body
    for place, member in enumerate(body):
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            following = body[place + 1] if place + 1 < len(body) else None
            doc = (
                following.value.value
                if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                else ""
            )
            yield entry(f"`{member.target.id}`: `{ast.unparse(member.annotation)}`", str(doc))
        if not isinstance(member, Function) or member.name in ("__new__", "__init__"):
            continue
        if member.name.startswith("_") and member.name not in SHOWN_SPECIAL and not member.name.startswith(ARROW):
            continue
        if is_property(member) and member.returns is not None:
            title = f"`{member.name}`: `{ast.unparse(member.returns)}`"
        else:
            title = f"`{signature(member, member.name)}`"
        yield entry(title, ast.get_docstring(member) or "")


def entry(title: str, doc: str) -> str:
    # As deep as the site's Markdown wants it; others take two spaces too.
    said = textwrap.indent(markdown(doc), "    ")
    return f"- {title}" + (f"\n\n{said}" if said.strip() else "")


def described(name: str, node: ast.ClassDef | Function) -> Iterator[str]:
    if isinstance(node, Function):
        yield f"### {name}\n\n```\n{signature(node, name)}\n```\n\n{markdown(ast.get_docstring(node) or '')}"
        return
    makers = [member for member in node.body if isinstance(member, Function) and member.name in ("__new__", "__init__")]
    made = f"```\n{signature(makers[0], name)}\n```\n\n" if makers else ""
    bases = [ast.unparse(base) for base in node.bases if not ast.unparse(base).startswith("Generic")]
    over = f"A kind of `{'` and of `'.join(bases)}`. " if bases else ""
    yield f"### {name}\n\n{made}{over}{markdown(ast.get_docstring(node) or '')}"
    listed = "\n\n".join(members(node))
    if listed:
        yield listed


def api() -> str:
    """The API reference."""
    known = definitions()
    parts = [
        "# API",
        f"{MADE} from the stub `foodstream/_core.pyi`, which mypy compares with the binary.",
        "`ConfigLike` is a path to a YAML file, nested mappings with the same keys, or a `Config`. `overrides` is laid"
        ' over everything else, as `{"cdc": {"batch_limit": 500}}`. A wrong argument raises `TypeError` or'
        " `ValueError`, a wrong configuration `ConfigError`, each with what to write instead.",
    ]
    for package, module in SECTIONS:
        doc, names = exported(module)
        parts += [f"## {package}", markdown(doc)]
        for name in names:
            if name in known:
                parts += described(name, known[name])
    return "\n\n".join(part for part in parts if part) + "\n"


def schema() -> dict[str, Any]:
    words = [sys.executable, "-m", "foodstream", "config", "schema"]
    printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    parsed: dict[str, Any] = json.loads(printed)
    return parsed


def leaves(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, member in node.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        if "properties" in member:
            yield from leaves(member, here)
        else:
            yield here, member


def kind(member: dict[str, Any]) -> str:
    types = member.get("type", "any")
    listed = [types] if isinstance(types, str) else list(types)
    # Any value may be null, which is its default, and any may be written as ${NAME}, which is a string.
    told = [name for name in listed if name != "null"]
    if "pattern" in member and member["pattern"] == r"\$\{.+\}":
        told = [name for name in told if name != "string"]
    return " or ".join(told)


def limits(member: dict[str, Any]) -> str:
    told = []
    if "enum" in member:
        told.append(", ".join(f"`{value}`" for value in member["enum"] if value is not None))
    if "minimum" in member and "maximum" in member:
        told.append(f"{member['minimum']} to {member['maximum']}")
    elif "minimum" in member:
        told.append(f"from {member['minimum']} on")
    elif "exclusiveMinimum" in member:
        told.append(f"above {member['exclusiveMinimum']}")
    return "; ".join(told)


def keys() -> str:
    """The configuration reference: every key that the schema knows."""
    rows = ["| key | type | default | values | |", "| --- | --- | --- | --- | --- |"]
    for path, member in leaves(schema()):
        default = member.get("default")
        told = "" if default is None else f"`{json.dumps(default)}`"
        said = " ".join(member.get("description", "").split()).replace("|", "\\|")
        rows.append(f"| `{path}` | {kind(member)} | {told} | {limits(member)} | {said} |")
    return "\n".join(
        [
            "# Keys of the configuration",
            "",
            f"{MADE} from `foodstream config schema`. [CONFIGURATION.md](CONFIGURATION.md) says what each key is",
            "for, where values come from, and how they are written; defaults that depend on another key stand there.",
            "",
            *rows,
            "",
        ]
    )


PAGES = {"API.md": api, "KEYS.md": keys}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (DOCS / page).write_text(write(), encoding="utf-8")
