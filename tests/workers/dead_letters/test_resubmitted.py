"""Letters whose jobs run again, or are gone, without an operator's doing do not stay as they were."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from penstock.producers.queue.records import JobRecords, JobState
from penstock.workers.broker.leases import Verb
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters import archive as archive_module
from penstock.workers.dead_letters import outcomes as outcomes_module
from penstock.workers.dead_letters.archive import Archive
from penstock.workers.dead_letters.decisions import LetterDecisions
from penstock.workers.dead_letters.outcomes import Outcomes
from penstock.workers.dead_letters.record import LetterRecord
from penstock.workers.dead_letters.resubmitted import Resubmitted
from penstock.workers.dead_letters.store import insert_letters
from penstock.workers.scheduler.dead_outcomes import DeadOutcomes
from tests.queue_kit import QueueKit, new_job, open_kit
from tests.system import Database
from tests.workers.dead_letters.conftest import Insert
from tests.workers.dead_letters.letter_kit import again, death

HOW = "SELECT state, became, resolved_by FROM penstock.dead_letters ORDER BY died_at"
EFFECT = "INSERT INTO penstock.job_effects (job_id, kind, tenant) VALUES (%s, 'letters.ship', 'default')"


@pytest.fixture
def kit(redis_url: str) -> Iterator[QueueKit]:
    yield from open_kit(redis_url)


@pytest.fixture
def archive(kit: QueueKit, transactions: Transactions) -> Archive:
    return Archive(kit.client, kit.namespace, transactions)


@pytest.fixture
def resubmitted(kit: QueueKit, transactions: Transactions) -> Resubmitted:
    return Resubmitted(kit.client, kit.namespace, transactions)


@pytest.fixture
def loop(kit: QueueKit, transactions: Transactions, resubmitted: Resubmitted) -> DeadOutcomes:
    """Everything is due at each round."""
    return DeadOutcomes(
        transactions, JobRecords(kit.client, kit.namespace), resubmitted, iter(range(0, 10**6, 10)).__next__
    )


def die(kit: QueueKit) -> None:
    kit.settle(kit.lease(), Verb.BURY, code="JOB_PAYLOAD_INVALID", told="it does not fit")


def revived(kit: QueueKit) -> int:
    return int(kit.client.hlen(kit.keys.key("revived")))


def test_a_producer_that_submits_an_archived_job_again_settles_its_letter(
    empty: None, kit: QueueKit, database: Database, archive: Archive, loop: DeadOutcomes
) -> None:
    job = new_job()
    kit.enqueuer.enqueue(kit.queue, [job])
    die(kit)
    archive.run_round(kit.queue)
    assert database.query(HOW) == [("open", None, None)]
    kit.enqueuer.enqueue(kit.queue, [job], revive=(JobState.DEAD,))
    loop.run_once()
    assert database.query(HOW) == [("requeued", "waiting", "producer")]
    assert revived(kit) == 0
    # It dies again: that is a letter of its own, and the one before says so.
    die(kit)
    archive.run_round(kit.queue)
    assert database.query(HOW) == [("requeued", "died", "producer"), ("open", None, None)]
    kit.enqueuer.enqueue(kit.queue, [job], revive=(JobState.DEAD,))
    kit.settle(kit.lease(), Verb.ACK)
    loop.run_once()
    loop.run_once()
    assert database.query(HOW) == [("requeued", "died", "producer"), ("requeued", "done", "producer")]


def test_one_that_was_submitted_again_while_it_was_archived_is_settled_too(
    empty: None,
    kit: QueueKit,
    database: Database,
    archive: Archive,
    resubmitted: Resubmitted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = new_job()
    kit.enqueuer.enqueue(kit.queue, [job])
    die(kit)
    insert = insert_letters

    def meanwhile(*given: object) -> int:
        kit.enqueuer.enqueue(kit.queue, [job], revive=(JobState.DEAD,))
        return insert(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(archive_module, "insert_letters", meanwhile)
    archive.run_round(kit.queue)
    assert database.query(HOW) == [("open", None, None)]
    resubmitted.settle_revived(kit.queue)
    assert database.query(HOW) == [("requeued", "waiting", "producer")]


def test_what_is_noted_of_an_earlier_death_does_not_forget_a_later_one(kit: QueueKit, resubmitted: Resubmitted) -> None:
    kit.client.hset(kit.keys.key("revived"), "a", "5")
    run = resubmitted._scripts.run
    assert run("revived", kit.keys, "a", "4", "b", "5") == 0
    assert run("revived", kit.keys, "a", "5") == 1
    assert revived(kit) == 0


def test_an_operators_new_life_is_none_of_the_producers(
    empty: None, kit: QueueKit, database: Database, archive: Archive
) -> None:
    job = new_job()
    kit.enqueuer.enqueue(kit.queue, [job])
    die(kit)
    archive.run_round(kit.queue)
    ((died_at,),) = database.query("SELECT died_at FROM penstock.dead_letters")
    kit.enqueuer.enqueue(kit.queue, [replace(job, revives=died_at)])
    assert revived(kit) == 0


def test_the_walk_finds_effects_of_jobs_that_their_queue_had_forgotten(
    empty: None, database: Database, insert: Insert, resubmitted: Resubmitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.workers.dead_letters.resubmitted.ROUND_JOBS", 3)
    letters = [death() for _ in range(8)]
    insert(*letters)
    for letter in (letters[0], letters[7]):
        database.query(EFFECT, letter.job_id)
    assert [resubmitted.settle_effects() for _ in range(3)] == [1, 0, 1]
    found = database.query(HOW)
    assert found[0] == found[7] == ("requeued", "done", "producer")
    assert set(found[1:7]) == {("open", None, None)}
    # Round and round.
    database.query(EFFECT, letters[1].job_id)
    assert sum(resubmitted.settle_effects() for _ in range(3)) == 1


def requeued(database: Database, decisions: LetterDecisions, *letters: LetterRecord) -> None:
    """Requeued long ago, and relayed."""
    decisions.requeue([letter.dead_id for letter in letters], "ada", "again")
    database.query(
        "UPDATE penstock.dead_letters SET resolved_at = now() - INTERVAL '2 minutes' WHERE state = 'requeued'"
    )
    database.query("DELETE FROM penstock.outbox")


def test_a_letter_whose_job_is_gone_waits_for_an_operator_again(
    empty: None,
    kit: QueueKit,
    database: Database,
    insert: Insert,
    transactions: Transactions,
    decisions: LetterDecisions,
) -> None:
    lost, in_outbox, in_queue, with_effect, died, lately = letters = [death() for _ in range(6)]
    insert(*letters)
    requeued(database, decisions, lost, in_outbox, in_queue, with_effect, died)
    decisions.requeue([lately.dead_id], "ada", "again")
    database.query("DELETE FROM penstock.outbox")
    database.query(
        "INSERT INTO penstock.outbox (job_id, kind, tenant, payload_version, payload, digest)"
        " VALUES (%s, 'letters.ship', 'default', 3, '{}', 'x')",
        in_outbox.job_id,
    )
    kit.client.hset(kit.keys.job(in_queue.job_id), mapping={"state": "ready", "changed_at": "0"})
    database.query(EFFECT, with_effect.job_id)
    insert(again(died))
    outcomes = Outcomes(transactions, JobRecords(kit.client, kit.namespace))
    before = database.value("SELECT count(*) FROM penstock.operator_actions WHERE action = 'dead_letter.reopen'")
    for _ in range(2):
        outcomes.run_round()
    states = dict(database.query("SELECT dead_id, coalesce(became, state) FROM penstock.dead_letters"))
    assert [states[letter.dead_id] for letter in letters] == ["open", "waiting", "waiting", "done", "died", "waiting"]
    assert database.query(
        "SELECT resolved_at, resolved_by, resolution_reason FROM penstock.dead_letters WHERE dead_id = %s", lost.dead_id
    ) == [(None, None, "requeued by ada, and no trace of its job is left")]
    assert database.query(
        "SELECT actor, details ->> 'count' FROM penstock.operator_actions"
        " WHERE action = 'dead_letter.reopen' AND target = %s",
        str(lost.dead_id),
    ) == [("scheduler", "1")]
    assert (
        database.value("SELECT count(*) FROM penstock.operator_actions WHERE action = 'dead_letter.reopen'")
        == before + 1
    )
    assert database.value("SELECT sum(open) FROM penstock.dead_letter_groups") == 2
    # It can be requeued like any other.
    assert decisions.requeue([lost.dead_id], "ada", "once more").done == [lost.dead_id]
    assert timedelta(seconds=30) <= outcomes_module.LOST_AFTER


def test_a_resolved_letter_is_not_opened_otherwise(
    empty: None, database: Database, insert: Insert, decisions: LetterDecisions
) -> None:
    letter = death()
    insert(letter)
    decisions.requeue([letter.dead_id], "ada", "again")
    database.query("UPDATE penstock.dead_letters SET became = 'done'")
    with pytest.raises(Exception, match="is resolved, and stays so"):
        database.query("UPDATE penstock.dead_letters SET state = 'open', became = NULL, resolved_at = NULL")
