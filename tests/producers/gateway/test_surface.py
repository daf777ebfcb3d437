"""What each address answers besides submissions: forms, posts, jobs, errors, headers; and to whom."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import redis

from penstock.producers.queue.layout import QueueKeys
from penstock.workers.accounts.account import NewAccount
from penstock.workers.accounts.store import add_account
from penstock.workers.posts.intake import schedule_post
from tests.posts_kit import given, post_of
from tests.producers.gateway.gateway_kit import FORM, Gateway, problem, serving
from tests.system import Database, Penstock, wait_for

DUE = "2027-01-01T09:00:00+01:00"


@pytest.fixture(scope="module")
def account(database: Database) -> str:
    """An account of the tenant that loopback stands for."""
    account_id = uuid4()
    with psycopg.connect(database.admin_url) as connection:
        add_account(
            connection, "default", NewAccount(account_id, "press", "mastodon", "e-1", "Us", {}), given(account_id)
        )
    return str(account_id)


def _taken_in(database: Database, account: str, **members: Any) -> str:
    """A post that a worker took in."""
    post_id = uuid4()
    with psycopg.connect(database.admin_url) as connection:
        due = members.pop("due", datetime.now(UTC) + timedelta(days=1))
        schedule_post(connection, "default", post_id, post_of(account, due, **members))  # type: ignore[arg-type]
    return str(post_id)


def test_a_form_has_versions(gateway: Gateway) -> None:
    first = gateway.ask("PUT", "/v1/forms/versions", json=FORM)
    assert (first.status_code, first.json()) == (201, {"form_id": "versions", "version": 1, "created": True})
    assert gateway.ask("PUT", "/v1/forms/versions", json=FORM).status_code == 200
    assert gateway.ask("PUT", "/v1/forms/versions", json=FORM | {"title": "New"}).json()["version"] == 2
    assert gateway.ask("GET", "/v1/forms/versions").json()["definition"]["title"] == "New"
    assert gateway.ask("GET", "/v1/forms/versions?version=1").json()["definition"]["title"] == "A poll"
    problem(gateway.ask("GET", "/v1/forms/versions?version=3"), 404, "FORM_VERSION_NOT_FOUND")
    problem(gateway.ask("GET", "/v1/forms/nobodys"), 404, "FORM_NOT_FOUND")
    problem(gateway.ask("GET", "/v1/forms/a%20b"), 422, "FORM_ID_INVALID")


def test_a_form_with_faults_is_told_all_of_them(gateway: Gateway) -> None:
    bad = {"title": "", "questions": [{"id": "q", "text": "?", "type": "guess"}]}
    told = problem(gateway.ask("PUT", "/v1/forms/bad", json=bad), 422, "FORM_INVALID")
    assert {fault["at"] for fault in told["errors"]} == {"title", "questions.0.type"}
    problem(gateway.ask("PUT", "/v1/forms/bad", json=FORM | {"id": "good"}), 422, "FORM_INVALID")
    headers = {"Content-Type": "application/json"}
    twice = json.dumps(FORM)[:-1] + ',"title":"x"}'
    problem(gateway.ask("PUT", "/v1/forms/bad", content=twice, headers=headers), 400, "REQUEST_INVALID")
    plain = {"Content-Type": "text/plain"}
    problem(gateway.ask("PUT", "/v1/forms/bad", content=b"{}", headers=plain), 415, "REQUEST_MEDIA_TYPE_UNKNOWN")


def test_a_post_is_accepted_once_for_a_key(gateway: Gateway, account: str) -> None:
    post = {"account_id": account, "due_at": DUE, "content": {"text": "A happy new year"}}
    first = gateway.ask("POST", "/v1/posts", json=post, headers={"Idempotency-Key": "new-year"})
    assert first.status_code == 202, first.text
    again = gateway.ask("POST", "/v1/posts", json=post | {"key": "new-year"})
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = post | {"content": {"text": "Another"}}
    problem(gateway.ask("POST", "/v1/posts", json=other, headers={"Idempotency-Key": "new-year"}), 409, "POST_CONFLICT")
    found = gateway.ask("GET", first.headers["location"])
    assert (found.status_code, found.json()["state"]) == (200, "accepted")
    job = gateway.ask("GET", f"/v1/jobs/{first.json()['job_id']}").json()
    assert (job["kind"], job["state"], job["queue"]) == ("scheduled_post.schedule", "ready", "posts")


def test_a_post_with_faults_is_told_all_of_them(gateway: Gateway, account: str) -> None:
    bad = {"account_id": "x", "due_at": "2027-01-01T09:00:00", "content": {"text": 1}}
    told = problem(gateway.ask("POST", "/v1/posts", json=bad), 422, "REQUEST_INVALID")
    assert {fault["at"] for fault in told["errors"]} == {"account_id", "due_at", "content.text"}
    unknown = {"account_id": str(uuid4()), "due_at": DUE, "content": {"text": "x"}}
    problem(gateway.ask("POST", "/v1/posts", json=unknown), 404, "ACCOUNT_NOT_FOUND")
    two = {"account_id": account, "due_at": DUE, "content": {"text": "x"}, "key": "a"}
    problem(gateway.ask("POST", "/v1/posts", json=two, headers={"Idempotency-Key": "b"}), 422, "REQUEST_INVALID")


def test_a_post_is_changed_as_it_was_seen(gateway: Gateway, database: Database, account: str) -> None:
    path = f"/v1/posts/{_taken_in(database, account)}"
    seen = gateway.ask("GET", path)
    assert seen.json()["state"] == "scheduled"
    moved = gateway.ask("PATCH", path, json={"due_at": DUE}, headers={"If-Match": seen.headers["etag"]})
    assert (moved.status_code, moved.json()["version"]) == (200, 2)
    assert datetime.fromisoformat(moved.json()["due_at"]) == datetime.fromisoformat(DUE)
    stale = {"If-Match": seen.headers["etag"]}
    problem(gateway.ask("PATCH", path, json={"due_at": DUE}, headers=stale), 412, "POST_CHANGED")
    problem(gateway.ask("PATCH", path, json={"due_at": DUE, "version": 1}), 409, "POST_CHANGED")
    problem(gateway.ask("DELETE", path, headers=stale), 412, "POST_CHANGED")
    problem(gateway.ask("DELETE", path, headers={"If-Match": '"x"'}), 422, "REQUEST_INVALID")
    problem(gateway.ask("PATCH", path, json={"due_at": "tomorrow"}), 422, "REQUEST_INVALID")
    assert gateway.ask("DELETE", path).json()["state"] == "cancelled"
    assert gateway.ask("DELETE", path).status_code == 200
    problem(gateway.ask("PATCH", path, json={"due_at": DUE}), 409, "POST_STATE_INVALID")


@pytest.mark.parametrize("name", ["x", "0" * 32, "0198c3f2-5f0e-7c5e-9d0e-000000000000", "%00"])
def test_a_post_or_job_that_is_not_there(gateway: Gateway, name: str) -> None:
    for answer, code in (
        (gateway.ask("GET", f"/v1/posts/{name}"), "POST_NOT_FOUND"),
        (gateway.ask("DELETE", f"/v1/posts/{name}"), "POST_NOT_FOUND"),
        (gateway.ask("PATCH", f"/v1/posts/{name}", json={"due_at": DUE}), "POST_NOT_FOUND"),
        (gateway.ask("GET", f"/v1/jobs/{name}"), "JOB_NOT_FOUND"),
    ):
        if name == "%00":
            problem(answer, 400, "REQUEST_INVALID")
        else:
            problem(answer, 404, code)


def test_posts_come_in_pages(gateway: Gateway, database: Database, account: str) -> None:
    start = datetime(2027, 5, 1, tzinfo=UTC)
    wanted = [
        _taken_in(database, account, due=start + timedelta(hours=number // 2), owner="pages") for number in range(5)
    ]
    seen, cursor = [], None
    while True:
        query = {"owner": "pages", "limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = gateway.ask("GET", "/v1/posts", params=query).json()
        seen += [item["post_id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert sorted(seen) == sorted(wanted)
    assert gateway.ask("GET", "/v1/posts?state=dead&owner=pages").json() == {"items": [], "next": None}
    for query in ("state=x", "account_id=x", "cursor=x", "limit=0", "limit=1001", "owner=a%20b", "limit=1&limit=2"):
        problem(gateway.ask("GET", f"/v1/posts?{query}"), 422, "REQUEST_FILTER_INVALID")


def test_a_job_tells_what_blocks_it(gateway: Gateway, penstock: Penstock) -> None:
    job_id = gateway.submit("x").json()["batches"][0]["job_id"]
    assert penstock("queue", "pause", "submissions", "--reason", "a test", "--yes").code == 0
    blocked = gateway.ask("GET", f"/v1/jobs/{job_id}").json()
    assert (blocked["state"], blocked["blocked_by"]) == ("ready", "paused:submissions")
    assert penstock("queue", "resume", "submissions", "--reason", "a test", "--yes").code == 0
    free = gateway.ask("GET", f"/v1/jobs/{job_id}")
    assert free.json()["blocked_by"] is None
    assert gateway.ask("GET", f"/v1/jobs/{job_id}", headers={"If-None-Match": free.headers["etag"]}).status_code == 304
    assert not {"worker", "history"} & set(free.json())


def test_a_request_and_its_trace_go_with_the_job(gateway: Gateway, client: "redis.Redis", namespace: str) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    answer = gateway.submit("x", headers={"X-Request-Id": "shop-42", "Traceparent": trace})
    assert answer.headers["x-request-id"] == "shop-42"
    message = client.hget(QueueKeys(namespace, "submissions").job(answer.json()["batches"][0]["job_id"]), "message")
    assert isinstance(message, bytes)
    header = json.loads(message.partition(b"\n")[0])
    assert (header["trace"], header["request_id"]) == (trace, "shop-42")
    made_up = gateway.submit("x", headers={"X-Request-Id": "no good"}).headers["x-request-id"]
    assert len(made_up) == 32


def test_every_answer_has_its_headers(gateway: Gateway) -> None:
    for path, status in (("/v1/forms/poll", 200), ("/v1/nothing", 404), ("/health/live", 200), ("/v1/docs", 200)):
        answer = gateway.ask("GET", path)
        assert answer.status_code == status
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"]
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers
    problem(
        gateway.ask("OPTIONS", "/v1/posts", headers={"Origin": "https://evil.example"}),
        405,
        "REQUEST_METHOD_NOT_ALLOWED",
    )
    wrong = gateway.ask("POST", "/v1/forms/poll")
    problem(wrong, 405, "REQUEST_METHOD_NOT_ALLOWED")
    assert wrong.headers["allow"] == "GET, HEAD, PUT"
    shown, empty = gateway.ask("GET", "/v1/forms/poll"), gateway.ask("HEAD", "/v1/forms/poll")
    assert (empty.status_code, empty.content) == (200, b"")
    assert empty.headers["content-length"] == str(len(shown.content))


def test_another_sites_name_is_refused_on_loopback(gateway: Gateway) -> None:
    problem(gateway.ask("GET", "/v1/posts", headers={"Host": "evil.example"}), 403, "REQUEST_HOST_UNKNOWN")
    assert gateway.ask("GET", "/v1/posts", headers={"Host": "localhost:1"}).status_code == 200


def test_off_loopback_it_does_not_start_without_keys(penstock: Penstock) -> None:
    done = penstock("gateway", env={"PENSTOCK_GATEWAY_LISTEN": "0.0.0.0:18999"})
    assert done.code == 1
    assert "CONFIG_INVALID" in done.err
    assert "PENSTOCK_API_KEY_SECRET" in done.err


def test_requests_are_measured_by_their_routes(gateway: Gateway, environment: dict[str, str]) -> None:
    gateway.ask("GET", "/v1/forms/poll")
    gateway.ask("GET", "/v1/nothing/at/all")
    folder = Path(environment["PENSTOCK_HOME"]) / "metrics"

    def told() -> str:
        return "".join(file.read_text() for file in folder.glob("gateway-*.json"))

    wait_for(lambda: "/v1/forms/{form_id}" in told(), "the requests to be published")
    assert "at/all" not in told()
    assert "penstock_http_requests" in told()


@pytest.fixture(scope="module")
def keyed(
    environment: dict[str, str], penstock: Penstock, tmp_path_factory: Any
) -> Iterator[tuple[Gateway, dict[str, str]]]:
    """A gateway with keys and small limits, and keys by their names."""
    secret = "s1:" + "0123456789abcdef" * 4
    env = {
        "PENSTOCK_API_KEY_SECRET": secret,
        "PENSTOCK_GATEWAY_KEY_LIMIT": "30",
        "PENSTOCK_GATEWAY_LIMIT_WINDOW_SECONDS": "600",
    }
    made = {}
    for name, tenant, scopes in (
        ("writer", "acme", ("submissions:write", "forms:write", "status:read", "forms:read", "posts:read")),
        ("reader", "acme", ("status:read",)),
        ("busy", "acme", ("status:read",)),
        ("stranger", "globex", ("status:read", "forms:read", "submissions:write")),
    ):
        told = penstock(
            *("keys", "create", "--tenant", tenant, "--name", name, "--json"),
            *(part for scope in scopes for part in ("--scope", scope)),
            env=dict(env),
        )
        assert told.code == 0, told.err
        made[name] = told.json["key"]
    with serving(environment, tmp_path_factory.mktemp("keyed"), **env) as found:
        yield found, made


def _as(keyed: tuple[Gateway, dict[str, str]], name: str, method: str, path: str, **options: Any) -> Any:
    gateway, keys = keyed
    return gateway.ask(method, path, headers={"Authorization": f"Bearer {keys[name]}"}, **options)


def test_a_key_says_whose_everything_is(keyed: tuple[Gateway, dict[str, str]]) -> None:
    assert _as(keyed, "writer", "PUT", "/v1/forms/poll", json=FORM).status_code == 201
    body = {"submissions": [{"answers": {"q": "x"}}]}
    told = _as(keyed, "writer", "POST", "/v1/forms/poll/submissions", json=body).json()
    assert _as(keyed, "reader", "GET", told["status_url"]).json()["tenant"] == "acme"
    job = f"/v1/jobs/{told['batches'][0]['job_id']}"
    assert _as(keyed, "reader", "GET", job).status_code == 200
    problem(_as(keyed, "stranger", "GET", told["status_url"]), 404, "BATCH_NOT_FOUND")
    problem(_as(keyed, "stranger", "GET", job), 404, "JOB_NOT_FOUND")
    problem(_as(keyed, "stranger", "GET", "/v1/forms/poll"), 404, "FORM_NOT_FOUND")
    problem(_as(keyed, "stranger", "POST", "/v1/forms/poll/submissions", json=body), 404, "FORM_NOT_FOUND")


def test_no_key_a_wrong_one_and_a_missing_scope_are_told_apart(keyed: tuple[Gateway, dict[str, str]]) -> None:
    gateway, keys = keyed
    nobody = gateway.ask("GET", "/v1/posts")
    problem(nobody, 401, "AUTH_REQUIRED")
    assert nobody.headers["www-authenticate"].startswith("Bearer")
    wrong = {"Authorization": f"Bearer {keys['reader'][:-2]}zz"}
    problem(gateway.ask("GET", "/v1/posts", headers=wrong), 401, "AUTH_TOKEN_INVALID")
    told = problem(_as(keyed, "reader", "GET", "/v1/posts"), 403, "AUTH_SCOPE_MISSING")
    assert "posts:read" in told["detail"]
    for path in ("/health/live", "/health/ready", "/v1/openapi.json", "/v1/docs"):
        assert gateway.ask("GET", path).status_code == 200


def test_a_keys_limit_is_told_and_holds(keyed: tuple[Gateway, dict[str, str]]) -> None:
    left = []
    for _ in range(30):
        answer = _as(keyed, "busy", "GET", "/v1/batches/none")
        assert answer.status_code == 404
        assert answer.headers["ratelimit-policy"] == '"key";q=30;w=600'
        left.append(int(answer.headers["ratelimit"].split("r=")[1].split(";")[0]))
    assert left == list(range(29, -1, -1))
    refused = _as(keyed, "busy", "GET", "/v1/batches/none")
    problem(refused, 429, "RATE_LIMIT_EXCEEDED")
    assert 0 < int(refused.headers["retry-after"]) <= 600
    assert _as(keyed, "reader", "GET", "/v1/batches/none").status_code == 404


def test_addresses_have_a_limit_too(
    environment: dict[str, str], tmp_path: Path, client: "redis.Redis", namespace: str
) -> None:
    with serving(environment, tmp_path, PENSTOCK_GATEWAY_ADDRESS_LIMIT="3") as found:
        statuses = [found.ask("GET", "/v1/posts").status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        # Another gateway counts the same requests.
        with serving(environment, tmp_path, PENSTOCK_GATEWAY_ADDRESS_LIMIT="3") as other:
            assert other.ask("GET", "/v1/posts").status_code == 429
    for key in client.scan_iter(match=f"{namespace}:http:rate:*"):
        client.delete(key)
