"""The API of posts and accounts, as programs ask it, with rights, hostile contents and PostgreSQL away."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from fastapi import FastAPI

from penstock.schemas.post_content import PostContent
from penstock.schemas.scheduled_post import PostState
from penstock.workers.posts.choices import Choice, choices_of
from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.problems import PROBLEM
from tests.many_posts import analyze, fill
from tests.posts_kit import Connection, ago, connect, connection, new_account, new_post, row_of, tokens_of
from tests.system import Database
from tests.workers.sidecar.paced_kit import take_for_away
from tests.workers.sidecar.sidecar_kit import Client, client_of, credentials, running_app, services_of

__all__ = ["connect", "connection"]

POSTS, ACCOUNTS = "/api/v1/posts", "/api/v1/accounts"
REASON = {"reason": "the campaign moved"}
SECRET, TOKEN = "what a person is going to say", "a-token-of-a-platform"
CONTENT = PostContent.model_validate(
    {"text": SECRET, "media": [{"url": f"https://example.org/{SECRET}.jpg"}], "options": {"title": SECRET}}
)


@pytest.fixture(scope="module")
def made(settings: WorkerSettings) -> Iterator[tuple[FastAPI, dict[str, str]]]:
    lines, tokens = credentials(vera="viewer", otto="operator", ada="admin")
    with running_app(settings, sidecar_credentials=lines) as app:
        yield app, tokens


def asked_by(made: tuple[FastAPI, dict[str, str]], name: str) -> Client:
    return client_of(made[0], headers={"Authorization": f"Bearer {made[1][name]}"})


@pytest.fixture
def viewer(made: tuple[FastAPI, dict[str, str]]) -> Client:
    return asked_by(made, "vera")


@pytest.fixture
def operator(made: tuple[FastAPI, dict[str, str]]) -> Client:
    return asked_by(made, "otto")


@pytest.fixture
def admin(made: tuple[FastAPI, dict[str, str]]) -> Client:
    return asked_by(made, "ada")


def post_in(connection: Connection, state: str = "scheduled", **members: Any) -> uuid.UUID:
    """A post in a state, of an account of its own."""
    account = members.pop("account", None) or new_account(connection, tokens=tokens_of(TOKEN))
    post = new_post(connection, account, **({"content": CONTENT} | members))
    connection.execute(
        "UPDATE penstock.scheduled_posts SET state = %s, attempts = 1, claimed_by = gen_random_uuid(),"
        " claimed_at = now(), attempt_ends_by = now(), published_at = now() WHERE post_id = %s",
        (state, post),
    )
    return post


def refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    assert answer.json()["code"] == code
    found: dict[str, Any] = answer.json()
    return found


def test_the_list_has_pages_filters_and_no_texts(connection: Connection, viewer: Client) -> None:
    account = new_account(connection)
    posts = [str(new_post(connection, account, ago(hours=-hour), content=CONTENT)) for hour in range(1, 5)]
    held = str(post_in(connection, "held"))
    first = viewer.get(POSTS, params={"limit": 3})
    rest = viewer.get(POSTS, params={"limit": 3, "cursor": first.json()["next"]}).json()
    assert [one["post_id"] for one in first.json()["items"] + rest["items"]] == [held, *posts]
    assert rest["next"] is None
    assert SECRET not in first.text
    assert {"as_of", "stale", "items", "next"} == set(first.json())
    latest = viewer.get(POSTS, params={"order": "latest", "account": str(account)}).json()["items"]
    assert [one["post_id"] for one in latest] == posts[::-1]
    of_state = viewer.get(POSTS, params={"state": "held", "platform": "instagram", "tenant": "acme"}).json()["items"]
    assert [(one["post_id"], one["account_name"]) for one in of_state] == [(held, "The press office")]
    due = {"due_after": ago(hours=-1.5).isoformat(), "due_before": ago(hours=-2.5).isoformat()}
    assert [one["post_id"] for one in viewer.get(POSTS, params=due).json()["items"]] == posts[1:2]
    assert viewer.get(POSTS, params={"owner": "press"}).json()["items"] == [], "of the default tenant"
    for wrong in ({"state": "x"}, {"colour": "x"}, {"due_after": "soon"}, {"cursor": "x"}):
        refused(viewer.get(POSTS, params=wrong), 422, "REQUEST_FILTER_INVALID")
    refused(viewer.get(POSTS, params={"limit": 0}), 422, "REQUEST_INVALID")


def test_one_is_shown_with_its_attempts_and_redacted(connection: Connection, viewer: Client) -> None:
    post = post_in(connection, "unknown_outcome")
    found = viewer.get(f"{POSTS}/{post}")
    assert SECRET not in found.text
    assert TOKEN not in found.text
    shown = found.json()
    assert (shown["state"], shown["choices"]) == ("unknown_outcome", ["settle", "publish-again"])
    assert shown["content"]["media"][0]["url"].startswith("‹text, ")  # noqa: RUF001
    assert shown["publish_attempts"] == []
    refused(viewer.get(f"{POSTS}/{uuid.uuid4()}"), 404, "POST_NOT_FOUND")
    refused(viewer.get(f"{POSTS}/none"), 422, "REQUEST_INVALID")


def test_a_reveal_is_for_admins_and_recorded(
    connection: Connection, database: Database, viewer: Client, operator: Client, admin: Client
) -> None:
    post = post_in(connection)
    for other in (viewer, operator):
        refused(other.post(f"{POSTS}/{post}/reveal", json=REASON), 403, "AUTH_FORBIDDEN")
    refused(admin.post(f"{POSTS}/{post}/reveal", json={}), 422, "REQUEST_INVALID")
    refused(admin.post(f"{POSTS}/{uuid.uuid4()}/reveal", json=REASON), 404, "POST_NOT_FOUND")
    assert admin.post(f"{POSTS}/{post}/reveal", json=REASON).json()["content"]["text"] == SECRET
    recorded = database.query(
        "SELECT actor, reason, details FROM penstock.operator_actions WHERE action = 'post.reveal' AND target = %s",
        str(post),
    )
    assert recorded == [("ada", REASON["reason"], {"tenant": "acme"})]


BODIES: dict[Choice, dict[str, Any]] = {
    Choice.RESCHEDULE: {"due_at": "2031-01-02T03:04:05Z"},
    Choice.CANCEL: {},
    Choice.APPROVE: {},
    Choice.SETTLE: {"external_id": "17895", "url": "https://example.org/p/17895"},
    Choice.PUBLISH_AGAIN: {},
}
BECOMES = {
    Choice.RESCHEDULE: "scheduled",
    Choice.CANCEL: "cancelled",
    Choice.APPROVE: "scheduled",
    Choice.SETTLE: "published",
    Choice.PUBLISH_AGAIN: "scheduled",
}


@pytest.mark.parametrize("state", PostState)
def test_what_is_offered_of_a_state_is_done_and_nothing_else_is(
    connection: Connection, operator: Client, viewer: Client, state: PostState
) -> None:
    for choice, body in BODIES.items():
        post = post_in(connection, state)
        before = row_of(connection, post, "state, version")
        path = f"{POSTS}/{post}/{choice}"
        refused(viewer.post(path, json=REASON | body), 403, "AUTH_FORBIDDEN")
        refused(operator.post(path, json=body), 422, "REQUEST_INVALID")
        assert row_of(connection, post, "state, version") == before
        answer = operator.post(path, json=REASON | body)
        if choice in choices_of(state):
            assert (answer.status_code, answer.json()["state"]) == (200, BECOMES[choice]), (choice, answer.text)
            assert row_of(connection, post) == BECOMES[choice]
        elif state is PostState.CANCELLED and choice is Choice.CANCEL:
            assert answer.status_code == 200, "that is so already, and no error"
        else:
            assert answer.status_code == 409, (choice, answer.text)
            assert answer.json()["code"] in {"POST_TOO_LATE", "POST_STATE_INVALID"}
            assert row_of(connection, post, "state, version") == before


def test_a_decision_is_recorded_without_the_text(
    connection: Connection, database: Database, operator: Client, viewer: Client
) -> None:
    post = post_in(connection, "held")
    due_at = "2031-01-02T03:04:05+00:00"
    changed = operator.post(f"{POSTS}/{post}/approve", json={**REASON, "due_at": due_at}).json()
    assert (changed["state"], changed["due_at"]) == ("scheduled", due_at.replace("+00:00", "Z"))
    ((actor, details),) = database.query(
        "SELECT actor, details FROM penstock.operator_actions WHERE action = 'post.approve' AND target = %s", str(post)
    )
    assert (actor, details["from"]["state"], SECRET in json.dumps(details)) == ("otto", "held", False)
    assert viewer.get(f"{POSTS}/{post}").json()["due_at"] == due_at.replace("+00:00", "Z")


def test_a_version_that_was_not_seen_is_not_changed(connection: Connection, operator: Client) -> None:
    post = post_in(connection)
    told = refused(operator.post(f"{POSTS}/{post}/cancel", json={**REASON, "expected": 9}), 409, "POST_CHANGED")
    assert told["details"] == {"state": "scheduled", "version": 1}
    assert operator.post(f"{POSTS}/{post}/cancel", json={**REASON, "expected": 1}).status_code == 200


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("reschedule", {}),
        ("reschedule", {"due_at": "2031-01-02T03:04:05"}),
        ("reschedule", {"due_at": "0001-01-01T00:00:00+14:00"}),
        ("reschedule", {"due_at": "2031-01-02T03:04:05Z", "expected": 2**40}),
        ("cancel", {"more": 1}),
        ("settle", {"external_id": " "}),
        ("settle", {"external_id": "x\0"}),
        ("settle", {"external_id": "\ud800"}),
        ("settle", {"external_id": "x", "url": "javascript:alert(1)"}),
        ("publish-again", {"reason": "\0"}),
    ],
)
def test_what_can_not_be_read_is_refused(
    connection: Connection, operator: Client, verb: str, body: dict[str, Any]
) -> None:
    post = post_in(connection, "unknown_outcome" if verb in {"settle", "publish-again"} else "scheduled")
    before = row_of(connection, post, "state, version")
    answer = operator.post(f"{POSTS}/{post}/{verb}", content=json.dumps({**REASON, **body}))
    assert answer.status_code == 422, answer.text
    assert row_of(connection, post, "state, version") == before


def test_the_calendar_counts_by_bucket_and_has_bounds(connection: Connection, viewer: Client) -> None:
    account = new_account(connection)
    begins = datetime(2031, 1, 2, tzinfo=UTC)
    for hour in (0, 0, 5, 25):
        new_post(connection, account, begins + timedelta(hours=hour, minutes=59))
    span = {"from": begins.isoformat(), "to": (begins + timedelta(days=3)).isoformat()}
    hours = viewer.get(f"{POSTS}/calendar", params=span | {"bucket": "hour"}).json()["items"]
    assert [(one["at"][:13], one["state"], one["count"]) for one in hours] == [
        ("2031-01-02T00", "scheduled", 2),
        ("2031-01-02T05", "scheduled", 1),
        ("2031-01-03T01", "scheduled", 1),
    ]
    days = viewer.get(f"{POSTS}/calendar", params=span).json()["items"]
    assert [(one["at"][:10], one["platform"], one["count"]) for one in days] == [
        ("2031-01-02", "instagram", 3),
        ("2031-01-03", "instagram", 1),
    ]
    assert viewer.get(f"{POSTS}/calendar", params=span | {"platform": "youtube"}).json()["items"] == []
    refused(viewer.get(f"{POSTS}/calendar"), 422, "REQUEST_INVALID")
    later = {"from": span["from"], "to": (begins + timedelta(days=70)).isoformat()}
    refused(viewer.get(f"{POSTS}/calendar", params=later), 422, "REQUEST_FILTER_INVALID")
    refused(viewer.get(f"{POSTS}/calendar", params=span | {"bucket": "year"}), 422, "REQUEST_INVALID")


def test_accounts_are_listed_without_tokens(connection: Connection, viewer: Client) -> None:
    dead = new_account(connection, "youtube", tokens=tokens_of(TOKEN, TOKEN))
    new_account(connection, tokens=tokens_of(TOKEN, TOKEN))
    connection.execute(
        "UPDATE penstock.social_accounts SET state = 'reauthorize', state_code = 'ACCOUNT_TOKEN_EXPIRED',"
        ' metadata = \'{"note": "a-token-of-a-platform"}\' WHERE account_id = %s',
        (dead,),
    )
    whole = viewer.get(ACCOUNTS)
    assert (len(whole.json()["items"]), TOKEN in whole.text, "cipher" in whole.text) == (2, False, False)
    (found,) = viewer.get(ACCOUNTS, params={"state": "reauthorize"}).json()["items"]
    assert (found["account_id"], found["state_code"]) == (str(dead), "ACCOUNT_TOKEN_EXPIRED")
    assert viewer.get(ACCOUNTS, params={"tenant": "nobody"}).json()["items"] == []
    refused(viewer.get(ACCOUNTS, params={"state": "x"}), 422, "REQUEST_INVALID")
    refused(viewer.get(ACCOUNTS, params={"cursor": "x"}), 422, "REQUEST_FILTER_INVALID")


def test_what_is_known_is_told_while_postgresql_is_away(
    connection: Connection, made: tuple[FastAPI, dict[str, str]], viewer: Client, operator: Client
) -> None:
    post = post_in(connection)
    paths = (POSTS, f"{POSTS}/{post}", ACCOUNTS)
    before = {path: viewer.get(path).json() for path in paths}
    presence = services_of(made[0]).servers.postgresql
    take_for_away(presence)
    try:
        for path, known in before.items():
            later = viewer.get(path).json()
            assert (later["stale"], later | {"stale": False}) == (True, known), path
        refused(operator.post(f"{POSTS}/{post}/cancel", json=REASON), 503, "STORAGE_UNAVAILABLE")
        page = viewer.get(f"/posts/{post}", headers={"accept": "text/html"})
        assert page.status_code == 503, "it was never asked for as a page"
    finally:
        presence.ask()
    assert row_of(connection, post) == "scheduled"


def test_pages_show_what_was_known_while_postgresql_is_away(
    connection: Connection, made: tuple[FastAPI, dict[str, str]], viewer: Client
) -> None:
    post = post_in(connection, "held", content=PostContent(text="<script>alert(1)</script>\u202e" + "x" * 90_000))
    as_browser = {"accept": "text/html"}
    paths = ("/posts", f"/posts/{post}", "/posts/list", "/accounts", "/")
    for path in paths:
        answer = viewer.get(path, headers=as_browser)
        assert answer.status_code == 200, path
        assert "<script>alert" not in answer.text
        assert "xxxxxxxx" not in answer.text
    presence = services_of(made[0]).servers.postgresql
    take_for_away(presence)
    try:
        for path in paths:
            answer = viewer.get(path, headers=as_browser)
            assert answer.status_code == 200, path
            assert "PostgreSQL can’t be reached" in answer.text  # noqa: RUF001
    finally:
        presence.ask()


def test_a_search_finds_a_post(connection: Connection, viewer: Client) -> None:
    post = post_in(connection)
    found = viewer.get(f"/search?q={post}", headers={"accept": "text/html"})
    assert (found.status_code, found.headers["location"]) == (303, f"/posts/{post}")


def test_the_description_names_every_address(viewer: Client) -> None:
    described = viewer.get("/api/v1/openapi.json").json()
    decisions = {f"{POSTS}/{{post_id}}/{choice}" for choice in Choice}
    assert {POSTS, f"{POSTS}/calendar", f"{POSTS}/{{post_id}}/reveal", ACCOUNTS} | decisions <= set(described["paths"])
    names = {one["name"] for one in described["paths"][POSTS]["get"]["parameters"]}
    assert {"state", "platform", "account", "owner", "due_after", "due_before", "limit", "cursor"} <= names


def test_20_000_posts_are_listed_and_counted_in_time(database: Database, viewer: Client) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        fill(connection)
    analyze(database.admin_url)
    try:
        for path in (POSTS, f"{POSTS}?state=late", f"{POSTS}?order=latest&platform=youtube"):
            answer = viewer.get(path)
            assert (answer.status_code, len(answer.json()["items"]), answer.json()["stale"]) == (200, 50, False)
        assert viewer.get("/posts", headers={"accept": "text/html"}).status_code == 200
        assert "penstock_posts{" in viewer.get("/metrics").text
    finally:
        database.query("TRUNCATE penstock.scheduled_posts, penstock.social_accounts CASCADE")
