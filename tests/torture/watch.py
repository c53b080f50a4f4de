"""A reader that globs the lake all the time, as any stranger with a Parquet library would (O5).

It opens every file the moment it is visible, and remembers it: a file that is torn, that changes, or that is gone
later is a finding, and so is a key that comes a second time (O2), as soon as it comes. It also sees the canaries:
rows inserted after a fault, whose arrival is the recovery from it.
"""

import os
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from torture.ledger import Ledger

# Between two looks. A look costs about what listing the folders costs, since known files are not read again.
LOOK_EVERY_SEC = 0.05
# What the harness's own rows and a stranger's messages are told by.
CANARY = "canary "
POISON = b"poison"
# Files below the end of the listing that are opened again at each look, so that old ones are, too.
REOPENED = 2


class Watch(threading.Thread):
    """Watches until ``stop`` is called; the last look comes after that."""

    def __init__(self, lake: Path, quarantine: Path, ledger: Ledger) -> None:
        super().__init__(name="watch", daemon=True)
        self.roots = {"lake": lake, "quarantine": quarantine}
        self.ledger = ledger
        self.known: dict[str, tuple[int, int]] = {}
        # Of the table: a stranger's rejects are not counted.
        self.rows = {"lake": 0, "quarantine": 0}
        self.looks = 0
        self.seen: dict[int, float] = {}
        self._keys = bytearray()
        self._stopping = threading.Event()
        self._again = 0

    def stop(self) -> None:
        self._stopping.set()
        self.join()
        self.look()
        self.ledger.checked["looks of a globbing reader at all files"] = self.looks
        self.ledger.checked["files seen by it"] = len(self.known)

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
            found = dict(_listing(root))
            known = [path for path in self.known if path.startswith(f"{root}{os.sep}")]
            for path in known:
                if path not in found:
                    self.ledger.finds("visibility", f"{path} was there and is gone")
                    del self.known[path]
            for path, size in found.items():
                if path not in self.known:
                    self._open(name, path, size)
                elif self.known[path][0] != size:
                    self.ledger.finds("visibility", f"{path} had {self.known[path][0]} bytes and has {size}")
                    self.known[path] = (size, self.known[path][1])
            self._open_again(sorted(found))
        self.looks += 1

    def _open(self, name: str, path: str, size: int) -> None:
        columns = ["order_id", "customer_name"] if name == "lake" else ["raw_key"]
        try:
            table = pq.ParquetFile(path).read(columns=columns)
        except (OSError, pa.ArrowException) as error:
            self.ledger.finds("visibility", f"{path} is visible and cannot be read: {error}")
            return
        self.known[path] = (size, table.num_rows)
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

    def _open_again(self, paths: list[str]) -> None:
        for _ in range(min(REOPENED, len(paths))):
            self._again = (self._again + 1) % len(paths)
            path = paths[self._again]
            if path not in self.known:
                continue
            try:
                rows = pq.read_metadata(path).num_rows
            except (OSError, pa.ArrowException) as error:
                self.ledger.finds("visibility", f"{path} could be read once and cannot now: {error}")
                continue
            if rows != self.known[path][1]:
                self.ledger.finds("visibility", f"{path} had {self.known[path][1]} rows and has {rows}")


def _listing(root: Path) -> list[tuple[str, int]]:
    found = []
    folders = [str(root)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir():
                        folders.append(entry.path)
                    else:
                        found.append((entry.path, entry.stat().st_size))
        except FileNotFoundError:
            # The root, before the first commit.
            continue
    return found
