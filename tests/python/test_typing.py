"""The stub beside the binary, as mypy's own comparison sees it: names, parameters, defaults, kinds."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_stub_is_what_the_binary_is() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "foodstream._core"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
