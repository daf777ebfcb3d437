"""What operators did: `penstock.operator_actions`, to which rows are added and never changed."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from penstock.producers.queue.audit import OperatorAction
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.text import is_storable, trim
from penstock.workers.database.failures import storage_errors
from penstock.workers.database.pages import Page, read_cursor, require_limit, write_cursor
from penstock.workers.telemetry.queries import timed_query

#: Characters of a reason or a name.
TEXT_LIMIT = 1_000

_RECORD = """
INSERT INTO penstock.operator_actions (action_id, at, actor, action, target, reason, details)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
_ORDER = "actions newest first"


def record_actions(connection: psycopg.Connection, actions: Sequence[OperatorAction]) -> None:
    """Record actions in the caller's transaction; those that are recorded already change nothing."""
    with timed_query("insert", "operator_actions"), connection.cursor() as cursor:
        cursor.executemany(
            _RECORD,
            [
                (found.action_id, found.at, found.actor, found.action, found.target, found.reason, Jsonb(found.details))
                for found in actions
            ],
        )


def is_recorded(connection: psycopg.Connection, action: OperatorAction) -> bool:
    """Whether an action is recorded: where it is at a second try, the first had committed, and its answer was lost."""
    found = connection.execute("SELECT FROM penstock.operator_actions WHERE action_id = %s", (action.action_id,))
    return found.fetchone() is not None


def require_reason(by: str, reason: str) -> tuple[str, str]:
    """Who does it and why, without white space at the ends.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where one of them is empty, too long or can't be stored.
    """
    for name, text in (("name", by), ("reason", reason)):
        if not trim(text):
            raise InvalidInputError(
                Code.REQUEST_USAGE, f"a {name} is needed", remedy="Say who does it and why: both are recorded."
            )
        if len(text) > TEXT_LIMIT or not is_storable(text):
            raise InvalidInputError(
                Code.REQUEST_USAGE,
                f"the {name} has over {TEXT_LIMIT:,} characters, or one that can't be stored",
                remedy="Say it in fewer and plainer words.",
            )
    return trim(by), trim(reason)


@dataclass(frozen=True, slots=True)
class RecordedAction:
    """One row: what an operator did. `details` are JSON values."""

    action_id: UUID
    at: datetime
    actor: str
    action: str
    target: str
    reason: str
    details: dict[str, Any]
    recorded_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """The action as a JSON object; instants are RFC 3339 in UTC."""
        instants = {name: _rfc3339(getattr(self, name)) for name in ("at", "recorded_at")}
        texts = {name: getattr(self, name) for name in ("actor", "action", "target", "reason")}
        return {"id": str(self.action_id)} | texts | instants | {"details": self.details}


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionFilter:
    """Actions that meet all of these; what is None does not matter.

    Attributes:
        action: such as `queue.pause`; with a dot at its end all of that family, such as `queue.`.
        since, until: aware; not before the one, and before the other.
        text: stands in the reason, target or actor, capitals aside.

    Raises:
        InvalidInputError: `REQUEST_FILTER_INVALID` where PostgreSQL can't be asked for a text.
    """

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        for name in ("actor", "action", "target", "text"):
            if not is_storable(getattr(self, name) or ""):
                told = f"{name}: it has U+0000 or an unpaired surrogate"
                raise InvalidInputError(Code.REQUEST_FILTER_INVALID, told, details={"parameter": name})

    def where(self) -> tuple[str, dict[str, Any]]:
        """The condition on the table's columns, and its named parameters."""
        given = {one.name: value for one in fields(self) if (value := getattr(self, one.name)) is not None}
        if self.action is not None and self.action.endswith("."):
            given["family"] = given.pop("action")
        conditions = [_CONDITIONS[name] for name in given]
        for name in ("text", "family"):
            if name in given:
                given[name] = _escaped(given[name])
        return " AND ".join(conditions) or "true", given


_CONDITIONS = {
    "actor": "actor = %(actor)s",
    "action": "action = %(action)s",
    "target": "target = %(target)s",
    "since": "at >= %(since)s",
    "until": "at < %(until)s",
    "text": "(reason || ' ' || target || ' ' || actor) ILIKE '%%' || %(text)s || '%%'",
    "family": "action LIKE %(family)s || '%%'",
}


class ActionLog:
    """Reads what operators did. Safe to share between threads."""

    def __init__(self, pool: "ConnectionPool[psycopg.Connection]") -> None:
        self._pool = pool

    def list(self, action_filter: ActionFilter, *, limit: int = 50, cursor: str | None = None) -> Page[RecordedAction]:
        """A page of the actions that the filter means, the newest first.

        Raises:
            InvalidInputError: `REQUEST_FILTER_INVALID` for a limit or cursor that is none.
            PenstockError: of the family `STORAGE_`.
        """
        require_limit(limit)
        condition, parameters = action_filter.where()
        if cursor is not None:
            parameters["place_at"], parameters["place_id"] = read_cursor(cursor, _ORDER, datetime, UUID)
            condition += " AND (at, action_id) < (%(place_at)s, %(place_id)s)"
        statement = f"""
            SELECT action_id, at, actor, action, target, reason, details, recorded_at
              FROM penstock.operator_actions WHERE {condition}
             ORDER BY at DESC, action_id DESC LIMIT %(rows)s
        """
        with storage_errors(), self._pool.connection() as connection, timed_query("select", "operator_actions"):
            reader = connection.cursor(row_factory=class_row(RecordedAction))
            rows = reader.execute(statement.encode(), parameters | {"rows": limit + 1}).fetchall()
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(rows[:limit], None if last is None else write_cursor(_ORDER, last.at, last.action_id))


def _escaped(text: str) -> str:
    """`text` as it stands, for LIKE."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("\x00", "")


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
