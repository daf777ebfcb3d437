"""Walks the audit's chain from its oldest seal to its newest, and names what is not as it was sealed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

import psycopg

from penstock.workers.audit.chain import instant_of
from penstock.workers.audit.keys import PLAIN, AuditKeys
from penstock.workers.audit.seals import (
    ACTION_TEXTS,
    NOTHING_BEFORE,
    SEAL_COLUMNS,
    Anchor,
    Seal,
    action_digest,
    content_digest,
)

#: Problems that are told; the first is where to look.
TOLD = 100

# One snapshot for all of it: a seal that is made meanwhile is not half seen.
_BEGIN = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_SEALS = f"SELECT {SEAL_COLUMNS}, left_at IS NOT NULL FROM penstock.audit_seals ORDER BY number"
_ENTRIES = f"""
SELECT sealed.seal, sealed.position, sealed.action_id::text, sealed.digest, {ACTION_TEXTS}
  FROM penstock.audit_sealed_actions sealed
  LEFT JOIN penstock.operator_actions action USING (action_id)
 ORDER BY sealed.seal, sealed.position
"""
_STRANGERS = f"""
SELECT action.action_id::text FROM penstock.operator_actions action
 WHERE NOT EXISTS (SELECT FROM penstock.audit_sealed_actions sealed WHERE sealed.action_id = action.action_id)
   AND NOT EXISTS (SELECT FROM penstock.audit_unsealed waiting WHERE waiting.action_id = action.action_id)
 ORDER BY action.recorded_at, action.action_id LIMIT {TOLD}
"""
_WAITING = "SELECT count(*) FROM penstock.audit_unsealed"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it was sealed, in which seal, with which action."""

    problem: str
    message: str
    seal: int | None = None
    action: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The problem as commands show it."""
        return {"problem": self.problem, "seal": self.seal, "action": self.action, "message": self.message}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a chain is held against, beside itself.

    Attributes:
        keys: those that its seals name.
        anchors: seals as they were noted elsewhere.
        keep: how long actions are kept; a chain whose beginning left sooner is broken. None: for ever.
        keyed_from: the first seal that has to be made with a key, and all after it; None where that is not known.
    """

    keys: AuditKeys
    anchors: Sequence[Anchor] = ()
    keep: timedelta | None = None
    keyed_from: int | None = None


@dataclass(slots=True)
class Verdict:
    """What a verification found.

    Attributes:
        problems: in the order of the chain, the first 100.
        seals, actions: that were looked at.
        begins_at: the number of the oldest seal with its actions; what was before left by retention.
        keyed_from: the first seal since which all are made with a key; None where the newest is not.
        newest: the last seal.
        waiting: actions that no seal covers yet.
    """

    problems: list[Problem] = field(default_factory=list)
    seals: int = 0
    actions: int = 0
    begins_at: int | None = None
    retained_since: datetime | None = None
    keyed_from: int | None = None
    newest: Seal | None = None
    waiting: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether everything is as it was sealed."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """The verdict as commands show it; `first` is where it breaks first."""
        return {
            "whole": self.is_whole,
            "seals": self.seals,
            "actions": self.actions,
            "waiting": self.waiting,
            "begins_at": self.begins_at,
            "retained_since": None if self.retained_since is None else self.retained_since.isoformat(),
            "keyed_from": self.keyed_from,
            "anchor": None if self.newest is None else self.newest.anchor,
            "first": self.problems[0].as_dict() if self.problems else None,
            "problems": [problem.as_dict() for problem in self.problems],
        }


def verify_chain(connection: psycopg.Connection, expected: Expected) -> Verdict:
    """Compare every action and every seal with what was sealed, and the chain with what is expected of it.

    The connection is in autocommit, of any role that may read the audit.
    """
    verdict = Verdict()
    walk = _Walk(expected, verdict)
    with connection.transaction():
        connection.execute(_BEGIN)
        with connection.cursor("penstock_seals") as seals, connection.cursor("penstock_entries") as entries:
            seals.itersize = entries.itersize = 1_000
            walk.run(_seals(seals.execute(_SEALS.encode())), entries.execute(_ENTRIES.encode()))
        for (action_id,) in connection.execute(_STRANGERS.encode()):
            told = f"the action {action_id} is in no seal and waits for none: it was added, or its seal was removed"
            walk.note(Problem("action-added", told, action=action_id))
        walk.end()
        verdict.waiting = int((connection.execute(_WAITING).fetchone() or (0,))[0])
    return verdict


def _seals(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Seal, bool]]:
    return ((Seal(*row[:-1]), row[-1]) for row in rows)


class _Walk:
    """One pass over seals and entries, both in the chain's order."""

    def __init__(self, expected: Expected, verdict: Verdict) -> None:
        self._expected = expected
        self._keys = expected.keys
        self._anchors = {anchor.number: anchor for anchor in expected.anchors}
        self._verdict = verdict
        self._keyed = False
        self._met: set[int] = set()

    def note(self, problem: Problem) -> None:
        """Keep the first problems."""
        if len(self._verdict.problems) < TOLD:
            self._verdict.problems.append(problem)

    def run(self, seals: Iterator[tuple[Seal, bool]], entries: Iterable[tuple[Any, ...]]) -> None:
        """Compare all."""
        groups = groupby(entries, itemgetter(0))
        number, rows = _following(groups)
        last: Seal | None = None
        for seal, has_left in seals:
            while number is not None and number < seal.number:
                self._orphans(number)
                number, rows = _following(groups)
            self._link(last, seal, has_left)
            if number == seal.number:
                self._content(seal, rows, has_left)
                number, rows = _following(groups)
            else:
                self._content(seal, [], has_left)
            last = seal
        while number is not None:
            self._orphans(number)
            number, rows = _following(groups)
        self._verdict.newest = last

    def end(self) -> None:
        """See that each anchor was met, unless its seal left by retention, and that the newest seal has a key."""
        newest = self._verdict.newest
        if newest is not None and newest.key_id == PLAIN and self._keys.current != PLAIN and not self._keyed:
            told = (
                "no seal is made with a key, though there is one: the chain was made anew, or no scheduler has the key"
            )
            self.note(Problem("seal-not-keyed", told, seal=newest.number))
        for anchor in self._expected.anchors:
            if anchor.number in self._met:
                continue
            if newest is None or anchor.number > newest.number:
                ends = "has no seal" if newest is None else f"ends with the seal {newest.number}"
                told = f"the chain {ends}, and an anchor names the seal {anchor.number}: its end was removed"
                self.note(Problem("anchor-missing", told, seal=anchor.number))

    def _link(self, last: Seal | None, seal: Seal, has_left: bool) -> None:
        """See that a seal is whole, and follows the one before."""
        self._verdict.seals += 1
        if last is None:
            self._begin(seal, has_left)
        elif seal.number != last.number + 1:
            told = f"the seal {last.number + 1} is missing: after {last.number} comes {seal.number}"
            self.note(Problem("seal-missing", told, seal=last.number + 1))
        elif seal.previous != last.digest:
            told = f"the seal {seal.number} does not follow the seal {last.number} as it is now"
            self.note(Problem("seal-unlinked", told, seal=seal.number))
        if last is not None and has_left:
            told = f"the seal {seal.number} says that its actions left by retention, and is not the oldest"
            self.note(Problem("left-early", told, seal=seal.number))
        self._key(seal)
        self._anchor(seal)

    def _begin(self, seal: Seal, has_left: bool) -> None:
        self._verdict.begins_at = seal.number + 1 if has_left else seal.number
        if has_left:
            self._verdict.retained_since = sealed_at = instant_of(seal.sealed_at)
            keep = self._expected.keep
            if sealed_at is None or keep is None or datetime.now(UTC) - sealed_at < keep:
                told = f"the actions up to the seal {seal.number} are gone before their time"
                self.note(Problem("left-early", told, seal=seal.number))
        elif seal.number != 1:
            told = f"the chain begins with the seal {seal.number}: those before it were removed"
            self.note(Problem("seal-missing", told, seal=seal.number - 1))
        elif seal.previous != NOTHING_BEFORE:
            self.note(Problem("seal-unlinked", "the seal 1 follows one that is gone", seal=1))

    def _key(self, seal: Seal) -> None:
        if seal.key_id == PLAIN:
            self._verdict.keyed_from = None
            first = self._expected.keyed_from
            if self._keyed or (first is not None and seal.number >= first):
                told = f"the seal {seal.number} is made without a key, and has to have one"
                self.note(Problem("seal-not-keyed", told, seal=seal.number))
        else:
            self._keyed = True
            self._verdict.keyed_from = self._verdict.keyed_from or seal.number
        if not self._keys.knows(seal.key_id):
            told = f"the seal {seal.number} is made with the key {seal.key_id!r}, which PENSTOCK_AUDIT_KEYS lacks"
            self.note(Problem("seal-key-unknown", told, seal=seal.number))
        elif seal.digest != seal.expected_digest(self._keys):
            told = f"the seal {seal.number} was changed: its digest is another one"
            self.note(Problem("seal-changed", told, seal=seal.number))

    def _anchor(self, seal: Seal) -> None:
        anchor = self._anchors.get(seal.number)
        if anchor is None:
            return
        self._met.add(seal.number)
        if anchor.digest != seal.digest.hex():
            told = f"the seal {seal.number} is not the one that was noted elsewhere: the chain was made anew"
            self.note(Problem("anchor-differs", told, seal=seal.number))

    def _content(self, seal: Seal, rows: Iterable[tuple[Any, ...]], has_left: bool) -> None:
        """See that the actions of a seal are those that it covers, each as it was."""
        entries: list[tuple[str, bytes]] = []
        for _, position, action_id, digest, *texts in rows:
            self._verdict.actions += 1
            entries.append((action_id, digest))
            self._action(seal, action_id, digest, texts)
            if position != len(entries) - 1:
                told = f"the seal {seal.number} has its action {action_id} at another place"
                self.note(Problem("entries-changed", told, seal=seal.number, action=action_id))
        if has_left and not entries:
            return
        if len(entries) != seal.actions or content_digest(entries) != seal.content:
            told = f"the seal {seal.number} covers {seal.actions} action(s), and not these {len(entries)} as they stand"
            self.note(Problem("entries-changed", told, seal=seal.number))

    def _action(self, seal: Seal, action_id: str, digest: bytes, texts: Sequence[str | None]) -> None:
        if texts[0] is None:
            told = f"the action {action_id} of the seal {seal.number} was removed"
            self.note(Problem("action-missing", told, seal=seal.number, action=action_id))
        elif action_digest(texts) != digest:
            told = f"the action {action_id} of the seal {seal.number} was changed"
            self.note(Problem("action-changed", told, seal=seal.number, action=action_id))

    def _orphans(self, number: int) -> None:
        told = f"the seal {number} is missing, and its actions are there"
        self.note(Problem("seal-missing", told, seal=number))


def _following(groups: Iterator[tuple[int, Iterator[tuple[Any, ...]]]]) -> tuple[int | None, Iterable[tuple[Any, ...]]]:
    """The number of the next seal that has entries, and these; None at the end."""
    return next(groups, (None, ()))
