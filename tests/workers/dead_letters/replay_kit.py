"""Letters and replays in the module's own database; what workers would make of sent jobs is told by hand."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg

from penstock.schemas.identity import dead_id
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.decisions import LetterDecisions
from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.record import LetterRecord
from penstock.workers.dead_letters.replay import Replay, ReplayPlan
from penstock.workers.dead_letters.replay_engine import ReplayEngine
from penstock.workers.dead_letters.replay_gates import HoldingGates
from penstock.workers.dead_letters.replay_plan import DryRuns
from penstock.workers.dead_letters.replays import Replays
from penstock.workers.dead_letters.search import LetterSearch
from penstock.workers.dead_letters.store import insert_letters
from tests.system import Database

KIND = "test.plain"
_BEGAN = datetime(2026, 11, 1, tzinfo=UTC)


def a_letter(number: int = 0, job_id: UUID | None = None, **changed: Any) -> LetterRecord:
    """A death, a second after that of the number before."""
    identity = job_id or uuid4()
    died_at = changed.pop("died_at", _BEGAN + timedelta(seconds=number))
    body = json.dumps(changed.pop("payload", {"number": number})).encode()
    facts: dict[str, Any] = {
        "dead_id": dead_id("submissions", str(identity), int(died_at.timestamp() * 1000)),
        "job_id": identity, "queue": "submissions", "kind": KIND, "tenant": "acme", "code": "FORM_NOT_FOUND",
        "message": "there is no such form", "error": None, "attempts": 1, "recoveries": 0, "crashes": 0,
        "postpones": 0, "payload_version": 1, "idempotency_key": None, "enqueued_at": died_at, "died_at": died_at,
        "worker": "host 1 boot", "release": "1.0", "trace_id": None, "history": [], "message_bytes": len(body),
        "body": body, "encoding": None, "header_ok": True, "raw": None,
    }  # fmt: skip
    return LetterRecord(**facts | changed)


class ReplayKit:
    """The parts of replays, and a hand for what is beside them."""

    def __init__(self, database: Database, transactions: Transactions, search: LetterSearch) -> None:
        self.database = database
        self.transactions = transactions
        self.search = search
        self.decisions = LetterDecisions(transactions, {})
        self.replays = self.with_gates(None)
        self.engine = ReplayEngine(transactions, self.decisions, timedelta(minutes=5))

    def with_gates(self, gates: HoldingGates | None) -> Replays:
        return Replays(self.transactions, DryRuns(self.transactions, self.search, gates))

    def die(self, letters: int | Sequence[LetterRecord]) -> list[UUID]:
        """Have jobs die; returns the letters' ids in the order of their deaths."""
        records = [a_letter(number) for number in range(letters)] if isinstance(letters, int) else list(letters)
        with psycopg.connect(self.database.admin_url) as connection:
            insert_letters(connection, records)
        return [record.dead_id for record in records]

    def order(self, **changed: Any) -> Replay:
        facts: dict[str, Any] = {"by": "mara", "reason": "the form is there now", "pace_per_second": 10_000.0}
        facts |= {} if "ids" in changed else {"filter": LetterFilter()}
        return self.replays.start(ReplayPlan(**facts | changed))

    def step(self, replay: Replay, times: int = 1) -> Replay:
        """Let it take steps, each an instant of the pace after the one before."""
        for _ in range(times):
            self.engine.step(replay.replay_id)
        return self.replays.show(replay.replay_id)

    def step_until(self, replay: Replay, *statuses: str) -> Replay:
        """Let it take steps, and have what it sent be done, until it is in one of these states."""
        for _ in range(500):
            found = self.step(replay)
            if found.status in statuses:
                return found
            self.end("done", *self.sent())
        raise AssertionError(f"it is still {found.status}: {found.told}")

    def sent(self) -> list[UUID]:
        """The letters that were requeued and have no outcome yet, oldest first."""
        rows = self.database.query(
            "SELECT dead_id FROM penstock.dead_letters WHERE became = 'waiting' ORDER BY died_at, dead_id"
        )
        return [found for (found,) in rows]

    def end(self, became: str, *ids: UUID) -> None:
        """Have the jobs of these letters end so."""
        self.database.query("UPDATE penstock.dead_letters SET became = %s WHERE dead_id = ANY(%s)", became, list(ids))

    def let_pass(self, replay: Replay, seconds: float) -> None:
        """Let time pass for the pace and the canary."""
        self.database.query(
            "UPDATE penstock.replays SET tokens_at = tokens_at - %s, canary_until = canary_until - %s"
            " WHERE replay_id = %s",
            timedelta(seconds=seconds), timedelta(seconds=seconds), replay.replay_id,
        )  # fmt: skip

    def outbox(self) -> list[UUID]:
        """The jobs that were handed to the outbox."""
        return [found for (found,) in self.database.query("SELECT job_id FROM penstock.outbox ORDER BY id")]

    def actions(self, replay: Replay) -> list[tuple[str, str]]:
        """Who did what to a replay, in order."""
        return self.database.query(
            "SELECT actor, action FROM penstock.operator_actions WHERE target = %s ORDER BY recorded_at, at",
            str(replay.replay_id),
        )

    def clear(self) -> None:
        self.database.query(
            "ALTER TABLE penstock.dead_letters DISABLE TRIGGER USER; DELETE FROM penstock.dead_letters;"
            " ALTER TABLE penstock.dead_letters ENABLE ALWAYS TRIGGER dead_letters_unresolved_stay;"
            " ALTER TABLE penstock.dead_letters ENABLE TRIGGER USER;"
            " TRUNCATE penstock.replays, penstock.replay_items, penstock.outbox, penstock.dead_letter_groups,"
            " penstock.dead_letter_group_subjects, penstock.dead_letter_group_hours"
        )
