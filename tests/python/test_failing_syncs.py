"""A disk that fails: one fsync of a process, chosen by its number, is answered by the kernel with EIO."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import oracle
import pytest
from conftest import ROOT

FAILURE = 1
FAILING = [sys.executable, str(ROOT / "tests" / "failing_sync.py")]
INSERT = (
    "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status) "
    "SELECT 'c', 'r', 'i', CASE WHEN mod(n, 10) = 0 THEN 0 ELSE n END, 'PLACED' FROM generate_series(1, {rows}) n"
)
# A lake is founded, and a few batches are committed, within so many.
SYNCS_OF_A_CONSUMER = 36
# And within so many it starts on a lake that it finds: those of a first start have passed some of them over.
SYNCS_OF_A_START = 12
# So many that a run of all these syncs comes to no end of them.
ROWS_OF_A_BATCH, ROWS = 5, 800


@pytest.fixture(autouse=True)
def _watched() -> None:
    asked = subprocess.run([*FAILING, "1", "--", "true"], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        pytest.skip(f"no process may watch another's calls here: {asked.stderr}")


def run(pipeline: Any, number: int, side: str) -> tuple[int, str, str | None]:
    """Code and last line of a side whose sync of this number fails, and what that sync concerned, if there was one."""
    command = [sys.executable, "-m", "foodstream", side, "--config", str(pipeline.config_file), "--once"]
    done = subprocess.run(
        [*FAILING, str(number), "--", *command], cwd=pipeline.folder, capture_output=True, text=True, check=False
    )
    *said, verdict = done.stderr.splitlines()
    concerned = verdict.removeprefix("failed: ") if verdict.startswith("failed: ") else None
    return done.returncode, said[-1] if said else "", concerned


@pytest.mark.timeout(300)
def test_whichever_fsync_of_a_consumer_fails_it_stops_naming_the_file_and_nothing_is_lost_or_repeated(
    pipeline: Any,
) -> None:
    pipeline.config["consumer"]["maxOffsetsPerTrigger"] = ROWS_OF_A_BATCH
    pipeline.database.sql(INSERT.format(rows=ROWS))
    pipeline.run("producer", "--once")
    concerned: list[Path] = []
    for number in [*range(1, SYNCS_OF_A_CONSUMER + 1), *range(1, SYNCS_OF_A_START + 1)]:
        code, last, path = run(pipeline, number, "consumer")
        assert path is not None, f"fewer than {number} syncs, {code}: {last}"
        assert code == FAILURE, (number, path, last)
        assert last.startswith(f"error: cannot sync {path} to disk"), (number, path, last)
        concerned.append(Path(path))
    assert {".parquet"} <= {path.suffix for path in concerned}
    assert "lock" in {path.name for path in concerned}
    assert any(path.name.startswith("date=") for path in concerned)
    assert any("commits" in path.parts for path in concerned)
    pipeline.run("consumer", "--once")
    oracle.assert_conserved(pipeline)
    pipeline.run("verify")
