"""Exactly once into the caller's own PostgreSQL: the ids of applied batches, in the transaction that applied them.

Works over any DB-API connection with the parameter style ``%s`` (psycopg, psycopg2, pg8000); imports none of them.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Generic, Protocol, TypeVar


class _Executes(Protocol):
    """The part of a cursor that the ledger uses."""

    def execute(self, query: str, parameters: tuple[str, ...], /) -> Any: ...
    def fetchone(self) -> Any: ...


CursorT = TypeVar("CursorT", covariant=True)


class Connection(Protocol[CursorT]):
    """The part of a connection that the ledger uses."""

    def cursor(self) -> CursorT: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def close(self) -> None: ...


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class BatchLedger(Generic[CursorT]):
    """Remembers in PostgreSQL which batches of ``Consumer.for_each_batch`` have been applied there.

    The id goes into ``table`` in the same transaction as the rows it stands for, so both are there or neither is. A
    batch that comes again, after a kill between that transaction and the lake's commit, is then passed over::

        ledger = foodstream.BatchLedger(psycopg.connect("dbname=reports"), pipeline="sums")
        ledger.create()

        def apply(batch, batch_id):
            with ledger.once(batch_id) as cursor:
                if cursor is not None:
                    cursor.execute("INSERT INTO arrived VALUES (now(), %s)", [len(batch)])

        consumer.for_each_batch(apply, available_now=True)

    ``connection`` is a DB-API connection that does not commit by itself, or a function that opens one; those it opened
    are closed after each batch. ``table`` may name its schema, ``etl.foodstream_batches``. Pipelines that share a table
    are told apart by ``pipeline``. An id is needed only until its batch is in the lake: rows whose ``applied_at`` is
    older than the longest outage may be deleted. Raises ``ValueError`` for a name that is none.
    """

    def __init__(
        self,
        connection: Connection[CursorT] | Callable[[], Connection[CursorT]],
        *,
        table: str = "foodstream_batches",
        pipeline: str = "default",
    ) -> None:
        if not callable(connection) and not hasattr(connection, "cursor"):
            kind = type(connection).__name__
            raise TypeError(
                f"connection is a DB-API connection, such as psycopg's, or a function that opens one, not {kind}"
            )
        if not isinstance(pipeline, str):
            raise TypeError(f"pipeline is a text (str), not {type(pipeline).__name__}")
        parts = table.split(".") if isinstance(table, str) else []
        if len(parts) not in (1, 2) or not all(_NAME.fullmatch(part) for part in parts):
            raise ValueError(f"table must be a plain name, or schema.name, of letters, digits and _, not {table!r}")
        self._table = ".".join(f'"{part}"' for part in parts)
        self._connection = connection
        self.pipeline = pipeline

    def create(self) -> None:
        """Create the table unless it exists; in a transaction of its own."""
        with self._transaction() as (cursor, _):
            # Two workers that start at once would both try, and one of them would fail.
            _execute(cursor, "SELECT pg_advisory_xact_lock(hashtext(%s))", self._table)
            _execute(
                cursor,
                f"CREATE TABLE IF NOT EXISTS {self._table} (pipeline text NOT NULL, batch_id text NOT NULL, "
                "applied_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (pipeline, batch_id))",
            )

    def once(self, batch_id: str) -> AbstractContextManager[CursorT | None]:
        """A transaction that applies this batch: a cursor inside it, or None if the batch was applied before.

        Committed when the block ends, rolled back if it raises. Nothing that is done over the connection in a block
        without a cursor stays.
        """
        _refuse_unfit(batch_id)
        return self._once(batch_id)

    def record(self, cursor: _Executes, batch_id: str) -> bool:
        """Insert the id in the caller's open transaction; False if the batch was applied before: then do nothing.

        Waits while another worker is applying the same batch. The caller commits the id together with the rows; a
        cursor whose connection commits by itself makes this worthless.
        """
        _refuse_unfit(batch_id)
        _execute(
            cursor,
            f"INSERT INTO {self._table} (pipeline, batch_id) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING true",
            self.pipeline,
            batch_id,
        )
        return cursor.fetchone() is not None

    @contextmanager
    def _once(self, batch_id: str) -> Iterator[CursorT | None]:
        with self._transaction() as (cursor, connection):
            if self.record(_executing(cursor), batch_id):
                yield cursor
            else:
                try:
                    yield None
                finally:
                    connection.rollback()

    @contextmanager
    def _transaction(self) -> Iterator[tuple[CursorT, Connection[CursorT]]]:
        connection = self._connection() if callable(self._connection) else self._connection
        try:
            if getattr(connection, "autocommit", False):
                raise ValueError("the ledger's connection commits by itself; open it with autocommit off")
            try:
                yield connection.cursor(), connection
            except BaseException:
                # Over a connection that broke this fails too, and the first error is the one to report.
                with suppress(Exception):
                    connection.rollback()
                raise
            connection.commit()
        finally:
            if connection is not self._connection:
                connection.close()


def _refuse_unfit(batch_id: object) -> None:
    if not isinstance(batch_id, str):
        raise TypeError(f"batch_id is the text that for_each_batch hands over, not {type(batch_id).__name__}")


def _executing(cursor: Any) -> _Executes:
    """Every cursor of a DB-API connection is one; the caller's own type stays what it was."""
    executing: _Executes = cursor
    return executing


def _execute(cursor: Any, query: str, *parameters: str) -> None:
    cursor.execute(query, parameters)
