"""A reader that globs the lake all the time, as any stranger with a Parquet library would (O5).

It opens every file the moment it is visible, and remembers it: a file that is torn, that changes, or that is gone
later is a finding, and so is a key that comes a second time (O2), as soon as it comes. It also sees the canaries:
rows inserted after a fault, whose arrival is the recovery from it.
"""

import os
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from torture.ledger import Ledger

# Between two looks. A look costs what listing the names costs: of the known files a few are looked at again.
LOOK_EVERY_SEC = 0.05
# What the harness's own rows and a stranger's messages are told by.
CANARY = "canary "
POISON = b"poison"
# Known files that are opened again at each look, in turn; after the last look all are.
REOPENED = 2


class Watch(threading.Thread):
    """Watches until ``stop`` is called; the last look comes after that."""

    def __init__(self, lake: Path, quarantine: Path, ledger: Ledger) -> None:
        super().__init__(name="watch", daemon=True)
        self.roots = {"lake": lake, "quarantine": quarantine}
        self.ledger = ledger
        # By root, the size and the rows of each file.
        self.known: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in self.roots}
        # Of the table: a stranger's rejects are not counted.
        self.rows = {"lake": 0, "quarantine": 0}
        self.looks = 0
        self.seen: dict[int, float] = {}
        self._keys = bytearray()
        self._stopping = threading.Event()
        self._turns: dict[str, Iterator[str]] = {name: iter(()) for name in self.roots}

    def stop(self) -> None:
        self._stopping.set()
        self.join()
        self.look()
        for known in self.known.values():
            for path in known:
                self._open_again(known, path)
        self.ledger.checked["looks of a globbing reader at all files"] = self.looks
        self.ledger.checked["files seen by it"] = sum(map(len, self.known.values()))

    def abandon(self) -> None:
        """Ends without a last look; nothing if it has ended or never began."""
        self._stopping.set()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_SEC):
            try:
                self.look()
            except Exception as error:  # a thread's exception would otherwise be lost, and the oracle with it
                self.ledger.finds("harness", f"the watch ended: {error!r}")
                return

    def look(self) -> None:
        """One listing of both roots."""
        for name, root in self.roots.items():
            found, known = set(_listing(root)), self.known[name]
            for path in known.keys() - found:
                self.ledger.finds("visibility", f"{path} was there and is gone")
                del known[path]
            for path in found - known.keys():
                self._open(name, path)
            for path in self._next_turns(name):
                self._open_again(known, path)
        self.looks += 1

    def _next_turns(self, name: str) -> list[str]:
        turns = list(islice(self._turns[name], REOPENED))
        if len(turns) < REOPENED:
            self._turns[name] = iter(tuple(self.known[name]))
            turns += islice(self._turns[name], REOPENED - len(turns))
        return turns

    def _open(self, name: str, path: str) -> None:
        columns = ["order_id", "customer_name"] if name == "lake" else ["raw_key"]
        try:
            size = Path(path).stat().st_size
            table = pq.ParquetFile(path).read(columns=columns)
        except (OSError, pa.ArrowException) as error:
            self.ledger.finds("visibility", f"{path} is visible and cannot be read: {error}")
            return
        self.known[name][path] = (size, table.num_rows)
        if name != "lake":
            self.rows[name] += sum(not (key or b"").startswith(POISON) for key in table["raw_key"].to_pylist())
            return
        self.rows[name] += table.num_rows
        for key in table["order_id"].to_pylist():
            self._take(key, path)
        for customer in table["customer_name"].to_pylist():
            if customer is not None and customer.startswith(CANARY):
                self.seen.setdefault(int(customer.removeprefix(CANARY)), time.monotonic())

    def _take(self, key: int, path: str) -> None:
        if key >= len(self._keys):
            self._keys.extend(bytes(key + 1 - len(self._keys) + (1 << 16)))
        if self._keys[key]:
            self.ledger.finds("repeated", f"order {key} came again in {path}")
        self._keys[key] = 1

    def _open_again(self, known: dict[str, tuple[int, int]], path: str) -> None:
        if path not in known:
            return
        try:
            found = Path(path).stat().st_size, pq.read_metadata(path).num_rows
        except (OSError, pa.ArrowException) as error:
            self.ledger.finds("visibility", f"{path} could be read once and cannot now: {error}")
            return
        if found != known[path]:
            (size, rows), (size_now, rows_now) = known[path], found
            self.ledger.finds(
                "visibility", f"{path} had {size} bytes and {rows} rows and has {size_now} bytes and {rows_now} rows"
            )
            known[path] = found


def _listing(root: Path) -> list[str]:
    found = []
    folders = [str(root)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir():
                        folders.append(entry.path)
                    else:
                        found.append(entry.path)
        except FileNotFoundError:
            # The root, before the first commit.
            continue
    return found
