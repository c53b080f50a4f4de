"""What the package promises about itself, checked without building anything."""

import re
import subprocess
import sys
import tarfile
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def toml(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / name).read_text(encoding="utf-8"))


def test_there_is_one_arrow() -> None:
    versions: dict[str, set[str]] = defaultdict(set)
    for package in toml("Cargo.lock")["package"]:
        if package["name"] in ("arrow", "parquet", "pyo3") or package["name"].startswith("arrow-"):
            versions[package["name"]].add(package["version"])
    assert {"arrow", "arrow-array", "arrow-schema", "parquet"} <= versions.keys()
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_every_crate_has_a_licence_that_deny_toml_allows() -> None:
    # What is built on the platforms of deny.toml; `cargo metadata` also names what only others would need.
    asked = ["cargo", "tree", "--locked", "--features", "python", "--prefix", "none", "--format", "{p}|{l}"]
    for platform in toml("deny.toml")["graph"]["targets"]:
        asked += ["--target", platform]
    tree = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    licences = dict(line.removesuffix(" (*)").split("|") for line in tree.splitlines() if line)
    assert len(licences) > 200
    allowed = set(toml("deny.toml")["licenses"]["allow"])
    assert {crate: licence for crate, licence in licences.items() if not permitted(licence or "none", allowed)} == {}


def permitted(expression: str, allowed: set[str]) -> bool:
    """Whether a licence expression (SPDX, or the older form with a slash) can be met with the allowed licences."""
    words = re.findall(r"\(|\)|[A-Za-z0-9.+-]+(?: WITH [A-Za-z0-9.-]+)?", expression.replace("/", " OR "))
    python = {"(": "(", ")": ")", "AND": "and", "OR": "or"}
    return bool(eval(" ".join(python.get(word, str(word in allowed)) for word in words)))


def test_licence_expressions_are_read_as_written() -> None:
    allowed = {"MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"}
    assert permitted("MIT/Apache-2.0", allowed)
    assert permitted("(GPL-3.0 OR MIT) AND Unicode-3.0", allowed)
    assert permitted("Apache-2.0 WITH LLVM-exception OR GPL-3.0", allowed)
    assert not permitted("GPL-3.0", allowed)
    assert not permitted("MIT AND ISC", allowed)
    assert not permitted("none", allowed)


def test_the_sources_as_they_are_packed_fit_their_lock_file(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("what is packed is what git knows of")
    words = [sys.executable, "-m", "maturin", "sdist", "--out", str(tmp_path)]
    subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    (packed,) = tmp_path.glob("*.tar.gz")
    assert packed.stat().st_size < 5_000_000
    with tarfile.open(packed) as sources:
        sources.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("*/Cargo.lock")
    # With --locked it fails where the lock file would have to change, as every build from these sources would.
    asked = ["cargo", "tree", "--locked", "--depth", "0"]
    done = subprocess.run(asked, cwd=unpacked.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("foodstream v"), done.stderr


def test_importing_the_package_loads_neither_the_core_nor_anything_heavy() -> None:
    script = "import sys, foodstream; print('\\n'.join(sys.modules))"
    environment = {"PYTHONPATH": str(ROOT / "python"), "PATH": "/usr/bin:/bin"}
    printed = subprocess.run(
        [sys.executable, "-S", "-c", script], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "foodstream" in printed
    bare = [sys.executable, "-S", "-c", "import sys; print('\\n'.join(sys.modules))"]
    there = subprocess.run(bare, env=environment, capture_output=True, text=True, check=True).stdout.split()
    assert set(printed) - set(there) == {"foodstream"}, "not even typing, which takes ten times as long"


def test_the_names_of_the_package_are_those_of_its_stub() -> None:
    stub = (ROOT / "python" / "foodstream" / "_core.pyi").read_text(encoding="utf-8")
    declared = set(re.findall(r"^(?:class|def) (\w+)", stub, re.MULTILINE)) | {"__version__"}
    # `main` is for the command; the ledger and the bar are Python of their own.
    public = declared - {"main"} | {"BatchLedger", "ProgressBar"}
    exported = set()
    for name in ("__init__.py", "purchases/__init__.py"):
        package = (ROOT / "python" / "foodstream" / name).read_text(encoding="utf-8")
        names = package[package.index("__all__") : package.index("]", package.index("__all__"))]
        exported |= set(re.findall(r'"(\w+)"', names))
    assert exported == public


def test_the_documents_script_names_are_there_and_say_what_is_missing() -> None:
    names = {path.name for path in (ROOT / "scripts").iterdir() if path.suffix in (".py", ".sh")}
    assert names >= {
        "producer_spark_submit.sh",
        "consumer_spark_submit.sh",
        "orders_cdc_producer.py",
        "orders_stream_consumer.py",
        "insert_test_orders.py",
        "verify_pipeline.py",
        "test_postgres_connection.py",
        "test_kafka_producer.py",
        "test_kafka_consumer.py",
        "read_parquet_records.py",
        "create_parquet_sample.py",
        "event_producer.py",
        "streaming_job.py",
        "quickstart.py",
    }
    for name in sorted(names):
        if name.endswith(".py"):
            # -S leaves out site-packages, and with them foodstream
            done = subprocess.run(
                [sys.executable, "-S", str(ROOT / "scripts" / name)],
                capture_output=True,
                text=True,
                check=False,
                env={},
            )
            assert (done.returncode, done.stderr.count("\n")) == (1, 1), name
            assert done.stderr.startswith("foodstream is not installed for this Python"), name
