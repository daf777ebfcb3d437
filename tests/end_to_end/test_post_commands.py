"""`penstock posts`, as an operator runs it: lists, one post, and what is decided of it."""

import getpass
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from penstock.schemas.errors import Code
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.redaction import placeholder
from penstock.workers.dead_letters.store import insert_letters
from penstock.workers.posts.claims import claim_due
from penstock.workers.posts.publishing import begin_publish, mark_published, mark_unknown
from penstock.workers.settings import WorkerSettings
from tests.posts_kit import TENANT, Connection, new_account, new_post, row_of
from tests.system import Database, Penstock, Run
from tests.workers.dead_letters.letter_kit import death

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
MINUTE = timedelta(minutes=1)
WHY = ("--reason", "they asked", "--yes", "--json")


@pytest.fixture(scope="module")
def environment(environment: dict[str, str]) -> dict[str, str]:
    """The commands' environment, with a tenant."""
    return environment | {"PENSTOCK_TENANT": TENANT, "PENSTOCK_POOL_MIN": "1"}


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """A connection that commits each statement; posts and accounts are removed at the end."""
    with psycopg.connect(database.url, autocommit=True) as made:
        yield made
    database.query("TRUNCATE penstock.scheduled_posts, penstock.social_accounts, penstock.outbox, penstock.job_effects")


@pytest.fixture
def accounts(connection: Connection) -> dict[str, uuid.UUID]:
    """An active account of each of two platforms."""
    return {platform: new_account(connection, platform) for platform in ("mastodon", "instagram")}


def refused(run: Run, code: str, exit_code: int = 1) -> dict[str, Any]:
    assert (run.code, run.out) == (exit_code, ""), run.err
    assert run.error["code"] == code
    assert run.error["remedy"]
    assert "Hello" not in run.err
    return run.error


def unknown_post(connection: Connection, account: uuid.UUID) -> uuid.UUID:
    """A post of unknown outcome."""
    post = new_post(connection, account)
    with connection.transaction():
        claim_due(connection, datetime.now(UTC))
    begin_publish(connection, post, 2, None, MINUTE)
    mark_unknown(connection, post, 1, Code.POST_UNKNOWN_OUTCOME)
    return post


def audit(database: Database, post: uuid.UUID) -> list[tuple[str, str, str]]:
    return [
        (action, actor, reason)
        for action, actor, reason in database.query(
            "SELECT action, actor, reason FROM penstock.operator_actions WHERE target = %s ORDER BY at", str(post)
        )
    ]


def test_list_is_by_instant_filtered_and_goes_on_and_tells_no_text(
    penstock: Penstock, connection: Connection, accounts: dict[str, uuid.UUID]
) -> None:
    mastodon = accounts["mastodon"]
    posts = [str(new_post(connection, mastodon, TOMORROW + timedelta(hours=hour))) for hour in range(4)]
    other = str(new_post(connection, accounts["instagram"], TOMORROW, owner="news"))
    connection.execute("UPDATE penstock.scheduled_posts SET state = 'held' WHERE post_id = %s", (posts[0],))

    def ids(*options: str) -> list[str]:
        return [item["post_id"] for item in penstock("posts", "list", *options, "--json").json["items"]]

    first = penstock("posts", "list", "--platform", "mastodon", "--limit", "3", "--json").json
    assert [item["post_id"] for item in first["items"]] == posts[:3]
    assert ids("--platform", "mastodon", "--limit", "3", "--after", first["next"]) == posts[3:]
    assert ids("--state", "held") == posts[:1]
    assert ids("--owner", "news", "--tenant", TENANT) == [other]
    assert ids("--account", str(mastodon), "--due-after", (TOMORROW + timedelta(hours=3)).isoformat()) == posts[3:]
    assert ids("--due-before", TOMORROW.isoformat()) == []
    assert ids("--due-before", "+2d", "--latest-first")[0] == posts[3]
    assert ids("--tenant", "another") == []
    plain = penstock("posts", "list")
    assert (plain.code, "Hello" in plain.out, "content" in first["items"][0]) == (0, False, False)
    assert posts[0] in plain.out
    refused(penstock("posts", "list", "--state", "sometimes", "--json"), "REQUEST_USAGE", 2)
    refused(penstock("posts", "list", "--due-before", "soon", "--json"), "REQUEST_USAGE", 2)


def test_show_tells_all_but_the_text_which_is_revealed_for_a_reason(
    penstock: Penstock, database: Database, connection: Connection, accounts: dict[str, uuid.UUID]
) -> None:
    post = unknown_post(connection, accounts["mastodon"])
    shown = penstock("posts", "show", str(post), "--json").json
    assert shown["content"] == {"text": placeholder("Hello")}
    assert (shown["state"], shown["attempts"], shown["code"]) == ("unknown_outcome", 1, "POST_UNKNOWN_OUTCOME")
    assert (shown["account_name"], shown["publish_attempts"], shown["decisions"]) == ("The press office", [], [])
    plain = penstock("posts", "show", str(post)).out
    assert "Hello" not in plain
    assert f"penstock posts settle {post} --live EXTERNAL_ID, or --publish-again" in plain
    assert audit(database, post) == []
    refused(penstock("posts", "show", str(post), "--reveal", "--json"), "REQUEST_USAGE", 2)
    revealed = penstock("posts", "show", str(post), "--reveal", "--reason", "a complaint", "--json").json
    assert revealed["content"] == {"text": "Hello"}
    assert [one["action"] for one in revealed["decisions"]] == ["post.reveal"]
    assert audit(database, post) == [("post.reveal", getpass.getuser(), "a complaint")]
    refused(penstock("posts", "show", str(uuid.uuid4()), "--json"), "POST_NOT_FOUND")


def test_reschedule_cancel_and_approve(
    penstock: Penstock, database: Database, connection: Connection, accounts: dict[str, uuid.UUID]
) -> None:
    post, held = (new_post(connection, accounts["mastodon"], TOMORROW) for _ in range(2))
    connection.execute("UPDATE penstock.scheduled_posts SET state = 'held' WHERE post_id = %s", (held,))
    moved = penstock("posts", "reschedule", str(post), "2028-04-04T19:00:00+09:00", *WHY).json
    assert moved == {**moved, "post_id": str(post), "state": "scheduled", "version": 2}
    assert row_of(connection, post, "due_at") == datetime(2028, 4, 4, 10, tzinfo=UTC)
    penstock("posts", "reschedule", str(post), "+2h", *WHY)
    assert abs(row_of(connection, post, "due_at") - datetime.now(UTC) - timedelta(hours=2)) < timedelta(minutes=2)
    assert penstock("posts", "approve", str(held), "--at", "+1d", *WHY).json["items"][0]["state"] == "scheduled"
    for _ in range(2):
        items = penstock("posts", "cancel", str(post), str(held), str(post), *WHY).json["items"]
        assert [(item["post_id"], item["state"]) for item in items] == [(str(one), "cancelled") for one in (post, held)]
    assert [row_of(connection, one) for one in (post, held)] == ["cancelled", "cancelled"]
    assert [action for action, *_ in audit(database, post)] == ["post.reschedule", "post.reschedule", "post.cancel"]
    refused(penstock("posts", "reschedule", str(post), "+1h", *WHY), "POST_STATE_INVALID")
    refused(penstock("posts", "reschedule", str(post), "tomorrow", *WHY), "REQUEST_USAGE", 2)
    refused(penstock("posts", "reschedule", str(post), "2028-04-04T19:00:00", *WHY), "REQUEST_USAGE", 2)
    refused(penstock("posts", "cancel", str(uuid.uuid4()), *WHY), "POST_NOT_FOUND")


def test_who_comes_too_late_is_told_so(
    penstock: Penstock, database: Database, connection: Connection, accounts: dict[str, uuid.UUID]
) -> None:
    late, in_time = (new_post(connection, accounts["mastodon"]) for _ in range(2))
    with connection.transaction():
        claim_due(connection, datetime.now(UTC))
    begin_publish(connection, late, 2, None, MINUTE)
    for command in (("reschedule", str(late), "+1h"), ("cancel", str(late)), ("approve", str(late))):
        assert "penstock posts show" in refused(penstock("posts", *command, *WHY), "POST_TOO_LATE")["remedy"]
    several = penstock("posts", "cancel", str(late), str(in_time), *WHY)
    assert (several.code, [item["post_id"] for item in several.json["items"]]) == (1, [str(in_time)])
    assert several.error["code"] == "POST_TOO_LATE"
    assert several.error["details"]["refused"] == [{"post_id": str(late), "code": "POST_TOO_LATE"}]
    mark_published(connection, late, "m-1")
    refused(penstock("posts", "settle", str(late), "--live", "m-1", *WHY), "POST_TOO_LATE")
    assert audit(database, late) == []


def test_what_changes_a_post_asks_first(
    penstock: Penstock, connection: Connection, accounts: dict[str, uuid.UUID]
) -> None:
    post = new_post(connection, accounts["mastodon"], TOMORROW)
    refusal = penstock("posts", "cancel", str(post), "--reason", "r", stdin=b"n\n")
    assert (refusal.code, refusal.out, row_of(connection, post)) == (130, "", "scheduled")
    agreed = penstock("posts", "cancel", str(post), "--reason", "r", stdin=b"y\n")
    assert (agreed.code, agreed.out) == (0, f"{post} is cancelled\n")


def test_an_unknown_outcome_is_settled_and_its_dead_letter_with_it(
    penstock: Penstock,
    database: Database,
    connection: Connection,
    accounts: dict[str, uuid.UUID],
    settings: WorkerSettings,
) -> None:
    live, lost = (unknown_post(connection, accounts["mastodon"]) for _ in range(2))
    job = row_of(connection, live, "claimed_by")
    letter = death(kind="scheduled_post.publish", queue="publishing", tenant=TENANT, job_id=job)
    with open_pool(settings, "penstock-test") as pool:
        Transactions(pool, settings).run(lambda transaction: insert_letters(transaction.connection, [letter]))
    for options in ((), ("--live", "1", "--publish-again"), ("--publish-again", "--url", "https://m.penstock.dev/1")):
        refused(penstock("posts", "settle", str(live), *options, *WHY), "REQUEST_USAGE", 2)
    refused(penstock("posts", "settle", str(live), "--live", " ", *WHY), "REQUEST_USAGE", 2)
    assert penstock("posts", "show", str(live), "--json").json["dead_letters"][0]["state"] == "open"
    address = ("--url", "https://m.penstock.dev/1")
    settled = penstock("posts", "settle", str(live), "--live", "m-1", *address, *WHY).json
    assert (settled["state"], row_of(connection, live, "external_id, url")) == ("published", ("m-1", address[1]))
    shown = penstock("dead", "show", str(letter.dead_id), "--json").json
    assert (shown["state"], shown["resolution_reason"]) == ("discarded", "the post was settled as live: they asked")
    again = penstock("posts", "settle", str(lost), "--publish-again", *WHY).json
    assert again["state"] == row_of(connection, lost) == "scheduled"
    assert audit(database, live) == [("post.settle", getpass.getuser(), "they asked")]
    assert audit(database, lost) == [("post.publish_again", getpass.getuser(), "they asked")]
