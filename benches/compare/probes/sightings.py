"""What becomes visible when, noted at once: messages of a topic, files of a lake.

Both run on a thread of this process, which should have little else to do meanwhile, and note the time before they look
at what they saw. Times are nanoseconds of the host's monotonic clock, which all processes share.
"""

import os
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from compare.process import Failed
from compare.services import PARTITIONS

# A file is noted at most this long, and the listing itself, after it has its name.
_LOOK_EVERY_SEC = 0.001
_CLOSING_MARK = b"PAR1"
# A stop is noticed within it.
_POLL_SEC = 0.1


class Sightings(ABC):
    """A thread that notes until the end of the ``with`` block."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, daemon=True)

    @abstractmethod
    def _note(self) -> None:
        """Notes until ``_over`` is set."""

    def _guarded(self) -> None:
        try:
            self._note()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        # It is why the block failed, if that did: what was waited for could not be seen.
        if self._error is not None:
            raise self._error from error


class TopicReader(Sightings):
    """Reads committed messages from the beginning of a topic, all partitions, with no group to wait for."""

    # A fetch is answered as soon as something is committed; this bounds only one that finds nothing.
    FETCH_WAIT_MS = 10

    def __init__(self, brokers: str, topic: str) -> None:
        super().__init__()
        self.seen: list[tuple[int, bytes]] = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": f"{topic}-reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": self.FETCH_WAIT_MS,
                "fetch.queue.backoff.ms": 1,
                "socket.nagle.disable": True,
            }
        )
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])

    def _note(self) -> None:
        try:
            while not self._over.is_set():
                message = self._consumer.poll(_POLL_SEC)
                if message is None:
                    continue
                now = time.monotonic_ns()
                if message.error() is not None:
                    raise Failed(f"the reader of the topic met an error: {message.error()}")
                self.seen.append((now, message.value() or b""))
        finally:
            self._consumer.close()


class LakeWatcher(Sightings):
    """Notes each Parquet file of a lake once it is whole under its final name; the lake need not be there yet.

    Whole is one that ends as Parquet does: some writers give a file its final name before its first byte.
    """

    def __init__(self, lake: Path) -> None:
        super().__init__()
        self.seen: list[tuple[int, Path]] = []
        self._lake = lake

    def _note(self) -> None:
        known: dict[str, set[str]] = {}
        while not self._over.wait(_LOOK_EVERY_SEC):
            for folder in _names(self._lake):
                if folder.startswith("date="):
                    self._look(self._lake / folder, known.setdefault(folder, set()))

    def _look(self, folder: Path, known: set[str]) -> None:
        names = _names(folder)
        now = time.monotonic_ns()
        for name in sorted(names - known):
            if not name.endswith(".parquet") or name.startswith((".", "_")):
                known.add(name)
            elif _is_whole(folder / name):
                self.seen.append((now, folder / name))
                known.add(name)


def _names(folder: Path) -> set[str]:
    try:
        # Names alone: made into paths, they would keep a processor busy.
        return set(os.listdir(folder))  # noqa: PTH208
    except FileNotFoundError:
        return set()


def _is_whole(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - len(_CLOSING_MARK)))
            return opened.read() == _CLOSING_MARK
    except FileNotFoundError:
        # Given another name meanwhile.
        return False
