"""Claims: each due post once, with its job, by its policy, and never past an account that is out of use."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from penstock.producers.storage.posts_parked import release_forgotten
from penstock.schemas.errors import Code
from penstock.schemas.identity import job_id
from penstock.schemas.scheduled_post import LatenessPolicy, PostState, PublishPost
from penstock.workers.accounts.store import disable, enable, reauthorise, require_reauthorisation
from penstock.workers.posts.claims import claim_due, late_state
from tests.posts_kit import TENANT, Connect, Connection, ago, given, new_account, new_post, row_of


def now() -> datetime:
    return datetime.now(UTC)


def test_what_is_due_is_claimed_in_order_and_each_has_its_job(connection: Connection, account: uuid.UUID) -> None:
    second, first = new_post(connection, account, ago(minutes=1)), new_post(connection, account, ago(minutes=2))
    later = new_post(connection, account, ago(minutes=-1))
    with connection.transaction():
        claim = claim_due(connection, now())
    assert [moved.post_id for moved in claim.moved] == [first, second]
    assert (claim.parked, claim.is_full, row_of(connection, later)) == ((), False, "scheduled")
    jobs = connection.execute("SELECT job_id, queue, tenant, payload FROM penstock.outbox ORDER BY id").fetchall()
    for post_id, (job, queue, tenant, payload) in zip([first, second], jobs, strict=True):
        assert (queue, tenant) == ("publishing", TENANT)
        assert job == job_id(TENANT, "scheduled_post.publish", f"{post_id}.2")
        assert row_of(connection, post_id, "state, version, claimed_by") == ("claimed", 2, job)
        told = PublishPost.model_validate(json.loads(payload))
        assert (told.post_id, told.version, told.account_id, told.platform) == (post_id, 2, account, "instagram")


def test_a_claim_that_is_rolled_back_has_neither_post_nor_job(connect: Connect, connection: Connection) -> None:
    post = new_post(connection, new_account(connection))
    claiming = connect()
    assert claim_due(claiming, now()).moved
    claiming.rollback()
    assert row_of(connection, post) == "scheduled"
    assert connection.execute("SELECT count(*) FROM penstock.outbox").fetchone() == (0,)


def test_a_limit_leaves_the_rest_and_says_so(connection: Connection, account: uuid.UUID) -> None:
    for minutes in range(5):
        new_post(connection, account, ago(minutes=minutes))
    with connection.transaction():
        assert claim_due(connection, now(), limit=3).is_full
    with connection.transaction():
        assert len(claim_due(connection, now(), limit=3).moved) == 2


def test_of_claimers_at_once_each_post_has_one(connect: Connect, connection: Connection, account: uuid.UUID) -> None:
    posts = {new_post(connection, account) for _ in range(60)}

    def claim_all(claiming: Connection) -> list[uuid.UUID]:
        got: list[uuid.UUID] = []
        while moved := claim_due(claiming, now(), limit=7).moved:
            got += [post.post_id for post in moved]
            claiming.commit()
        return got

    with ThreadPoolExecutor(4) as pool:
        claimed = [post for got in pool.map(claim_all, [connect() for _ in range(4)]) for post in got]
    assert len(claimed) == 60
    assert set(claimed) == posts
    assert connection.execute("SELECT count(*), count(DISTINCT job_id) FROM penstock.outbox").fetchone() == (60, 60)


POLICIES = {
    "run": (LatenessPolicy.RUN, "claimed", 1),
    "expire": (LatenessPolicy.EXPIRE, "expired", 1),
    "hold": (LatenessPolicy.HOLD, "held", 0),
}


@pytest.mark.parametrize(("policy", "state", "jobs"), POLICIES.values(), ids=POLICIES)
def test_what_is_late_is_treated_by_its_policy(
    connection: Connection, account: uuid.UUID, policy: LatenessPolicy, state: str, jobs: int
) -> None:
    late = new_post(connection, account, ago(hours=3), lateness_policy=policy, grace_seconds=3_600)
    with connection.transaction():
        claim_due(connection, now())
    assert row_of(connection, late) == state
    assert connection.execute("SELECT count(*) FROM penstock.outbox").fetchone() == (jobs,)


@pytest.mark.parametrize("policy", list(LatenessPolicy))
def test_within_its_grace_a_post_is_not_late(policy: LatenessPolicy) -> None:
    due, grace = datetime(2026, 12, 1, tzinfo=UTC), timedelta(minutes=5)
    assert late_state(policy, due, grace, due + grace) is None
    after = late_state(policy, due, grace, due + grace + timedelta(microseconds=1))
    assert after == {"run": None, "expire": PostState.EXPIRED, "hold": PostState.HELD}[policy]


def test_posts_of_a_dead_token_wait_and_go_in_their_order_once_it_is_authorised(connection: Connection) -> None:
    dead, other = new_account(connection), new_account(connection)
    assert require_reauthorisation(connection, dead, 1, Code.ACCOUNT_TOKEN_EXPIRED)
    waiting = [new_post(connection, dead, ago(minutes=minutes)) for minutes in (1, 3, 2)]
    going = new_post(connection, other)
    with connection.transaction():
        claim = claim_due(connection, now())
    assert ({post.post_id for post in claim.moved}, set(claim.parked)) == ({going}, set(waiting))
    # They are out of the way of others, and cost no further look.
    assert claim_due(connection, now()).parked == ()
    with connection.transaction():
        assert reauthorise(connection, TENANT, dead, given(dead)) == 3
    with connection.transaction():
        moved = [post.post_id for post in claim_due(connection, now()).moved]
    assert moved == [waiting[1], waiting[2], waiting[0]]
    assert row_of(connection, waiting[0], "attempts") == 0


def test_a_disabled_account_is_no_other(connection: Connection, account: uuid.UUID) -> None:
    post = new_post(connection, account)
    assert disable(connection, TENANT, account)
    with connection.transaction():
        assert claim_due(connection, now()).parked == (post,)
    assert enable(connection, TENANT, account)
    with connection.transaction():
        assert [moved.post_id for moved in claim_due(connection, now()).moved] == [post]


def test_a_post_that_is_parked_while_its_account_is_authorised_is_not_forgotten(
    connect: Connect, connection: Connection, account: uuid.UUID
) -> None:
    require_reauthorisation(connection, account, 1, Code.ACCOUNT_TOKEN_EXPIRED)
    post = new_post(connection, account)
    claiming, authorising = connect(), connect()
    assert claim_due(claiming, now()).parked == (post,)
    with ThreadPoolExecutor(1) as pool:
        # It waits for the claimer's lock on the account, and so finds what that parked.
        releasing = pool.submit(lambda: reauthorise(authorising, TENANT, account, given(account)))
        while not connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
            assert not releasing.done()
        claiming.commit()
        assert releasing.result(30) == 1
    authorising.commit()
    assert row_of(connection, post, "parked_at") is None


def test_what_was_forgotten_all_the_same_is_found(connection: Connection, account: uuid.UUID) -> None:
    post = new_post(connection, account)
    connection.execute("UPDATE penstock.scheduled_posts SET parked_at = now()")
    assert release_forgotten(connection) == 1
    with connection.transaction():
        assert [moved.post_id for moved in claim_due(connection, now()).moved] == [post]
