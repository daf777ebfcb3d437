"""An account's limit is reached: what is over waits for the reset, at no cost, and nobody else is concerned."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from penstock.schemas.post_content import Media
from tests.recovery.posts_trial import PostsTrial, soon, text_post
from tests.system import wait_for

POSTS, HOURLY, OTHERS = 40, 25, 3


def is_scheduled(posts: PostsTrial, post: UUID) -> bool:
    """Whether its job waits for a time; before, it is on its way from the outbox, or waits for a worker."""
    job = posts.find_job(post)
    return job is not None and job.state == "scheduled"


def test_what_is_over_the_limit_waits_for_the_reset_and_nothing_else_does(posts: PostsTrial) -> None:
    posts.stand_in.turn(polls=0, instagram_daily=1_000)
    busy, quiet = posts.add_account("instagram", "busy"), posts.add_account("instagram", "quiet")
    picture = (Media(url=posts.stand_in.file("a.jpg")),)
    posts.start_workers(2)
    posts.start_schedulers(1)
    began = datetime.now(UTC)
    first = posts.schedule((busy, text_post(f"busy {number}", media=picture), soon(3)) for number in range(POSTS))
    others = posts.schedule((quiet, text_post(f"quiet {number}", media=picture), soon(3)) for number in range(OTHERS))
    wait_for(lambda: posts.states() == {"published": HOURLY + OTHERS, "claimed": POSTS - HOURLY}, "the limit")

    ends = posts.ends()
    assert {ends[post].state for post in others} == {"published"}
    waiting = [post for post in first if ends[post].state == "claimed"]
    assert len(posts.stand_in.publications(busy.name)) == HOURLY
    assert {ends[post].attempts for post in waiting} == {0}
    # Those that wait know until when: until the first ones are an hour old.
    wait_for(lambda: all(is_scheduled(posts, post) for post in waiting), "the others to be told to wait")
    for post in (waiting[0], waiting[-1]):
        job = posts.job_of(post)
        assert (job.state, job.attempts) == ("scheduled", 0)
        assert job.blocked_by == f"limit:account:{busy.account_id}"
        assert job.eligible_at is not None
        assert job.eligible_at > began + timedelta(minutes=59)

    # An operator shortens the wait for all accounts of the platform; those that wait are woken by that.
    for key in ("platform:instagram/account", "platform:instagram/account/day"):
        done = posts.run("limit", "set", key, "--limit", "1000", "--window", "1h", "--reason", "trial", "--yes")
        assert done.code == 0, done.err
    posts.wait_until_ended(240)
    ends = posts.assert_sound(POSTS + OTHERS)
    assert {end.state for end in ends.values()} == {"published"}
    posts.assert_reconciled()
