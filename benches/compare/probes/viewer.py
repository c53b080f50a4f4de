"""Somebody who looks at a status page, as a program of its own: ``viewer.py URL`` until it is told to end.

Loads the page, follows the events, and asks for the whole state once a second besides, which the page itself does only
after a break. Prints how many events and answers it had, as a JSON object, when it ends.
"""

import json
import signal
import sys
import threading
import urllib.request
from dataclasses import asdict, dataclass

ASK_EVERY_SEC = 1.0
# The server is there a moment after its process.
_RETRY_SEC = 0.02
_TIMEOUT_SEC = 10.0


@dataclass
class Seen:
    """What came."""

    events: int = 0
    answers: int = 0


def main(url: str) -> None:
    """Looks until SIGTERM."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    seen = Seen()
    while not _answers(url) and not over.wait(_RETRY_SEC):
        pass
    # Ends with the program: a stream may be silent for as long as it likes.
    threading.Thread(target=_follow, args=(f"{url}api/events", seen), daemon=True).start()
    while not over.is_set():
        seen.answers += _answers(f"{url}api/status")
        over.wait(ASK_EVERY_SEC)
    print(json.dumps(asdict(seen)))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SEC) as answer:
            answer.read()
    except OSError:
        return False
    return True


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
