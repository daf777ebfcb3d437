"""What happened in a period, for whoever has to answer for it: access, actions, incidents, erasures, the chain.

It only reads, in one snapshot, and any role that may read the schema can ask for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.audit.chain import chain_state
from penstock.workers.audit.incidents import Outage, incidents_of, merged

_BEGIN = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_PERIOD = "at >= %(since)s AND at < %(until)s"

# A note that stands for several says how many in its details.
_COUNT = "CASE WHEN jsonb_typeof(details -> 'count') = 'number' THEN (details ->> 'count')::numeric ELSE 1 END"
_BY_KIND = f"""
SELECT action, sum({_COUNT})::bigint AS count
  FROM penstock.operator_actions WHERE {_PERIOD} GROUP BY action ORDER BY action
"""
_BY_PERSON = f"""
SELECT actor AS person, count(*) AS actions, min(at) AS first, max(at) AS last
  FROM penstock.operator_actions
 WHERE {_PERIOD} AND action NOT LIKE 'access.%%' AND action <> 'api_key.refused'
 GROUP BY actor ORDER BY count(*) DESC, actor
"""
_ACCESS_BY_PERSON = f"""
SELECT actor AS person, count(*) FILTER (WHERE action = 'access.log-in') AS log_ins,
       count(*) FILTER (WHERE action LIKE '%%.reveal') AS reveals,
       coalesce(sum({_COUNT}) FILTER (WHERE action = ANY(%(refusals)s)), 0)::bigint AS refused
  FROM penstock.operator_actions
 WHERE {_PERIOD} AND (action LIKE 'access.%%' OR action LIKE '%%.reveal' OR action = 'api_key.refused')
 GROUP BY actor ORDER BY actor
"""
_LETTERS = """
SELECT count(*) FILTER (WHERE died_at >= %(since)s) AS opened,
       count(*) FILTER (WHERE resolved_at >= %(since)s AND resolved_at < %(until)s) AS settled,
       count(*) FILTER (WHERE resolved_at IS NULL OR resolved_at >= %(until)s) AS open_at_the_end,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM resolved_at - died_at))
           FILTER (WHERE resolved_at >= %(since)s AND resolved_at < %(until)s) AS median_seconds,
       max(extract(epoch FROM resolved_at - died_at))
           FILTER (WHERE resolved_at >= %(since)s AND resolved_at < %(until)s) AS longest_seconds
  FROM penstock.dead_letter_facts
 WHERE died_at < %(until)s
"""
_REQUESTS = """
SELECT kind, count(*) AS asked, count(ended_at) AS done,
       max(extract(epoch FROM ended_at - asked_at)) AS longest_seconds
  FROM penstock.person_data_requests WHERE asked_at >= %(since)s AND asked_at < %(until)s GROUP BY kind ORDER BY kind
"""
_HAS_REQUESTS = """
SELECT count(*) = 4 FROM information_schema.columns
 WHERE table_schema = 'penstock' AND table_name = 'person_data_requests'
   AND column_name IN ('kind', 'asked_at', 'ended_at', 'request_id')
"""

#: Actions that say that somebody was kept out.
REFUSALS = ("access.log-in-refused", "access.token-refused", "access.refused", "api_key.refused")


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` on and before `until`, both aware.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where it ends before it begins.
    """

    since: datetime
    until: datetime

    def __post_init__(self) -> None:
        if self.since >= self.until:
            raise InvalidInputError(Code.REQUEST_USAGE, "the period ends before it begins")

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.until - self.since).total_seconds()

    def as_dict(self) -> dict[str, Any]:
        """The period as commands show it, RFC 3339 in UTC."""
        ends = {"from": self.since, "to": self.until}
        return {name: at.astimezone(UTC).isoformat() for name, at in ends.items()} | {"seconds": self.seconds}


def make_report(connection: psycopg.Connection, period: Period) -> dict[str, Any]:
    """The report as JSON values; durations are seconds, instants RFC 3339 in UTC.

    Dead letters that left by their own retention are not counted; the actions on them are.

    Args:
        connection: in autocommit.
        period: what it is about.
    """
    parameters = {"since": period.since, "until": period.until, "refusals": list(REFUSALS)}
    with connection.transaction():
        connection.execute(_BEGIN)
        by_kind = {row["action"]: row["count"] for row in _rows(connection, _BY_KIND, parameters)}
        report = {
            "period": period.as_dict(),
            "access": _access(by_kind) | {"by_person": _rows(connection, _ACCESS_BY_PERSON, parameters)},
            "actions": {"by_kind": by_kind, "by_person": _rows(connection, _BY_PERSON, parameters)},
            "incidents": _incidents(connection, period, parameters),
            "erasures": _requests(connection, parameters),
        }
        state = chain_state(connection)
    return report | {
        "chain": {
            "anchor": state.anchor,
            "sealed_at": None if state.sealed_at is None else state.sealed_at.isoformat(),
            "waiting": state.waiting,
        }
    }


def _access(by_kind: Mapping[str, int]) -> dict[str, Any]:
    of = by_kind.get
    return {
        "log_ins": of("access.log-in", 0),
        "refusals": {name: of(name, 0) for name in REFUSALS},
        "reveals": sum(count for name, count in by_kind.items() if name.endswith(".reveal")),
        "credentials_made": of("access.credential", 0),
        "keys": {verb: of(f"api_key.{verb}", 0) for verb in ("create", "rotate", "revoke")},
    }


def _incidents(connection: psycopg.Connection, period: Period, parameters: Mapping[str, Any]) -> dict[str, Any]:
    outages = merged(incidents_of(connection, parameters, Outage.DATABASE))
    away = sum(one.seconds_within(period.since, period.until) for one in outages)
    return {
        "circuits": [one.as_dict() for one in incidents_of(connection, parameters, Outage.CIRCUIT)],
        "pauses": [one.as_dict() for one in incidents_of(connection, parameters, Outage.PAUSE)],
        "database_outages": [one.as_dict() for one in outages],
        "database_up_share": round(1 - away / period.seconds, 6),
        "dead_letters": _rows(connection, _LETTERS, parameters)[0],
    }


def _requests(connection: psycopg.Connection, parameters: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Exports and erasures of persons' data; None in a database that knows none."""
    row = connection.execute(_HAS_REQUESTS).fetchone()
    return _rows(connection, _REQUESTS, parameters) if row and row[0] else None


def _rows(connection: psycopg.Connection, statement: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(statement.encode(), parameters).fetchall()
    return [{name: _told(value) for name, value in row.items()} for row in found]


def _told(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value if value is None or isinstance(value, int | str) else round(float(value), 3)
