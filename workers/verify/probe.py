"""The probe form: what the smoke test asks, whose it is, and what is left of it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import psycopg

#: A tenant of its own, so that no limit, list or count of anybody else's knows of it.
TENANT = "penstock-probe"
FORM_ID = "penstock-probe"
FORM: Mapping[str, Any] = {
    "title": "Smoke test of penstock verify",
    "questions": [{"id": "mark", "text": "Which run is it?", "type": "text", "required": True}],
}
#: Rows of one run.
ROWS = 2

# The form's key leads to few rows, whoever's form it is: a gateway's key says which tenant.
_FORM = "(SELECT form_key FROM penstock.forms WHERE form_id = %(form_id)s)"
_LEDGER = f"FROM penstock.submission_batches WHERE form_key IN {_FORM}"
_COUNT = f"""
SELECT (SELECT count(*) FROM penstock.submissions
         WHERE form_id = %(form_id)s AND batch_id = %(batch_id)s AND submitted_at = %(at)s),
       (SELECT count(*) {_LEDGER} AND batch_id = %(batch_id)s AND status = 'done')
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """One run: the file's id, and the instant of its rows."""

    base_batch_id: str
    at: datetime

    @classmethod
    def begin(cls) -> Self:
        """A run with an id that no other has."""
        return cls(f"probe-{uuid.uuid4().hex}", datetime.now(UTC).replace(microsecond=0))

    @property
    def batch_id(self) -> str:
        """Of the one batch that the rows make."""
        return f"{self.base_batch_id}-0001"

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows; they hold nothing of anybody's."""
        return [
            {"id": f"{self.base_batch_id}-{place}", "submitted_at": self.at.isoformat(), "answers": {"mark": "probe"}}
            for place in range(ROWS)
        ]

    def count(self, connection: psycopg.Connection) -> tuple[int, int]:
        """How often the rows are stored, and the batch is in the ledger."""
        parameters = {"form_id": FORM_ID, "batch_id": self.batch_id, "at": self.at}
        row = connection.execute(_COUNT.encode(), parameters).fetchone()
        return (int(row[0]), int(row[1])) if row else (0, 0)

    def forget(self, connection: psycopg.Connection, known_for: timedelta) -> None:
        """Remove this run's rows, and what is old of former ones.

        Args:
            connection: of any process's login.
            known_for: how long Redis knows a job that is done; its batch stays in the ledger for a day longer.
        """
        parameters = (self.base_batch_id, known_for + timedelta(days=1))
        connection.execute("SELECT penstock.forget_probe(%s, %s)", parameters)
