"""The fault harness: its short form, and its parts, each on its own; the oracles' tests are in a file apart."""

import contextlib
import json
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import nowhere
import pytest
import told_to_end
import torture.__main__
import torture.rig
from foodstream._stack import ports, process
from torture import limit
from torture.crew import CONSUMER, PRODUCER, Crew
from torture.faults import Faults
from torture.ledger import Ledger
from torture.proxy import END_TXN, Proxy
from torture.rig import Rig
from torture.run import SOURCE, Options, run
from torture.schedule import CLUSTER_DECK, DECK, SHORT_DECK, Fault, Points, failpoints, kills_of_a_round, plan

SEED = 20251118
ROWS = 200_000
KILLS = 25
# It takes two minutes on an idle machine with two processors, and the ledger says how long; this is for one that hangs.
GIVE_UP_SEC = 900


@pytest.mark.timeout(GIVE_UP_SEC)
def test_kills_of_everything_and_at_every_failpoint_lose_repeat_and_alter_nothing(tmp_path: Path) -> None:
    points = failpoints(SOURCE)
    wanted = kills_of_a_round(SHORT_DECK, points)
    options = Options(seed=SEED, kills=wanted, rows=ROWS, short=True, verbose=True)
    ledger = run(options, tmp_path)
    print(ledger.text())
    assert ledger.judged and not ledger.findings, ledger.text()
    assert ledger.killed >= wanted >= KILLS
    assert ledger.rows["in the table"] >= ROWS
    assert set(points.names) <= set(ledger.kills), "a failpoint at which nothing was killed"


def test_a_seed_is_a_plan_and_another_seed_another_plan() -> None:
    points = failpoints(SOURCE)
    first, again = (list(islice(plan(7, DECK, points), 300)) for _ in range(2))
    assert first == again
    assert first != list(islice(plan(8, DECK, points), 300))


@pytest.mark.parametrize("deck", [DECK, SHORT_DECK, CLUSTER_DECK], ids=["long", "short", "cluster"])
def test_the_first_round_has_every_fault_and_every_failpoint_whatever_the_seed(deck: dict[Fault, int]) -> None:
    points = failpoints(SOURCE)
    for seed in range(5):
        round_ = list(islice(plan(seed, deck, points), sum(deck.values()) + len(points.names)))
        assert Counter(step.fault for step in round_) == Counter(deck) + Counter(
            {Fault.KILL_AT_FAILPOINT: len(points.names)}
        )
        assert {step.point for step in round_ if step.fault is Fault.KILL_AT_FAILPOINT} == set(points.names)
    assert set(CLUSTER_DECK) == set(Fault) - {Fault.KILL_AT_FAILPOINT}


class Service:
    """Answers each request of a Kafka-like protocol with its own correlation id, until closed."""

    def __init__(self) -> None:
        self.socket = socket.create_server((ports.LOOPBACK, ports.spare(set())))
        self.port = self.socket.getsockname()[1]
        self.asked = 0
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=[connection], daemon=True).start()

    def answer(self, connection: socket.socket) -> None:
        with connection:
            while request := connection.recv(12):
                self.asked += 1
                connection.sendall(struct.pack(">ii", 4, struct.unpack_from(">hhi", request, 4)[2]))


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.socket.close()


@pytest.fixture
def proxy(service: Service) -> Iterator[Proxy]:
    proxy = Proxy(ports.spare({service.port}), service.port, frames=True)
    proxy.start()
    yield proxy
    proxy.stop()


def ask(connection: socket.socket, request: int, correlation: int) -> bytes:
    connection.sendall(struct.pack(">ihhi", 8, request, 0, correlation))
    return connection.recv(8)


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((ports.LOOPBACK, proxy.port), timeout=10)


def test_the_proxy_passes_delays_and_loses_replies_and_cuts_connections(proxy: Proxy, service: Service) -> None:
    with connect(proxy) as connection:
        assert ask(connection, 3, 1) == struct.pack(">ii", 4, 1)
        proxy.delay_sec = 0.2
        begun = time.monotonic()
        assert ask(connection, 3, 2) == struct.pack(">ii", 4, 2)
        assert time.monotonic() - begun >= proxy.delay_sec
        proxy.delay_sec = 0.0
        proxy.lose()
        before = service.asked
        connection.sendall(struct.pack(">ihhi", 8, 3, 0, 3))
        # The service has answered, and the reply is not there: that is what lost means.
        assert process.wait_until(lambda: service.asked > before, 10)
        proxy.heal()
        assert_reset(connection)
    with connect(proxy) as connection:
        assert ask(connection, 3, 4) == struct.pack(">ii", 4, 4)
        proxy.cut()
        assert_reset(connection)


def test_the_proxy_loses_the_reply_to_one_kind_of_request_once(proxy: Proxy, service: Service) -> None:
    proxy.lose_reply(END_TXN)
    with connect(proxy) as connection:
        assert ask(connection, 3, 1) == struct.pack(">ii", 4, 1)
        assert not proxy.lost.is_set()
        connection.sendall(struct.pack(">ihhi", 8, END_TXN, 0, 2))
        assert proxy.lost.wait(10)
        assert service.asked == 2
        assert_reset(connection)
    with connect(proxy) as connection:
        assert ask(connection, END_TXN, 3) == struct.pack(">ii", 4, 3)


def assert_reset(connection: socket.socket) -> None:
    try:
        assert connection.recv(8) == b""
    except ConnectionResetError:
        return


def test_a_process_that_ends_by_itself_is_a_finding_and_is_replaced(tmp_path: Path) -> None:
    ledger = Ledger(0, "")
    config = tmp_path / "orders_stream.yml"
    config.write_text("nonsense: true\n", encoding="utf-8")
    crew = Crew(config, tmp_path, ledger)
    try:
        first = crew.start(PRODUCER)
        assert process.wait_until(first.has_ended, 30)
        crew.tend()
        assert [finding.oracle for finding in ledger.findings] == ["loud"]
        assert "nonsense" in ledger.findings[0].what
        assert crew.producer is not first
        # A kill that comes too late does not hide it.
        assert process.wait_until(crew.producer.has_ended, 30)
        crew.kill(crew.producer)
        assert crew.members == []
        assert len(ledger.findings) == 2
        # What is expected while it lasts is none; whoever ended so is back after it.
        crew.forgive(2)
        third = crew.start(PRODUCER)
        assert process.wait_until(third.has_ended, 30)
        crew.tend()
        assert (len(ledger.findings), crew.members) == (2, [])
        crew.forgive()
        assert [member.side for member in crew.members] == [PRODUCER]
        # One that is armed has a successor from whoever armed it, and its end is a finding all the same.
        armed = crew.start(CONSUMER, "lake::staged")
        assert process.wait_until(armed.has_ended, 30)
        crew.tend()
        assert crew.consumers == []
        assert any(armed.log.name in finding.what for finding in ledger.findings)
    finally:
        crew.close()


def test_the_ledger_counts_measures_and_says_how_to_play_it_again(tmp_path: Path) -> None:
    options = Options(seed=5, kills=3, rows=10)
    ledger = Ledger(options.seed, options.command)
    for number in range(1, 101):
        ledger.recovered("a fault", number / 10)
    ledger.kill("producer")
    ledger.kill("lake::staged")
    assert (ledger.killed, ledger.recovery()) == (2, {"count": 100, "p50": 5.0, "p99": 9.9, "max": 10.0})
    assert "given up before the oracles had looked" in ledger.text()
    ledger.judged = True
    assert "lost 0, repeated 0, altered 0, invalid accepted 0, valid rejected 0\nnothing found" in ledger.text()
    ledger.finds("lost", "11")
    ledger.finds("lost", "12")
    assert "lost 2, repeated 0" in ledger.text()
    assert ledger.text().endswith("replay: make torture SEED=5 KILLS=3 ROWS=10")
    assert Options(seed=5, short=True, rows_per_sec=80.0).command.endswith('TORTURE="--short --rate 80.0"')
    ledger.save(tmp_path / "ledger.json")
    told = json.loads((tmp_path / "ledger.json").read_text(encoding="utf-8"))
    assert told["kills"] == {"total": 2, "by_place": {"lake::staged": 1, "producer": 1}}
    assert [finding["what"] for finding in told["findings"]] == ["11", "12"]


def test_a_machine_that_lets_nobody_mount_is_named_in_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(0, "")
    rig = Rig(tmp_path, ledger)
    monkeypatch.setenv("PATH", "")
    assert not rig.disk.mount()
    step = next(step for step in plan(0, DECK, Points()) if step.fault is Fault.FULL_DISK)
    Faults(rig, rig.crew.tend).strike(step)
    assert ledger.impossible == {Fault.FULL_DISK.value: "there is no mount program"}
    assert "not possible here: the lake's disk full: there is no mount program" in ledger.text()
    assert not ledger.faults


def hang(rig: Rig) -> None:
    """In place of what the rig starts: a wait without end, under one who goes on after any error."""
    rig.ledger.kill("producer")
    for _ in range(2):
        with contextlib.suppress(Exception):
            # A child, as most waits of the harness are for one.
            subprocess.run(["sleep", "600"], check=True)


def test_a_run_that_does_not_end_is_given_up_with_its_ledger_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rig, "start", hang)
    before = signal.getsignal(limit.SIGNAL)
    ledger = run(Options(seed=0, short=True, given_limit_sec=0.5), tmp_path)
    assert [finding.oracle for finding in ledger.findings] == ["alive"]
    assert "given up at the start" in ledger.findings[0].what
    said = ledger.text()
    assert "kills: 1" in said and "given up before the oracles had looked" in said and "replay: make torture" in said
    assert signal.getsignal(limit.SIGNAL) == before


def test_the_command_takes_a_limit_and_keeps_what_it_has_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Rig, "start", hang)
    monkeypatch.setattr(told_to_end, "exit_when_told", lambda: None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    told = tmp_path / "ledger.json"
    assert torture.__main__.main(["--seed", "5", "--short", "--quiet", "--limit", "0.5", "--json", str(told)]) == 1
    said = capsys.readouterr()
    assert "given up at the start" in said.out and "the time of the run is over, 0 s" in said.out
    (kept,) = tmp_path.glob("foodstream-torture-*")
    assert f"logs: {kept}" in said.err
    assert [finding["oracle"] for finding in json.loads(told.read_text(encoding="utf-8"))["findings"]] == ["alive"]


def test_a_command_that_does_not_end_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(rig: Rig) -> None:
        rig.crew.config.write_text(json.dumps(nowhere.settings(tmp_path / "away")), encoding="utf-8")
        # It waits for a broker that is nowhere.
        rig.run("consumer", "--status-port", "off")

    monkeypatch.setattr(Rig, "start", ask)
    monkeypatch.setattr(torture.rig, "COMMAND_TIMEOUT_SEC", 1.0)
    ledger = run(Options(seed=0, short=True, given_limit_sec=120.0), tmp_path)
    assert [finding.oracle for finding in ledger.findings] == ["alive"]
    assert "given up: `foodstream consumer" in ledger.findings[0].what
    assert "did not end within 1 s" in ledger.findings[0].what
    assert "given up before the oracles had looked" in ledger.text()


def test_the_limit_of_a_run_grows_with_what_is_asked_for() -> None:
    asked = Options(seed=0, kills=200)
    assert asked.limit_sec < Options(seed=0, kills=2_000).limit_sec
    assert Options(seed=0, duration_sec=36_000.0).limit_sec > 36_000.0
    assert Options(seed=0, given_limit_sec=5.0).limit_sec == 5.0


def test_a_block_that_ends_in_time_is_left_alone() -> None:
    with limit.limited(60.0):
        pass
    assert signal.getsignal(limit.SIGNAL) is signal.SIG_DFL


def test_a_kill_of_our_own_is_no_finding_and_reaches_a_stopped_process_too(tmp_path: Path) -> None:
    ledger = Ledger(0, "")
    config = tmp_path / "orders_stream.yml"
    shutil.copy(Path(__file__).resolve().parents[2] / "configs" / "orders_stream.yml", config)
    crew = Crew(config, tmp_path, ledger)
    member = crew.start(PRODUCER)
    member.signal(signal.SIGSTOP)
    crew.kill(member)
    assert member.child.returncode == -signal.SIGKILL
    assert (ledger.findings, crew.members) == ([], [])
