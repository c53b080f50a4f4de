"""A bound on the time of a whole run: whatever it waits for then, it is raised out of it.

A thread looks at the clock and signals the main one, so that a wait of the harness that has no bound of its own, or a
child that does not end, cannot keep a run from its end and its ledger. Only Python code hears it: one call into a
library in C is waited for.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

# Nobody else's: pytest-timeout has the alarm.
SIGNAL = signal.SIGUSR1


class OutOfTimeError(BaseException):
    """The time of the run is over. Not an ``Exception``: none of those who go on after an error may go on after it."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """A block of the main thread that lasts for so many seconds at most."""
    left = threading.Event()

    def is_over(_number: int, _frame: FrameType | None) -> None:
        # Between the end of the block and this: it was in time.
        if not left.is_set():
            raise OutOfTimeError(f"the time of the run is over, {seconds:.0f} s")

    def watch() -> None:
        if not left.wait(seconds):
            signal.pthread_kill(main, SIGNAL)

    main = threading.get_ident()
    before = signal.signal(SIGNAL, is_over)
    watchdog = threading.Thread(target=watch, name="limit", daemon=True)
    watchdog.start()
    try:
        yield
    finally:
        left.set()
        watchdog.join()
        signal.signal(SIGNAL, before)
