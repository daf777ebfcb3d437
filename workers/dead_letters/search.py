"""Finds dead letters: lists by filter, one with all that is known of it, its payload."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from penstock.producers.queue.compression import decompress
from penstock.schemas.errors import Code, NotFoundError
from penstock.workers.database.failures import storage_errors
from penstock.workers.database.pages import Page, read_cursor, require_limit, write_cursor
from penstock.workers.dead_letters.content import find_rows
from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.letters import Letter, LetterDetail
from penstock.workers.dead_letters.reading import DETAIL_COLUMNS, LETTER_COLUMNS, detail_of, letter_of
from penstock.workers.dead_letters.store import PAYLOAD_BYTES_LIMIT
from penstock.workers.dead_letters.walk import Walk
from penstock.workers.telemetry.queries import timed_query

Pool = ConnectionPool[psycopg.Connection]

#: Counting ends here: nobody needs to know more, and it takes time.
COUNT_CEILING = 10_000
OTHER_DEATHS = 10

# What stands in payloads is hard to estimate. Taken for common, it would be looked for in letter after letter, in the
# hope that the LIMIT is reached soon.
_BY_BITMAPS = """
SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off;
SET LOCAL jit = off
"""
_NEWEST, _OLDEST = "letters newest first", "letters oldest first"


@dataclass(frozen=True, slots=True)
class Count:
    """How many there are; with `exact` False there are more."""

    n: int
    exact: bool


class LetterSearch:
    """Reads dead letters. Safe to share between threads; each call is some statements, without a transaction."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def list(
        self, letter_filter: LetterFilter, *, limit: int = 50, cursor: str | None = None, newest_first: bool = True
    ) -> Page[Letter]:
        """A page of the letters that the filter means, by instant of death.

        What dies meanwhile moves nothing: the page behind a cursor begins where the one before it ended.

        Raises:
            InvalidInputError: `REQUEST_FILTER_INVALID` for a limit or cursor that is none.
            PenstockError: of the family `STORAGE_`.
        """
        require_limit(limit)
        order = _NEWEST if newest_first else _OLDEST
        place = None if cursor is None else read_cursor(cursor, order, datetime, UUID)
        walk = Walk(letter_filter, newest_first, limit + 1, place)
        rows = self._rows(walk)
        last = rows[limit - 1] if len(rows) > limit else None
        following = None if last is None else write_cursor(order, last["died_at"], last["dead_id"])
        return Page([letter_of(row) for row in rows[:limit]], following)

    def count(self, letter_filter: LetterFilter, ceiling: int = COUNT_CEILING) -> Count:
        """How many letters the filter means, counted up to `ceiling`.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        condition, parameters = letter_filter.where()
        statement = f"""
            SELECT count(*) AS n FROM (
                SELECT FROM penstock.dead_letters WHERE {condition} LIMIT %(limit)s
            ) AS found
        """
        (row,) = self._fetch(statement, parameters | {"limit": ceiling + 1})
        return Count(min(row["n"], ceiling), row["n"] <= ceiling)

    def show(self, dead_id: UUID) -> LetterDetail:
        """All that is known of one death, but for its payload.

        Raises:
            NotFoundError: `JOB_DEAD_LETTER_NOT_FOUND`.
            PenstockError: of the family `STORAGE_`.
        """
        row = self._one(dead_id, DETAIL_COLUMNS)
        others = self._fetch(
            f"""
            SELECT {LETTER_COLUMNS} FROM penstock.dead_letters
             WHERE job_id = %(job_id)s AND dead_id <> %(dead_id)s ORDER BY died_at DESC LIMIT %(limit)s
            """,
            {"job_id": row["job_id"], "dead_id": dead_id, "limit": OTHER_DEATHS},
        )
        return detail_of(row, [letter_of(other) for other in others])

    def payload(self, dead_id: UUID) -> bytes:
        """The payload as its producer wrote it, not redacted; JSON in UTF-8, if it was that.

        Where the envelope could not be read, it is the whole message.

        Raises:
            NotFoundError: `JOB_DEAD_LETTER_NOT_FOUND`.
            InvalidInputError: `JOB_PAYLOAD_INVALID` or `BATCH_TOO_LARGE` where it can't be unpacked.
            PenstockError: of the family `STORAGE_`.
        """
        row = self._one(dead_id, "body, encoding, raw")
        if row["raw"] is not None:
            return bytes(row["raw"])
        return decompress(bytes(row["body"]), row["encoding"], PAYLOAD_BYTES_LIMIT)

    def sample(self, letter_filter: LetterFilter, n: int = 5) -> Sequence[Letter]:
        """Up to `n` letters that the filter means, the newest first.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        return self.list(letter_filter, limit=n).items

    def oldest(self, letter_filter: LetterFilter) -> Letter | None:
        """The letter that died first of those that the filter means; None where there is none.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        found = self.list(letter_filter, limit=1, newest_first=False).items
        return found[0] if found else None

    def deaths_of(self, job_id: UUID) -> Sequence[Letter]:
        """The deaths of a job, the newest first, a hundred at the most.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        return self.list(LetterFilter(job_id=job_id, state=None), limit=100).items

    def _rows(self, walk: Walk) -> Sequence[Mapping[str, Any]]:
        if not walk.looks_inside:
            return self._fetch(*walk.ordered())
        return find_rows(walk, self._fetch, self._fetch_by_index)

    def _one(self, dead_id: UUID, columns: str) -> Mapping[str, Any]:
        rows = self._fetch(
            f"SELECT {columns} FROM penstock.dead_letters WHERE dead_id = %(dead_id)s", {"dead_id": dead_id}
        )
        if not rows:
            raise NotFoundError(Code.JOB_DEAD_LETTER_NOT_FOUND, f"there is no dead letter {dead_id}")
        return rows[0]

    def _fetch(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        with storage_errors(), self._pool.connection() as connection, timed_query("select", "dead_letters"):
            cursor = connection.cursor(row_factory=dict_row)
            return list(cursor.execute(statement.encode(), parameters).fetchall())

    def _fetch_by_index(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        with (
            storage_errors(),
            self._pool.connection() as connection,
            timed_query("select", "dead_letters"),
            connection.transaction(),
        ):
            connection.execute(_BY_BITMAPS)
            cursor = connection.cursor(row_factory=dict_row)
            # Planned for these values: a plan for any values knows nothing of how common they are.
            return list(cursor.execute(statement.encode(), parameters, prepare=False).fetchall())
