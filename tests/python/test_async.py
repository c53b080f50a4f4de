"""What can be awaited: the same calls, with an event loop that goes on beside them."""

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import foodstream
import pytest
from foodstream.purchases import EventProducer, StreamingJob
from nowhere import settings


async def until(condition: Any) -> None:
    """Let the loop go on until the condition holds; the test's own timeout ends a wait that is for nothing."""
    while not condition():
        await asyncio.sleep(0.005)


def test_rows_are_published_and_consumed_without_holding_up_the_loop(pipeline: Any) -> None:
    async def run() -> tuple[int, list[int], list[dict[str, Any]], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        seen: list[dict[str, Any]] = []

        async def note(progress: dict[str, Any]) -> None:
            await asyncio.sleep(0)
            assert threading.current_thread() is threading.main_thread()
            seen.append(progress)

        async with foodstream.Producer(pipeline.config) as producer:
            rows = (await producer.arun(once=True, on_progress=note)).rows
        assert producer.status["message"] == "closed"
        async with foodstream.Consumer(pipeline.config, available_now=True) as consumer:
            lengths = [len(batch) async for batch in consumer]
        ticking.cancel()
        return rows, lengths, seen, ticks

    rows, lengths, seen, ticks = asyncio.run(run())
    assert (rows, sum(lengths)) == (10, 10)
    assert [progress["numInputRows"] for progress in seen] == [10]
    assert ticks > 1_000
    assert foodstream.verify_pipeline(pipeline.config)


def test_leaving_an_asynchronous_loop_leaves_its_batch_uncommitted(pipeline: Any) -> None:
    foodstream.Producer(pipeline.config).run(once=True)

    async def run() -> None:
        async with foodstream.Consumer(pipeline.config, available_now=True) as consumer:
            async for batch in consumer:
                assert len(batch) == 10
                break
            assert len(foodstream.read(pipeline.config)) == 0
            done = await consumer.arun()
            assert (done.accepted, done.batches) == (10, 1)

    asyncio.run(run())
    assert len(foodstream.read(pipeline.config)) == 10


@pytest.mark.parametrize("kind", [foodstream.Producer, foodstream.Consumer, EventProducer, StreamingJob])
def test_a_cancelled_run_is_stopped(kind: Any, tmp_path: Path) -> None:
    async def run() -> None:
        async with kind(settings(tmp_path)) as thing:
            running = asyncio.create_task(thing.arun())
            await until(lambda: thing.status["message"] == "running")
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            await until(lambda: thing.status["message"] == "idle")

    asyncio.run(run())


def test_a_run_that_is_cancelled_before_its_thread_began_does_not_go_on(tmp_path: Path) -> None:
    async def run() -> None:
        consumer = foodstream.Consumer(settings(tmp_path))
        for _ in range(20):
            running = asyncio.create_task(consumer.arun())
            await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        await until(lambda: consumer.status["message"] == "idle")

    asyncio.run(run())


def test_a_cancelled_loop_over_batches_is_stopped(tmp_path: Path) -> None:
    async def run() -> None:
        consumer = foodstream.Consumer(settings(tmp_path))

        async def consume() -> None:
            async for _ in consumer:
                pass

        consuming = asyncio.create_task(consume())
        await until(lambda: consumer.status["message"] == "running")
        consuming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consuming
        await until(lambda: consumer.status["message"] == "idle")

    asyncio.run(run())


def refused(call: Coroutine[Any, Any, object]) -> None:
    with pytest.raises(foodstream.SourceError) as caught:
        asyncio.run(call)
    assert caught.value.retriable


def test_errors_are_raised_where_the_call_is_awaited(tmp_path: Path) -> None:
    refused(foodstream.Producer(settings(tmp_path)).arun(once=True))


def test_an_error_of_on_progress_ends_the_run_and_the_commit_stays(pipeline: Any) -> None:
    def fail(progress: dict[str, Any]) -> None:
        raise ZeroDivisionError(progress["numInputRows"])

    with foodstream.Producer(pipeline.config) as producer:
        with pytest.raises(ZeroDivisionError, match="10"):
            producer.run(on_progress=fail)
        assert producer.run(once=True).rows == 0
    with foodstream.Consumer(pipeline.config) as consumer:
        with pytest.raises(ZeroDivisionError, match="10"):
            asyncio.run(consumer.arun(on_progress=fail))
        assert len(foodstream.read(pipeline.config)) == 10
        assert consumer.run(once=True).rows == 0
    assert foodstream.verify_pipeline(pipeline.config)


def test_on_progress_may_ask_and_stop_the_object_it_is_told_about(pipeline: Any) -> None:
    with foodstream.Producer(pipeline.config) as producer:

        def stop(progress: dict[str, Any]) -> None:
            assert producer.last_progress == progress
            producer.stop()

        assert producer.run(on_progress=stop).rows == 10
