"""What operators decide on dead letters: requeue or discard. A decision and its audit are one transaction."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from penstock.producers.queue.audit import audit_entry
from penstock.producers.queue.compression import decompress
from penstock.producers.spans import start_span
from penstock.producers.storage.causes import caused
from penstock.producers.tracing import current_cause
from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.schemas.job import Payload, job_kinds
from penstock.schemas.names import NAME_PATTERN
from penstock.schemas.upcasting import present_version
from penstock.workers.database.operator_actions import is_recorded, record_actions, require_reason
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.dead_letters.editing import Edit
from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.letters import LetterState
from penstock.workers.dead_letters.listing import listed
from penstock.workers.dead_letters.store import PAYLOAD_BYTES_LIMIT
from penstock.workers.telemetry.queries import timed_query

#: Letters of one transaction at the most.
DECISION_LIMIT = 1_000
#: Bytes of messages that are in memory at once, unless one alone has more.
_ROUND_BYTES = 8 * 1024 * 1024

# In order, so that two who decide on the same letters can't wait for each other; then their groups, for the triggers.
_LOCK = """
SELECT dead_id, kind, tenant, state, resolved_by, payload_version, header_ok, message_bytes, fingerprint, trace,
       EXISTS (SELECT FROM penstock.dead_letters later
                WHERE later.job_id = letter.job_id AND later.died_at > letter.died_at) AS died_later
  FROM penstock.dead_letters letter
 WHERE dead_id = ANY(%s) ORDER BY dead_id FOR UPDATE OF letter
"""
_LOCK_GROUPS = """
SELECT FROM penstock.dead_letter_groups WHERE fingerprint = ANY(%s) ORDER BY fingerprint FOR UPDATE
"""
_REQUEUE = """
UPDATE penstock.dead_letters
   SET state = 'requeued', became = 'waiting', resolved_at = now(), resolved_by = %(by)s,
       resolution_reason = %(reason)s, replay_id = %(replay_id)s, edited = %(edited)s
 WHERE dead_id = ANY(%(ids)s) AND state = 'open'
"""
_DISCARD = """
UPDATE penstock.dead_letters
   SET state = 'discarded', resolved_at = now(), resolved_by = %(by)s, resolution_reason = %(reason)s
 WHERE dead_id = ANY(%(ids)s) AND state = 'open'
"""
_BODIES = "SELECT dead_id, body, encoding FROM penstock.dead_letters WHERE dead_id = ANY(%s)"
_OPEN_IDS = "SELECT dead_id FROM penstock.dead_letters WHERE {} AND archived_at <= %(began)s LIMIT %(limit)s"
_TENANT = re.compile(NAME_PATTERN.removesuffix("$") + r"\Z")
_REVIVE = "SELECT penstock.revive_letters(%s, %b, %s)"


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of letters: those that were requeued, and why the others were not."""

    done: list[UUID] = field(default_factory=list)
    skipped: dict[UUID, str] = field(default_factory=dict)


class LetterDecisions:
    """Decides on letters, for the replays too. Safe to share between threads.

    Args:
        kinds: by which old versions of payloads are brought to the present one; all that are known if absent.
    """

    def __init__(self, transactions: Transactions, kinds: Mapping[str, type[Payload]] | None = None) -> None:
        self._transactions = transactions
        self._kinds = kinds

    def requeue(
        self, ids: Sequence[UUID], by: str, reason: str, *, replay_id: UUID | None = None, edit: Edit | None = None
    ) -> Decided:
        """Give the jobs of open letters a new life. Twice at once, the job runs once.

        `edit` is a payload in the place of the one letter's own.

        Raises:
            InvalidInputError: `REQUEST_USAGE` without name or reason, for over 1,000 letters or an edit of several.
            PenstockError: of the family `STORAGE_`; nothing has changed then, unless the answer to COMMIT was lost.
        """
        ids = _distinct(ids)
        if edit is not None and len(ids) != 1:
            raise InvalidInputError(Code.REQUEST_USAGE, "an edit is for one dead letter")
        entry = audit_entry(*_action("requeue", ids, by, reason))
        decided = Decided()

        def work(transaction: Transaction) -> Decided:
            nonlocal decided
            if decided.done and is_recorded(transaction.connection, entry):
                return decided
            decided = self.requeue_in(transaction, ids, entry.actor, entry.reason, replay_id=replay_id, edit=edit)
            if decided.done:
                details = _details(decided, replay_id, edit)
                record_actions(transaction.connection, [replace(entry, details=details)])
            return decided

        return self._transactions.run(work)

    def requeue_in(
        self,
        transaction: Transaction,
        ids: Sequence[UUID],
        by: str,
        reason: str,
        *,
        replay_id: UUID | None = None,
        edit: Edit | None = None,
    ) -> Decided:
        """As `requeue`, in the caller's transaction and without an audit entry, which is the caller's to write.

        Raises:
            InvalidInputError: as `requeue`.
            psycopg.Error: as any statement.
        """
        by, reason = require_reason(by, reason)
        connection = transaction.connection
        decided = Decided()
        locked = _lock(connection, _distinct(ids), decided)
        parameters: dict[str, Any] = {"by": by, "reason": reason, "replay_id": replay_id}
        parameters["edited"] = None if edit is None else Jsonb(list(edit.difference))
        for letters in _rounds(locked):
            sent = self._payloads(connection, letters, edit, decided)
            if sent:
                with timed_query("update", "dead_letters"):
                    connection.execute(_REQUEUE, parameters | {"ids": list(sent)})
                _revive(connection, sent, [letter["trace"] for letter in letters if letter["dead_id"] in sent])
                decided.done.extend(sent)
        return decided

    def discard(self, letters: Sequence[UUID] | LetterFilter, by: str, reason: str) -> int:
        """Close open letters without giving their jobs a new life; returns how many.

        What a filter means is discarded in portions, each with its audit in one transaction; what dies meanwhile is
        none of it.

        Raises:
            InvalidInputError: `REQUEST_USAGE` without name or reason, or for over 1,000 ids.
            PenstockError: of the family `STORAGE_`; portions that were committed stay discarded.
        """
        require_reason(by, reason)
        if not isinstance(letters, LetterFilter):
            return self._discard(_distinct(letters), by, reason, {})
        chosen = replace(letters, state=LetterState.OPEN)
        if letters.state not in {None, LetterState.OPEN}:
            return 0
        began = self._transactions.run(lambda transaction: _one(transaction.connection, "SELECT now()"))
        total = 0
        while ids := self._transactions.run(lambda transaction: _open_ids(transaction.connection, chosen, began)):
            total += self._discard(ids, by, reason, {"filter": letters.as_dict()})
        return total

    def _discard(self, ids: Sequence[UUID], by: str, reason: str, details: Mapping[str, Any]) -> int:
        entry = audit_entry(*_action("discard", ids, by, reason))
        done: list[UUID] = []

        def work(transaction: Transaction) -> int:
            nonlocal done
            connection = transaction.connection
            if done and is_recorded(connection, entry):
                return len(done)
            done = _close(connection, ids, entry.actor, entry.reason)
            if done:
                record_actions(connection, [replace(entry, details={**details, **listed(done)})])
            return len(done)

        return self._transactions.run(work)

    def _payloads(
        self, connection: psycopg.Connection, letters: Sequence[Mapping[str, Any]], edit: Edit | None, decided: Decided
    ) -> dict[UUID, tuple[bytes, int]]:
        """The payload and version that each letter's job gets; what can't be unpacked or upcast is skipped."""
        if edit is not None:
            return {letter["dead_id"]: (edit.payload, edit.version) for letter in letters}
        known = job_kinds() if self._kinds is None else self._kinds
        facts = {letter["dead_id"]: letter for letter in letters}
        found: dict[UUID, tuple[bytes, int]] = {}
        for dead_id, body, encoding in connection.execute(_BODIES, (list(facts),)).fetchall():
            letter = facts[dead_id]
            try:
                payload = decompress(bytes(body), encoding, PAYLOAD_BYTES_LIMIT)
                found[dead_id] = present_version(known.get(letter["kind"]), letter["payload_version"], payload)
            except PenstockError as error:
                decided.skipped[dead_id] = error.message
        return found


def close_letters_of(connection: psycopg.Connection, job_id: UUID, by: str, note: str) -> list[UUID]:
    """Discard the open letters of a job whose work was settled otherwise; returns which.

    In the caller's transaction, and without an audit entry, which is the caller's to write. `note` is the reason that
    the letters show.
    """
    found = connection.execute(
        "SELECT dead_id FROM penstock.dead_letters WHERE job_id = %s AND state = 'open'", (job_id,)
    )
    return _close(connection, [dead_id for (dead_id,) in found.fetchall()], by, note)


def _revive(
    connection: psycopg.Connection, sent: Mapping[UUID, tuple[bytes, int]], traces: Sequence[str | None]
) -> None:
    """Put the jobs into the outbox. Their new lives belong to this trace, and follow those that `traces` tell of."""
    payloads, versions = zip(*sent.values(), strict=True)
    told = {"messaging.batch.message_count": len(sent)}
    with start_span("requeue dead letters", "producer", told, links=traces) as requeueing:
        cause = current_cause()
        cause = replace(cause, trace=requeueing.trace or cause.trace)
        statement, parameters = caused(_REVIVE, (list(sent), list(payloads), list(versions)), cause)
        with timed_query("insert", "outbox"):
            connection.execute(statement.encode(), parameters)


def _close(connection: psycopg.Connection, ids: Sequence[UUID], by: str, reason: str) -> list[UUID]:
    """Discard those of these letters that are open; returns which."""
    if not ids:
        return []
    done: list[UUID] = [one["dead_id"] for one in _locked(connection, ids) if one["state"] == LetterState.OPEN]
    if done:
        with timed_query("update", "dead_letters"):
            connection.execute(_DISCARD, {"by": by, "reason": reason, "ids": done})
    return done


def _lock(connection: psycopg.Connection, ids: Sequence[UUID], decided: Decided) -> list[Mapping[str, Any]]:
    """Lock letters and their groups; those that can be requeued. Why the others can't goes to `decided`."""
    letters = _locked(connection, ids)
    able: list[Mapping[str, Any]] = []
    for letter in letters:
        why_not = _why_not(letter)
        if why_not is None:
            able.append(letter)
        else:
            decided.skipped[letter["dead_id"]] = why_not
    known = {letter["dead_id"] for letter in letters}
    decided.skipped.update({dead_id: "there is no such dead letter" for dead_id in ids if dead_id not in known})
    if able:
        connection.execute(_LOCK_GROUPS, (sorted({letter["fingerprint"] for letter in able}),))
    return able


def _locked(connection: psycopg.Connection, ids: Sequence[UUID]) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_LOCK, (list(ids),)).fetchall()


def _why_not(letter: Mapping[str, Any]) -> str | None:
    """Why a letter can't be requeued; None where it can."""
    if letter["state"] != LetterState.OPEN:
        return f"it was {letter['state']} already, by {letter['resolved_by']}"
    if not letter["header_ok"]:
        return "its message can't be read"
    if letter["died_later"]:
        return "its job has died again since: requeue that death"
    if not _TENANT.match(letter["tenant"]):
        return "its tenant is none that the outbox takes"
    return None


def _rounds(letters: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """The letters in portions whose messages fit into memory together."""
    portion: list[Mapping[str, Any]] = []
    total = 0
    for letter in letters:
        if portion and total + letter["message_bytes"] > _ROUND_BYTES:
            yield portion
            portion, total = [], 0
        portion.append(letter)
        total += letter["message_bytes"]
    if portion:
        yield portion


def _open_ids(connection: psycopg.Connection, chosen: LetterFilter, began: Any) -> list[UUID]:
    condition, parameters = chosen.where()
    rows = connection.execute(
        _OPEN_IDS.format(condition).encode(), parameters | {"began": began, "limit": DECISION_LIMIT}
    )
    return [dead_id for (dead_id,) in rows.fetchall()]


def _one(connection: psycopg.Connection, statement: str) -> Any:
    row = connection.execute(statement.encode()).fetchone()
    return None if row is None else row[0]


def _distinct(ids: Sequence[UUID]) -> list[UUID]:
    found = list(dict.fromkeys(ids))
    if len(found) > DECISION_LIMIT:
        raise InvalidInputError(
            Code.REQUEST_USAGE,
            f"{len(found):,} dead letters at once; the limit is {DECISION_LIMIT:,}",
            remedy="Use a filter: a replay takes any number.",
        )
    return found


def _action(what: str, ids: Sequence[UUID], by: str, reason: str) -> tuple[str, str, str, str]:
    """Actor, action, target and reason of the audit entry."""
    by, reason = require_reason(by, reason)
    target = str(ids[0]) if len(ids) == 1 else f"{len(ids)} dead letters"
    return by, f"dead_letter.{what}", target, reason


def _details(decided: Decided, replay_id: UUID | None, edit: Edit | None) -> dict[str, Any]:
    details: dict[str, Any] = listed(decided.done) | {"skipped": len(decided.skipped)}
    if replay_id is not None:
        details["replay"] = str(replay_id)
    return details if edit is None else details | {"difference": list(edit.difference)}
