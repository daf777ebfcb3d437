"""Publishing a claimed post: every scenario of docs/platforms.md, decisions in between, lost runs, tokens, lateness."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from penstock.producers.storage.posts_changes import cancel, reschedule, settle_by_publishing_again
from penstock.schemas.errors import Code
from penstock.schemas.scheduled_post import LatenessPolicy, PostState
from penstock.workers.accounts.account import AccountState
from penstock.workers.accounts.store import disable, reauthorise
from penstock.workers.job import Dead, Done, Outcome, Postpone, Retry
from penstock.workers.posts.claims import claim_due
from penstock.workers.posts.conversation import Conversation
from penstock.workers.posts.publishing import begin_publish
from penstock.workers.stand_in.exchange import Response
from penstock.workers.stand_in.faults import NAMED, replying
from penstock.workers.stand_in.server import StandIn
from tests.posts_kit import TENANT, Connection, given, row_of, tokens_of
from tests.system import Database
from tests.workers.platforms.test_scenarios import CASES
from tests.workers.posts.publish_kit import Driven, PublishKit, kit_settings

ENDED = {"published": PostState.PUBLISHED, "dead": PostState.DEAD, "held": PostState.CLAIMED}


@pytest.fixture
def kit(database: Database, redis_url: str, namespace: str, connection: Connection) -> Iterator[PublishKit]:
    with ExitStack() as stack:
        stand_in = stack.enter_context(StandIn())
        settings = kit_settings(database.url, redis_url, f"{namespace}-{uuid.uuid4().hex[:8]}", stand_in)
        yield PublishKit(stack, settings, stand_in, connection)


def there(kit: PublishKit) -> int:
    return len(kit.stand_in.world.publications())


def codes_of(kit: PublishKit, post: uuid.UUID) -> list[str]:
    statement = "SELECT platform_code FROM penstock.publish_attempts WHERE post_id = %s ORDER BY at"
    return [row[0] for row in kit.connection.execute(statement, (post,)) if row[0]]


def is_limit(outcome: Outcome) -> bool:
    return isinstance(outcome, Postpone) and outcome.blocked_by.startswith("blocked:")


@pytest.mark.parametrize(
    ("name", "kind", "end", "code", "times"), CASES, ids=[f"{case[0]}:{case[1]}" for case in CASES]
)
def test_a_post_ends_as_its_scenario_says(
    kit: PublishKit, name: str, kind: str, end: str, code: str, times: int
) -> None:
    if name == "last-piece-without-answer":
        kit.stand_in.faults.add("youtube.piece", NAMED["reset_after"], after=2)
    else:
        kit.stand_in.play(name)
    post = kit.post(kind, kit.account(kind.partition("-")[0], "one"))
    driven = kit.drive(kit.claim(post), until=is_limit)
    assert kit.state(post) == ENDED[end], driven
    assert (there(kit), kit.stand_in.world.doubles()) == (times, [])
    if code:
        assert code in codes_of(kit, post)
    if end == "held":
        assert driven.attempts == 1


def test_a_plain_post_is_published_recorded_and_accounted_for(kit: PublishKit) -> None:
    post = kit.post("facebook-text", kit.account("facebook", "one"))
    job = kit.claim(post)
    driven = kit.drive(job)
    assert driven.outcome == Done(counts={"published": 1})
    (real,) = kit.stand_in.world.publications()
    state, external_id, url, attempts = row_of(kit.connection, post, "state, external_id, url, attempts")
    assert (state, external_id, attempts) == ("published", real.external_id, 1)
    assert url
    assert kit.connection.execute(
        "SELECT count(*) FROM penstock.effects WHERE job_id = %s", (job.job_id,)
    ).fetchone() == (1,)
    statement = (
        "SELECT phase, attempt, answer_class, request FROM penstock.publish_attempts WHERE post_id = %s ORDER BY at"
    )
    rows = kit.connection.execute(statement, (post,)).fetchall()
    assert [row[:3] for row in rows if row[0] == "publish"] == [("publish", 1, "ok")]
    assert all(row[3]["method"] for row in rows)
    assert "fine day" not in str(rows)
    # A second delivery finds it done.
    assert kit.once(job) == Done(repeated=True)
    assert there(kit) == 1


def test_what_is_claimed_ahead_is_prepared_and_waits_for_its_instant(kit: PublishKit) -> None:
    due = kit.stand_in.world.now() + timedelta(seconds=20)
    post = kit.post("instagram-image", kit.account("instagram", "one"), due=due)
    with kit.pool.connection() as connection:
        claim_due(connection, kit.stand_in.world.now(), lead=timedelta(seconds=30))
    driven = kit.drive(kit.job(post), until=lambda one: isinstance(one, Postpone) and one.blocked_by == "due")
    assert isinstance(driven.outcome, Postpone)
    assert there(kit) == 0
    assert timedelta(0) < driven.outcome.delay < timedelta(seconds=20)
    polls = kit.stand_in.world.calls("instagram.poll")
    kit.stand_in.world.advance(driven.outcome.delay)
    assert kit.drive(kit.job(post)).outcome == Done(counts={"published": 1})
    assert (there(kit), kit.stand_in.world.calls("instagram.poll")) == (1, polls)


def test_a_post_that_was_cancelled_or_moved_meanwhile_is_left_alone(kit: PublishKit) -> None:
    account = kit.account("facebook", "one")
    for change in (cancel, partial(reschedule, due_at=kit.stand_in.world.now() + timedelta(days=1))):
        post = kit.post("facebook-text", account)
        job = kit.claim(post)
        change(kit.connection, TENANT, post)
        assert kit.once(job) == Done(repeated=True)
    assert there(kit) == 0


def test_a_run_that_finds_a_try_of_another_one_looks_it_up(kit: PublishKit) -> None:
    account = kit.account("mastodon", "one")
    post = kit.post("mastodon-text", account)
    job = kit.claim(post)
    # The worker before this one was killed as soon as it had begun the visible step.
    begin_publish(kit.connection, post, row_of(kit.connection, post, "version"), None, timedelta())
    driven = kit.drive(job)
    assert driven.outcome == Done(counts={"published": 1})
    assert (row_of(kit.connection, post, "attempts"), driven.attempts) == (2, 1)
    assert (there(kit), kit.stand_in.world.doubles()) == (1, [])


def test_while_anothers_try_may_be_under_way_nothing_is_published(kit: PublishKit) -> None:
    post = kit.post("facebook-text", kit.account("facebook", "one"))
    job = kit.claim(post)
    begin_publish(kit.connection, post, row_of(kit.connection, post, "version"), None, timedelta(minutes=10))
    outcomes = [kit.once(job) for _ in range(len(kit.settings.look_up_waits) + 2)]
    assert all(isinstance(one, Postpone) for one in outcomes)
    assert isinstance(outcomes[-1], Postpone)
    assert outcomes[-1].delay > timedelta(minutes=9)
    assert (there(kit), kit.stand_in.world.calls("facebook.feed")) == (0, 0)


def test_two_tries_that_are_not_found_are_enough(kit: PublishKit) -> None:
    kit.stand_in.faults.add("facebook.feed", "hang_before", times=5)
    post = kit.post("facebook-text", kit.account("facebook", "one"))
    driven = kit.drive(kit.claim(post))
    assert isinstance(driven.outcome, Dead)
    assert driven.outcome.code == Code.POST_UNKNOWN_OUTCOME
    assert (kit.state(post), row_of(kit.connection, post, "attempts")) == ("unknown_outcome", 2)
    # A new life of its job looks again, and guesses no more than before.
    assert isinstance(kit.drive(kit.job(post)).outcome, Dead)
    assert kit.stand_in.world.calls("facebook.feed") == 2
    settle_by_publishing_again(kit.connection, TENANT, post)
    kit.stand_in.faults.clear()
    assert kit.drive(kit.claim(post)).outcome == Done(counts={"published": 1})
    assert there(kit) == 1


def test_a_post_of_unknown_outcome_that_is_found_in_a_new_life_is_published(kit: PublishKit) -> None:
    kit.stand_in.faults.add("facebook.feed", "reset_after")
    kit.stand_in.faults.add("facebook.posts", replying(Response(404, {"error": {"code": 803}})), times=1, after=1)
    post = kit.post("facebook-text", kit.account("facebook", "one"))
    driven = kit.drive(kit.claim(post))
    if kit.state(post) == PostState.UNKNOWN_OUTCOME:
        driven = kit.drive(kit.job(post))
    assert (kit.state(post), there(kit)) == ("published", 1), driven


def test_a_refusal_after_a_try_that_was_not_found_is_an_unknown_outcome(kit: PublishKit) -> None:
    kit.stand_in.faults.add("facebook.feed", "reset_before")
    refusal = Response(400, {"error": {"code": 100, "message": "no"}})
    kit.stand_in.faults.add("facebook.feed", replying(refusal))
    post = kit.post("facebook-text", kit.account("facebook", "one"))
    driven = kit.drive(kit.claim(post))
    assert (kit.state(post), there(kit)) == ("unknown_outcome", 0), driven


def test_retries_end_and_a_new_life_begins_from_the_start(kit: PublishKit) -> None:
    kit.stand_in.faults.add("instagram.create", "html_before", times=4)
    post = kit.post("instagram-image", kit.account("instagram", "one"))
    job = kit.claim(post)
    driven = kit.drive(job)
    assert isinstance(driven.outcome, Dead)
    assert (driven.attempts, kit.state(post), row_of(kit.connection, post, "last_code")) == (
        4,
        "dead",
        driven.outcome.code,
    )
    assert sum(isinstance(one, Retry) for one in driven.outcomes) == 3
    assert kit.drive(job).outcome == Done(counts={"published": 1})
    assert there(kit) == 1


@pytest.mark.parametrize(
    ("policy", "state", "outcome"),
    [
        (LatenessPolicy.RUN, PostState.PUBLISHED, Done),
        (LatenessPolicy.EXPIRE, PostState.EXPIRED, Dead),
        (LatenessPolicy.HOLD, PostState.HELD, Done),
    ],
)
def test_a_job_that_waited_beyond_the_grace_goes_by_the_policy(
    kit: PublishKit, policy: LatenessPolicy, state: PostState, outcome: type[Any]
) -> None:
    post = kit.post("facebook-text", kit.account("facebook", "one"), lateness_policy=policy, grace_seconds=600)
    job = kit.claim(post)
    kit.stand_in.world.advance(timedelta(minutes=11))
    driven = kit.drive(job)
    assert (kit.state(post), type(driven.outcome)) == (state, outcome)
    assert there(kit) == (policy is LatenessPolicy.RUN)
    if isinstance(driven.outcome, Dead):
        assert driven.outcome.code == Code.POST_EXPIRED
        assert kit.drive(job).outcome == driven.outcome


def test_a_dead_token_parks_the_post_and_new_ones_release_it(kit: PublishKit) -> None:
    kit.stand_in.world.knobs.tokens |= {"one.0": "expired"}
    account = kit.account("instagram", "one")
    post, other = kit.post("instagram-image", account), kit.post("facebook-text", kit.account("facebook", "two"))
    driven = kit.drive(kit.claim(post))
    assert driven.outcome == Done(counts={"parked": 1})
    state, parked, attempts = row_of(kit.connection, post, "state, parked_at IS NOT NULL, attempts")
    assert (state, parked, attempts) == ("scheduled", True, 0)
    assert row_of_account(kit, account) == (AccountState.REAUTHORIZE, Code.ACCOUNT_TOKEN_EXPIRED)
    assert kit.drive(kit.job(other)).outcome == Done(counts={"published": 1})
    assert reauthorise(kit.connection, TENANT, account, given(account, tokens_of("one.9", None))) == 1
    assert kit.drive(kit.claim(post)).outcome == Done(counts={"published": 1})


def test_a_refused_token_is_refreshed_once_and_the_run_goes_on(kit: PublishKit) -> None:
    kit.stand_in.world.knobs.tokens |= {"one.0": "expired"}
    account = kit.account("youtube", "one", refresh="one")
    post = kit.post("youtube-video", account)
    assert kit.drive(kit.claim(post)).outcome == Done(counts={"published": 1})
    assert kit.stand_in.world.calls("google.token") == 1
    assert row_of_account(kit, account)[0] == AccountState.ACTIVE


def test_a_token_that_ends_soon_is_renewed_before_it_is_used(kit: PublishKit) -> None:
    ends = kit.stand_in.world.now() + timedelta(minutes=2)
    post = kit.post("youtube-video", kit.account("youtube", "one", refresh="one", expires_at=ends))
    assert kit.drive(kit.claim(post)).outcome == Done(counts={"published": 1})
    assert kit.stand_in.world.calls("google.token") == 1
    assert "authError" not in codes_of(kit, post)


def test_a_disabled_account_parks_its_posts(kit: PublishKit) -> None:
    account = kit.account("facebook", "one")
    post = kit.post("facebook-text", account)
    job = kit.claim(post)
    disable(kit.connection, TENANT, account)
    assert kit.drive(job).outcome == Done(counts={"parked": 1})
    assert (there(kit), row_of(kit.connection, post, "state")) == (0, "scheduled")


def test_failures_of_a_platform_open_its_circuit_before_a_visible_step(kit: PublishKit) -> None:
    kit.stand_in.faults.add("mastodon.publish", "away", times=5)
    account = kit.account("mastodon", "one")
    posts = [kit.post("mastodon-text", account, f"text {number}") for number in range(6)]
    jobs = [kit.claim(post) for post in posts]
    for job in jobs[:5]:
        kit._run(job, 1, 0)
    state = kit.circuits.state("platform:mastodon").state
    outcome = kit._run(jobs[5], 1, 0)
    assert state == "open"
    assert isinstance(outcome, Postpone)
    assert outcome.blocked_by == "circuit:platform:mastodon"
    assert row_of(kit.connection, posts[5], "state, attempts") == ("claimed", 0)


def test_eight_runs_of_one_job_at_once_publish_once(kit: PublishKit) -> None:
    for number in range(5):
        post = kit.post("facebook-text", kit.account("facebook", f"page{number}"))
        job = kit.claim(post)
        barrier = threading.Barrier(8)

        def run(job: Any = job, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            kit._run(job, 1, threading.get_ident())

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        kit.drive(job)
        assert kit.state(post) == PostState.PUBLISHED
        assert (there(kit), kit.stand_in.world.doubles()) == (number + 1, [])


@pytest.mark.parametrize(
    "kind", ["instagram-image", "facebook-text", "facebook-reel", "youtube-video", "mastodon-image"]
)
@pytest.mark.parametrize("lost", range(8))
def test_a_run_lost_after_any_call_publishes_once_in_the_end(
    kit: PublishKit, monkeypatch: pytest.MonkeyPatch, kind: str, lost: int
) -> None:
    """A worker that dies as soon as the n-th answer is there has stored nothing of it."""

    class KilledError(BaseException):
        pass

    calls = 0
    real = Conversation.call

    def call(self: Conversation, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        try:
            return real(self, *arguments)
        finally:
            if calls == lost + 1:
                raise KilledError

    monkeypatch.setattr(Conversation, "call", call)
    post = kit.post(kind, kit.account(kind.partition("-")[0], "one"))
    job = kit.claim(post)
    driven: Driven | None = None
    while driven is None:
        try:
            driven = kit.drive(job)
        except KilledError:
            continue
    assert (kit.state(post), there(kit), kit.stand_in.world.doubles()) == ("published", 1, [])


def row_of_account(kit: PublishKit, account: uuid.UUID) -> Any:
    row = kit.connection.execute(
        "SELECT state, state_code FROM penstock.social_accounts WHERE account_id = %s", (account,)
    ).fetchone()
    assert row is not None
    return row
