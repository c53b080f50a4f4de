"""How many instructions each stage takes a row: a count is the same in every run, where a time is not.

callgrind counts the passes of ``tests/rust/instructions.rs``. The code is that of the tests, unoptimised, so a count
does not say how fast a release is; it grows where the work does, by a look more at each byte or a call more for each
value, and that shows here before it is a slower figure in ``make bench-stages``.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = 1_024
# Narrow and wide orders, as counted with Rust 1.95 on x86-64.
COUNTED = {
    "copy_decode": (6_957, 6_957),
    "json_encode": (19_568, 27_396),
    "json_decode": (27_365, 33_910),
    "validate": (31_189, 37_848),
    "totals": (382, 382),
    "parquet": (11_119, 29_061),
}
# Two runs differ by a thousandth, by what is hashed with a random seed. Compilers and processors differ by more.
ALLOWED = 1.1
PASS = "rust::instructions::counted"


def newest_tests() -> Path:
    """The integration tests that were compiled last."""
    folder = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "deps"
    compiled = [file for file in folder.glob("rust-*") if not file.suffix and os.access(file, os.X_OK)]
    if not compiled:
        pytest.skip("the Rust tests are not compiled; `make test` does it first")
    return max(compiled, key=lambda file: file.stat().st_mtime)


def test_no_stage_takes_more_instructions_than_were_counted(tmp_path: Path) -> None:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        pytest.skip("valgrind is not installed")
    # Counts only within a pass, and writes a file after each.
    count = ["--tool=callgrind", "--collect-atstart=no", f"--toggle-collect={PASS}", f"--dump-after={PASS}"]
    tests = [str(newest_tests()), "instructions::", "--test-threads", "1"]
    run = subprocess.run(
        [valgrind, *count, "--callgrind-out-file=counts", *tests],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed" in run.stdout
    passes = [(kind, stage) for kind in range(2) for stage in COUNTED]
    files = [tmp_path / f"counts.{number}" for number in range(1, len(passes) + 1)]
    found = {a_pass: total(file) / ROWS for a_pass, file in zip(passes, files, strict=True)}
    assert not tmp_path.joinpath(f"counts.{len(passes) + 1}").exists(), "a pass that is not in the list"
    grown = [
        f"{stage}, {('narrow', 'wide')[kind]}: {count:,.0f} instructions a row, {COUNTED[stage][kind]:,} were counted"
        for (kind, stage), count in found.items()
        if count > COUNTED[stage][kind] * ALLOWED
    ]
    assert not grown, "\n".join(grown)
    # What is not looked at would pass as well; what became so much cheaper has a new figure.
    assert all(count > COUNTED[stage][kind] / 2 for (kind, stage), count in found.items()), f"far fewer: {found}"


def total(file: Path) -> int:
    (found,) = re.findall(r"^totals: (\d+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return int(found)
