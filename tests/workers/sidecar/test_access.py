"""Who gets in, as whom, and what a page of another site can have a browser do."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import redis
from fastapi import APIRouter, FastAPI, Request

from penstock.producers.queue.refusals import prefix_of
from penstock.workers.protection.keys import gate_keys
from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.access.credentials import Credentials, make_credential
from penstock.workers.sidecar.access.gatekeeper import PROBES
from penstock.workers.sidecar.access.operator import Operator, Role
from penstock.workers.sidecar.access.require import AsAdmin, AsOperator, AsViewer, csrf_of
from tests.system import wait_for
from tests.workers.sidecar.sidecar_kit import (
    AS_BROWSER,
    ELSEWHERE,
    Client,
    client_of,
    credentials,
    csrf_from,
    running_app,
    services_of,
)

LINES, TOKENS = credentials(vera="viewer", otto="operator", ada="admin")
AWAY = "http://ops.example"


def probe_routes() -> APIRouter:
    router = APIRouter()

    def told(operator: Operator) -> dict[str, Any]:
        return {"name": operator.name, "role": str(operator.role)}

    @router.get("/api/v1/probe/viewer")
    def viewer(operator: AsViewer) -> dict[str, Any]:
        return told(operator)

    @router.post("/api/v1/probe/operator")
    def act(operator: AsOperator) -> dict[str, Any]:
        return told(operator)

    @router.post("/api/v1/probe/admin")
    def admin(operator: AsAdmin) -> dict[str, Any]:
        return told(operator)

    @router.post("/probe/form")
    async def form(request: Request, operator: AsOperator) -> dict[str, Any]:
        fields = await request.form()
        return told(operator) | {"reason": fields["reason"], "csrf": csrf_of(request)}

    return router


@pytest.fixture(scope="module")
def open_app(settings: WorkerSettings) -> Iterator[FastAPI]:
    """Without credentials, as on a developer's machine."""
    with running_app(settings) as made:
        made.include_router(probe_routes())
        yield made


@pytest.fixture
def app(settings: WorkerSettings) -> Iterator[FastAPI]:
    """With credentials; a new door each time, so that failed log-ins of one test are not another one's."""
    with running_app(settings, sidecar_credentials=LINES) as made:
        made.include_router(probe_routes())
        yield made


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def logged_in(app: FastAPI, name: str) -> Client:
    client = client_of(app, at=ELSEWHERE, url=AWAY)
    client.get("/log-in", headers=AS_BROWSER)
    answer = log_in(client, app, name, TOKENS[name])
    assert (answer.status_code, answer.headers["location"]) == (303, "/queues?x=1")
    return client


def log_in(client: Client, app: FastAPI, name: str, token: str) -> Any:
    fields = {"name": name, "token": token, "next": "/queues?x=1", "csrf_token": csrf_from(client, app)}
    return client.post("/log-in", data=fields, headers=AS_BROWSER)


# Loopback.


@pytest.mark.parametrize("url", ["http://127.0.0.1:9191", "http://localhost:9191", "http://[::1]:9191"])
def test_on_loopback_without_credentials_everybody_is_admin(open_app: FastAPI, url: str) -> None:
    client = client_of(open_app, url=url)
    assert client.post("/api/v1/probe/admin").json() == {"name": "loopback", "role": "admin"}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"host": "evil.example"}, "REQUEST_HOST_UNKNOWN"),
        ({"host": "127.0.0.1.evil.example:9191"}, "REQUEST_HOST_UNKNOWN"),
        ({"x-forwarded-for": "203.0.113.9"}, "AUTH_REQUIRED"),
        ({"forwarded": "for=203.0.113.9"}, "AUTH_REQUIRED"),
    ],
    ids=["rebound name", "name that looks like it", "through a proxy", "through another proxy"],
)
def test_what_only_seems_to_be_loopback_is_refused(open_app: FastAPI, headers: dict[str, str], code: str) -> None:
    answer = client_of(open_app).get("/api/v1/probe/viewer", headers=headers)
    assert answer.status_code in {401, 403}
    assert answer.json()["code"] == code


def test_another_machine_is_nobody_without_credentials(open_app: FastAPI) -> None:
    assert client_of(open_app, at=ELSEWHERE).get("/api/v1/probe/viewer").status_code == 401


def test_a_host_that_the_settings_name_is_known(settings: WorkerSettings) -> None:
    with running_app(settings, sidecar_hosts="sidecar.internal") as app:
        app.include_router(probe_routes())
        assert client_of(app, url="http://sidecar.internal:9191").get("/api/v1/probe/viewer").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example", "content-type": "application/json"},
        {"sec-fetch-site": "cross-site", "content-type": "application/json"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
    ],
    ids=["origin", "fetch metadata", "plain text", "form"],
)
def test_a_page_of_another_site_can_change_nothing_on_loopback(open_app: FastAPI, headers: dict[str, str]) -> None:
    answer = client_of(open_app).post("/api/v1/probe/admin", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "AUTH_CSRF_INVALID")


# Credentials.


def test_with_credentials_nothing_is_shown_without_log_in_but_the_probes(app: FastAPI) -> None:
    here = client_of(app)
    assert here.get("/api/v1/probe/viewer").json()["code"] == "AUTH_REQUIRED"
    assert here.get("/api/v1/openapi.json").status_code == 401
    assert here.get("/nothing").status_code == 401
    far = client_of(app, at=ELSEWHERE, url=AWAY)
    assert {far.get(path).status_code for path in PROBES} <= {200, 503}
    led = far.get("/queues?x=1", headers=AS_BROWSER)
    assert (led.status_code, led.headers["location"]) == (303, "/log-in?next=/queues%3Fx%3D1")


def test_what_outsiders_see_of_the_health_is_names_alone(app: FastAPI) -> None:
    far = client_of(app, at=ELSEWHERE, url=AWAY)
    told = far.get("/health").json()
    assert set(told) == {"status", "checks"}
    assert all(set(check) == {"name", "status"} for check in told["checks"])
    assert "sentence" in far.get("/health", headers=bearer(TOKENS["vera"])).json()


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("vera", [200, 403, 403]), ("otto", [200, 200, 403]), ("ada", [200, 200, 200])],
    ids=["viewer", "operator", "admin"],
)
def test_a_role_may_do_what_it_may(app: FastAPI, name: str, allowed: list[int]) -> None:
    client = client_of(app, at=ELSEWHERE, url=AWAY, headers=bearer(TOKENS[name]))
    answers = [
        client.get("/api/v1/probe/viewer"),
        client.post("/api/v1/probe/operator", json={}),
        client.post("/api/v1/probe/admin", json={}),
    ]
    assert [answer.status_code for answer in answers] == allowed
    assert answers[0].json()["name"] == name
    assert all(answer.json()["code"] == "AUTH_FORBIDDEN" for answer in answers if answer.status_code == 403)


@pytest.mark.parametrize(
    "token",
    ["", "x", "pst_" + "A" * 43, TOKENS["ada"][:-1], TOKENS["ada"] + "A"],
    ids=["none", "x", "another", "cut short", "with more"],
)
def test_a_token_that_is_none_is_refused(app: FastAPI, token: str) -> None:
    answer = client_of(app, at=ELSEWHERE, url=AWAY).get("/api/v1/probe/viewer", headers=bearer(token))
    assert (answer.status_code, answer.json()["code"]) == (401, "AUTH_CREDENTIAL_INVALID")
    assert answer.headers["www-authenticate"].startswith("Bearer")


# Sessions.


def test_a_browser_logs_in_acts_and_logs_out(app: FastAPI) -> None:
    client = logged_in(app, "otto")
    assert client.get("/api/v1/probe/viewer").json() == {"name": "otto", "role": "operator"}
    fields = {"reason": "the cause is mended & tested", "csrf_token": csrf_from(client, app)}
    done = client.post("/probe/form", data=fields)
    assert done.json() == {"name": "otto", "role": "operator", "reason": fields["reason"], "csrf": fields["csrf_token"]}
    cookie = client.cookies["penstock_session"]
    left = client.post("/log-out", data={"csrf_token": csrf_from(client, app)})
    assert (left.status_code, left.headers["location"]) == (303, "/log-in")
    again = client_of(app, at=ELSEWHERE, url=AWAY, headers={"cookie": f"penstock_session={cookie}"})
    assert again.get("/api/v1/probe/viewer").status_code == 401


def test_the_cookie_is_for_the_server_alone(app: FastAPI) -> None:
    told = client_of(app, at=ELSEWHERE, url=AWAY).get("/log-in", headers=AS_BROWSER).headers["set-cookie"]
    assert "; HttpOnly; SameSite=Strict" in told
    assert "Path=/" in told


def test_a_log_in_begins_another_session_than_the_one_before_it(app: FastAPI) -> None:
    client = client_of(app, at=ELSEWHERE, url=AWAY)
    client.get("/log-in", headers=AS_BROWSER)
    before = csrf_from(client, app)
    log_in(client, app, "otto", TOKENS["otto"])
    assert csrf_from(client, app) != before


@pytest.mark.parametrize(
    "sent", [None, "", "0" * 64, "another session's"], ids=["none", "empty", "made up", "another's"]
)
def test_a_form_without_its_own_pages_token_is_refused(app: FastAPI, sent: str | None) -> None:
    client = logged_in(app, "otto")
    token = csrf_from(logged_in(app, "ada"), app) if sent == "another session's" else sent
    fields = {"reason": "x"} | ({} if token is None else {"csrf_token": token})
    for answer in (
        client.post("/probe/form", data=fields),
        client.post("/api/v1/probe/operator", json={}, headers={} if token is None else {"x-csrf-token": token}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "AUTH_CSRF_INVALID")


def test_a_script_of_our_own_page_sends_the_token_as_a_header(app: FastAPI) -> None:
    client = logged_in(app, "otto")
    headers = {"x-csrf-token": csrf_from(client, app), "origin": AWAY, "sec-fetch-site": "same-origin"}
    assert client.post("/api/v1/probe/operator", json={}, headers=headers).status_code == 200


def test_two_tokens_in_a_form_are_none(app: FastAPI) -> None:
    client = logged_in(app, "otto")
    body = urlencode([("csrf_token", csrf_from(client, app)), ("csrf_token", "x"), ("reason", "x")])
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/probe/form", content=body, headers=headers).status_code == 403


def test_a_session_ends_with_its_credential(settings: WorkerSettings, app: FastAPI) -> None:
    client = logged_in(app, "otto")
    other, _ = make_credential("otto", Role.ADMIN)
    app.state.access.credentials = Credentials(other.line)
    assert client.get("/api/v1/probe/viewer").status_code == 401


# The log-in.


def test_a_wrong_token_and_an_unknown_name_are_answered_alike(app: FastAPI) -> None:
    client = client_of(app, at=ELSEWHERE, url=AWAY)
    client.get("/log-in", headers=AS_BROWSER)
    answers = [log_in(client, app, name, "wrong") for name in ("ada", "nobody")]
    assert {(answer.status_code, answer.headers["location"], answer.content) for answer in answers} == {
        (303, "/log-in?refused=wrong&next=/queues%3Fx%3D1", b"")
    }


def test_failures_of_one_address_make_it_wait_and_keep_nobody_else_out(app: FastAPI) -> None:
    attacker = client_of(app, at=ELSEWHERE, url=AWAY)
    attacker.get("/log-in", headers=AS_BROWSER)
    for _ in range(4):
        log_in(attacker, app, "nobody", "wrong")
    told = log_in(attacker, app, "ada", TOKENS["ada"])
    assert "refused=wait&seconds=" in told.headers["location"]
    other = client_of(app, at=("198.51.100.7", 1), url=AWAY)
    other.get("/log-in", headers=AS_BROWSER)
    assert log_in(other, app, "ada", TOKENS["ada"]).headers["location"] == "/queues?x=1"


def test_log_ins_and_refusals_are_noted_and_no_token_is(app: FastAPI, settings: WorkerSettings) -> None:
    client = logged_in(app, "otto")
    log_in(client, app, TOKENS["ada"], "typed into the wrong field")
    client_of(app, at=ELSEWHERE, url=AWAY).get("/api/v1/probe/viewer", headers=bearer("stale"))
    client_of(app, at=ELSEWHERE, url=AWAY).post("/api/v1/probe/admin", json={}, headers=bearer(TOKENS["vera"]))
    notes = services_of(app).audit
    wait_for(lambda: notes.waiting == 0, "the notes to be put away")
    with redis.Redis.from_url(settings.redis_url) as server:
        found = server.lrange(gate_keys(settings.namespace).key("audit"), 0, -1)
    assert isinstance(found, list)
    told = [json.loads(entry) for entry in found][-4:]
    assert [(entry["actor"], entry["action"], entry["target"]) for entry in told] == [
        ("otto", "access.log-in", prefix_of(ELSEWHERE[0])),
        ("unknown", "access.log-in-refused", prefix_of(ELSEWHERE[0])),
        ("unknown", "access.token-refused", prefix_of(ELSEWHERE[0])),
        ("vera", "access.refused", "POST /api/v1/probe/admin"),
    ]
    assert TOKENS["ada"] not in json.dumps(told)


def test_a_flood_of_refusals_is_two_notes_and_its_count(settings: WorkerSettings) -> None:
    def noted() -> list[dict[str, Any]]:
        with redis.Redis.from_url(settings.redis_url) as server:
            found: list[bytes] = server.lrange(gate_keys(settings.namespace).key("audit"), 0, -1)  # type: ignore[assignment]
        return [json.loads(entry) for entry in found]

    known = len(noted())
    with running_app(settings, sidecar_credentials=LINES) as app:
        client = client_of(app, at=("198.51.100.7", 1), url=AWAY)
        client.get("/log-in", headers=AS_BROWSER)
        for number in range(30):
            # Most of them are not even compared: they are refused for coming too often.
            log_in(client, app, f"nobody {number}", "wrong")
            client.get("/api/v1/probe", headers=bearer("stale"))
    told = noted()[known:]
    assert {entry["target"] for entry in told} == {"198.51.100.0/24"}
    counts: dict[str, int] = {}
    for entry in told:
        counts[entry["action"]] = counts.get(entry["action"], 0) + entry["details"].get("count", 1)
    assert counts == {"access.log-in-refused": 30, "access.token-refused": 30}
    assert len(told) <= 6
