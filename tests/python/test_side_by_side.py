"""The runner of `make test`: outputs one after the other, a summary, and the code of whatever failed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import told_to_end
import with_services
from conftest import ROOT, ended
from foodstream._stack import process
from foodstream.local import Stack

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


def test_a_runner_that_is_told_to_end_while_it_starts_ends_what_it_has_started(tmp_path: Path) -> None:
    # The first tells it as soon as it runs, before the last of so many has been started.
    script = f"echo $$ > {tmp_path}/$0.pid; kill -TERM $PPID; exec sleep 600"
    words = [*RUNNER, *(word for number in range(20) for word in ("--", "sh", "-c", script, str(number)))]
    with ended(subprocess.Popen(words, stdout=subprocess.DEVNULL)) as runner:
        code = runner.wait(told_to_end.ALL_PATIENCE_SEC)
    started = [int(text) for path in tmp_path.glob("*.pid") if (text := path.read_text(encoding="utf-8"))]
    left = [pid for pid in started if process.start_time(pid) is not None]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert (code, left) == (128 + signal.SIGTERM, [])
    assert started


SUITE = """
import os
import pathlib
import time

import pytest

FOLDER = pathlib.Path(__file__).parent


@pytest.fixture(scope="session")
def service():
    made = FOLDER / f"{os.getpid()}.there"
    made.touch()
    yield
    (FOLDER / f"{os.getpid()}.clearing").touch()
    # As long as a service may take that ends its sessions first.
    time.sleep(1)
    made.unlink()
    (FOLDER / f"{os.getpid()}.gone").touch()


@pytest.mark.parametrize("number", range(2))
def test_that_hangs(service, number):
    (FOLDER / f"{os.getpid()}.hangs").touch()
    while True:
        time.sleep(0.05)
"""


@pytest.mark.parametrize("workers", [0, 2], ids=["alone", "workers"])
@pytest.mark.parametrize("through", [[], ["side_by_side.py"], ["with_services.py", "side_by_side.py"]], ids=len)
def test_a_run_of_pytest_that_is_told_to_end_takes_away_what_its_fixtures_started(
    tmp_path: Path, eventually: Callable[..., None], through: list[str], workers: int
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (tmp_path / "test_hanging.py").write_text(SUITE, encoding="utf-8")
    words = [sys.executable, "-m", "pytest", "-p", "conftest", "-n", str(workers), "-c", str(tmp_path / "pytest.ini")]
    for runner in reversed(through):
        words = [sys.executable, str(ROOT / "tests" / runner), "--", *words]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        # Services that it need not start.
        with_services.POSTGRES: "host=nowhere",
        with_services.KAFKA: "nowhere:1",
    }
    with ended(subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, env=environment)) as run:
        eventually(lambda: len(list(tmp_path.glob("*.hangs"))) == max(workers, 1), "all workers to be at work")
        run.send_signal(signal.SIGTERM)
        eventually(lambda: list(tmp_path.glob("*.clearing")) != [], "the clearing up to begin")
        # Again, as by who has lost patience: the clearing up is not cut short.
        run.send_signal(signal.SIGTERM)
        assert run.wait(90) != 0
    assert len(list(tmp_path.glob("*.gone"))) == max(workers, 1)
    assert list(tmp_path.glob("*.there")) == []


def test_who_starts_services_for_a_command_takes_them_away_when_told_to_end_and_after_the_command(
    tmp_path: Path, eventually: Callable[..., None]
) -> None:
    # The command ends its work in its time, with services that still answer.
    script = f"""
import pathlib, signal, sys, time, psycopg
folder = pathlib.Path({str(tmp_path)!r})
def told(*_):
    (folder / "told").touch()
    time.sleep(1)
    with psycopg.connect(sys.argv[1]) as connection:
        connection.execute("SELECT")
    (folder / "ended").touch()
    sys.exit()
signal.signal(signal.SIGTERM, told)
(folder / "ready").touch()
while True:
    time.sleep(0.05)
"""
    words = [sys.executable, str(ROOT / "tests" / "with_services.py"), "--", "sh", "-c"]
    given = (with_services.POSTGRES, with_services.KAFKA)
    environment = {name: value for name, value in os.environ.items() if name not in given}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    words += [f'exec "$0" -c "$1" "${with_services.POSTGRES}"', sys.executable, script]
    with ended(subprocess.Popen(words, env=environment)) as runner:
        eventually((tmp_path / "ready").exists, "the command to be at work", 120)
        (folder,) = tmp_path.glob("foodstream-tests-*")
        stack = Stack(folder)
        services = [running for running in stack.running().values() if running is not None]
        try:
            assert len(services) == 2
            runner.send_signal(signal.SIGTERM)
            eventually((tmp_path / "told").exists, "the command to be told")
            # Again, as by who has lost patience.
            runner.send_signal(signal.SIGTERM)
            assert runner.wait(told_to_end.ALL_PATIENCE_SEC) == 128 + signal.SIGTERM
            assert (tmp_path / "ended").exists()
            assert [running.pid for running in services if running.is_running()] == []
            assert not folder.exists()
        finally:
            for running in services:
                process.stop(running, ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)))


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
