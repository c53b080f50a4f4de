"""A TCP proxy between the pipeline and a service: it delays what the service answers, loses it, or cuts connections.

A reply that is lost is the hardest case for a client: the service has done what it was asked for, and nobody learns of
it. A client must neither believe that it failed nor that it went well. Requests are never touched.
"""

import asyncio
import contextlib
import struct
import threading
from collections.abc import Coroutine
from typing import Any

from foodstream._stack.ports import LOOPBACK

CHUNK = 1 << 16
START_TIMEOUT_SEC = 10.0
# Kafka's number of the request that ends a transaction.
END_TXN = 26


class Proxy:
    """Listens on ``port`` and passes everything on to ``target`` until it is told otherwise.

    ``frames`` says that the protocol is Kafka's, whose replies can be told apart; needed by ``lose_reply`` alone.
    """

    def __init__(self, port: int, target: int, frames: bool = False) -> None:
        self.port = port
        self.target = target
        self.frames = frames
        self.delay_sec = 0.0
        self.losing = False
        # The request whose next reply is lost, and whether it was.
        self._wanted: int | None = None
        self.lost = threading.Event()
        self._links: set[_Link] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: asyncio.Server | None = None

    def start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy {self.port}", daemon=True)
        self._thread.start()

        async def listen() -> None:
            self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port)

        self._do(listen())

    def stop(self) -> None:
        if self._loop is None or self._thread is None:
            return

        async def close() -> None:
            if self._server is not None:
                self._server.close()
            for link in list(self._links):
                link.cut()
            # Gives the tasks of the connections a turn to see their end.
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await task

        self._do(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_TIMEOUT_SEC)
        self._loop.close()

    def cut(self) -> None:
        """Resets every connection, in both directions, in the middle of whatever it carries."""

        async def all_links() -> None:
            for link in list(self._links):
                link.cut()

        self._do(all_links())

    def lose(self) -> None:
        """From now on every reply is swallowed; ``heal`` ends that, and resets the connections that lost some."""
        self.losing = True

    def lose_reply(self, request: int) -> None:
        """Swallows the next reply to this kind of request, and resets its connection; sets ``lost``."""
        assert self.frames, "replies are told apart in Kafka's protocol alone"
        self.lost.clear()
        self._wanted = request

    def heal(self) -> None:
        """Passes everything on again."""
        self.delay_sec = 0.0
        self._wanted = None
        if self.losing:
            self.losing = False
            self.cut()

    def claims(self, request: int) -> bool:
        """Whether this reply is the one to lose; true once."""
        if self._wanted != request:
            return False
        self._wanted = None
        self.lost.set()
        return True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection(LOOPBACK, self.target)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(self, (reader, writer), upstream)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._loop is not None, "the proxy has not been started"
        asyncio.run_coroutine_threadsafe(work, self._loop).result(START_TIMEOUT_SEC)


class _Link:
    """One client's connection and its twin to the service."""

    def __init__(
        self,
        proxy: Proxy,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        service: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.proxy = proxy
        self.client = client
        self.service = service
        # Requests without a reply yet, by their correlation id.
        self.asked: dict[int, int] = {}

    async def run(self) -> None:
        requests = asyncio.create_task(self._requests())
        replies = asyncio.create_task(self._replies())
        try:
            await asyncio.wait({requests, replies}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Either end's going is the other's; half-open connections are not what is tested here.
            self.cut()
            for task in (requests, replies):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
                    await task

    def cut(self) -> None:
        for _, writer in (self.client, self.service):
            writer.transport.abort()

    async def _requests(self) -> None:
        reader, writer = self.client[0], self.service[1]
        while data := await (_frame(reader) if self.proxy.frames else reader.read(CHUNK)):
            if self.proxy.frames:
                request, _, correlation = struct.unpack_from(">hhi", data, 4)
                self.asked[correlation] = request
            writer.write(data)
            await writer.drain()

    async def _replies(self) -> None:
        reader, writer = self.service[0], self.client[1]
        while data := await (_frame(reader) if self.proxy.frames else reader.read(CHUNK)):
            if self.proxy.frames:
                (correlation,) = struct.unpack_from(">i", data, 4)
                if self.proxy.claims(self.asked.pop(correlation, -1)):
                    return
            if self.proxy.delay_sec:
                await asyncio.sleep(self.proxy.delay_sec)
            if self.proxy.losing:
                continue
            writer.write(data)
            await writer.drain()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """A whole request or reply with its length before it; empty at the end of the connection."""
    try:
        length = await reader.readexactly(4)
        return length + await reader.readexactly(struct.unpack(">i", length)[0])
    except asyncio.IncompleteReadError:
        return b""
