"""A platform is down: its circuit opens, its posts wait, a call tries now and then; in the end all are out once."""

import itertools
from datetime import timedelta
from uuid import UUID

from tests.recovery.posts_trial import PostsTrial, soon, text_post
from tests.recovery.servers import full
from tests.system import wait_for

POSTS, ACCOUNTS = 60, 6
#: How long the platform is down, and over how long posts come due meanwhile.
DOWN = timedelta(seconds=60 if full() else 8)
OPEN_SECONDS, RAMP_SECONDS, FAILURES = 2, 6, 3
CIRCUIT = {
    "PENSTOCK_CIRCUIT_FAILURES": str(FAILURES),
    "PENSTOCK_CIRCUIT_WINDOW_SECONDS": "30",
    "PENSTOCK_CIRCUIT_OPEN_SECONDS": str(OPEN_SECONDS),
    "PENSTOCK_CIRCUIT_OPEN_LIMIT_SECONDS": str(OPEN_SECONDS),
    "PENSTOCK_CIRCUIT_RAMP_SECONDS": str(RAMP_SECONDS),
}
CALLS = ("facebook.posts", "facebook.feed")


def calls_of(posts: PostsTrial) -> int:
    """Calls to the platform, since the stand-in runs."""
    calls = posts.stand_in.calls()
    return sum(calls.get(name, 0) for name in CALLS)


def test_posts_wait_for_the_platform_and_go_out_in_order(posts: PostsTrial) -> None:
    posts.environment |= CIRCUIT
    facebook = posts.add_accounts("facebook", ACCOUNTS, "page")
    mastodon = posts.add_account("mastodon", "elsewhere")
    posts.start_workers(2)
    posts.start_schedulers(1)
    posts.stand_in.fail("facebook.*", "away", times=100_000)
    before = calls_of(posts)
    over = DOWN.total_seconds()
    ids = posts.schedule(
        (account, text_post(f"down {number}"), soon(2 + over * number / POSTS))
        for number, account in zip(range(POSTS), itertools.cycle(facebook), strict=False)
    )
    elsewhere = posts.schedule([(mastodon, text_post("elsewhere"), soon(4))])
    wait_for(lambda: circuit_of(posts)["state"] == "open", "the circuit to open")

    wait_for(lambda: posts.states()["published"] == 1, "the other platform's post")
    assert posts.ends()[elsewhere[0]].state == "published"
    wait_for(lambda: posts.states()["claimed"] == POSTS, "all posts to be due", over + 120)
    wait_for(lambda: blocked_by(posts, ids[-1]) == "circuit:platform:facebook", "the last post to wait")
    assert posts.job_of(ids[-1]).attempts == 0
    # Few calls for so many posts: the first failures (each thread's may be under way), then one a reset.
    asked = calls_of(posts) - before
    assert asked <= FAILURES + 2 * 4 + 2 * over / OPEN_SECONDS + 10, asked

    posts.stand_in.clear()
    took = posts.wait_until_ended(240)
    ends = posts.assert_sound(POSTS + 1)
    assert {end.state for end in ends.values()} == {"published"}
    order = sorted(ids, key=lambda post: ends[post].published_at or ends[post].due_at)
    places = {post: place for place, post in enumerate(order)}
    moved = [abs(places[post] - place) for place, post in enumerate(ids)]
    first, last = (ends[order[place]].published_at for place in (0, -1))
    assert first is not None
    assert last is not None
    print(
        f"{asked} calls for {POSTS} posts while it was down; all out {took:.1f} s after it was back, over"
        f" {(last - first).total_seconds():.1f} s; places from their turn: {sum(moved) / POSTS:.1f} in the mean,"
        f" {max(moved)} at the most"
    )
    # Which calls a ramp lets in is by chance, so the order of instants shows in the mean alone: by chance alone, each
    # post would be a third of all places from its turn. A machine that others use as well adds chance of its own.
    assert sum(moved) / POSTS < POSTS / 3 * 0.85 or not full()
    # A ramp, and no rush: the first third of it lets one in ten in.
    assert last - first > timedelta(seconds=RAMP_SECONDS / 3)
    posts.assert_reconciled()


def blocked_by(posts: PostsTrial, post: UUID) -> str | None:
    """What its job waits for; None, too, while it is on its way from the outbox."""
    job = posts.find_job(post)
    return None if job is None else job.blocked_by


def circuit_of(posts: PostsTrial) -> dict[str, str]:
    """The platform's circuit, as operators see it."""
    listed = posts.run("circuit", "list", "--json").json["items"]
    found = [one for one in listed if one["circuit"] == "platform:facebook"]
    return found[0] if found else {"state": "closed"}
