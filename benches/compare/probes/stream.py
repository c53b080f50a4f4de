"""A foodstream command that streams until it is stopped, and what it has done so far."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from compare.process import Failed, tail, without_settings
from compare.product import COMMAND

_STOP_SEC = 15.0


class Stream:
    """``foodstream producer`` or ``foodstream consumer`` as a process; stopped at the end of the ``with`` block."""

    def __init__(self, command: str, config: Path, *options: str) -> None:
        """Starts it in the folder of its configuration, where its log is kept."""
        self.command = command
        self.log = config.with_name(f"{command}.log")
        self._read_to = 0
        self._events: list[Mapping[str, Any]] = []
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [COMMAND, command, "--config", config, "--log-format", "json", *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=output,
                cwd=config.parent,
                env=without_settings(),
            )

    @property
    def ended(self) -> bool:
        """True once it has ended by itself, which a stream never should."""
        return self._process.poll() is not None

    def check(self) -> None:
        """Raises ``Failed`` if it has ended."""
        if self.ended:
            raise Failed(f"foodstream {self.command} ended with {self._process.returncode}:\n{tail(self.log)}")

    def events(self) -> Sequence[Mapping[str, Any]]:
        """The log so far, in order; a line that is still being written is left out."""
        with self.log.open("rb") as log:
            log.seek(self._read_to)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read_to += len(whole)
        self._events += [json.loads(line) for line in whole.splitlines()]
        return self._events

    def cpu_sec(self) -> float:
        """CPU time since its start."""
        # The command in the second field may hold spaces and brackets; the fields after its last bracket do not.
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_bytes(self) -> int:
        """The most memory it held so far."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise Failed(f"the system does not tell the memory of foodstream {self.command}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(_STOP_SEC)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code != 0 and error is None:
            raise Failed(f"foodstream {self.command} ended with {code}:\n{tail(self.log)}")
