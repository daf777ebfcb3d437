"""After hours without a scheduler everything that came due goes by its policy, the earliest first, within seconds."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from penstock.schemas.scheduled_post import LatenessPolicy
from tests.recovery.posts_trial import PostsTrial, text_post
from tests.system import wait_for

GRACE = timedelta(hours=1)
EACH = 10
CODE = "SELECT DISTINCT code FROM penstock.dead_letters WHERE job_id = ANY(%s)"


def test_each_post_goes_by_its_policy(posts: PostsTrial) -> None:
    pages = posts.add_accounts("facebook", 2, "page")
    # One thread, so that posts have an order.
    posts.start_workers(1, PENSTOCK_WORKER_THREADS=1)
    now = datetime.now(UTC)
    late: dict[str, list[UUID]] = {}
    for policy in LatenessPolicy:
        # The latest are sent first.
        late[policy] = posts.schedule(
            (
                (pages[number % 2], text_post(f"{policy} {number}"), now - timedelta(hours=2, minutes=number))
                for number in range(EACH)
            ),
            policy=policy,
            grace=GRACE,
        )
    in_time = posts.schedule(
        ((pages[0], text_post("in time"), now - timedelta(minutes=30)),), policy=LatenessPolicy.EXPIRE, grace=GRACE
    )
    posts.wait_until_stored([post for ids in late.values() for post in ids] + in_time)
    assert posts.states() == {"scheduled": 3 * EACH + 1}

    posts.start_schedulers(1)
    returned = datetime.now(UTC)
    posts.wait_until_ended(240)
    ends = posts.assert_sound(3 * EACH + 1)
    assert {ends[post].state for post in late["run"] + in_time} == {"published"}
    assert {(ends[post].state, ends[post].attempts) for post in late["expire"]} == {("expired", 0)}
    assert {(ends[post].state, ends[post].attempts) for post in late["hold"]} == {("held", 0)}
    assert {ends[post].last_code for post in late["expire"] + late["hold"]} == {"POST_EXPIRED"}
    expired = posts.database.query("SELECT claimed_by FROM penstock.scheduled_posts WHERE state = 'expired'")
    assert posts.database.query(CODE, [job for (job,) in expired]) == [("POST_EXPIRED",)]
    # The earliest first, and all of them soon.
    out = [one["text"] for one in posts.stand_in.publications()]
    assert out == [f"run {number}" for number in reversed(range(EACH))] + ["in time"]
    last = posts.database.value("SELECT max(published_at) FROM penstock.scheduled_posts")
    print(f"{3 * EACH + 1} posts settled {(last - returned).total_seconds():.1f} s after the scheduler was back")
    assert last - returned < timedelta(seconds=30)

    # What is held is listed, and goes out when somebody approves it.
    listed = posts.run("posts", "list", "--state", "held", "--json").json["items"]
    assert {item["post_id"] for item in listed} == {str(post) for post in late["hold"]}
    approved = posts.run("posts", "approve", str(late["hold"][0]), "--reason", "still true", "--yes")
    assert approved.code == 0, approved.err
    wait_for(lambda: posts.states() == {"published": EACH + 2, "expired": EACH, "held": EACH - 1}, "the approved")
    assert posts.ends()[late["hold"][0]].state == "published"
    posts.assert_sound(3 * EACH + 1)
    posts.assert_reconciled()
