"""Producer and consumer stopped and killed at any moment, services taken away under them: nothing lost, nothing twice.

On a stack of its own: services are restarted here, and the broker lets a killed worker's partitions go in two seconds,
so that ten kills take little.
"""

import contextlib
import itertools
import json
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import oracle
import psycopg
import pytest
import topics
from conftest import Services, ended
from foodstream import BrokerError
from foodstream._stack import ports, process
from foodstream._stack.kafka import Kafka
from foodstream._stack.postgres import Postgres
from foodstream.local import Stack
from foodstream.purchases import EventProducer

SEED = 20251119
KILLS = 10
STOPS = 6
# A moment may fall anywhere from the start of the process to well into its work; a consumer's work begins when the
# group has let go of the one killed before it, two seconds later.
LATEST_MOMENT_SEC = {"producer": 2.5, "consumer": 5.0}
# What a stop takes, and what the longest of several may take on a machine that others use as well.
STOP_LIMIT_SEC = 2.0
LONGEST_STOP_SEC = 6.0
# Rows are to flow again within this time after a service has come back.
BACK_SEC = 120

# Ten kills of a consumer take two minutes by their pauses alone where the first ten fell into no work, and services
# are started and restarted besides.
pytestmark = pytest.mark.timeout(600)


class QuickGroups(Kafka):
    def _settings(self) -> dict[str, object]:
        return {**super()._settings(), "group.min.session.timeout.ms": 2_000}


class OwnStack(Stack):
    @property
    def kafka(self) -> Kafka:
        usual = super().kafka
        return QuickGroups(**{field.name: getattr(usual, field.name) for field in fields(usual)})


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = OwnStack(tmp_path_factory.mktemp("own") / "stack")
    postgres_port = ports.spare(set())
    stack.up(postgres_port, ports.spare({postgres_port}), sample=False)
    yield stack
    stack.reset()


@pytest.fixture(scope="module")
def services(stack: Stack) -> Services:
    """In place of the session's, for all that `database` and `pipeline` make here."""
    return Services(stack.administrator, stack.brokers)


@pytest.fixture
def pipeline(pipeline: Any) -> Any:
    pipeline.config["cdc"].update(poll_interval_sec=0.02, batch_limit=50)
    pipeline.config["consumer"]["trigger_interval_ms"] = 50
    pipeline.config["kafka"]["consumer"] = {"session.timeout.ms": 2_000, "heartbeat.interval.ms": 500}
    pipeline.config["retry"] = {"max_backoff_sec": 0.5}
    return pipeline


class Rows(threading.Thread):
    """Inserts rows all the while, and waits for a server that is away."""

    def __init__(self, database: Any) -> None:
        super().__init__()
        self.database = database
        self.stop = threading.Event()

    def __enter__(self) -> "Rows":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.join()

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                with self.database.connect() as connection:
                    while not self.stop.wait(0.02):
                        connection.execute(
                            "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status) "
                            "SELECT 'c', 'r', 'i', n, 'PLACED' FROM generate_series(1, 10) n"
                        )
            except psycopg.OperationalError:
                self.stop.wait(0.05)


def signal_at_a_moment(pipeline: Any, side: str, sent: signal.Signals, times: int, stretch: float) -> list[float]:
    """Starts one side, sends it the signal at a random moment, and again; returns how long each took to end."""
    moments = random.Random(f"{SEED} {side} {sent}")
    nothing = threading.Event()
    took = []
    for _ in range(times):
        stream = pipeline.start(side)
        if sent == signal.SIGTERM:
            assert process.wait_until(partial(handles_sigterm, stream.pid), 60), f"{side} did not start"
        nothing.wait(stretch * moments.uniform(0, LATEST_MOMENT_SEC[side]))
        begun = time.monotonic()
        stream.send_signal(sent)
        assert stream.wait(30) == (0 if sent == signal.SIGTERM else -sent), side
        took.append(time.monotonic() - begun)
    return took


def handles_sigterm(pid: int) -> bool:
    """Whether the process has come to where a stop is clean; before that the interpreter itself is still starting."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (caught,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def both_at_moments(pipeline: Any, sent: signal.Signals, times: int) -> list[float]:
    """At later ones where a slow machine has not come to any work before: signals into a mere start show little."""
    assert pipeline.config_file.exists()
    took: list[float] = []
    for stretch in (1.0, 4.0):
        with ThreadPoolExecutor(2) as pool:
            signals = partial(signal_at_a_moment, pipeline, sent=sent, times=times, stretch=stretch)
            took += [one for side in pool.map(signals, ("producer", "consumer")) for one in side]
        if oracle.count(pipeline.lake) > 10:
            return took
    pytest.fail(f"no {sent.name} fell into any work")


def assert_all_arrived_once(pipeline: Any) -> None:
    """After a last run of each side the lake is the table, and the topic holds each row once."""
    # A broker that was killed may hold a transaction open until its time is over: 75 asks for another try.
    tries = (pipeline.run("producer", "--once", expect=None) for _ in range(3))
    refused = list(itertools.takewhile(lambda done: done.returncode != 0, tries))
    assert len(refused) < 3, [done.stderr for done in refused]
    pipeline.run("consumer", "--once")
    published = topics.read(pipeline.database.services.brokers, pipeline.topic)
    keys = [row[0] for row in oracle.table(pipeline.database)]
    oracle.assert_once([int(message.key or b"") for message in published], keys)
    oracle.assert_conserved(pipeline)
    pipeline.run("verify")


def test_either_side_stops_within_two_seconds_at_any_moment_and_nothing_is_lost_or_repeated(pipeline: Any) -> None:
    with Rows(pipeline.database):
        took = both_at_moments(pipeline, signal.SIGTERM, STOPS)
    assert statistics.median(took) < STOP_LIMIT_SEC and max(took) < LONGEST_STOP_SEC, took
    assert_all_arrived_once(pipeline)


def test_ten_kills_of_each_side_while_rows_flow_lose_and_repeat_nothing(pipeline: Any) -> None:
    with Rows(pipeline.database):
        both_at_moments(pipeline, signal.SIGKILL, KILLS)
    assert_all_arrived_once(pipeline)


@pytest.mark.parametrize(
    ("service", "ways"),
    [("postgres", [signal.SIGINT, signal.SIGKILL]), ("kafka", [signal.SIGTERM, signal.SIGKILL])],
    ids=["postgresql", "kafka"],
)
def test_a_running_pipeline_goes_on_after_a_restart_and_a_crash_of(
    service: str, ways: list[signal.Signals], pipeline: Any, stack: Stack, eventually: Callable[..., None]
) -> None:
    streams = [pipeline.start("producer"), pipeline.start("consumer")]
    with Rows(pipeline.database):
        eventually(lambda: oracle.count(pipeline.lake) > 50, "rows to flow")
        for how in ways:
            take_away(getattr(stack, service), how)
            getattr(stack, service).start()
            before = pipeline.database.count()
            eventually(
                lambda before=before: oracle.count(pipeline.lake) > before, f"rows written after {how.name}", BACK_SEC
            )
    stop_cleanly(streams)
    assert_all_arrived_once(pipeline)


@pytest.mark.parametrize("service", ["postgres", "kafka"])
def test_both_sides_stop_in_time_while_a_service_is_away(
    service: str, pipeline: Any, stack: Stack, eventually: Callable[..., None]
) -> None:
    streams = [pipeline.start("producer"), pipeline.start("consumer")]
    with Rows(pipeline.database):
        eventually(lambda: oracle.count(pipeline.lake) > 50, "rows to flow")
        take_away(getattr(stack, service), signal.SIGKILL)
        try:
            stop_cleanly(streams)
        finally:
            getattr(stack, service).start()
    for log in pipeline.folder.glob("*.log"):
        text = log.read_text(encoding="utf-8")
        assert "Published 0 rows" not in text and "Consumed 0 messages" not in text, "figures that nobody knows"
    assert_all_arrived_once(pipeline)


def test_events_that_did_not_arrive_are_counted_and_told(purchases: Any, stack: Stack, eventually: Any) -> None:
    topic = purchases.config["kafka"]["topic_name"]

    def arrived() -> int:
        return topics.bounds(stack.brokers, topic)[0][1]

    with EventProducer(purchases.config) as producer:
        event = producer.generate()
        producer.publish(event)
        producer.flush()
        generator = purchases.start("purchases produce", "--rate", "unlimited", "--report", "json")
        eventually(lambda: arrived() > 1, "generated events")
        take_away(stack.kafka, signal.SIGKILL)
        try:
            producer.publish(event)
            producer.stop()
            with pytest.raises(BrokerError, match=r"^1 events are not known to be in the topic: "):
                producer.flush()
            begun = time.monotonic()
            generator.send_signal(signal.SIGTERM)
            assert generator.wait(30) == 1
            assert time.monotonic() - begun < LONGEST_STOP_SEC
        finally:
            stack.kafka.start()
    (log,) = purchases.folder.glob("*.log")
    # Lines of the log, which shares the file, may come behind it.
    lines = log.read_text(encoding="utf-8").splitlines()
    report = json.loads(next(line for line in reversed(lines) if line.startswith("{")))
    if "error" in report:
        # Slower than the patience of a stop: then it does not know how many, and says that.
        assert "nobody knows which arrived" in report["error"]["message"]
        return
    assert report["delivery_errors"] > 0
    assert report["events"] - report["delivery_errors"] <= arrived() - 1 <= report["events"]


# Publishes once, and again when it is told to.
_DELIVERING = """
import json, os, signal, sys, threading, time
from foodstream import purchases
from foodstream._stack import process
signal.signal(signal.SIGINT, signal.default_int_handler)
producer = purchases.EventProducer(json.loads(sys.argv[1]))
producer.publish({})
producer.flush()
print("open", flush=True)
sys.stdin.readline()
producer.publish({})
def report():
    if process.wait_until(lambda: producer.status["message"] == "running", 60):
        print("blocked", flush=True)
threading.Thread(target=report, daemon=True).start()
try:
    getattr(producer, sys.argv[2])()
except KeyboardInterrupt:
    print(time.time(), flush=True)
    os._exit(0)  # without the seconds that the end of Python would give the broker
"""


def test_ctrl_c_ends_a_flush_and_a_close_that_wait_for_a_broker(purchases: Any, stack: Stack) -> None:
    # Three of each, of which the machine may be busy for two just then.
    words = [sys.executable, "-c", _DELIVERING, json.dumps(purchases.config)]
    taken: dict[str, list[float]] = {"flush": [], "close": []}
    with contextlib.ExitStack() as children:
        waiting = []
        for call in [*taken] * 3:
            child = subprocess.Popen([*words, call], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            waiting.append((call, children.enter_context(ended(child))))
        for _, child in waiting:
            assert child.stdout is not None and child.stdout.readline() == "open\n"
        take_away(stack.kafka, signal.SIGKILL)
        try:
            for call, child in waiting:
                assert child.stdin is not None and child.stdout is not None
                child.stdin.write("\n")
                child.stdin.flush()
                assert child.stdout.readline() == "blocked\n"
                sent = time.time()
                child.send_signal(signal.SIGINT)
                taken[call].append(float(child.stdout.readline()) - sent)
        finally:
            stack.kafka.start()
    assert all(min(times) < 0.2 for times in taken.values()), taken


def take_away(service: Postgres | Kafka, how: signal.Signals) -> None:
    running = service.running
    assert running is not None
    process.stop(running, [(how, 30.0)])
    assert not running.is_running()


def stop_cleanly(streams: list[subprocess.Popen[str]]) -> None:
    assert [stream.poll() for stream in streams] == [None] * len(streams), "a side gave up"
    begun = time.monotonic()
    for stream in streams:
        stream.send_signal(signal.SIGTERM)
    assert [stream.wait(30) for stream in streams] == [0] * len(streams)
    assert time.monotonic() - begun < LONGEST_STOP_SEC
