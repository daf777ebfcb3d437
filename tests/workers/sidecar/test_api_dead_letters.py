"""The API of dead letters and replays, as programs ask it."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI

from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.problems import PROBLEM
from tests.system import Database
from tests.workers.dead_letters.replay_kit import ReplayKit, a_letter
from tests.workers.sidecar.sidecar_kit import Client, client_of, credentials, running_app, services_of

LETTERS = "/api/v1/dead-letters"
REPLAYS = "/api/v1/replays"
REASON = {"reason": "the form is there now"}
SECRET = "what a person answered"
BATCH = {"form_id": "poll", "batch_id": "b-1", "submissions": [{"answers": {"q": SECRET}}]}


@pytest.fixture(scope="module")
def made(settings: WorkerSettings) -> Iterator[tuple[FastAPI, dict[str, str]]]:
    lines, tokens = credentials(vera="viewer", otto="operator", ada="admin")
    with running_app(settings, sidecar_credentials=lines) as app:
        yield app, tokens


@pytest.fixture
def kit(made: tuple[FastAPI, dict[str, str]], database: Database) -> Iterator[ReplayKit]:
    services = services_of(made[0])
    found = ReplayKit(database, services.transactions, services.letters)
    yield found
    found.clear()


def asked_by(made: tuple[FastAPI, dict[str, str]], name: str) -> Client:
    app, tokens = made
    return client_of(app, headers={"Authorization": f"Bearer {tokens[name]}"})


@pytest.fixture
def viewer(made: tuple[FastAPI, dict[str, str]]) -> Client:
    return asked_by(made, "vera")


@pytest.fixture
def operator(made: tuple[FastAPI, dict[str, str]]) -> Client:
    return asked_by(made, "otto")


@pytest.fixture
def admin(made: tuple[FastAPI, dict[str, str]]) -> Client:
    return asked_by(made, "ada")


def batches(count: int, **changed: Any) -> list[Any]:
    return [a_letter(number, kind="submission_batch.write", payload=BATCH, **changed) for number in range(count)]


def refused(answer: Any, status: int, code: str) -> str:
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    assert answer.json()["code"] == code
    return str(answer.json()["detail"])


def test_the_list_has_pages_and_filters(kit: ReplayKit, viewer: Client) -> None:
    kit.die([*batches(3), a_letter(9, tenant="other")])
    first = viewer.get(LETTERS, params={"limit": 3}).json()
    rest = viewer.get(LETTERS, params={"limit": 3, "cursor": first["next"]}).json()
    assert (len(first["items"]), len(rest["items"]), rest["next"]) == (3, 1, None)
    of_form = viewer.get(LETTERS, params={"form": "poll", "payload": 'batch_id="b-1"'}).json()["items"]
    assert [one["form"] for one in of_form] == ["poll"] * 3
    assert {"id", "job_id", "kind", "queue", "tenant", "code", "message", "attempts", "died_at", "group"} <= set(
        of_form[0]
    )
    assert "since" in refused(viewer.get(LETTERS, params={"since": "x"}), 422, "REQUEST_FILTER_INVALID")
    refused(viewer.get(LETTERS, params={"colour": "x"}), 422, "REQUEST_FILTER_INVALID")
    refused(viewer.get(LETTERS, params={"limit": 0}), 422, "REQUEST_INVALID")


def test_one_is_shown_redacted(kit: ReplayKit, viewer: Client) -> None:
    (dead_id,) = kit.die(batches(1))
    found = viewer.get(f"{LETTERS}/{dead_id}")
    assert SECRET not in found.text
    assert found.json()["payload"]["form_id"] == "poll"
    assert found.json()["remedy"]
    refused(viewer.get(f"{LETTERS}/{uuid4()}"), 404, "JOB_DEAD_LETTER_NOT_FOUND")
    refused(viewer.get(f"{LETTERS}/x"), 422, "REQUEST_INVALID")


def test_a_reveal_is_for_admins_and_recorded(kit: ReplayKit, viewer: Client, operator: Client, admin: Client) -> None:
    (dead_id,) = kit.die(batches(1))
    for other in (viewer, operator):
        refused(other.post(f"{LETTERS}/{dead_id}/reveal", json=REASON), 403, "AUTH_FORBIDDEN")
    refused(admin.post(f"{LETTERS}/{dead_id}/reveal", json={}), 422, "REQUEST_INVALID")
    refused(admin.post(f"{LETTERS}/{uuid4()}/reveal", json=REASON), 404, "JOB_DEAD_LETTER_NOT_FOUND")
    assert admin.post(f"{LETTERS}/{dead_id}/reveal", json=REASON).json()["payload"] == BATCH
    recorded = kit.database.query(
        "SELECT actor, reason FROM penstock.operator_actions WHERE action = 'dead_letter.reveal' AND target = %s",
        str(dead_id),
    )
    assert recorded == [("ada", REASON["reason"])]


def test_a_payload_that_json_can_not_hold_is_shown_all_the_same(kit: ReplayKit, admin: Client) -> None:
    broken = [b"\xff{", b"[" * 100_000, b'{"a": NaN, "b": 1e999, "c": "\\ud800"}']
    for number, body in enumerate(broken):
        (dead_id,) = kit.die([a_letter(number, body=body, message_bytes=len(body))])
        assert admin.get(f"{LETTERS}/{dead_id}").status_code == 200
        assert admin.post(f"{LETTERS}/{dead_id}/reveal", json=REASON).status_code == 200


def test_requeue_and_discard(kit: ReplayKit, viewer: Client, operator: Client) -> None:
    first, second = kit.die(2)
    refused(viewer.post(f"{LETTERS}/{first}/requeue", json=REASON), 403, "AUTH_FORBIDDEN")
    assert operator.post(f"{LETTERS}/{first}/requeue", json=REASON).json()["requeued"] is True
    again = operator.post(f"{LETTERS}/{first}/requeue", json=REASON).json()
    assert (again["requeued"], again["skipped"]) == (False, "it was requeued already, by otto")
    assert operator.post(f"{LETTERS}/{second}/discard", json=REASON).json()["count"] == 1
    assert operator.post(f"{LETTERS}/{second}/discard", json=REASON).json()["count"] == 0
    assert len(kit.outbox()) == 1


def test_an_edit_is_an_admins_judged_and_told(kit: ReplayKit, operator: Client, admin: Client) -> None:
    (dead_id,) = kit.die(batches(1))
    path = f"{LETTERS}/{dead_id}/requeue"
    for dry_run in (True, False):
        asked = {**REASON, "payload": BATCH, "dry_run": dry_run}
        refused(operator.post(path, json=asked), 403, "AUTH_FORBIDDEN")
    wrong = admin.post(path, json={**REASON, "payload": {"form_id": 7}})
    assert refused(wrong, 422, "JOB_PAYLOAD_INVALID")
    assert wrong.json()["details"]["faults"]
    edited = {**BATCH, "form_id": "poll-2"}
    told = admin.post(path, json={**REASON, "payload": json.dumps(edited), "dry_run": True}).json()
    assert (told["requeued"], [change["path"] for change in told["difference"]]) == (False, ["form_id"])
    assert admin.post(path, json={**REASON, "payload": edited}).json()["requeued"] is True
    (payload,) = kit.database.query("SELECT payload FROM penstock.outbox")[0]
    assert json.loads(bytes(payload))["form_id"] == "poll-2"


def test_discard_many(kit: ReplayKit, operator: Client) -> None:
    ids = kit.die([*batches(3), a_letter(9)])
    path = f"{LETTERS}/discard"
    by_filter = {**REASON, "filter": {"kind": "submission_batch.write"}}
    assert operator.post(path, json={**by_filter, "dry_run": True}).json()["count"] == 3
    assert operator.post(path, json=by_filter).json() == {"count": 3, "exact": True, "dry_run": False}
    named = {**REASON, "ids": [str(one) for one in ids]}
    assert operator.post(path, json={**named, "dry_run": True}).json()["count"] == 1
    assert operator.post(path, json=named).json()["count"] == 1
    refused(operator.post(path, json=REASON), 422, "REQUEST_INVALID")
    refused(operator.post(path, json={**REASON, "filter": {"x": "y"}}), 422, "REQUEST_FILTER_INVALID")


def test_groups(kit: ReplayKit, viewer: Client, operator: Client) -> None:
    kit.die([*batches(3), a_letter(9, code="JOB_POISON")])
    found = viewer.get(f"{LETTERS}/groups").json()["items"]
    assert [one["open"] for one in found] == [3, 1]
    group = found[0]["group"]
    whole = viewer.get(f"{LETTERS}/groups/{group}").json()
    assert whole["subjects"]["form"] == [{"value": "poll", "total": 3, "open": 3}]
    noted = operator.post(f"{LETTERS}/groups/{group}/note", json={**REASON, "note": "ask Jon"}).json()
    assert (noted["note"], noted["snoozed_until"]) == ("ask Jon", None)
    refused(viewer.get(f"{LETTERS}/groups/{'0' * 16}"), 404, "JOB_DEAD_LETTER_GROUP_NOT_FOUND")
    refused(viewer.get(f"{LETTERS}/groups/x"), 422, "REQUEST_INVALID")


def test_the_export_has_every_letter_once(kit: ReplayKit, viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.workers.dead_letters.exporting._PAGE", 2)
    ids = kit.die(batches(5))
    answer = viewer.get(f"{LETTERS}/export", params={"form": "poll"})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["id"] for line in lines] == [str(one) for one in ids]
    assert SECRET not in answer.text
    assert lines[0]["payload"]["batch_id"] == "b-1"
    assert viewer.get(f"{LETTERS}/export", params={"form": "none"}).text == ""
    refused(viewer.get(f"{LETTERS}/export", params={"x": "y"}), 422, "REQUEST_FILTER_INVALID")


def test_a_replay_is_ordered_looked_at_and_ended(kit: ReplayKit, viewer: Client, operator: Client) -> None:
    kit.die(batches(12))
    order = {**REASON, "filter": {"form": "poll"}}
    refused(viewer.post(REPLAYS, json=order), 403, "AUTH_FORBIDDEN")
    told = operator.post(REPLAYS, json={**order, "dry_run": True})
    assert told.status_code == 200
    assert (told.json()["count"], told.json()["exact"], len(told.json()["sample"])) == (12, True, 5)
    assert told.json()["by_kind"] == {"submission_batch.write": 12}
    assert viewer.get(REPLAYS).json()["items"] == []
    started = operator.post(REPLAYS, json=order)
    assert (started.status_code, started.json()["status"]) == (201, "preparing")
    path = f"{REPLAYS}/{started.json()['id']}"
    assert operator.post(f"{path}/pause", json=REASON).json()["status"] == "paused"
    assert operator.post(f"{path}/resume", json=REASON).json()["status"] == "preparing"
    assert operator.post(f"{path}/cancel", json=REASON).json()["status"] == "cancelled"
    refused(operator.post(f"{path}/resume", json=REASON), 409, "JOB_REPLAY_ENDED")
    assert viewer.get(path).json()["selection"] == {"form": "poll", "state": "open"}
    assert len(viewer.get(REPLAYS).json()["items"]) == 1
    refused(viewer.get(f"{REPLAYS}/{uuid4()}"), 404, "JOB_REPLAY_NOT_FOUND")
    refused(operator.post(REPLAYS, json=REASON), 422, "REQUEST_INVALID")
    refused(operator.post(REPLAYS, json={**order, "canary": -1}), 422, "REQUEST_INVALID")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(REPLAYS, {"filter": {"form": "\ud800"}}, id="an unpaired surrogate"),
        pytest.param(REPLAYS, {"filter": {"text": "\ud800"}, "dry_run": True}, id="one in a text"),
        pytest.param(f"{LETTERS}/discard", {"filter": {"group": "\0"}, "dry_run": True}, id="U+0000"),
        pytest.param(REPLAYS, {"filter": {"payload": ["a=[[["]}, "canary": 1e99}, id="no canary"),
        pytest.param(f"{LETTERS}/groups/{'0' * 16}/note", {"note": "\ud800"}, id="a note that can't be held"),
        pytest.param(
            f"{LETTERS}/groups/{'0' * 16}/note", {"snoozed_until": "0001-01-01T00:00:00+14:00"}, id="no such year"
        ),
    ],
)
def test_what_can_not_be_held_is_refused(operator: Client, path: str, body: dict[str, Any]) -> None:
    assert operator.post(path, content=json.dumps({**REASON, **body})).status_code == 422


def test_the_description_names_every_address(viewer: Client) -> None:
    described = viewer.get("/api/v1/openapi.json").json()
    assert {LETTERS, f"{LETTERS}/export", f"{LETTERS}/{{dead_id}}/reveal", REPLAYS} <= set(described["paths"])
    names = {one["name"] for one in described["paths"][LETTERS]["get"]["parameters"]}
    assert {"kind", "code", "payload", "text", "job_id", "limit", "cursor"} <= names
