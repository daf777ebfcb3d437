"""Requeue and discard: once, whoever does it at the same time, and never without their audit."""

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import redis

from penstock.producers.queue.compression import compress
from penstock.producers.queue.connection import connect
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.records import JobRecords
from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.database.operator_actions import ActionFilter, ActionLog
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.dead_letters.decisions import LetterDecisions
from penstock.workers.dead_letters.editing import Edit, editable, propose
from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.letters import Became, LetterState
from penstock.workers.dead_letters.outcomes import Outcomes
from penstock.workers.dead_letters.search import LetterSearch
from tests.system import Database
from tests.workers.dead_letters.conftest import Insert, Pool
from tests.workers.dead_letters.letter_kit import BEGINNING, again, death

OUTBOX = """
SELECT job_id, kind, queue, tenant, payload_version, payload, idempotency_key, state, revives, run_at, checked_at
  FROM penstock.outbox
"""


def actions(database: Database, action: str) -> list[dict[str, Any]]:
    rows = database.query("SELECT details FROM penstock.operator_actions WHERE action = %s ORDER BY at", action)
    return [details for (details,) in rows]


def test_a_requeued_job_is_in_the_outbox_with_its_death(
    empty: None, database: Database, insert: Insert, decisions: LetterDecisions, search: LetterSearch
) -> None:
    plain = b'{"order":"k-1","count":1,"more":"' + b"x" * 9_000 + b'"}'
    body, encoding = compress(plain)
    letter = death(body=body, encoding=encoding, tenant="acme", idempotency_key="k-1")
    insert(letter)
    decided = decisions.requeue([letter.dead_id, letter.dead_id], "ada", "the form is there now")
    assert (decided.done, decided.skipped) == ([letter.dead_id], {})
    assert database.query(OUTBOX) == [
        (letter.job_id, letter.kind, "submissions", "acme", 3, plain, "k-1", "waiting", letter.died_at, None, None)
    ]
    detail = search.show(letter.dead_id)
    assert (detail.letter.state, detail.letter.became) == (LetterState.REQUEUED, Became.WAITING)
    assert (detail.resolved_by, detail.resolution_reason) == ("ada", "the form is there now")
    assert detail.resolved_at is not None
    assert actions(database, "dead_letter.requeue")[-1]["ids"] == [str(letter.dead_id)]


def test_a_row_of_the_outbox_gets_the_new_life(
    empty: None, database: Database, insert: Insert, decisions: LetterDecisions
) -> None:
    job_id = database.value("SELECT penstock.enqueue('letters.ship', '{\"old\": 1}')")
    database.query("UPDATE penstock.outbox SET state = 'dead', checked_at = now(), relayed_at = now(), last_code = 'X'")
    letter = death({"order": "k", "count": 1}, job_id=job_id)
    insert(letter)
    decisions.requeue([letter.dead_id], "ada", "again")
    ((payload, *rest),) = database.query(
        "SELECT payload, state, checked_at, relayed_at, last_code, digest = encode(sha256(payload), 'hex')"
        " FROM penstock.outbox"
    )
    assert json.loads(payload) == {"order": "k", "count": 1}
    assert rest == ["waiting", None, None, None, True]


def test_why_letters_are_skipped(empty: None, database: Database, insert: Insert, decisions: LetterDecisions) -> None:
    good, discarded, first = death(), death(), death()
    unreadable = death(header_ok=False, body=b"", raw=b"x")
    packed = death(body=b"no zstd", encoding="zstd")
    odd_tenant, plain_kind = death(tenant="a/b"), death(kind="PlainActor")
    insert(good, discarded, first, again(first), unreadable, packed, odd_tenant, plain_kind)
    decisions.discard([discarded.dead_id], "ada", "not needed")
    unknown = uuid.uuid4()
    skipped = [unreadable, packed, odd_tenant, discarded, first]
    ids = [unknown, good.dead_id, plain_kind.dead_id, *(letter.dead_id for letter in skipped)]
    decided = decisions.requeue(ids, "ada", "again")
    assert set(decided.done) == {good.dead_id, plain_kind.dead_id}
    why = [decided.skipped[letter.dead_id] for letter in skipped]
    words = ("can't be read", "zstd", "tenant", "discarded already, by ada", "died again")
    assert all(word in told for word, told in zip(words, why, strict=True)), why
    assert "no such" in decided.skipped[unknown]
    assert database.value("SELECT count(*) FROM penstock.outbox") == 2


def test_eight_at_once_requeue_it_once(
    empty: None, database: Database, insert: Insert, decisions: LetterDecisions
) -> None:
    letters = [death(code=f"CODE_{n % 3}") for n in range(40)]
    insert(*letters)
    before = len(actions(database, "dead_letter.requeue"))
    ready = threading.Barrier(8)

    def run(number: int) -> list[uuid.UUID]:
        ids = [letter.dead_id for letter in letters]
        ready.wait(60)
        return decisions.requeue(ids if number % 2 else ids[::-1], f"operator {number}", "all at once").done

    with ThreadPoolExecutor(8) as threads:
        done = [found for one in threads.map(run, range(8)) for found in one]
    assert sorted(done) == sorted(letter.dead_id for letter in letters)
    assert database.value("SELECT count(*) FROM penstock.outbox") == 40
    assert len(actions(database, "dead_letter.requeue")) == before + 1


def test_requeue_and_discard_at_once_decide_each_letter_once(
    empty: None, database: Database, insert: Insert, decisions: LetterDecisions
) -> None:
    letters = [death(code=f"CODE_{n % 5}") for n in range(60)]
    insert(*letters)
    ids = [letter.dead_id for letter in letters]
    ready = threading.Barrier(4)

    def requeue(part: list[uuid.UUID]) -> int:
        ready.wait(60)
        return sum(len(decisions.requeue([one], "ada", "again").done) for one in part)

    def discard(part: list[uuid.UUID]) -> int:
        ready.wait(60)
        return sum(decisions.discard(part[at : at + 7], "bob", "no") for at in range(0, len(part), 7))

    with ThreadPoolExecutor(4) as threads:
        requeued = [threads.submit(requeue, ids), threads.submit(requeue, ids[::-1])]
        discarded = [threads.submit(discard, ids), threads.submit(discard, ids[::-1])]
        counts = (sum(one.result() for one in requeued), sum(one.result() for one in discarded))
    states = dict(database.query("SELECT state, count(*) FROM penstock.dead_letters GROUP BY 1"))
    assert sum(counts) == 60
    assert counts == (states.get("requeued", 0), states.get("discarded", 0))
    assert database.value("SELECT count(*) FROM penstock.outbox") == counts[0]


def test_a_decision_and_its_audit_are_rolled_back_together(
    empty: None, database: Database, insert: Insert, transactions: Transactions, decisions: LetterDecisions
) -> None:
    letter = death()
    insert(letter)
    before = len(actions(database, "dead_letter.requeue")) + len(actions(database, "dead_letter.discard"))
    database.query("""
        CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'no audit today' USING ERRCODE = 'check_violation'; END $$
    """)
    database.query(
        "CREATE TRIGGER refuse BEFORE INSERT ON penstock.operator_actions FOR EACH ROW EXECUTE FUNCTION public.refuse()"
    )
    try:
        for decide in (decisions.requeue, decisions.discard):
            with pytest.raises(Exception, match="STORAGE_"):
                decide([letter.dead_id], "ada", "again")
    finally:
        database.query("DROP FUNCTION public.refuse() CASCADE")
    assert database.value("SELECT state FROM penstock.dead_letters") == "open"
    assert database.value("SELECT count(*) FROM penstock.outbox") == 0
    assert database.value("SELECT open FROM penstock.dead_letter_groups") == 1
    assert len(actions(database, "dead_letter.requeue")) + len(actions(database, "dead_letter.discard")) == before


def test_a_callers_transaction_takes_it_back(
    empty: None, database: Database, insert: Insert, transactions: Transactions, decisions: LetterDecisions
) -> None:
    letter = death()
    insert(letter)

    def work(transaction: Transaction) -> None:
        assert decisions.requeue_in(transaction, [letter.dead_id], "ada", "again").done == [letter.dead_id]
        raise KeyError("the caller's own fault")

    with pytest.raises(KeyError):
        transactions.run(work)
    assert database.value("SELECT state FROM penstock.dead_letters") == "open"
    assert database.value("SELECT count(*) FROM penstock.outbox") == 0


def test_a_filter_is_discarded_in_portions_that_are_all_audited(
    empty: None,
    database: Database,
    insert: Insert,
    decisions: LetterDecisions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("penstock.workers.dead_letters.decisions.DECISION_LIMIT", 4)
    letters = [death(tenant="gone") for _ in range(10)]
    insert(*letters, death(tenant="stays"))
    before = len(actions(database, "dead_letter.discard"))
    assert decisions.discard(LetterFilter(tenant="gone", state=None), "ada", "an old import") == 10
    audited = actions(database, "dead_letter.discard")[before:]
    assert [one["count"] for one in audited] == [4, 4, 2]
    assert all(one["filter"] == {"tenant": "gone", "state": "any"} for one in audited)
    assert {found for one in audited for found in one["ids"]} == {str(letter.dead_id) for letter in letters}
    assert database.query("SELECT tenant FROM penstock.dead_letters WHERE state = 'open'") == [("stays",)]
    assert decisions.discard(LetterFilter(state=LetterState.REQUEUED), "ada", "nothing") == 0


@pytest.mark.parametrize(
    ("by", "reason"), [("", "why"), ("ada", ""), ("ada", " \t"), ("ada", "x" * 1_001), ("a\x00", "w")]
)
def test_who_and_why_are_needed(decisions: LetterDecisions, by: str, reason: str) -> None:
    for decide in (decisions.requeue, decisions.discard):
        with pytest.raises(InvalidInputError) as raised:
            decide([uuid.uuid4()], by, reason)
        assert raised.value.code is Code.REQUEST_USAGE


def test_too_many_at_once_are_refused(decisions: LetterDecisions) -> None:
    with pytest.raises(InvalidInputError, match="1,001"):
        decisions.requeue([uuid.uuid4() for _ in range(1_001)], "ada", "all")


def test_an_edit_is_sent_in_the_place_of_the_payload(
    empty: None, database: Database, insert: Insert, decisions: LetterDecisions, search: LetterSearch
) -> None:
    letter = death({"order": "k-2", "count": "seventy"}, idempotency_key="k-2")
    insert(letter)
    edit = propose(search.show(letter.dead_id), search.payload(letter.dead_id), '{ "order": "k-2",\n "count": 70 }')
    assert edit == Edit([{"path": "count", "before": "text, 7 characters", "after": "number"}], edit.payload, 3)
    assert decisions.requeue([letter.dead_id], "ada", "a number", edit=edit).done == [letter.dead_id]
    assert database.query("SELECT payload, payload_version FROM penstock.outbox") == [
        (b'{"order":"k-2","count":70}', 3)
    ]
    assert search.show(letter.dead_id).edited == edit.difference
    assert actions(database, "dead_letter.requeue")[-1]["difference"] == edit.difference
    with pytest.raises(InvalidInputError, match="one dead letter"):
        decisions.requeue([letter.dead_id, uuid.uuid4()], "ada", "both", edit=edit)


def test_an_old_version_is_brought_to_the_present_one(
    empty: None, database: Database, insert: Insert, decisions: LetterDecisions, search: LetterSearch
) -> None:
    old = death({"order": "old", "count": "7"}, payload_version=2)
    too_old = death({"order": "too old"}, payload_version=1)
    unlike = death({"order": "odd", "count": "seven"}, payload_version=2)
    newer = death({"order": "newer"}, payload_version=4)
    insert(old, too_old, unlike, newer)
    assert json.loads(editable(search.show(old.dead_id), search.payload(old.dead_id))) == {"order": "old", "count": 7}
    decided = decisions.requeue([one.dead_id for one in (old, too_old, unlike, newer)], "ada", "again")
    assert set(decided.done) == {old.dead_id, newer.dead_id}
    assert "version 1" in decided.skipped[too_old.dead_id]
    assert "ValueError" in decided.skipped[unlike.dead_id]
    rows = dict(database.query("SELECT payload_version, payload FROM penstock.outbox"))
    assert {version: json.loads(payload) for version, payload in rows.items()} == {
        3: {"order": "old", "count": 7},
        4: {"order": "newer"},
    }


def test_a_job_that_dies_again_is_told_by_its_new_letter(
    empty: None, database: Database, insert: Insert, decisions: LetterDecisions, search: LetterSearch
) -> None:
    first, other = death(code="A_CODE"), death(code="B_CODE")
    insert(first, other)
    decisions.requeue([first.dead_id, other.dead_id], "ada", "again")
    second = again(first)
    insert(second)
    assert search.show(first.dead_id).letter.became is Became.DIED
    assert search.show(other.dead_id).letter.became is Became.WAITING
    assert search.show(second.dead_id).letter.state is LetterState.OPEN
    # It can be requeued in its turn, and the outbox has one row of the job.
    assert decisions.requeue([second.dead_id], "ada", "once more").done == [second.dead_id]
    assert database.value("SELECT revives FROM penstock.outbox WHERE job_id = %s", first.job_id) == second.died_at


def test_what_became_of_them_is_asked_for_round_and_round(  # noqa: PLR0917  fixtures
    empty: None,
    database: Database,
    insert: Insert,
    transactions: Transactions,
    decisions: LetterDecisions,
    search: LetterSearch,
    redis_url: str,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("penstock.workers.dead_letters.outcomes.ROUND_ROWS", 2)
    with_effect, believed, died, *waiting = letters = [death(code=f"CODE_{n % 3}") for n in range(7)]
    insert(*letters)
    decisions.requeue([letter.dead_id for letter in letters], "ada", "again")
    database.query(
        "INSERT INTO penstock.job_effects (job_id, kind, tenant) VALUES (%s, 'letters.ship', 'default')",
        with_effect.job_id,
    )
    with connect(redis_url) as client:
        _set_done(client, namespace, believed.job_id)
        # A death that arrived while the letter before was requeued: no archive told of it.
        insert(again(died))
        database.query("UPDATE penstock.dead_letters SET became = 'waiting' WHERE dead_id = %s", died.dead_id)
        outcomes = Outcomes(transactions, JobRecords(client, namespace))
        rounds = 0
        while outcomes.run_round():
            rounds += 1
    assert rounds >= 2
    became = {letter.dead_id: search.show(letter.dead_id).letter.became for letter in letters}
    assert became.pop(with_effect.dead_id) is Became.DONE
    assert became.pop(believed.dead_id) is Became.DONE
    assert became.pop(died.dead_id) is Became.DIED
    assert set(became.values()) == {Became.WAITING}
    assert len(became) == len(waiting)


def _set_done(client: "redis.Redis", namespace: str, job_id: uuid.UUID) -> None:
    client.hset(QueueKeys(namespace, "submissions").job(job_id), mapping={"state": "done", "changed_at": "0"})


def test_the_audit_can_be_read(empty: None, pool: Pool, insert: Insert, decisions: LetterDecisions) -> None:
    actor = f"eve-{uuid.uuid4().hex[:6]}"
    letters = [death() for _ in range(5)]
    insert(*letters)
    for number, letter in enumerate(letters):
        decisions.discard([letter.dead_id], actor, f"reason 100% {number}")
    log = ActionLog(pool)
    first = log.list(ActionFilter(actor=actor), limit=3)
    second = log.list(ActionFilter(actor=actor), limit=3, cursor=first.next)
    told = [*first.items, *second.items]
    assert [one.target for one in told] == [str(letter.dead_id) for letter in reversed(letters)]
    assert second.next is None
    assert told[0].as_dict()["action"] == "dead_letter.discard"
    for more in (
        {"text": "100% 2"},
        {"target": str(letters[2].dead_id)},
        {"since": told[2].at, "until": told[2].at + timedelta(microseconds=1)},
    ):
        found = log.list(ActionFilter(actor=actor, action="dead_letter.", **more)).items  # type: ignore[arg-type]
        assert [one.reason for one in found] == ["reason 100% 2"], more
    assert not log.list(ActionFilter(actor=actor, action="queue.")).items
    assert not log.list(ActionFilter(actor=actor, until=BEGINNING)).items
    assert not log.list(ActionFilter(actor=actor, text="100_")).items
