"""Statements through whatever speaks Python's DBAPI: Django's connections and cursors, SQLAlchemy's, psycopg2's."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Protocol

_UNIQUE_VIOLATION = "23505"


class DbapiCursor(Protocol):
    """What we need of a cursor."""

    def execute(self, statement: str, parameters: Sequence[Any], /) -> object:
        """Run a statement with `%s` for parameters."""

    def fetchone(self) -> Any:
        """The next row."""


class DbapiConnection(Protocol):
    """What we need of a connection."""

    def cursor(self) -> Any:
        """A new cursor."""


class KnownOtherwiseError(Exception):
    """Raised where PostgreSQL says that a key is there with something else."""


def first_value(session: DbapiConnection | DbapiCursor, statement: str, parameters: Sequence[Any]) -> Any:
    """Run a statement in the session's transaction; returns the first value of its row.

    Raises:
        KnownOtherwiseError: for a unique violation.
        Exception: whatever else the driver, or what wraps it, raises.
    """
    if hasattr(session, "fetchone"):
        return _first_value(session, statement, parameters)
    with closing(session.cursor()) as cursor:
        return _first_value(cursor, statement, parameters)


def _first_value(cursor: Any, statement: str, parameters: Sequence[Any]) -> Any:
    try:
        cursor.execute(statement, parameters)
    except Exception as error:
        if any(_sqlstate(one) == _UNIQUE_VIOLATION for one in _causes(error)):
            raise KnownOtherwiseError from error
        raise
    return cursor.fetchone()[0]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    # Django raises an error of its own for the driver's.
    while error is not None:
        yield error
        error = error.__cause__


def _sqlstate(error: BaseException) -> object:
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
