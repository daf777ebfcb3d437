"""Retention of decisions that grow old: open letters stay for ever, and so do those whose job still waits."""

from datetime import timedelta

from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.decisions import LetterDecisions
from penstock.workers.dead_letters.retention import Retention
from tests.system import Database
from tests.workers.dead_letters.conftest import Insert
from tests.workers.dead_letters.letter_kit import death

LEFT = "SELECT dead_id FROM penstock.dead_letters ORDER BY dead_id"


def test_what_nobody_decided_on_stays_for_ever(
    empty: None, database: Database, insert: Insert, transactions: Transactions, decisions: LetterDecisions
) -> None:
    is_open, discarded, waiting, healed = letters = [death() for _ in range(4)]
    insert(*letters)
    decisions.discard([discarded.dead_id], "ada", "no")
    decisions.requeue([waiting.dead_id, healed.dead_id], "ada", "again")
    database.query("UPDATE penstock.dead_letters SET became = 'done' WHERE dead_id = %s", healed.dead_id)

    def left_after(days: int) -> list[object]:
        # The database guards what was decided lately by its own clock, so the decisions are moved and not the clock.
        database.query(
            "UPDATE penstock.dead_letters SET resolved_at = now() - make_interval(days => %s)"
            " WHERE resolved_at IS NOT NULL",
            days,
        )
        retention = Retention(transactions, timedelta(days=90))
        while retention.run_round():
            pass
        return [dead_id for (dead_id,) in database.query(LEFT)]

    everything = sorted(letter.dead_id for letter in letters)
    assert left_after(8) == everything
    assert left_after(89) == everything
    assert left_after(91) == sorted([is_open.dead_id, waiting.dead_id])
    assert left_after(36_000) == sorted([is_open.dead_id, waiting.dead_id])
