"""Replays whose filter names a person: what they selected by is emptied once they have ended."""

import json
from typing import Any
from uuid import UUID

import psycopg

from penstock.schemas.person_data import SubjectKind
from penstock.workers.compliance.payloads import ERASED_TEXT
from penstock.workers.compliance.person import Person
from penstock.workers.erasures.subjects import spelled
from penstock.workers.telemetry.queries import timed_query

# Replays are few, whatever they replay.
_SELECTIONS = "SELECT replay_id, selection::text FROM penstock.replays WHERE ended_at IS NOT NULL"
_ERASE = "SELECT penstock.erase_in_replay(%s, %s, %s::jsonb)"


def erase(connection: psycopg.Connection[Any], request_id: UUID, person: Person) -> int:
    """Take what names the person out of the selections of replays that have ended; returns how many had it."""
    if person.subject.kind is SubjectKind.SUBMISSION:
        return 0
    changed = 0
    with timed_query("select", "replays"):
        for replay_id, selection in connection.execute(_SELECTIONS).fetchall():
            left = json.dumps(_without(json.loads(selection), person))
            if json.loads(left) != json.loads(selection):
                connection.execute(_ERASE, (request_id, replay_id, left))
                changed += 1
    return changed


def _without(value: Any, person: Person) -> Any:
    if isinstance(value, str):
        return ERASED_TEXT if _names(value, person) else value
    if isinstance(value, list):
        return [_without(inner, person) for inner in value]
    return {name: _without(inner, person) for name, inner in value.items()} if isinstance(value, dict) else value


def _names(text: str, person: Person) -> bool:
    """An address may stand within a text that was searched for; another value is short, and would be found anywhere."""
    if person.subject.kind is SubjectKind.EMAIL:
        return person.is_mentioned(text)
    return spelled(text) == person.subject.value
