"""Groups of dead letters: failures of one cause, counted as letters come and go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg_pool import ConnectionPool

from penstock.producers.queue.audit import audit_entry
from penstock.schemas.errors import Code, InvalidInputError, NotFoundError
from penstock.workers.database.failures import storage_errors
from penstock.workers.database.operator_actions import record_actions, require_reason
from penstock.workers.database.pages import Page, read_cursor, require_limit, write_cursor
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.dead_letters.group_filters import GroupFilter
from penstock.workers.dead_letters.letters import plain, remedy_of
from penstock.workers.telemetry.queries import timed_query

TOP_SUBJECTS = 20
HOURS = 48


class GroupOrder(StrEnum):
    """How a list of groups is ordered, the greatest first."""

    OPEN = "open"
    LAST_SEEN = "last_seen"


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters of one fingerprint.

    Attributes:
        site: file and function where it fails; None where no attempt raised anything.
        total: letters that are there; each of them is open, requeued or discarded.
        healed: of the requeued ones, those whose job is done.
        first_release, last_release: that ran the first and the last of them; empty where none ran it.
        note, snoozed_until: of an operator's.
        snoozed_open: how many were open when it was snoozed.
        sentry_id: of the last death that was told to Sentry.
    """

    fingerprint: str
    kind: str
    code: str
    error: str | None
    sample_message: str
    site: str | None
    first_seen: datetime
    last_seen: datetime
    total: int
    open: int
    requeued: int
    healed: int
    discarded: int
    first_release: str
    last_release: str
    note: str | None
    snoozed_until: datetime | None
    sentry_id: str | None
    snoozed_open: int | None = None

    @property
    def remedy(self) -> str | None:
        """What to do about such a failure; None for a code that this release does not know."""
        return remedy_of(self.code)

    def is_snoozed(self, now: datetime) -> bool:
        """Whether it is put off: until then, or until twice as many are open as when it was."""
        if self.snoozed_until is None or self.snoozed_until <= now:
            return False
        before = self.open if self.snoozed_open is None else self.snoozed_open
        return self.open < 2 * max(before, 1)

    def as_dict(self) -> dict[str, Any]:
        """The group as a JSON object: its fingerprint is `group`; instants are RFC 3339 in UTC."""
        own = {found.name: plain(getattr(self, found.name)) for found in fields(self) if found.name != "fingerprint"}
        return {"group": self.fingerprint} | own | {"remedy": self.remedy}


@dataclass(frozen=True, slots=True)
class Affected:
    """One thing that a group is about: how many of its letters, and how many of them are open."""

    value: str
    total: int
    open: int


@dataclass(frozen=True, slots=True)
class GroupDetail:
    """A group and who is affected by it.

    Attributes:
        subjects: for each of form, account, platform and tenant up to 20, those with most open letters first.
        hours: deaths in each of the last 48 hours of the clock, the oldest first; `(beginning, deaths)`.
        releases: that ran the jobs, as subjects.
    """

    group: Group
    subjects: Mapping[str, Sequence[Affected]]
    hours: Sequence[tuple[datetime, int]]
    releases: Sequence[Affected] = field(default_factory=tuple)

    def as_dict(self) -> dict[str, Any]:
        """The members of the group and of the detail in one JSON object."""
        subjects = {name: [_affected(one) for one in found] for name, found in self.subjects.items()}
        hours = [{"hour": plain(hour), "died": died} for hour, died in self.hours]
        releases = [_affected(one) for one in self.releases]
        return self.group.as_dict() | {"subjects": subjects, "hours": hours, "releases": releases}


class Keep(StrEnum):
    """Marks what `annotate` leaves as it is."""

    AS_IT_IS = "as it is"


_COLUMNS = ", ".join(f"found.{column.name}" for column in fields(Group))
_SUBJECTS = ("form", "account", "platform", "tenant")
# The first of each subject, from the index alone.
_TOP = """
SELECT subject, top.value, top.total, top.open
  FROM unnest(%(subjects)s::text[]) AS subject,
       LATERAL (SELECT value, total, open FROM penstock.dead_letter_group_subjects
                 WHERE fingerprint = %(fingerprint)s AND subject = subject.subject
                 ORDER BY open DESC, total DESC, value LIMIT %(top)s) AS top
 ORDER BY subject, top.open DESC, top.total DESC, top.value
"""
_HOURS = """
SELECT hour, coalesce(died, 0) AS died
  FROM generate_series(date_trunc('hour', now(), 'UTC') - make_interval(hours => %(hours)s - 1),
                       date_trunc('hour', now(), 'UTC'), INTERVAL '1 hour') AS hour
  LEFT JOIN (SELECT hour, died FROM penstock.dead_letter_group_hours WHERE fingerprint = %(fingerprint)s) AS known
       USING (hour)
 ORDER BY hour
"""


class GroupStore:
    """Reads and annotates groups. Safe to share between threads.

    Args:
        pool: for reading.
        transactions: for annotating.
    """

    def __init__(self, pool: "ConnectionPool[psycopg.Connection]", transactions: Transactions) -> None:
        self._pool = pool
        self._transactions = transactions

    def list(
        self,
        group_filter: GroupFilter,
        limit: int = 50,
        cursor: str | None = None,
        order: GroupOrder = GroupOrder.OPEN,
    ) -> Page[Group]:
        """A page of groups.

        Raises:
            InvalidInputError: `REQUEST_FILTER_INVALID` for a limit or cursor that is none.
            PenstockError: of the family `STORAGE_`.
        """
        require_limit(limit)
        by, of_type = (order.value, int if order is GroupOrder.OPEN else datetime)
        condition, parameters = group_filter.where()
        if cursor is not None:
            parameters["place"], parameters["place_id"] = read_cursor(cursor, f"groups by {by}", of_type, str)
            condition += f" AND (found.{by}, found.fingerprint) < (%(place)s, %(place_id)s)"
        statement = f"""
            SELECT {_COLUMNS} FROM penstock.dead_letter_groups found WHERE {condition}
             ORDER BY found.{by} DESC, found.fingerprint DESC LIMIT %(rows)s
        """
        with storage_errors(), self._pool.connection() as connection:
            reader = connection.cursor(row_factory=class_row(Group))
            with timed_query("select", "dead_letter_groups"):
                rows = reader.execute(statement.encode(), parameters | {"rows": limit + 1}).fetchall()
        last = rows[limit - 1] if len(rows) > limit else None
        following = None if last is None else write_cursor(f"groups by {by}", getattr(last, by), last.fingerprint)
        return Page(rows[:limit], following)

    def show(self, fingerprint: str) -> GroupDetail:
        """A group and who is affected by it.

        Raises:
            NotFoundError: `JOB_DEAD_LETTER_GROUP_NOT_FOUND`.
            PenstockError: of the family `STORAGE_`.
        """
        subjects = [*_SUBJECTS, "release"]
        parameters = {"fingerprint": fingerprint, "subjects": subjects, "top": TOP_SUBJECTS, "hours": HOURS}
        with storage_errors(), self._pool.connection() as connection:
            group = _read(connection, fingerprint)
            top = connection.execute(_TOP, parameters).fetchall()
            hours = connection.execute(_HOURS, parameters).fetchall()
        deaths = [(hour.astimezone(UTC), int(died)) for hour, died in hours]
        by_subject: dict[str, list[Affected]] = {name: [] for name in subjects}
        for subject, value, total, is_open in top:
            by_subject[subject].append(Affected(value, total, is_open))
        releases = by_subject.pop("release")
        return GroupDetail(group, by_subject, deaths, releases)

    def annotate(
        self,
        fingerprint: str,
        by: str,
        reason: str,
        *,
        note: str | Keep | None = Keep.AS_IT_IS,
        snoozed_until: datetime | Keep | None = Keep.AS_IT_IS,
    ) -> Group:
        """Note something on a group, or snooze it until an instant (aware); None takes away what is there.

        Snoozed, it is awake again once twice as many of its letters are open.

        Raises:
            InvalidInputError: `REQUEST_USAGE` without name or reason, or for a note that is too long.
            NotFoundError: `JOB_DEAD_LETTER_GROUP_NOT_FOUND`.
            PenstockError: of the family `STORAGE_`.
        """
        by, reason = require_reason(by, reason)
        if not isinstance(note, Keep) and note is not None:
            note, _ = require_reason(note, reason)
        given = {"note": note, "snoozed_until": snoozed_until}
        changed = {name: value for name, value in given.items() if not isinstance(value, Keep)}
        if not changed:
            raise InvalidInputError(Code.REQUEST_USAGE, "nothing is said to be noted or snoozed")
        details = {"note": f"{len(note or '')} characters"} if "note" in changed else {}
        if "snoozed_until" in changed:
            details["snoozed_until"] = plain(snoozed_until)
        entry = audit_entry(by, "dead_letter_group.annotate", fingerprint, reason, details)

        def work(transaction: Transaction) -> Group:
            connection = transaction.connection
            assignments = ", ".join(f"{name} = %({name})s" for name in changed)
            if "snoozed_until" in changed:
                assignments += ", snoozed_open = CASE WHEN %(snoozed_until)s::timestamptz IS NOT NULL THEN open END"
            statement = f"UPDATE penstock.dead_letter_groups SET {assignments} WHERE fingerprint = %(fingerprint)s"
            connection.execute(statement.encode(), changed | {"fingerprint": fingerprint})
            group = _read(connection, fingerprint)
            record_actions(connection, [entry])
            return group

        return self._transactions.run(work)


def _read(connection: psycopg.Connection, fingerprint: str) -> Group:
    statement = f"SELECT {_COLUMNS} FROM penstock.dead_letter_groups found WHERE fingerprint = %s"
    with connection.cursor(row_factory=class_row(Group)) as reader:
        found = reader.execute(statement.encode(), (fingerprint,)).fetchone()
    if found is None:
        raise NotFoundError(Code.JOB_DEAD_LETTER_GROUP_NOT_FOUND, f"there is no group {fingerprint[:80]!r}")
    return found


def _affected(one: Affected) -> dict[str, Any]:
    return {"value": one.value, "total": one.total, "open": one.open}
