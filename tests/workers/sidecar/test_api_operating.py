"""The JSON API of queues, pauses, circuits, limits, jobs and the audit: what it tells, changes, refuses and records."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI

from penstock.workers.database.transaction import Transactions
from penstock.workers.protection.keys import gate_keys
from penstock.workers.protection.limits import RateLimits
from penstock.workers.scheduler.audit_trail import AuditTrail
from penstock.workers.settings import WorkerSettings
from tests.queue_kit import KIND, QueueKit, open_kit
from tests.workers.sidecar.paced_kit import take_for_away
from tests.workers.sidecar.sidecar_kit import Client, client_of, credentials, running_app, services_of

API = "/api/v1"


@pytest.fixture
def kit(redis_url: str) -> Iterator[QueueKit]:
    yield from open_kit(redis_url)


@pytest.fixture
def app(settings: WorkerSettings, kit: QueueKit) -> Iterator[FastAPI]:
    lines, tokens = credentials(ana="operator", vera="viewer")
    with running_app(settings, namespace=kit.namespace, sidecar_credentials=lines) as app:
        app.state.tokens = tokens
        yield app


def as_(app: FastAPI, name: str) -> Client:
    return client_of(app, headers={"authorization": f"Bearer {app.state.tokens[name]}"})


@pytest.fixture
def ana(app: FastAPI) -> Client:
    """An operator."""
    return as_(app, "ana")


@pytest.fixture
def vera(app: FastAPI) -> Client:
    """A viewer."""
    return as_(app, "vera")


def told(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def audit(kit: QueueKit) -> list[tuple[str, str, str, str]]:
    """Who did what to which thing and why, in the queue and at the gates; without refusals at the door."""
    keys = (kit.keys, gate_keys(kit.namespace))
    entries = [json.loads(entry) for one in keys for entry in kit.client.lrange(one.key("audit"), 0, -1)]
    told = [(entry["actor"], entry["action"], entry["target"], entry["reason"]) for entry in entries]
    return [entry for entry in told if not entry[1].startswith("access.")]


def test_queues_are_told_as_they_stand(vera: Client, kit: QueueKit) -> None:
    kit.one_of_each()
    items = {item["queue"]: item for item in told(vera.get(f"{API}/queues"))["items"]}
    assert set(items) == {"submissions", "posts", "publishing"}
    one = told(vera.get(f"{API}/queues/posts"))
    places = {"ready": 1, "scheduled": 1, "leased": 1, "parked": 1, "dead": 1}
    assert {place: one[place] for place in places} == {place: items["posts"][place] for place in places} == places
    assert (one["ready_by_tenant"], one["paused"], one["weights"], one["stale"]) == ({"acme": 1}, None, {}, False)
    (job,) = told(vera.get(f"{API}/queues/posts/jobs?state=parked"))["items"]
    assert (job["kind"], job["blocked_by"]) == (KIND, "kind:x")


def test_a_queue_is_paused_and_resumed(ana: Client, kit: QueueKit) -> None:
    kit.put()
    assert told(ana.post(f"{API}/queues/posts/pause", json={"reason": " a deploy "}))["changed"]
    assert kit.lease() == []
    paused = told(ana.get(f"{API}/queues/posts"))["paused"]
    assert (paused["by"], paused["reason"]) == ("ana", "a deploy")
    assert not told(ana.post(f"{API}/queues/posts/pause", json={"reason": "again"}))["changed"]
    assert told(ana.post(f"{API}/queues/posts/resume", json={"reason": "deployed"})) == {
        "queue": "posts",
        "paused": False,
        "changed": True,
    }
    assert len(kit.lease()) == 1
    assert audit(kit) == [
        ("ana", "queue.pause", "posts", "a deploy"),
        ("ana", "queue.resume", "posts", "deployed"),
    ]


def test_a_key_is_paused_and_resumed(ana: Client, kit: QueueKit) -> None:
    body = {"what": "platform", "name": "instagram", "reason": "their status page"}
    assert told(ana.post(f"{API}/pauses", json=body))["key"] == "platform:instagram"
    (paused,) = told(ana.get(f"{API}/pauses"))["items"]
    assert (paused["key"], paused["by"]) == ("platform:instagram", "ana")
    assert told(ana.post(f"{API}/pauses/resume", json=body))["changed"]
    assert told(ana.get(f"{API}/pauses"))["items"] == []
    assert [action for _, action, _, _ in audit(kit)] == ["queue.pause", "queue.resume"]


def test_a_circuit_is_forced_and_let_go(ana: Client, kit: QueueKit) -> None:
    name = "platform:instagram"
    opened = told(ana.post(f"{API}/circuits/{name}/open", json={"reason": "theirs", "for_seconds": 60}))
    assert (opened["circuit"], opened["state"], opened["forced"]["by"]) == (name, "open", "ana")
    assert opened["forced"]["until"] is not None
    closed = told(ana.post(f"{API}/circuits/{name}/close", json={"reason": "it works"}))
    assert (closed["state"], closed["forced"]["until"], closed["changed"]) == ("closed", None, True)
    assert told(ana.post(f"{API}/circuits/{name}/auto", json={"reason": "over"}))["forced"] is None
    assert [item["circuit"] for item in told(ana.get(f"{API}/circuits"))["items"]] == [name]
    assert audit(kit)[0] == ("ana", "circuit.open", name, "theirs")
    assert [action for _, action, _, _ in audit(kit)] == ["circuit.open", "circuit.close", "circuit.auto"]


def test_a_limit_is_set_taken_back_and_unblocked(ana: Client, kit: QueueKit) -> None:
    key = f"tenant:acme/kind:{KIND}"
    body = {"limit": 5, "window_seconds": 60, "for_seconds": 600, "reason": "a campaign"}
    made = told(ana.request("PUT", f"{API}/limits/{key}", json=body))
    assert (made["name"], made["limit"], made["window_seconds"], made["by"]) == (key, 5, 60, "ana")
    RateLimits(kit.client, kit.namespace).block(key, timedelta(minutes=5), "429")
    (item,) = told(ana.get(f"{API}/limits"))["items"]
    assert (item["key"], item["remaining"], item["blocked"]["reason"]) == (key, 5, "429")
    assert told(ana.post(f"{API}/limits/{key}/unblock", json={"reason": "they said so"}))["changed"]
    assert told(ana.post(f"{API}/limits/{key}/default", json={"reason": "it is over"}))["changed"]
    assert told(ana.get(f"{API}/limits"))["items"] == []
    assert [action for _, action, _, _ in audit(kit)] == ["limit.set", "limit.unblock", "limit.default"]


def test_limits_come_in_pages(ana: Client) -> None:
    for number in range(3):
        body = {"limit": 1, "window_seconds": 1, "reason": "x"}
        told(ana.request("PUT", f"{API}/limits/account:{number}", json=body))
    first = told(ana.get(f"{API}/limits?limit=2"))
    second = told(ana.get(f"{API}/limits?limit=2&cursor={first['next']}"))
    assert [item["key"] for page in (first, second) for item in page["items"]] == [f"account:{n}" for n in range(3)]
    assert second["next"] is None


def test_a_job_is_told_with_what_it_waits_for(vera: Client, kit: QueueKit) -> None:
    made = kit.one_of_each()
    found = {place: told(vera.get(f"{API}/jobs/{job_id}")) for place, job_id in made.items()}
    assert {place: job["state"] for place, job in found.items()} == {place: place for place in made}
    assert found["parked"]["blocked_by"] == "kind:x"
    assert found["dead"]["code"] == "JOB_PAYLOAD_INVALID"
    assert told(vera.get(f"{API}/jobs/{uuid4()}"), 404)["code"] == "JOB_NOT_FOUND"
    assert told(vera.get(f"{API}/jobs/x"), 422)["code"] == "REQUEST_INVALID"


def test_the_audit_is_told_once_it_is_recorded(
    ana: Client, app: FastAPI, kit: QueueKit, settings: WorkerSettings
) -> None:
    for number in range(3):
        verb = "pause" if number % 2 == 0 else "resume"
        told(ana.post(f"{API}/queues/posts/{verb}", json={"reason": f"reason {number}"}))
    transactions = Transactions(services_of(app).pool, settings)
    assert AuditTrail(kit.client, kit.namespace, transactions).run_once() is False
    first = told(ana.get(f"{API}/audit?action=queue.&limit=2"))
    second = told(ana.get(f"{API}/audit?action=queue.&limit=2&cursor={first['next']}"))
    reasons = [item["reason"] for page in (first, second) for item in page["items"]]
    assert reasons[:3] == ["reason 2", "reason 1", "reason 0"]
    assert {item["actor"] for item in first["items"]} == {"ana"}
    assert told(ana.get(f"{API}/audit?cursor=x"), 422)["code"].startswith("REQUEST_")


CHANGES = [
    ("POST", "queues/posts/pause", {}),
    ("POST", "queues/posts/resume", {}),
    ("POST", "pauses", {"what": "kind", "name": "a.b"}),
    ("POST", "pauses/resume", {"what": "kind", "name": "a.b"}),
    ("POST", "circuits/platform:x/open", {}),
    ("POST", "circuits/platform:x/close", {}),
    ("POST", "circuits/platform:x/auto", {}),
    ("PUT", "limits/account:1", {"limit": 1, "window_seconds": 60}),
    ("POST", "limits/account:1/default", {}),
    ("POST", "limits/account:1/unblock", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES, ids=[path for _, path, _ in CHANGES])
def test_a_change_needs_the_role_and_a_reason(
    app: FastAPI, ana: Client, vera: Client, kit: QueueKit, method: str, path: str, body: dict[str, Any]
) -> None:
    url = f"{API}/{path}"
    asked = told(client_of(app).request(method, url, json=body | {"reason": "x"}), 401)
    assert asked["code"] == "AUTH_REQUIRED"
    assert told(vera.request(method, url, json=body | {"reason": "x"}), 403)["code"] == "AUTH_FORBIDDEN"
    for reason in ({}, {"reason": "  "}, {"reason": "x" * 1_001}, {"reason": "x", "further": 1}):
        assert told(ana.request(method, url, json=body | reason), 422)["code"] == "REQUEST_INVALID"
    assert audit(kit) == []
    told(ana.request(method, url, json=body | {"reason": "x"}))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "queues/none/pause", {}),
        ("GET", "queues/none", None),
        ("POST", "pauses", {"what": "kind", "name": "no name"}),
        ("POST", "circuits/no%20name/open", {}),
        ("PUT", "limits/no%20key", {"limit": 1, "window_seconds": 60}),
        ("PUT", "limits/account:1", {"limit": 1, "window_seconds": 0.001}),
    ],
)
def test_what_is_not_there_or_no_name_is_refused(
    ana: Client, kit: QueueKit, method: str, path: str, body: dict[str, Any] | None
) -> None:
    options = {} if body is None else {"json": body | {"reason": "x"}}
    answer = ana.request(method, f"{API}/{path}", **options)
    assert answer.status_code in {404, 422}, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert audit(kit) == []


def test_what_is_known_is_told_while_redis_is_away(ana: Client, app: FastAPI, kit: QueueKit) -> None:
    kit.put(2)
    known = told(ana.get(f"{API}/queues/posts"))
    take_for_away(services_of(app).servers.redis)
    assert told(ana.get(f"{API}/queues/posts")) == known | {"stale": True}
    assert told(ana.get(f"{API}/circuits"), 503)["code"] == "QUEUE_UNAVAILABLE"
    refused = told(ana.post(f"{API}/queues/posts/pause", json={"reason": "x"}), 503)
    assert refused["code"] == "QUEUE_UNAVAILABLE"


def test_the_backlog_is_told_to_whoever_starts_workers(app: FastAPI, kit: QueueKit) -> None:
    kit.put(90)
    found = told(client_of(app).get(f"{API}/autoscale?threads=1&target_seconds=3"))
    assert found["queues"]["posts"]["runnable_jobs"] == 90
    assert (found["runnable_backlog_seconds"], found["desired_workers"]) == (9.0, 3)


def test_every_answer_is_described(app: FastAPI) -> None:
    described = told(as_(app, "vera").get(f"{API}/openapi.json"))["paths"]
    own = ("queues", "pauses", "circuits", "limits", "jobs", "autoscale", "trends", "audit")
    for path, methods in described.items():
        if path.removeprefix(f"{API}/").split("/")[0] in own:
            for method, operation in methods.items():
                schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
                assert "$ref" in schema, (path, method)
