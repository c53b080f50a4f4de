"""What is told to end by SIGTERM ends as by an exception, so that nothing it has started stays behind."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

# Until who was told and has not ended is killed: services are taken away meanwhile. Each waits longer than the one it
# waits for, so that nobody is killed while it still waits itself.
WORKER_PATIENCE_SEC = 60.0
COMMAND_PATIENCE_SEC = 80.0
ALL_PATIENCE_SEC = 100.0


def raise_when_told(raised: BaseException) -> None:
    """SIGTERM raises this in the main thread; once, so that a second one does not cut the clearing up short."""

    def told(number: int, _frame: FrameType | None) -> None:
        # A function, not SIG_IGN: that one would be inherited by children.
        signal.signal(number, lambda *_: None)
        raise raised

    signal.signal(signal.SIGTERM, told)


def exit_when_told() -> None:
    """SIGTERM ends this process with a shell's code for it, through every ``finally``."""
    raise_when_told(SystemExit(128 + signal.SIGTERM))


@contextlib.contextmanager
def later() -> Iterator[None]:
    """What is told in this block of the main thread is heard at its end: by then a child that it starts is known."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
    if heard:
        signal.raise_signal(signal.SIGTERM)
