"""Dry runs: what a replay would do now, told before anything is sent."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from penstock.schemas.errors import PenstockError, UnavailableError
from penstock.schemas.job import job_kinds
from penstock.schemas.upcasting import present_version
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.letters import Letter, plain
from penstock.workers.dead_letters.reading import LETTER_COLUMNS, letter_of
from penstock.workers.dead_letters.replay import Selection
from penstock.workers.dead_letters.replay_gates import Alike, Held, HoldingGates
from penstock.workers.dead_letters.replay_payloads import payloads_of
from penstock.workers.dead_letters.search import LetterSearch

#: Letters that a dry run looks at.
CEILING = 10_000
SAMPLES = 5
#: Sorts of letters of which one is opened, to ask for its gates and try its upcast.
_OPENED = 50

_FACTS = """
SELECT kind, queue, tenant, code, form_id, platform, account, payload_version, header_ok, state = 'open' AS open,
       count(*) AS letters, (array_agg(dead_id))[1] AS one, min(enqueued_at) AS enqueued_at, min(died_at) AS died_at
  FROM (SELECT * FROM penstock.dead_letters WHERE {} LIMIT %(r_limit)s) AS chosen
 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 ORDER BY letters DESC
"""
_NAMED = f"""
SELECT {LETTER_COLUMNS} FROM penstock.dead_letters WHERE dead_id = ANY(%s) AND state = 'open'
 ORDER BY died_at DESC, dead_id DESC LIMIT {SAMPLES}
"""


@dataclass(frozen=True, slots=True)
class Upcast:
    """Letters whose payload is of an earlier version. `refused`: why it can't be brought to the present one."""

    kind: str
    version: int
    present: int
    letters: int
    refused: str | None

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {name: getattr(self, name) for name in ("kind", "version", "present", "letters", "refused")}


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a replay would meet now.

    Attributes:
        count: letters that would be sent; with `exact` False there are more, and the figures are of so many of them.
        by_code, by_kind: letters of each, the most frequent first.
        oldest: when the first of them died; None where there is none.
        sample: the newest ones.
        held: gates that would hold letters; they would wait there, and spend no attempt.
        gates_known: False where Redis could not be asked for gates.
        upcasts: letters of earlier versions.
        refused: why letters can't be requeued, and how many; they are no part of `count`.
    """

    count: int
    exact: bool
    by_code: Mapping[str, int]
    by_kind: Mapping[str, int]
    oldest: datetime | None
    sample: Sequence[Letter]
    held: Sequence[Held]
    gates_known: bool
    upcasts: Sequence[Upcast]
    refused: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """The dry run as a JSON object."""
        return {
            "count": self.count,
            "exact": self.exact,
            "by_code": dict(self.by_code),
            "by_kind": dict(self.by_kind),
            "oldest": plain(self.oldest),
            "sample": [letter.as_dict() for letter in self.sample],
            "held": [held.as_dict() for held in self.held],
            "gates_known": self.gates_known,
            "upcasts": [upcast.as_dict() for upcast in self.upcasts],
            "refused": dict(self.refused),
        }


Fact = Mapping[str, Any]


class DryRuns:
    """Tells what replays would do. Safe to share between threads.

    Args:
        gates: None where nobody knows of gates.
    """

    def __init__(self, transactions: Transactions, search: LetterSearch, gates: HoldingGates | None) -> None:
        self._transactions = transactions
        self._search = search
        self._gates = gates

    def of(self, selection: Selection) -> DryRun:
        """The dry run of these letters.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        facts, payloads = self._transactions.run(lambda transaction: _read(transaction.connection, selection))
        able = [fact for fact in facts if _why_not(fact) is None]
        held = self._held(able, payloads)
        is_exact = _total(facts) <= CEILING
        return DryRun(
            count=min(_total(able), CEILING),
            exact=is_exact,
            by_code=_counted(able, "code"),
            by_kind=_counted(able, "kind"),
            oldest=min((fact["died_at"] for fact in able), default=None) if is_exact else self._oldest(selection),
            sample=self._sample(selection),
            held=held or (),
            gates_known=held is not None,
            upcasts=_upcasts(able, payloads),
            refused=_refused(facts),
        )

    def _sample(self, selection: Selection) -> Sequence[Letter]:
        if selection.filter is not None:
            return self._search.sample(selection.filter, SAMPLES)
        ids = list(selection.ids)
        rows = self._transactions.run(lambda transaction: _rows(transaction.connection, _NAMED, (ids,)))
        return [letter_of(row) for row in rows]

    def _oldest(self, selection: Selection) -> datetime | None:
        found = None if selection.filter is None else self._search.oldest(selection.filter)
        return None if found is None else found.died_at

    def _held(self, facts: Sequence[Fact], payloads: Mapping[UUID, bytes]) -> list[Held] | None:
        if self._gates is None:
            return None
        names = ("kind", "queue", "tenant", "platform", "account", "letters", "one", "enqueued_at")
        alike = [Alike(**{name: fact[name] for name in names}, payload=payloads.get(fact["one"])) for fact in facts]
        try:
            return self._gates.holding(alike)
        except UnavailableError:
            return None


def _read(connection: psycopg.Connection, selection: Selection) -> tuple[list[Fact], dict[UUID, bytes]]:
    """What the letters are by sorts, and the payloads of one of each of the most frequent sorts."""
    outside, parameters = selection.outside()
    inside, more = selection.inside()
    parameters = {**parameters, **more, "r_limit": CEILING + 1}
    facts = _rows(connection, _FACTS.format(f"{outside} AND {inside}"), parameters)
    return facts, payloads_of(connection, [fact["one"] for fact in facts if fact["header_ok"]][:_OPENED])


def _rows(connection: psycopg.Connection, statement: str, parameters: Mapping[str, Any] | Sequence[Any]) -> list[Fact]:
    with connection.cursor(row_factory=dict_row) as cursor:
        found: list[Fact] = list(cursor.execute(statement.encode(), parameters).fetchall())
    return found


def _total(facts: Sequence[Fact]) -> int:
    return sum(int(fact["letters"]) for fact in facts)


def _counted(facts: Sequence[Fact], name: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for fact in facts:
        counts[fact[name]] += int(fact["letters"])
    return dict(counts.most_common())


def _why_not(fact: Fact) -> str | None:
    if not fact["open"]:
        return "they were resolved already"
    return None if fact["header_ok"] else "their messages can't be read"


def _refused(facts: Sequence[Fact]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for fact in facts:
        why = _why_not(fact)
        if why is not None:
            counts[why] += int(fact["letters"])
    return dict(counts)


def _upcasts(facts: Sequence[Fact], payloads: Mapping[UUID, bytes]) -> list[Upcast]:
    """Letters of earlier versions, by kind and version; one of each is tried."""
    known = job_kinds()
    counts: Counter[tuple[str, int]] = Counter()
    tried: dict[tuple[str, int], str | None] = {}
    for fact in facts:
        payload_type = known.get(fact["kind"])
        if payload_type is None or fact["payload_version"] >= payload_type.payload_version:
            continue
        of = (fact["kind"], fact["payload_version"])
        counts[of] += int(fact["letters"])
        if of not in tried and fact["one"] in payloads:
            try:
                present_version(payload_type, fact["payload_version"], payloads[fact["one"]])
                tried[of] = None
            except PenstockError as error:
                tried[of] = error.message
    return [
        Upcast(kind, version, known[kind].payload_version, letters, tried.get((kind, version)))
        for (kind, version), letters in counts.most_common()
    ]
