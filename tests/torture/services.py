"""The services under torture: a PostgreSQL, one broker or three, and the disk of the lake.

Brokers are reached by the pipeline through proxies alone: each has a listener that it advertises at its proxy's port.
"""

import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

from foodstream._stack import ports, process
from foodstream._stack.kafka import Kafka
from foodstream._stack.postgres import Postgres
from foodstream.local import Stack

# A worker that is gone must not keep its partitions for the usual time: the run would be waiting, not torture.
SESSION_MS, HEARTBEAT_MS = 2_000, 400
# Enough for a run, and filled in a moment.
DISK_BYTES = 512 << 20
DISK_CHUNK = 1 << 20
TAKE_AWAY_SEC = 30.0


@dataclass(frozen=True)
class ProxiedKafka(Kafka):
    """A broker with a second listener, advertised at a proxy, and with sessions as short as the crew's."""

    inner_port: int = 0
    outer_port: int = 0

    def _settings(self) -> dict[str, object]:
        settings = super()._settings()
        listener = f"PROXIED://{ports.LOOPBACK}"
        return {
            **settings,
            "listeners": f"{settings['listeners']},{listener}:{self.inner_port}",
            "advertised.listeners": f"{settings['advertised.listeners']},{listener}:{self.outer_port}",
            "listener.security.protocol.map": f"{settings['listener.security.protocol.map']},PROXIED:PLAINTEXT",
            "group.min.session.timeout.ms": SESSION_MS,
        }


@dataclass(frozen=True)
class _Ports:
    """Of a broker; the first two of the first broker are the stack's own choice."""

    plain: int
    controller: int
    inner: int
    outer: int


class ProxiedStack(Stack):
    """The usual stack but for its brokers: so many, each with a second listener. The ports are chosen once."""

    def __init__(self, folder: Path, brokers: int = 1) -> None:
        super().__init__(folder)
        self.taken: set[int] = set()
        self._ports = [_Ports(self.spare(), self.spare(), self.spare(), self.spare()) for _ in range(brokers)]

    def spare(self) -> int:
        """A free port that nobody else here has."""
        port = ports.spare(self.taken)
        self.taken.add(port)
        return port

    @property
    def outer_ports(self) -> list[tuple[int, int]]:
        """Of each broker, the port of its proxy and the one behind it."""
        return [(ports_.outer, ports_.inner) for ports_ in self._ports]

    @property
    def kafka(self) -> ProxiedKafka:
        return self.nodes[0]

    @cached_property
    def nodes(self) -> list[ProxiedKafka]:
        """All brokers, once the stack has been up."""
        usual = super().kafka
        known = {field.name: getattr(usual, field.name) for field in fields(usual)}
        controllers = [usual.controller_port, *(ports_.controller for ports_ in self._ports[1:])]
        known["voters"] = dict(enumerate(controllers, 1))
        made = []
        for number, own in enumerate(self._ports, 1):
            if number > 1:
                known.update(folder=self.folder / f"kafka-{number}", port=own.plain, controller_port=own.controller)
            known["node_id"] = number
            made.append(ProxiedKafka(**known, inner_port=own.inner, outer_port=own.outer))
        return made

    @property
    def brokers(self) -> str:
        return ",".join(node.address for node in self.nodes)

    def _start(self, services: Sequence[Postgres | Kafka]) -> None:
        # Together: none answers before most of them are there.
        super()._start([*services, *self.nodes[1:]])

    def _stop(self) -> list[str]:
        for node in self.nodes[1:]:
            node.stop()
        return super()._stop()


def take_away(service: Postgres | Kafka, how: signal.Signals) -> None:
    """Ends a service by that signal, and returns when it is gone."""
    running = service.running
    assert running is not None, f"{service.folder.name} does not run"
    process.stop(running, [(how, TAKE_AWAY_SEC), (signal.SIGKILL, TAKE_AWAY_SEC)])


class Disk:
    """The folder of the lake; on a small file system of its own where one can be mounted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mounted = False
        self.refusal = ""

    def mount(self) -> bool:
        """Mounts a small tmpfs; False, with ``refusal`` set, where this machine does not let us."""
        self.folder.mkdir(parents=True, exist_ok=True)
        program = shutil.which("mount")
        if program is None:
            self.refusal = "there is no mount program"
            return False
        words = [program, "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "torture", str(self.folder)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        self.mounted = done.returncode == 0
        self.refusal = " ".join(done.stderr.split())
        return self.mounted

    def fill(self) -> None:
        """Leaves no byte free."""
        with (self.folder / "ballast").open("ab", buffering=0) as ballast:
            for size in (DISK_CHUNK, 4096, 1):
                try:
                    while ballast.write(bytes(size)):
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        if self.mounted:
            self.free()
            # Detached even while something looks into it; what is gone from the tree is freed when nobody does.
            subprocess.run(["umount", "-l", str(self.folder)], check=True)
            self.mounted = False
