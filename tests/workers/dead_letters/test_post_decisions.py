"""What operators decide on posts: with its audit, with the end of the dead letter, and against the publisher."""

import random
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from penstock.producers.storage.posts_changes import ChangedPost
from penstock.schemas.errors import Code, ConflictError, InvalidInputError, NotFoundError, PenstockError
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.dead_letters.letters import LetterState
from penstock.workers.dead_letters.post_decisions import PostDecisions
from penstock.workers.dead_letters.record import LetterRecord
from penstock.workers.dead_letters.search import LetterSearch
from penstock.workers.posts.claims import claim_due
from penstock.workers.posts.publishing import Began, Superseded, begin_publish, mark_dead, mark_unknown
from penstock.workers.settings import WorkerSettings
from tests.posts_kit import TENANT, Connect, Connection, ago, new_post, row_of
from tests.system import Database
from tests.workers.dead_letters.conftest import Insert, Pool
from tests.workers.dead_letters.letter_kit import death

TOMORROW = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
MINUTE = timedelta(minutes=1)

Decide = Callable[[PostDecisions, uuid.UUID], ChangedPost]
#: Action, the state that it is for, the state that it makes, and the decision.
DECISIONS: list[tuple[str, str, str, Decide]] = [
    *(
        ("post.reschedule", state, "scheduled", lambda it, post: it.reschedule("ada", "why", TENANT, post, TOMORROW))
        for state in ("claimed", "dead", "expired", "held")
    ),
    ("post.cancel", "claimed", "cancelled", lambda it, post: it.cancel("ada", "why", TENANT, post)),
    ("post.approve", "held", "scheduled", lambda it, post: it.approve("ada", "why", TENANT, post, due_at=TOMORROW)),
    (
        *("post.settle", "unknown_outcome", "published"),
        lambda it, post: it.settle_as_live("ada", "why", TENANT, post, " ig-7 ", "https://example.org/p/7"),
    ),
    (
        *("post.publish_again", "unknown_outcome", "scheduled"),
        lambda it, post: it.publish_again("ada", "why", TENANT, post),
    ),
]
CASES = [pytest.param(case, id=f"{case[0]} {case[1]}") for case in DECISIONS]


pytestmark = pytest.mark.usefixtures("empty")


@pytest.fixture
def decisions(transactions: Transactions) -> PostDecisions:
    return PostDecisions(transactions)


@dataclass(frozen=True)
class Letters:
    """The store of dead letters."""

    insert: Insert
    search: LetterSearch

    def state(self, letter: LetterRecord) -> LetterState:
        return self.search.show(letter.dead_id).letter.state


@pytest.fixture
def letters(insert: Insert, search: LetterSearch) -> Letters:
    return Letters(insert, search)


@pytest.fixture
def claimed(connection: Connection, account: uuid.UUID) -> tuple[uuid.UUID, uuid.UUID]:
    """A claimed post of version 2, and its job."""
    post = new_post(connection, account)
    with connection.transaction():
        claim_due(connection, datetime.now(UTC))
    return post, row_of(connection, post, "claimed_by")


def bring_into(connection: Connection, post: uuid.UUID, state: str) -> None:
    if state == "dead":
        assert mark_dead(connection, post, 2, Code.POST_PLATFORM_ERROR)
    elif state == "unknown_outcome":
        assert begin_publish(connection, post, 2, None, MINUTE) == Began(1)
        assert mark_unknown(connection, post, 1, Code.POST_UNKNOWN_OUTCOME)
    elif state != "claimed":
        connection.execute("UPDATE penstock.scheduled_posts SET state = %s WHERE post_id = %s", (state, post))


def publish_death(job: uuid.UUID, **changes: Any) -> LetterRecord:
    return death(kind="scheduled_post.publish", queue="publishing", tenant=TENANT, job_id=job, **changes)


def audit(database: Database, post: uuid.UUID) -> list[tuple[Any, ...]]:
    columns = "action, actor, reason, details"
    return database.query(f"SELECT {columns} FROM penstock.operator_actions WHERE target = %s ORDER BY at", str(post))


@pytest.mark.parametrize("case", CASES)
def test_a_decision_its_audit_and_the_end_of_the_letter(
    database: Database,
    letters: Letters,
    connection: Connection,
    claimed: tuple[uuid.UUID, uuid.UUID],
    decisions: PostDecisions,
    case: tuple[str, str, str, Decide],
) -> None:
    action, state, result, decide = case
    post, job = claimed
    bring_into(connection, post, state)
    letter, other = publish_death(job), death(kind="scheduled_post.publish")
    letters.insert(letter, other)
    due = row_of(connection, post, "due_at")
    changed = decide(decisions, post)
    assert (changed.state, changed.version, row_of(connection, post)) == (result, 3, result)
    ((told, actor, reason, details),) = audit(database, post)
    assert (told, actor, reason, details["tenant"]) == (action, "ada", "why", TENANT)
    assert details["from"] == {"state": state, "version": 2, "due_at": shown(due)}
    assert details["to"] == {"state": result, "version": 3, "due_at": shown(changed.due_at)}
    assert details["dead_letters"] == [str(letter.dead_id)]
    closed = letters.search.show(letter.dead_id)
    assert (closed.letter.state, closed.resolved_by) == (LetterState.DISCARDED, "ada")
    assert closed.resolution_reason is not None
    assert closed.resolution_reason.endswith(": why")
    assert letters.state(other) is LetterState.OPEN


def shown(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def test_the_audit_tells_the_platforms_id_and_never_the_text(
    database: Database, connection: Connection, claimed: tuple[uuid.UUID, uuid.UUID], decisions: PostDecisions
) -> None:
    post, _ = claimed
    bring_into(connection, post, "unknown_outcome")
    decisions.settle_as_live("ada", "I saw it", TENANT, post, "ig-7", "https://example.org/p/7")
    assert row_of(connection, post, "external_id, url") == ("ig-7", "https://example.org/p/7")
    ((*_, details),) = audit(database, post)
    assert (details["external_id"], details["url"]) == ("ig-7", "https://example.org/p/7")
    assert "Hello" not in str(details)


def test_what_is_refused_changes_nothing_and_is_not_recorded(
    database: Database,
    letters: Letters,
    connection: Connection,
    claimed: tuple[uuid.UUID, uuid.UUID],
    decisions: PostDecisions,
) -> None:
    post, job = claimed
    bring_into(connection, post, "unknown_outcome")
    letter = publish_death(job)
    letters.insert(letter)
    before = row_of(connection, post, "state, version, due_at, updated_at")
    with pytest.raises(ConflictError, match="POST_TOO_LATE"):
        decisions.reschedule("ada", "why", TENANT, post, TOMORROW)
    with pytest.raises(ConflictError, match="POST_TOO_LATE"):
        decisions.cancel("ada", "why", TENANT, post)
    with pytest.raises(NotFoundError, match="POST_NOT_FOUND"):
        decisions.publish_again("ada", "why", "another", post)
    for settled in ((" ", None), ("ig-7", "javascript:alert(1)"), ("ig\x007", None)):
        with pytest.raises(InvalidInputError, match="REQUEST_USAGE"):
            decisions.settle_as_live("ada", "why", TENANT, post, *settled)
    with pytest.raises(InvalidInputError, match="a reason is needed"):
        decisions.publish_again("ada", " ", TENANT, post)
    assert row_of(connection, post, "state, version, due_at, updated_at") == before
    assert audit(database, post) == []
    assert letters.state(letter) is LetterState.OPEN


def test_another_version_than_the_one_that_was_seen(
    database: Database, connection: Connection, claimed: tuple[uuid.UUID, uuid.UUID], decisions: PostDecisions
) -> None:
    post, _ = claimed
    with pytest.raises(ConflictError, match="POST_CHANGED"):
        decisions.cancel("ada", "why", TENANT, post, expected=1)
    with pytest.raises(ConflictError, match="POST_CHANGED"):
        decisions.reschedule("ada", "why", TENANT, post, TOMORROW, expected=3)
    assert decisions.reschedule("ada", "why", TENANT, post, TOMORROW, expected=2).version == 3
    assert len(audit(database, post)) == 1


def test_who_cancels_twice_is_recorded_once(
    database: Database, connection: Connection, claimed: tuple[uuid.UUID, uuid.UUID], decisions: PostDecisions
) -> None:
    post, _ = claimed
    assert decisions.cancel("ada", "why", TENANT, post) == decisions.cancel("eve", "too", TENANT, post)
    assert [actor for _, actor, *_ in audit(database, post)] == ["ada"]


def test_of_two_deaths_of_the_job_both_are_closed_and_a_requeued_one_is_left(
    database: Database,
    letters: Letters,
    connection: Connection,
    claimed: tuple[uuid.UUID, uuid.UUID],
    decisions: PostDecisions,
) -> None:
    post, job = claimed
    bring_into(connection, post, "dead")
    deaths = [publish_death(job) for _ in range(3)]
    letters.insert(*deaths)
    database.query(
        "UPDATE penstock.dead_letters SET state = 'requeued', became = 'died', resolved_at = now(),"
        " resolved_by = 'eve', resolution_reason = 'try' WHERE dead_id = %s",
        deaths[0].dead_id,
    )
    decisions.reschedule("ada", "why", TENANT, post, TOMORROW)
    states = [letters.state(one) for one in deaths]
    assert states == [LetterState.REQUEUED, LetterState.DISCARDED, LetterState.DISCARDED]
    ((*_, details),) = audit(database, post)
    assert sorted(details["dead_letters"]) == sorted(str(letter.dead_id) for letter in deaths[1:])


class LostAnswer(Transactions):
    """The answer to the first COMMIT is lost: the work runs again though it was committed."""

    def run(self, work: Callable[[Transaction], Any]) -> Any:
        super().run(work)
        return super().run(work)


def test_where_the_answer_to_commit_is_lost_it_is_decided_once(
    database: Database,
    connection: Connection,
    claimed: tuple[uuid.UUID, uuid.UUID],
    pool: Pool,
    settings: WorkerSettings,
) -> None:
    post, _ = claimed
    bring_into(connection, post, "unknown_outcome")
    changed = PostDecisions(LostAnswer(pool, settings)).publish_again("ada", "why", TENANT, post)
    assert (changed.state, changed.version, row_of(connection, post, "version")) == ("scheduled", 3, 3)
    assert len(audit(database, post)) == 1


@pytest.mark.parametrize("change", ["reschedule", "cancel"])
def test_of_many_posts_each_is_changed_and_never_begun_or_begun_and_too_late(
    database: Database,
    connect: Connect,
    connection: Connection,
    account: uuid.UUID,
    decisions: PostDecisions,
    change: str,
) -> None:
    posts = [new_post(connection, account, ago(hours=1)) for _ in range(200)]
    with connection.transaction():
        assert len(claim_due(connection, datetime.now(UTC)).moved) == 200
    started = threading.Barrier(2)

    def publish(own: Connection) -> dict[uuid.UUID, Any]:
        started.wait(30)
        return {post: begin(own, post) for post in shuffled(posts, 1)}

    def decide_all() -> dict[uuid.UUID, Any]:
        started.wait(30)
        return {post: decide(post) for post in shuffled(posts, 2)}

    def decide(post: uuid.UUID) -> ChangedPost | Code:
        try:
            if change == "cancel":
                return decisions.cancel("ada", "why", TENANT, post)
            return decisions.reschedule("ada", "why", TENANT, post, TOMORROW)
        except PenstockError as error:
            return error.code

    with ThreadPoolExecutor(2) as pool:
        begun, changed = pool.submit(publish, connect()), pool.submit(decide_all)
        ends = {post: (begun.result(120)[post], changed.result(120)[post]) for post in posts}
    after = "cancelled" if change == "cancel" else "scheduled"
    for post, (publisher, operator) in ends.items():
        if publisher == Began(1):
            assert operator is Code.POST_TOO_LATE
            assert row_of(connection, post, "state, attempts") == ("publishing", 1)
        else:
            assert publisher == Superseded(after)
            assert operator == ChangedPost(post, after, 3, operator.due_at)
            assert row_of(connection, post, "state, attempts") == (after, 0)
        assert len(audit(database, post)) == (publisher != Began(1))
    assert {publisher == Began(1) for publisher, _ in ends.values()} == {True, False}


def shuffled(posts: list[uuid.UUID], seed: int) -> list[uuid.UUID]:
    return random.Random(seed).sample(posts, len(posts))


def begin(own: "psycopg.Connection[Any]", post: uuid.UUID) -> Any:
    with own.transaction():
        return begin_publish(own, post, 2, None, MINUTE)
