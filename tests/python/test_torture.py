"""The fault harness: its short form, and that its oracles find what a liar would do to what the product wrote."""

import json
import shutil
import signal
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import oracle
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import topics
from foodstream._stack import ports, process
from torture import commits, oracles
from torture.crew import PRODUCER, Crew
from torture.faults import Faults
from torture.ledger import Ledger
from torture.load import INVALID, ONE, POISONS
from torture.proxy import END_TXN, Proxy
from torture.rig import Rig
from torture.run import SOURCE, Options, run
from torture.schedule import CLUSTER_DECK, DECK, SHORT_DECK, Fault, Points, failpoints, kills_of_a_round, plan
from torture.watch import CANARY, POISON, Watch

SEED = 20251118
ROWS = 200_000
KILLS = 25
SHORT_LIMIT_SEC = 300


@pytest.mark.timeout(SHORT_LIMIT_SEC + 120)
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
    assert ledger.seconds < SHORT_LIMIT_SEC


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


# What a liar does to a good lake, and what the oracles must call it. Each gets the copy of a lake, a log, a quarantine.


@dataclass(frozen=True)
class Kept(oracles.Pipeline):
    """A pipeline whose topic has been read once and for all."""

    kept: tuple[topics.Message, ...] = ()

    def messages(self) -> Iterable[topics.Message]:
        return self.kept


class Copy:
    """The outputs of a pipeline, to be tampered with."""

    def __init__(self, good: Kept, folder: Path) -> None:
        self.pipeline = replace(
            good, lake=folder / "lake", quarantine=folder / "quarantine", checkpoint=folder / "checkpoint"
        )
        shutil.copytree(good.lake, self.pipeline.lake)
        shutil.copytree(good.quarantine, self.pipeline.quarantine)
        shutil.copytree(good.checkpoint, self.pipeline.checkpoint)

    @property
    def file(self) -> Path:
        """The file of the lake with the most rows."""
        return max(oracle.files(self.pipeline.lake), key=oracle.rows)

    def rewrite(self, path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
        pq.write_table(change(pq.ParquetFile(path).read()), path)

    def record(self, number: int, change: Callable[[dict[str, Any]], None]) -> None:
        path, record = list(commits.records(self.pipeline.checkpoint))[number]
        change(record)
        path.write_text(json.dumps(record), encoding="utf-8")

    def found(self) -> set[str]:
        """The kinds of findings, by the oracles that need no product."""
        ledger = Ledger(0, "")
        for look in (oracles.both_hops, oracles.rejects, oracles.log):
            look(self.pipeline, ledger)
        return {finding.oracle for finding in ledger.findings}


def with_value(column: str, row: int, value: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        values[row] = value(values[row]) if callable(value) else value
        place = table.schema.get_field_index(column)
        return table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))

    return change


def of_key(root: Path, key: int) -> tuple[Path, int]:
    """File and row of an order."""
    for path in oracle.files(root):
        keys = pq.ParquetFile(path).read(columns=["order_id"])["order_id"].to_pylist()
        if key in keys:
            return path, keys.index(key)
    raise AssertionError(f"order {key} is not in {root}")


def accept_an_invalid_row(copy: Copy) -> None:
    path, row = of_key(copy.pipeline.quarantine, an_invalid_key(copy))
    reject = pq.ParquetFile(path).read().slice(row, 1)
    copy.rewrite(path, lambda table: pa.concat_tables([table.slice(0, row), table.slice(row + 1)]))
    copy.rewrite(copy.file, lambda table: pa.concat_tables([table, reject.select(table.column_names)]))


def an_invalid_key(copy: Copy) -> int:
    """An order in quarantine with a time, so that it could lie in the lake."""
    rows = oracle.quarantine(copy.pipeline.quarantine)
    keys = [row["order_id"] for row in rows if (row["raw_key"] or b"").isdigit()]
    return int(keys[0])


def reject_a_valid_row(copy: Copy) -> None:
    key = pq.ParquetFile(copy.file).read()["order_id"][0].as_py()
    copy.rewrite(copy.file, lambda rows: rows.slice(1))
    (message,) = (found for found in copy.pipeline.messages() if found.key == str(key).encode())
    told = {"raw_key": message.key, "raw_value": message.value, "offset": message.offset}

    def with_it(rejects: pa.Table) -> pa.Table:
        one = rejects.slice(0, 1)
        for column, value in {**told, "partition": message.partition}.items():
            one = with_value(column, 0, value)(one)
        return pa.concat_tables([rejects, one])

    copy.rewrite(oracle.files(copy.pipeline.quarantine)[0], with_it)


def is_poison(rejects: pa.Table) -> Any:
    return pc.starts_with(pc.cast(rejects["raw_key"], pa.string()), POISON.decode())


def drop_the_poison(copy: Copy) -> None:
    for path in oracle.files(copy.pipeline.quarantine):
        copy.rewrite(path, lambda rejects: rejects.filter(pc.invert(is_poison(rejects))))


def move(copy: Copy) -> None:
    other = copy.pipeline.lake / "date=2001-01-01"
    other.mkdir()
    copy.file.rename(other / copy.file.name)


def drop_a_record(copy: Copy) -> None:
    list(commits.records(copy.pipeline.checkpoint))[1][0].unlink()


def moved_cursor(record: dict[str, Any]) -> None:
    record["ranges"][0]["to"] += 1


def other_totals(record: dict[str, Any]) -> None:
    for groups in record["totals"].values():
        groups[0]["columns"]["amount"]["sum"] = "1.00"


LIARS: dict[str, tuple[Callable[[Copy], Any], set[str]]] = {
    "a file is gone": (lambda copy: copy.file.unlink(), {"lost", "totals"}),
    "a row is gone": (lambda copy: copy.rewrite(copy.file, lambda rows: rows.slice(1)), {"lost", "totals"}),
    "a row is there twice": (
        lambda copy: copy.rewrite(copy.file, lambda rows: pa.concat_tables([rows, rows.slice(0, 1)])),
        {"repeated", "totals"},
    ),
    "a file is there twice": (
        lambda copy: shutil.copy(copy.file, copy.file.with_name("part-1.parquet")),
        {"repeated", "commits"},
    ),
    "a row from nowhere": (
        lambda copy: copy.rewrite(
            copy.file, lambda rows: pa.concat_tables([rows, with_value("order_id", 0, 1 << 40)(rows.slice(0, 1))])
        ),
        {"invented", "totals"},
    ),
    "a cent more": (
        lambda copy: copy.rewrite(copy.file, with_value("amount", 0, lambda amount: amount + Decimal("0.01"))),
        {"altered", "totals"},
    ),
    "another text": (
        lambda copy: copy.rewrite(copy.file, with_value("item", 0, lambda item: item + " ")),
        {"altered"},
    ),
    "a microsecond later": (
        lambda copy: copy.rewrite(
            copy.file, with_value("created_at", 0, lambda at: at.replace(microsecond=(at.microsecond + 1) % 1_000_000))
        ),
        {"altered"},
    ),
    "a text that is null": (lambda copy: copy.rewrite(copy.file, with_value("item", 0, None)), {"altered"}),
    "another day's folder": (move, {"altered", "commits", "totals"}),
    "an invalid row accepted": (accept_an_invalid_row, {"invalid accepted", "totals"}),
    "a valid row rejected": (reject_a_valid_row, {"valid rejected", "totals"}),
    "poison thrown away": (drop_the_poison, {"invalid accepted", "totals"}),
    "poison kept twice": (
        lambda copy: copy.rewrite(
            oracle.files(copy.pipeline.quarantine)[0],
            lambda rows: pa.concat_tables([rows, rows.filter(is_poison(rows))]),
        ),
        {"repeated", "totals"},
    ),
    "another reason": (
        lambda copy: copy.rewrite(
            of_key(copy.pipeline.quarantine, an_invalid_key(copy))[0],
            with_value("reasons", of_key(copy.pipeline.quarantine, an_invalid_key(copy))[1], "too_deep"),
        ),
        {"other reasons"},
    ),
    "other bytes of a reject": (
        lambda copy: copy.rewrite(
            of_key(copy.pipeline.quarantine, an_invalid_key(copy))[0], with_value("raw_value", 0, b"{}")
        ),
        {"altered"},
    ),
    "a cursor that has moved": (lambda copy: copy.record(-2, moved_cursor), {"commits"}),
    "other totals": (lambda copy: copy.record(-1, other_totals), {"totals"}),
    "other counts": (lambda copy: copy.record(-1, lambda record: record["counts"].update(input=1)), {"totals"}),
    "a commit is gone": (drop_a_record, {"commits", "totals"}),
}


@pytest.fixture
def good(pipeline: Any) -> oracles.Pipeline:
    """A pipeline that has carried valid rows, every invalid one, and poison, in several commits."""
    with pipeline.database.administer() as connection:
        connection.execute("ALTER TABLE orders DROP CONSTRAINT orders_order_status_check")
        for column in ("customer_name", "restaurant_name", "item", "amount"):
            connection.execute(f"ALTER TABLE orders ALTER {column} DROP NOT NULL")
    pipeline.run("producer", "--once")
    pipeline.run("consumer", "--once")
    topics.produce(
        pipeline.database.services.brokers,
        pipeline.topic,
        [(b"%s %d" % (POISON, number), value) for number, value in enumerate(POISONS)],
    )
    with pipeline.database.connect() as connection:
        for row in INVALID:
            connection.execute(ONE, row)
        connection.execute(oracles.SOME_ROWS)
    for _ in range(2):
        pipeline.run("producer", "--once")
        pipeline.run("consumer", "--once")
        pipeline.database.sql(oracles.SOME_ROWS)
    pipeline.run("producer", "--once")
    pipeline.run("consumer", "--once")
    return oracles.Pipeline(
        connect=pipeline.database.connect,
        brokers=pipeline.database.services.brokers,
        topic=pipeline.topic,
        lake=pipeline.lake,
        quarantine=pipeline.quarantine,
        checkpoint=Path(pipeline.config["streaming"]["checkpoint_location"]),
        run=lambda *words: pipeline.run(*words, expect=None),
    )


def test_the_oracles_are_content_with_what_the_product_wrote_and_find_each_lie_about_it(
    good: oracles.Pipeline, tmp_path: Path
) -> None:
    ledger = Ledger(0, "")
    for look in (oracles.first_hop, oracles.both_hops, oracles.rejects, oracles.log, oracles.own_verdict):
        look(good, ledger)
    assert not ledger.findings
    assert ledger.rows["poison in the topic"] == len(POISONS)
    assert ledger.checked["commits, their chain and their totals"] >= 3
    kept = Kept(**vars(good), kept=tuple(good.messages()))
    found = {}
    for name, (lie, _) in LIARS.items():
        copy = Copy(kept, tmp_path / name)
        lie(copy)
        found[name] = copy.found()
    assert found == {name: kinds for name, (_, kinds) in LIARS.items()}

    # And what lies between the two: a message that came twice, one too few, one too many.
    (first,) = (message for message in kept.messages() if message.key == b"1")
    with good.connect() as connection:
        connection.execute("DELETE FROM orders WHERE order_id = 2")
        connection.execute(oracles.SOME_ROWS)
    topics.produce(good.brokers, good.topic, [(first.key, first.value)])
    oracles.first_hop(good, ledger)
    counts = Counter(finding.oracle for finding in ledger.findings)
    assert counts == {"published twice": 1, "published and not in the table": 1, "not published": 100}
    # The product's own check sees the same, and is heard.
    oracles.own_verdict(good, ledger)
    assert ledger.counted("verify") == 1


def test_a_consumer_that_passes_over_lost_records_is_found(good: oracles.Pipeline) -> None:
    silent = Ledger(0, "")

    def accepts_all(command: str, *words: str) -> Any:
        more = ["--set", "consumer.failOnDataLoss=false"] if command == "consumer" else []
        return good.run(command, *words, *more)

    oracles.loud(replace(good, run=accepts_all), silent)
    assert silent.counted("loud") == 2
    said = Ledger(0, "")
    oracles.loud(good, said)
    assert not said.findings


def a_file(path: Path, *rows: tuple[int, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    keys, names = zip(*rows, strict=True)
    raw = [str(key).encode() for key in keys]
    pq.write_table(pa.table({"order_id": keys, "customer_name": names, "raw_key": raw}), new)
    new.replace(path)


def test_the_reader_that_globs_sees_canaries_and_what_vanishes_changes_repeats_or_is_torn(tmp_path: Path) -> None:
    ledger = Ledger(0, "")
    watch = Watch(tmp_path / "lake", tmp_path / "quarantine", ledger)
    watch.look()
    day = tmp_path / "lake" / "date=2025-11-18"
    a_file(day / "a.parquet", (1, "c"), (2, f"{CANARY}7"))
    a_file(day / "b.parquet", (3, "c"))
    a_file(tmp_path / "quarantine" / "date=2025-11-18" / "a.parquet", (4, "c"))
    watch.look()
    assert set(watch.seen) == {7}
    assert watch.rows == {"lake": 3, "quarantine": 1}
    assert not ledger.findings

    (day / "a.parquet").unlink()
    watch.look()
    assert [finding.what.split()[-2:] for finding in ledger.findings] == [["is", "gone"]]
    a_file(day / "b.parquet", (3, "c"), (5, "another file under the same name"))
    watch.look()
    assert "bytes" in ledger.findings[-1].what or "rows" in ledger.findings[-1].what
    a_file(day / "c.parquet", (3, "c"))
    watch.look()
    assert ledger.counted("repeated") == 1
    (day / "torn.parquet").write_bytes(b"PAR1 and no more")
    watch.look()
    assert "cannot be read" in ledger.findings[-1].what


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
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            ask(connection, 3, 2)
        connection.settimeout(10)
        assert connection.recv(8) == struct.pack(">ii", 4, 2)
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
        # What we do ourselves is none.
        second = crew.producer
        crew.kill(second)
        assert crew.members == []
        assert len(ledger.findings) == 1
        # Nor is what is expected while it lasts; whoever ended so is back after it.
        crew.forgive(2)
        third = crew.start(PRODUCER)
        assert process.wait_until(third.has_ended, 30)
        crew.tend()
        assert (len(ledger.findings), crew.members) == (1, [])
        crew.forgive()
        assert [member.side for member in crew.members] == [PRODUCER]
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


def test_signals_of_the_harness_go_to_a_stopped_process_too(tmp_path: Path) -> None:
    config = tmp_path / "orders_stream.yml"
    shutil.copy(Path(__file__).resolve().parents[2] / "configs" / "orders_stream.yml", config)
    crew = Crew(config, tmp_path, Ledger(0, ""))
    member = crew.start(PRODUCER)
    member.signal(signal.SIGSTOP)
    crew.close()
    assert member.child.returncode == -signal.SIGKILL
