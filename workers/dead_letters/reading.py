"""Rows of `penstock.dead_letters` as values."""

from collections.abc import Mapping
from typing import Any

from penstock.workers.dead_letters.letters import Became, Letter, LetterDetail, LetterState

#: The columns of a letter; the group is its fingerprint.
LETTER_COLUMNS = """dead_id, job_id, queue, kind, tenant, code, message, error, attempts, died_at,
    fingerprint AS "group", state, became, form_id, platform, account, release, message_bytes"""
DETAIL_COLUMNS = f"""{LETTER_COLUMNS}, recoveries, crashes, postpones, payload_version, idempotency_key, enqueued_at,
    archived_at, worker, trace_id, history, resolved_at, resolved_by, resolution_reason, replay_id, edited, sentry_id,
    header_ok AS readable"""

_LETTER = tuple(Letter.__dataclass_fields__)
_DETAIL = tuple(name for name in LetterDetail.__dataclass_fields__ if name not in {"letter", "other_deaths"})


def letter_of(row: Mapping[str, Any]) -> Letter:
    """The letter of a row with at least `LETTER_COLUMNS`."""
    found = {name: row[name] for name in _LETTER}
    found["state"] = LetterState(found["state"])
    found["became"] = None if found["became"] is None else Became(found["became"])
    return Letter(**found)


def detail_of(row: Mapping[str, Any], other_deaths: list[Letter]) -> LetterDetail:
    """The detail of a row with `DETAIL_COLUMNS`."""
    own = {name: row[name] for name in _DETAIL}
    return LetterDetail(letter=letter_of(row), other_deaths=other_deaths, **own)
