"""The end of the interpreter while runs are under way, threads that go on beside a run, and how a session ends."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foodstream
import pytest
from conftest import ended
from nowhere import settings

# Of runs that go on until somebody ends them.
PATIENT = {"retry": {"start_timeout_sec": 600}}

_LEAVING = """
import atexit, json, sys, threading
# Before the package registers its own, and so called after that.
atexit.register(lambda: print(thing.status["message"]))
import foodstream
from foodstream import purchases
from foodstream._stack import process
thing, call = {
    "producer": (foodstream.Producer, lambda: thing.run()),
    "consumer": (foodstream.Consumer, lambda: thing.run()),
    "loop": (foodstream.Consumer, lambda: next(iter(thing))),
    "events": (purchases.EventProducer, lambda: thing.run()),
}[sys.argv[2]]
thing = thing(json.loads(sys.argv[1]))
threading.Thread(target=call, daemon=True).start()
process.wait_until(lambda: thing.status["message"] == "running", 60)
print("left", flush=True)
"""


@pytest.mark.parametrize("call", ["producer", "consumer", "loop", "events"])
def test_python_ends_cleanly_beside_a_run(call: str, tmp_path: Path) -> None:
    words = [sys.executable, "-X", "dev", "-c", _LEAVING, json.dumps(settings(tmp_path) | PATIENT), call]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "left\nidle\n"), done.stderr
    # What a slow machine has time to say is that the services are away, which they are.
    said = [line for line in done.stderr.splitlines() if "trying again" not in line]
    assert said == []


# Nobody waits for a call that only looks; its thread is still there while Python takes itself down.
_LOOKING = """
import json, logging, socket, sys, threading, time, foodstream
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
class Last:
    def __del__(self, pause=time.sleep):
        pause(1)
json.last = Last()
config = json.loads(sys.argv[1])
with socket.create_server(("127.0.0.1", 0)) as silent:
    config["kafka"]["brokers"] = f"127.0.0.1:{silent.getsockname()[1]}"
    threading.Thread(target=lambda: foodstream.peek(config, "topic"), daemon=True).start()
    silent.accept()
"""


def test_python_ends_cleanly_beside_a_look(tmp_path: Path) -> None:
    words = [sys.executable, "-c", _LOOKING, json.dumps(settings(tmp_path) | PATIENT)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


_COMMITTING = """
import json, sys, threading, foodstream
consumer = foodstream.Consumer(json.loads(sys.argv[1]))
taken = threading.Event()
threading.Thread(target=lambda: consumer.run(on_progress=lambda progress: taken.set()), daemon=True).start()
assert taken.wait(60)
"""


def test_what_was_committed_when_python_ended_is_whole(pipeline: Any) -> None:
    pipeline.config["consumer"]["maxOffsetsPerTrigger"] = 10
    foodstream.insert_test_orders(pipeline.config, count=500)
    foodstream.Producer(pipeline.config).run(once=True)
    words = [sys.executable, "-c", _COMMITTING, json.dumps(pipeline.config)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(foodstream.read(pipeline.config)) >= 10
    foodstream.Consumer(pipeline.config).run(available_now=True)
    assert foodstream.verify_pipeline(pipeline.config)


_WAITING = """
import json, signal, sys, threading, foodstream
from foodstream._stack import process
signal.signal(signal.SIGINT, signal.default_int_handler)
producer = foodstream.Producer(json.loads(sys.argv[1]))
threading.Thread(target=producer.run).start()
process.wait_until(lambda: producer.status["message"] == "running", 60)
print("waiting", flush=True)
signal.pause()  # a join that is interrupted would let go of the thread
"""


def test_ctrl_c_ends_a_run_of_an_ordinary_thread_too(tmp_path: Path) -> None:
    words = [sys.executable, "-c", _WAITING, json.dumps(settings(tmp_path) | PATIENT)]
    with ended(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)) as child:
        assert child.stdout is not None and child.stdout.readline() == "waiting\n"
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=30)
    assert child.returncode == -signal.SIGINT
    assert told.count("KeyboardInterrupt") == 1


def test_nothing_begins_when_python_ends(tmp_path: Path) -> None:
    program = (
        "import atexit, json, sys\n"
        "def late():\n"
        "    try:\n"
        "        foodstream.Producer(json.loads(sys.argv[1])).run(once=True)\n"
        "    except RuntimeError as error:\n"
        "        print(error)\n"
        "atexit.register(late)\n"  # before the package registers its own, and so called after that
        "import foodstream\n"
        "foodstream.Config(json.loads(sys.argv[1]))\n"
    )
    words = [sys.executable, "-c", program, json.dumps(settings(tmp_path))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert "going down" in done.stdout


def test_other_threads_go_on_beside_a_run(tmp_path: Path, eventually: Callable[..., None]) -> None:
    producer = foodstream.Producer(settings(tmp_path))
    counted = 0
    began = threading.Event()

    def count() -> None:
        nonlocal counted
        while producer.status["message"] != "running":
            pass
        began.set()
        while counted < 100_000:
            counted += 1
        producer.stop()

    counter = threading.Thread(target=count)
    counter.start()
    assert producer.run().rows == 0
    counter.join()
    assert began.is_set() and counted == 100_000
    eventually(lambda: producer.status["message"] == "idle", "the end of the run")


def test_a_producer_that_ends_takes_its_leave_of_the_server(pipeline: Any, eventually: Callable[..., None]) -> None:
    # A session that is only cut off is counted as abandoned, and proxies between the two complain.
    pipeline.run("producer", "--once")
    theirs = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'foodstream producer'"
    eventually(lambda: not pipeline.database.sql(f"SELECT pid {theirs}"), "the end of the producer's session")
    account = "SELECT sessions_abandoned FROM pg_stat_database WHERE datname = current_database()"
    assert pipeline.database.sql(account) == [(0,)]
