"""Somebody who looks at a status page, as a program of its own: ``viewer.py URL`` until it is told to end.

Asks for what the page asks for: the page, the whole state once, and the events. Once a second it looks at what
the server's thread has taken of its process. Prints a line when it begins to look, for its own start takes from the
processors what a short run needs; and how many events it had, and that share, as a JSON object, when it ends.
"""

import json
import signal
import sys
import threading
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

LOOKING = "looking"
LOOK_EVERY_SEC = 1.0
# The server is there a moment after its process.
_RETRY_SEC = 0.02
_TIMEOUT_SEC = 10.0
# The kernel keeps fifteen letters of a thread's name.
_SERVER = "foodstream-serve"[:15]


@dataclass
class Seen:
    """What came."""

    events: int = 0
    # Processor time of the server's thread over all of its process, when it was last seen.
    server_share: float = 0.0


def main(url: str) -> None:
    """Looks until SIGTERM."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    seen = Seen()
    print(LOOKING, flush=True)
    while (state := _answer(f"{url}api/status") if _answer(url) else None) is None and not over.wait(_RETRY_SEC):
        pass
    if state is not None:
        # Ends with the program: a stream may be silent for as long as it likes.
        threading.Thread(target=_follow, args=(f"{url}api/events", seen), daemon=True).start()
        pid = _pid(state)
        while not over.is_set():
            seen.server_share = server_share(pid) or seen.server_share
            over.wait(LOOK_EVERY_SEC)
    print(json.dumps(asdict(seen)))


def server_share(pid: int) -> float | None:
    """What the status server's thread has taken of all processor time of its process; ``None`` if they are gone."""
    taken = {}
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            nanoseconds = int((thread / "schedstat").read_text(encoding="ascii").split()[0])
            taken[thread] = ((thread / "comm").read_text(encoding="utf-8").strip(), nanoseconds)
    except OSError:
        return None
    total = sum(nanoseconds for _, nanoseconds in taken.values())
    return sum(nanoseconds for name, nanoseconds in taken.values() if name == _SERVER) / total if total else None


def _pid(answer: bytes) -> int:
    (own,) = (part["pid"] for part in json.loads(answer)["parts"] if part["self"])
    return int(own)


def _answer(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SEC) as answer:
            body: bytes = answer.read()
    except OSError:
        return None
    return body


def _follow(url: str, seen: Seen) -> None:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SEC) as stream:
            for line in stream:
                seen.events += line.startswith(b"event:")
    except OSError:
        # The process that was looked at has ended.
        return


if __name__ == "__main__":
    main(sys.argv[1])
