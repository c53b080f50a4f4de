"""Blocking calls of the core, awaited: each runs in a thread of its own while the event loop goes on.

Not in the loop's pool of threads: a run that lasts for days would take a place in it, and the loop's end would wait for
the pool.
"""

import asyncio
import contextlib
import contextvars
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from foodstream._core import Batch, Consumer

T = TypeVar("T")

# Of a cancelled call: what is under way, such as a commit, gets this long, as after a Ctrl-C (`src/python/wait.rs`).
GRACE_SEC = 0.1
STOPS = 10


async def in_thread(call: Callable[[], T], stop: Callable[[], object]) -> T:
    """Await ``call()`` in a thread; a cancellation calls ``stop`` and waits for the call's end, but not for long."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    cancelled = threading.Event()
    # An error that comes after the cancellation has nobody left to raise it to.
    done.add_done_callback(lambda future: future.cancelled() or future.exception())

    def work() -> None:
        settle: Callable[[], None]
        if cancelled.is_set():
            return
        try:
            settle = functools.partial(done.set_result, call())
        except BaseException as error:
            settle = functools.partial(done.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), name="foodstream", daemon=True).start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        cancelled.set()
        # A stop ends nothing that has not begun, and the thread may be about to begin: so it is repeated.
        for _ in range(STOPS):
            stop()
            if (await asyncio.wait([done], timeout=GRACE_SEC / STOPS))[0]:
                break
        raise


async def run(thing: Any, method: str, options: dict[str, Any]) -> Any:
    """Await a method that ``thing.stop()`` ends; ``on_progress`` is called, and may be awaited, in the event loop."""
    on_progress = options.get("on_progress")
    if callable(on_progress):
        options["on_progress"] = _in_loop(on_progress, asyncio.get_running_loop())
    return await in_thread(functools.partial(getattr(thing, method), **options), thing.stop)


def _in_loop(function: Callable[[Any], object], loop: asyncio.AbstractEventLoop) -> Callable[[Any], None]:
    async def call(progress: Any) -> None:
        answer = function(progress)
        if inspect.isawaitable(answer):
            await answer

    # Waited for, so that its exception ends the run, as it does without a loop.
    return lambda progress: asyncio.run_coroutine_threadsafe(call(progress), loop).result()


async def batches(consumer: Consumer) -> AsyncIterator[Batch]:
    """Yield a consumer's batches; what commits one and what does not is as in a plain loop."""
    iterator = await in_thread(functools.partial(iter, consumer), consumer.stop)
    while True:
        batch = await in_thread(functools.partial(next, iterator, None), consumer.stop)
        if batch is None:
            return
        yield batch


async def entered(thing: T) -> T:
    """Return what ``async with`` binds."""
    return thing
