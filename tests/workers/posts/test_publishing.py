"""The steps of a publication: at most one visible try at a time, and no truth that is lost."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from penstock.producers.storage.posts import list_attempts
from penstock.producers.storage.posts_changes import cancel, reschedule
from penstock.schemas.errors import Code
from penstock.schemas.scheduled_post import PostState
from penstock.workers.accounts.store import require_reauthorisation
from penstock.workers.posts.attempts import PublishAttempt, record_attempt
from penstock.workers.posts.claims import claim_due
from penstock.workers.posts.publishing import (
    Began,
    InFlight,
    Marked,
    PostToPublish,
    Superseded,
    begin_publish,
    load_post,
    mark_dead,
    mark_published,
    mark_unknown,
    park,
    settle_lateness,
    store_handle,
    stuck_posts,
    withdraw_after_look_up,
    withdraw_publish,
)
from tests.posts_kit import TENANT, Connect, Connection, ago, new_post, row_of

MINUTE, NO_TIME = timedelta(minutes=1), timedelta()


@pytest.fixture
def post(connection: Connection, account: uuid.UUID) -> PostToPublish:
    """A claimed post with a stored handle."""
    return claimed(connection, new_post(connection, account))


def claimed(connection: Connection, post_id: uuid.UUID) -> PostToPublish:
    with connection.transaction():
        claim_due(connection, datetime.now(UTC))
    assert store_handle(connection, post_id, 2, "container-1", {"children": ["a"]})
    return load(connection, post_id)


def load(connection: Connection, post_id: uuid.UUID) -> PostToPublish:
    found = load_post(connection, post_id)
    assert found is not None
    return found


def begin(
    connection: Connection, post: PostToPublish, visible_for: timedelta = MINUTE
) -> Began | InFlight | Superseded:
    return begin_publish(connection, post.post_id, post.version, post.handle, visible_for)


def test_the_way_of_a_post_that_is_published(connection: Connection, post: PostToPublish) -> None:
    assert (post.state, post.handle, post.step, post.attempts) == ("claimed", "container-1", {"children": ["a"]}, 0)
    assert begin(connection, post) == Began(1)
    assert mark_published(connection, post.post_id, "ig-7", "https://example.org/p/7") is Marked.NOW
    found = load(connection, post.post_id)
    assert (found.state, found.external_id, found.url) == ("published", "ig-7", "https://example.org/p/7")
    assert isinstance(begin(connection, post), Superseded)


def test_of_workers_at_once_one_begins_and_the_others_are_told_to_look_up(
    connect: Connect, connection: Connection, post: PostToPublish
) -> None:
    def run(own: Connection) -> object:
        answer = begin(own, post)
        own.commit()
        return answer

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(run, [connect() for _ in range(6)]))
    assert [answer for answer in answers if isinstance(answer, Began)] == [Began(1)]
    others = [answer for answer in answers if isinstance(answer, InFlight)]
    assert len(others) == 5
    assert all(other.attempt == 1 and NO_TIME < other.left <= MINUTE for other in others)


def test_a_handle_that_is_not_the_stored_one_is_not_made_visible(connection: Connection, post: PostToPublish) -> None:
    assert begin_publish(connection, post.post_id, post.version, "container-0", MINUTE) == Superseded("claimed")
    assert row_of(connection, post.post_id, "state, attempts") == ("claimed", 0)


def test_while_it_is_published_the_handle_stays_and_its_steps_are_kept(
    connection: Connection, post: PostToPublish
) -> None:
    begin(connection, post)
    assert not store_handle(connection, post.post_id, post.version, "container-2", {})
    assert store_handle(connection, post.post_id, post.version, "container-1", {"offset": 5})
    assert row_of(connection, post.post_id, "handle, step") == ("container-1", {"offset": 5})


def test_a_look_up_that_finds_nothing_proves_nothing_while_the_try_may_be_under_way(
    connection: Connection, post: PostToPublish
) -> None:
    begin(connection, post, MINUTE)
    assert not withdraw_after_look_up(connection, post.post_id, 1, Code.PLATFORM_API_TIMEOUT)
    assert row_of(connection, post.post_id) == "publishing"
    # Who made the try knows better, if the platform told him.
    assert withdraw_publish(connection, post.post_id, 1, Code.PLATFORM_API_TIMEOUT)
    assert begin(connection, post, NO_TIME) == Began(2)
    assert not withdraw_after_look_up(connection, post.post_id, 1, Code.PLATFORM_API_TIMEOUT)
    assert withdraw_after_look_up(connection, post.post_id, 2, Code.PLATFORM_API_TIMEOUT)
    assert row_of(connection, post.post_id, "state, attempts, last_code") == ("claimed", 2, "PLATFORM_API_TIMEOUT")


def test_one_who_comes_back_late_can_not_undo_a_later_try(connection: Connection, post: PostToPublish) -> None:
    begin(connection, post, NO_TIME)
    withdraw_after_look_up(connection, post.post_id, 1, Code.PLATFORM_API_TIMEOUT)
    begin(connection, post)
    assert not withdraw_publish(connection, post.post_id, 1, Code.PLATFORM_API_ERROR)
    assert not mark_unknown(connection, post.post_id, 1, Code.POST_UNKNOWN_OUTCOME)
    assert not mark_dead(connection, post.post_id, post.version, Code.PLATFORM_API_ERROR, attempt=1)
    assert row_of(connection, post.post_id, "state, attempts") == ("publishing", 2)


def test_what_is_live_is_noted_whatever_was_decided_meanwhile(connection: Connection, post: PostToPublish) -> None:
    begin(connection, post, NO_TIME)
    withdraw_after_look_up(connection, post.post_id, 1, Code.PLATFORM_API_TIMEOUT)
    cancel(connection, TENANT, post.post_id)
    assert mark_published(connection, post.post_id, "ig-7") is Marked.NOW
    assert mark_published(connection, post.post_id, "ig-7") is Marked.SAME
    assert mark_published(connection, post.post_id, "ig-8") is Marked.OTHER
    assert row_of(connection, post.post_id, "state, external_id") == ("published", "ig-7")


def test_a_platform_may_tell_the_id_later(connection: Connection, post: PostToPublish) -> None:
    begin(connection, post)
    for external_id, marked in ((None, "now"), (None, "same"), ("ig-7", "now"), (None, "same"), ("ig-8", "other")):
        assert mark_published(connection, post.post_id, external_id) == marked
    assert row_of(connection, post.post_id, "state, external_id") == ("published", "ig-7")


def test_what_is_older_than_the_first_try_is_another_post(connection: Connection, post: PostToPublish) -> None:
    assert post.armed_at is None
    begin(connection, post)
    armed = load(connection, post.post_id).armed_at
    assert armed is not None
    withdraw_publish(connection, post.post_id, 1, Code.PLATFORM_API_ERROR)
    begin(connection, post)
    assert load(connection, post.post_id).armed_at == armed
    withdraw_publish(connection, post.post_id, 2, Code.PLATFORM_API_ERROR)
    reschedule(connection, TENANT, post.post_id, ago(hours=-1))
    assert load(connection, post.post_id).armed_at is None


def test_nothing_is_published_that_was_never_begun(connection: Connection, post: PostToPublish) -> None:
    assert mark_published(connection, post.post_id, "ig-7") is Marked.NEVER_BEGUN
    assert mark_published(connection, uuid.uuid4(), "ig-7") is Marked.NEVER_BEGUN
    assert row_of(connection, post.post_id) == "claimed"


def test_an_unknown_outcome_is_begun_by_nobody(connection: Connection, post: PostToPublish) -> None:
    begin(connection, post)
    assert mark_unknown(connection, post.post_id, 1, Code.POST_UNKNOWN_OUTCOME)
    assert begin(connection, post) == Superseded("unknown_outcome")
    assert mark_published(connection, post.post_id, "ig-7") is Marked.NOW


def test_a_post_dies_before_its_first_try_or_by_the_answer_to_one(
    connection: Connection, post: PostToPublish, account: uuid.UUID
) -> None:
    assert mark_dead(connection, post.post_id, post.version, Code.POST_MEDIA_INVALID)
    other = claimed(connection, new_post(connection, account))
    begin(connection, other)
    assert not mark_dead(connection, other.post_id, other.version, Code.POST_MEDIA_INVALID)
    assert mark_dead(connection, other.post_id, other.version, Code.POST_MEDIA_INVALID, attempt=1)
    assert {row_of(connection, dead, "state, last_code") for dead in (post.post_id, other.post_id)} == {
        ("dead", "POST_MEDIA_INVALID")
    }


def test_the_grace_may_end_while_the_job_waits_but_not_after_a_try(connection: Connection, account: uuid.UUID) -> None:
    first = new_post(connection, account, ago(minutes=1), lateness_policy="hold", grace_seconds=600)
    waiting = claimed(connection, first)
    assert settle_lateness(connection, waiting, datetime.now(UTC)) is None
    assert settle_lateness(connection, waiting, datetime.now(UTC) + timedelta(hours=1)) is PostState.HELD
    assert row_of(connection, first, "state, last_code") == ("held", "POST_EXPIRED")
    second = claimed(connection, new_post(connection, account, lateness_policy="expire", grace_seconds=86_400))
    begin(connection, second)
    withdraw_publish(connection, second.post_id, 1, Code.PLATFORM_API_ERROR)
    tried = load(connection, second.post_id)
    assert settle_lateness(connection, tried, datetime.now(UTC) + timedelta(days=2)) is None


def test_a_claimed_post_is_parked_only_while_its_account_is_out_of_use(
    connection: Connection, post: PostToPublish
) -> None:
    assert not park(connection, post)
    require_reauthorisation(connection, post.account_id, 1, Code.ACCOUNT_TOKEN_EXPIRED)
    assert park(connection, post)
    state, version, parked_at = row_of(connection, post.post_id, "state, version, parked_at")
    assert (state, version) == ("scheduled", post.version + 1)
    assert parked_at is not None
    # Its job, which is acknowledged or not, has nothing to do any more.
    assert begin(connection, post) == Superseded("scheduled")


def test_what_was_claimed_long_ago_is_found(connection: Connection, post: PostToPublish) -> None:
    assert stuck_posts(connection, ago(minutes=1)) == []
    (stuck,) = stuck_posts(connection, ago(minutes=-1))
    assert (stuck.post_id, stuck.state) == (post.post_id, "claimed")
    assert stuck.claimed_by == row_of(connection, post.post_id, "claimed_by")


def test_calls_are_kept_for_whoever_asks_what_happened(connection: Connection, post: PostToPublish) -> None:
    for at, phase, code in ((ago(minutes=2), "prepare", None), (ago(minutes=1), "publish", Code.PLATFORM_API_TIMEOUT)):
        request = {"method": "POST", "path": "/{account}/media", "parameters": ["caption"]}
        attempt = PublishAttempt(
            *(at, post.post_id, TENANT, post.account_id, post.platform, 1, phase, request, "ambiguous", code),
            *("2", "trace-1", "no answer", 1.5, "worker-1", "0.1.0"),
        )
        record_attempt(connection, attempt)
    latest, first = list_attempts(connection, TENANT, post.post_id)
    assert (first.phase, latest.phase, latest.code) == ("prepare", "publish", "PLATFORM_API_TIMEOUT")
    assert latest.request["parameters"] == ["caption"]
    assert list_attempts(connection, "another", post.post_id) == []
    # None is in the partition of what has no other.
    assert connection.execute("SELECT count(*) FROM penstock.publish_attempts_default").fetchone() == (0,)
