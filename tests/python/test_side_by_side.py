"""The runner of `make test`: outputs one after the other, a summary, and the code of whatever failed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from conftest import ROOT, ended

RUNNER = [sys.executable, str(ROOT / "tests" / "side_by_side.py")]


def shell(script: str) -> list[str]:
    return ["--", "sh", "-c", script]


def test_outputs_do_not_mix_and_the_runners_last_lines_come_again_at_the_end(tmp_path: Path) -> None:
    # Each waits for a file of the other, so they can only end if they run at once.
    first = f"echo one; touch {tmp_path}/a; until [ -e {tmp_path}/b ]; do sleep 0.01; done; echo two"
    second = f"echo three; until [ -e {tmp_path}/a ]; do sleep 0.01; done; touch {tmp_path}/b; echo four >&2"
    last = "; echo 'test result: ok. 3 passed'; echo '===== 1 failed in 2s ====='; echo 'FAILED tests/a.py::b'"
    done = subprocess.run([*RUNNER, *shell(first), *shell(second + last)], capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    words = ["one", "two", "three", "four"]
    assert [line for line in said if line in words] == words
    assert said[-3:] == ["test result: ok. 3 passed", "===== 1 failed in 2s =====", "FAILED tests/a.py::b"]


def test_the_code_is_that_of_the_first_to_fail_after_all_have_ended(tmp_path: Path) -> None:
    late = f"sleep 0.3; touch {tmp_path}/ended"
    done = subprocess.run([*RUNNER, *shell("exit 5"), *shell("exit 7"), *shell(late)], capture_output=True, check=False)
    assert done.returncode == 5
    assert (tmp_path / "ended").exists()
    assert subprocess.run([*RUNNER, *shell("true"), *shell("true")], capture_output=True, check=False).returncode == 0
    assert subprocess.run([*RUNNER, "true"], capture_output=True, check=False).returncode == 2


def test_a_runner_that_is_told_to_end_ends_what_it_started(tmp_path: Path, eventually: Callable[..., None]) -> None:
    script = f"trap 'touch {tmp_path}/$0.told; exit' TERM; touch {tmp_path}/$0.ready; while :; do sleep 0.05; done"
    words = [*RUNNER, "--", "sh", "-c", script, "a", "--", "sh", "-c", script, "b"]
    with ended(subprocess.Popen(words, stdout=subprocess.DEVNULL)) as runner:
        eventually(lambda: len(list(tmp_path.glob("*.ready"))) == 2, "both to run")
        runner.send_signal(signal.SIGTERM)
        assert runner.wait(20) == 128 + signal.SIGTERM
    assert {path.name for path in tmp_path.glob("*.told")} == {"a.told", "b.told"}


def test_a_command_that_hangs_is_killed_with_all_it_started_and_named(tmp_path: Path) -> None:
    # The child holds the pipe open for as long as it lives, so reading it to its end waits for its end.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = f"trap '' TERM; sleep 600 > {pipe} & echo begun; wait"
    words = [*RUNNER, *shell(script), *shell("echo 'test result: ok. 3 passed'")]
    limited = {**os.environ, "TEST_LIMIT_SEC": "0.5"}
    with ended(subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=limited)) as runner:
        assert pipe.read_text() == ""
        said, _ = runner.communicate(timeout=60)
    assert runner.returncode == 124
    assert "begun" in said
    assert "had not ended and was killed after" in said
    assert said.endswith("test result: ok. 3 passed\n")
