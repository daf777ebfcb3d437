"""Tokens end, are revoked, and are encrypted anew while posts go out."""

from datetime import timedelta

from cryptography.fernet import Fernet

from penstock.schemas.post_content import Media
from penstock.workers.accounts.token_keys import TokenKeys
from tests.recovery.posts_trial import PostsTrial, TrialAccount, soon, text_post
from tests.system import wait_for

#: Processes that meet the same dead token at the same time.
WORKERS = 8
SMALL = {"PENSTOCK_WORKER_THREADS": 2, "PENSTOCK_POOL_MIN": 0}


def lift_limits(posts: PostsTrial) -> None:
    """More posts of one account than an hour of it allows."""
    for platform in ("youtube", "facebook", "mastodon"):
        key = f"platform:{platform}/account"
        done = posts.run("limit", "set", key, "--limit", "1000", "--window", "1h", "--reason", "trial", "--yes")
        assert done.code == 0, done.err


def test_eight_processes_meet_a_dead_token_and_refresh_it_once(posts: PostsTrial) -> None:
    lift_limits(posts)
    channel = posts.add_account("youtube", "channel")
    posts.start_schedulers(1)
    posts.start_workers(WORKERS, **SMALL)
    video = (Media(url=posts.stand_in.file("a.mp4", 20_000), kind="video"),)

    def scheduled(first: int, count: int, seconds: float) -> None:
        posts.schedule(
            (channel, text_post(f"video {number}", media=video, options={"title": f"Video {number}"}), soon(seconds))
            for number in range(first, first + count)
        )

    scheduled(0, 6, 1)
    wait_for(lambda: posts.states()["published"] == 6, "the first posts")
    refreshed = posts.stand_in.calls().get("google.token", 0)
    posts.stand_in.turn(tokens={f"{channel.name}.0": "expired"})
    scheduled(6, 24, 3)
    wait_for(lambda: posts.states()["published"] == 30, "all posts")
    posts.assert_sound(30)
    assert posts.stand_in.calls()["google.token"] == refreshed + 1
    assert posts.database.value("SELECT min(tokens_version) FROM penstock.social_accounts") == 2
    posts.assert_reconciled()


def alerts_of(posts: PostsTrial, account: TrialAccount) -> list[str]:
    """What is told of an account that a person has to care for."""
    told = [line["message"] for line in posts.said() if line["level"] == "error"]
    return [message for message in told if str(account.account_id) in message and "authorised anew" in message]


def test_a_revoked_token_parks_its_accounts_posts_until_it_is_authorised_anew(posts: PostsTrial) -> None:
    lift_limits(posts)
    revoked, fine = posts.add_account("facebook", "revoked"), posts.add_account("facebook", "fine")
    posts.start_schedulers(1)
    # One thread, so that posts have an order.
    (worker,) = posts.start_workers(1, PENSTOCK_WORKER_THREADS=1)
    posts.stand_in.turn(tokens={f"{revoked.name}.0": "revoked", f"{revoked.name}.user": "revoked"})
    waiting = posts.schedule((revoked, text_post(f"revoked {number}"), soon(1 + number / 10)) for number in range(12))
    others = posts.schedule((fine, text_post(f"fine {number}"), soon(1 + number / 10)) for number in range(12))
    wait_for(lambda: posts.states() == {"parked": 12, "published": 12}, "posts to be parked")

    ends = posts.assert_sound(24)
    assert {ends[post].state for post in others} == {"published"}
    assert {(ends[post].parked, ends[post].attempts) for post in waiting} == {(True, 0)}
    assert {ends[post].account_code for post in waiting} <= {"ACCOUNT_TOKEN_EXPIRED", "PLATFORM_TOKEN_INVALID"}
    wait_for(lambda: alerts_of(posts, revoked) != [], "the alert")
    asked = sum(posts.stand_in.calls().values())

    # Nothing asks the platform while the account waits, and a person ends that.
    later = posts.schedule([(revoked, text_post("revoked, later"), soon(0.5))])
    wait_for(lambda: posts.states() == {"parked": 13, "published": 12}, "the later post to be parked")
    assert sum(posts.stand_in.calls().values()) == asked
    assert posts.reauthorise(revoked) == 13
    wait_for(lambda: posts.states() == {"published": 25}, "the posts to be let go")
    order = [one["text"] for one in posts.stand_in.publications(revoked.name)]
    assert order == [f"revoked {number}" for number in range(12)] + ["revoked, later"]
    assert posts.ends()[later[0]].state == "published"
    assert worker.is_running()
    posts.assert_sound(25)
    posts.assert_reconciled()


def test_the_key_is_changed_while_posts_go_out(posts: PostsTrial) -> None:
    lift_limits(posts)
    accounts = posts.add_accounts("mastodon", 20, "status")
    old, new = posts.key_setting, f"second:{Fernet.generate_key().decode()}"
    # As docs/posts.md has it: all know the new key before the first one encrypts with it.
    posts.environment["PENSTOCK_TOKEN_KEYS"] = f"{old},{new}"
    posts.start_schedulers(1)
    first = posts.start_workers(1)
    ids = posts.schedule(
        (accounts[number % 20], text_post(f"status {number}"), soon(1 + number / 10)) for number in range(60)
    )
    wait_for(lambda: posts.states()["published"] > 10, "posts to go out")
    posts.environment["PENSTOCK_TOKEN_KEYS"] = f"{new},{old}"
    second = posts.start_workers(1)
    for worker in first:
        worker.stop()
    rotated = posts.run("accounts", "rotate-keys", "--yes", "--reason", "trial")
    assert rotated.code == 0, rotated.err
    assert "complete" in rotated.out
    assert posts.database.query("SELECT DISTINCT key_id FROM penstock.social_accounts") == [("second",)]
    published = posts.states()["published"]
    # The old key is removed, and what goes out now goes out without it: these, at least.
    ids += posts.schedule(
        (accounts[number], text_post(f"late {number}"), soon(1 + number / 10)) for number in range(20)
    )
    posts.environment["PENSTOCK_TOKEN_KEYS"] = new
    posts.keys = TokenKeys.from_setting(new)
    posts.start_workers(1)
    for worker in second:
        worker.stop()
    took = posts.wait_until_ended(240)
    ends = posts.assert_sound(len(ids))
    assert {end.state for end in ends.values()} == {"published"}
    assert [line for line in posts.said() if line.get("code") == "ACCOUNT_TOKEN_UNREADABLE"] == []
    print(f"{published} of {len(ids)} posts were out when the key was changed; the last one {took:.1f} s after it")
    posts.assert_reconciled()


def test_a_token_that_ends_by_the_calendar_is_refreshed_by_the_scheduler(posts: PostsTrial) -> None:
    account = posts.add_account("instagram", "calendar", expires_in=timedelta(days=3))
    posts.database.query("UPDATE penstock.social_accounts SET refresh_due_at = now()")
    posts.start_schedulers(2)
    version = "SELECT tokens_version FROM penstock.social_accounts WHERE account_id = %s"
    wait_for(lambda: posts.database.value(version, account.account_id) == 2, "the calendar")
    assert posts.stand_in.calls()["instagram.refresh"] == 1
    assert posts.states() == {}
