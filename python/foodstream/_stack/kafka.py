"""One Apache Kafka node in KRaft mode, broker and controller in one process.

Guarantee: ``start`` returns once the broker answers metadata requests as a registered broker, or raises with the end
of its log. A cluster is several ``Kafka`` objects that share ``voters`` and ``cluster_id``.
Neighbours: ``runtime`` gives Java and the jars, ``process`` the life of the process.
"""

import base64
import contextlib
import os
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foodstream._stack import ports, process, runtime
from foodstream._stack.errors import StackError
from foodstream._stack.ports import LOOPBACK

# A cold disk on a busy two-core machine took nine seconds; a broker that needs a minute is not coming.
START_TIMEOUT_SEC = 60.0
# A controlled shutdown takes a second; a broker that is stopped in the middle of a big flush gets time to finish it.
STOP_STEPS = ((signal.SIGTERM, 30.0), (signal.SIGKILL, 10.0))
# One that writes its class archive needs several seconds more.
ARCHIVE_STEPS = ((signal.SIGTERM, 180.0), (signal.SIGKILL, 10.0))

# Enough for the loads the tests run, and small beside a laptop; a short-lived broker gains nothing from the optimising
# compiler or from parallel collection. For other loads Kafka's own variables are heard: KAFKA_HEAP_OPTS and
# KAFKA_JVM_PERFORMANCE_OPTS.
HEAP = "-Xmx256m"
PERFORMANCE = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"

_API_METADATA = 3
_API_VERSIONS = 18


def new_cluster_id() -> str:
    """A random id in the form Kafka wants: 16 bytes, base64 of the URL-safe kind, without padding.

    One that begins with a dash would be an option to Kafka's tools, which therefore never make one either.
    """
    while True:
        made = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
        if not made.startswith("-"):
            return made


@dataclass(frozen=True)
class Kafka:
    """A node with its folder and ports; ``voters`` maps node id to controller port for the whole cluster."""

    folder: Path
    port: int
    controller_port: int
    cluster_id: str
    node_id: int = 1
    voters: Mapping[int, int] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.folder / "kafka.log"

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def running(self) -> process.Started | None:
        """The node's process if this stack started it and it still runs."""
        started = process.Started.load(self.folder / "process.json")
        return started if started is not None and started.is_running() else None

    def start(self, archive: Path | None = None) -> None:
        """Start and wait until it answers; with ``archive`` it writes its classes there when it ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        properties = self.folder / "server.properties"
        _write_properties(properties, self._settings())
        performance = shlex.split(os.environ.get("KAFKA_JVM_PERFORMANCE_OPTS", PERFORMANCE))
        java = [
            str(runtime.java()),
            *shlex.split(os.environ.get("KAFKA_HEAP_OPTS", HEAP)),
            *performance,
            *_archive_options(performance),
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
            "-cp",
            f"{runtime.kafka_jars()}/*",
        ]
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(java, properties)
        if archive is not None:
            java.insert(1, f"-XX:AOTCacheOutput={archive}")
        started = process.start([*java, "kafka.Kafka", str(properties)], self.log, self.folder)
        started.save(self.folder / "process.json")
        ready = process.wait_until(lambda: not started.is_running() or brokers_seen(self.port) > 0, START_TIMEOUT_SEC)
        if not ready or not started.is_running():
            process.stop(started, STOP_STEPS)
            problem = "ended while starting" if ready else f"did not answer in {START_TIMEOUT_SEC:.0f} s"
            raise StackError(f"Kafka {problem}; the end of {self.log}:\n{process.tail(self.log, 15)}")

    def stop(self, steps: Sequence[tuple[signal.Signals, float]] = STOP_STEPS) -> bool:
        """Ends the node; False if it was not running."""
        running = self.running
        if running is not None:
            process.stop(running, steps)
        (self.folder / "process.json").unlink(missing_ok=True)
        return running is not None

    def _format(self, java: list[str], properties: Path) -> None:
        """Writes what Kafka's tool writes; the tool itself, which costs a Java start, is run once for a version."""
        data, kept = self.folder / "data", runtime.first_records()
        if kept.exists():
            data.mkdir(exist_ok=True)
            shutil.copyfile(kept, data / kept.name)
            identity = {
                "cluster.id": self.cluster_id,
                "directory.id": new_cluster_id(),
                "node.id": self.node_id,
                "version": 1,
            }
            _write_properties(data / "meta.properties", identity)
            return
        tool = [*java, "kafka.tools.StorageTool", "format", "-t", self.cluster_id, "-c", str(properties)]
        done = subprocess.run(tool, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StackError(f"Kafka could not format {data}: {done.stdout}{done.stderr}".strip())
        # Under its name whole or not at all; where it cannot be kept, the tool is run again.
        with contextlib.suppress(OSError):
            _write_whole(kept, (data / kept.name).read_bytes())

    def _settings(self) -> dict[str, object]:
        voters = self.voters or {self.node_id: self.controller_port}
        copies = min(3, len(voters))
        return {
            "process.roles": "broker,controller",
            "node.id": self.node_id,
            "controller.quorum.voters": ",".join(f"{node}@{LOOPBACK}:{port}" for node, port in voters.items()),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "listeners": f"PLAINTEXT://{LOOPBACK}:{self.port},CONTROLLER://{LOOPBACK}:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{self.port}",
            "log.dirs": self.folder / "data",
            # Topics are made by foodstream, with their settings; one that springs up by itself would have the wrong.
            "auto.create.topics.enable": "false",
            # The defaults ask for three brokers; with fewer, no group and no transaction would ever start.
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": max(1, copies - 1),
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": max(1, copies - 1),
            # Fifty partitions each are made on first use and loaded at every start; a laptop has no use for them.
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.num.partitions": 4,
            "transaction.max.timeout.ms": 900_000,
            # The first member of a group need not wait three seconds for others.
            "group.initial.rebalance.delay.ms": 0,
            # A broker that was killed is let in again only when its old session has run out; the default nine seconds
            # would be the longest part of every restart after a crash.
            "broker.session.timeout.ms": 3_000,
            "broker.heartbeat.interval.ms": 500,
            # Of the 256 MB heap the cleaner would take half by default; the compacted topics here are small.
            "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
        }


def _write_properties(path: Path, properties: Mapping[str, object]) -> None:
    _write_whole(path, "".join(f"{key}={value}\n" for key, value in properties.items()).encode())


def _write_whole(path: Path, content: bytes) -> None:
    """Under its name all of it is there or nothing, also after a power cut."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as scratch:
        try:
            scratch.write(content)
            scratch.flush()
            os.fsync(scratch.fileno())
            Path(scratch.name).replace(path)
        except BaseException:
            Path(scratch.name).unlink(missing_ok=True)
            raise


def record_archive() -> None:
    """Make the class archive that later starts use, unless it is there; takes a broker's whole life, once.

    For whoever starts many brokers: it costs as much as three starts.
    """
    archive = runtime.class_archive()
    if archive is None or archive.exists():
        return
    with runtime.alone(), tempfile.TemporaryDirectory(dir=archive.parent, prefix="archive-") as scratch:
        if archive.exists():
            return
        folder = Path(scratch)
        port = ports.spare(set())
        node = Kafka(folder / "kafka", port, ports.spare({port}), new_cluster_id())
        made = folder / archive.name
        node.start(made)
        node.stop(ARCHIVE_STEPS)
        if made.exists():
            # Under its name whole or not at all.
            made.replace(archive)


def _archive_options(performance: list[str]) -> list[str]:
    """For the collector and the compiler that the archive was made with."""
    archive = runtime.class_archive()
    fits = archive is not None and archive.exists() and performance == shlex.split(PERFORMANCE)
    return [f"-XX:AOTCache={archive}"] if fits else []


def brokers_seen(port: int) -> int:
    """How many brokers the one on this loopback port knows; 0 if none answers there, or none has registered yet.

    Two requests in the plain protocol: ApiVersions, which any broker answers first, and Metadata, whose list of
    brokers stays empty until the controller has let this one in.
    """
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0) as connection:
            connection.settimeout(5.0)
            _request(connection, _API_VERSIONS, 0, b"")
            no_topics = struct.pack(">i", 0)
            metadata = _request(connection, _API_METADATA, 1, no_topics)
            return int(struct.unpack_from(">i", metadata, 4)[0])
    except (OSError, struct.error):
        return 0


def _request(connection: socket.socket, api: int, version: int, body: bytes) -> bytes:
    client = b"foodstream-local"
    message = struct.pack(">hhih", api, version, 1, len(client)) + client + body
    connection.sendall(struct.pack(">i", len(message)) + message)
    return _receive(connection, struct.unpack(">i", _receive(connection, 4))[0])


def _receive(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise OSError("the broker closed the connection")
        received += part
    return bytes(received)
