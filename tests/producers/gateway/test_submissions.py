"""Answers over HTTP: accepted, stored, counted, rejected row by row; and what a key makes of a resend."""

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from penstock.producers import Producer
from tests.producers.gateway.gateway_kit import Gateway, line, lines, problem
from tests.system import Database, WorkerProcess, wait_for


def test_a_document_is_accepted_stored_and_told(gateway: Gateway, worker: WorkerProcess, database: Database) -> None:
    answer = gateway.submit("one", "two", key="doc-1")
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert answer.headers["location"] == told["status_url"] == "/v1/batches/doc-1-0001"
    assert answer.headers["idempotency-key"] == '"doc-1"'
    assert (told["rows"], told["batch_count"], told["durability"]) == (2, 1, "redis")
    assert UUID(told["batches"][0]["job_id"])
    wait_for(lambda: gateway.ask("GET", told["status_url"]).json()["state"] == "done", "the batch to be stored")
    status = gateway.ask("GET", told["status_url"]).json()
    assert (status["stored"], status["rejected"], status["form_id"]) == (2, 0, "poll")
    assert database.value("SELECT count(*) FROM penstock.submissions WHERE batch_id = 'doc-1-0001'") == 2


def test_status_is_polled_with_an_etag(gateway: Gateway, worker: WorkerProcess) -> None:
    path = gateway.submit("x", key="etag-1").json()["status_url"]
    wait_for(lambda: gateway.ask("GET", path).json()["state"] == "done", "the batch to be stored")
    first = gateway.ask("GET", path)
    assert first.headers["cache-control"] == "private, no-cache"
    again = gateway.ask("GET", path, headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert gateway.ask("GET", path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_rejected_rows_come_in_pages_with_all_their_faults(gateway: Gateway, worker: WorkerProcess) -> None:
    rows = [{"answers": {"q": number, "unknown": 1}} for number in range(5)]
    sent = gateway.ask(
        "POST", "/v1/forms/poll/submissions", json={"submissions": rows}, headers={"Idempotency-Key": "bad-rows"}
    ).json()
    wait_for(lambda: gateway.ask("GET", sent["status_url"]).json()["state"] == "done", "the batch to be done")
    status = gateway.ask("GET", sent["status_url"]).json()
    assert (status["stored"], status["rejected"]) == (0, 5)
    assert status["faults"] == {"ANSWER_TYPE_INVALID": 5, "ANSWER_UNKNOWN_QUESTION": 5}
    for whole in (f"{sent['status_url']}", "/v1/batches/bad-rows"):
        seen, cursor = [], None
        while True:
            query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
            page = gateway.ask("GET", f"{whole}/rejections", params=query)
            seen += page.json()["items"]
            cursor = page.json()["next"]
            assert ("next" in page.links) == (cursor is not None)
            if cursor is None:
                break
        assert [(item["position"], item["content"]) for item in seen] == list(enumerate(rows))
        assert {fault["code"] for fault in seen[0]["faults"]} == {"ANSWER_TYPE_INVALID", "ANSWER_UNKNOWN_QUESTION"}
    problem(gateway.ask("GET", f"{whole}/rejections?cursor=x"), 422, "REQUEST_FILTER_INVALID")
    problem(gateway.ask("GET", "/v1/batches/nobody/rejections"), 404, "BATCH_NOT_FOUND")


def test_the_same_key_and_body_is_the_same_answer(gateway: Gateway) -> None:
    first, again = gateway.submit("x", key='"same-1"'), gateway.submit("x", key="same-1")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"


def test_fifty_at_once_with_one_key_are_one_batch(gateway: Gateway, worker: WorkerProcess, database: Database) -> None:
    quiet = {"Idempotency-Key": "fifty", "Content-Type": "application/json"}
    body = json.dumps({"submissions": [{"answers": {"q": "x"}}]})

    def send(_number: int) -> tuple[int, str]:
        answer = gateway.ask("POST", "/v1/forms/poll/submissions", content=body, headers=quiet)
        return answer.status_code, answer.text

    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(send, range(50)))
    assert {status for status, _ in answers} == {202}
    assert len({text for _, text in answers}) == 1
    wait_for(lambda: gateway.ask("GET", "/v1/batches/fifty-0001").json()["state"] == "done", "the batch to be stored")
    assert database.value("SELECT count(*) FROM penstock.submissions WHERE batch_id LIKE 'fifty%%'") == 1


@pytest.mark.parametrize("other", [("y",), ("x", "y"), ("x",) * 1_001], ids=["content", "a row more", "a batch more"])
def test_the_same_key_with_another_body_is_a_conflict(gateway: Gateway, other: tuple[str, ...]) -> None:
    key = f"other-{len(other)}-{other[0]}"
    assert gateway.submit("x", key=key).status_code == 202
    told = problem(gateway.submit(*other, key=key), 409, "BATCH_CONFLICT")
    assert told["accepted"]["rows"] == 0


def test_a_key_of_a_longer_whole_is_in_conflict_with_its_beginning(gateway: Gateway) -> None:
    assert gateway.submit(*["x"] * 2_000, key="longer").status_code == 202
    problem(gateway.submit(*["x"] * 1_000, key="longer"), 409, "BATCH_CONFLICT")
    problem(gateway.submit(*["x"] * 3_000, key="longer"), 409, "BATCH_CONFLICT")
    assert gateway.submit(*["x"] * 2_000, key="longer").headers["idempotency-replayed"] == "true"


def test_the_same_key_for_another_form_is_a_conflict(gateway: Gateway) -> None:
    form = {"title": "Another", "questions": [{"id": "q", "text": "What?", "type": "text"}]}
    assert gateway.ask("PUT", "/v1/forms/other", json=form).status_code in {200, 201}
    assert gateway.submit("x", key="two-forms").status_code == 202
    body, headers = {"submissions": [{"answers": {"q": "x"}}]}, {"Idempotency-Key": "two-forms"}
    problem(gateway.ask("POST", "/v1/forms/other/submissions", json=body, headers=headers), 409, "BATCH_CONFLICT")


def test_without_a_key_each_request_is_work_of_its_own(gateway: Gateway) -> None:
    first, second = gateway.submit("x").json(), gateway.submit("x").json()
    assert first["idempotency_key"] != second["idempotency_key"]
    again = gateway.submit("x", key=first["idempotency_key"])
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first


@pytest.mark.parametrize("key", ["a key with spaces", "x" * 191, '""', "\u00e4"])
def test_a_key_of_another_form_is_refused(gateway: Gateway, key: str) -> None:
    answer = gateway.submit("x", headers={"Idempotency-Key": key.encode("latin-1")})
    problem(answer, 400, "REQUEST_IDEMPOTENCY_KEY_INVALID")


def test_a_key_that_is_no_name_names_its_batches_by_its_digest(gateway: Gateway) -> None:
    told = gateway.submit("x", key="shop/42:7").json()
    assert told["idempotency_key"] == "shop/42:7"
    assert told["base_batch_id"].startswith("key-")
    assert gateway.ask("GET", f"/v1/batches/{told['base_batch_id']}").status_code == 200


def test_submit_goes_on_with_what_the_gateway_began(gateway: Gateway, environment: dict[str, str]) -> None:
    gateway.stream(lines(1_500, "shared"), key="shared-work")
    rows = [json.loads(row) for row in lines(1_500, "shared").splitlines()]
    with Producer.from_environment(environment) as producer:
        told = producer.submit("poll", rows, batch_id="shared-work")
    assert told.batch_ids == ("shared-work-0001", "shared-work-0002")
    assert gateway.stream(lines(1_500, "shared"), key="shared-work").headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
def test_bodies_may_be_packed(gateway: Gateway, kind: str) -> None:
    body = line("x") if kind.endswith("ndjson") else b'{"submissions":[%s]}' % line("x")
    headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
    path = "/v1/forms/poll/submissions"
    assert gateway.ask("POST", path, content=gzip.compress(body), headers=headers).json()["rows"] == 1
    problem(gateway.ask("POST", path, content=gzip.compress(body)[:-9], headers=headers), 400, "REQUEST_INVALID")
    problem(gateway.ask("POST", path, content=body, headers=headers), 400, "REQUEST_INVALID")
    odd = headers | {"Content-Encoding": "br"}
    problem(gateway.ask("POST", path, content=body, headers=odd), 415, "REQUEST_MEDIA_TYPE_UNKNOWN")


def test_packed_pieces_may_be_joined(gateway: Gateway) -> None:
    packed = b"".join(gzip.compress(lines(700, name)) for name in ("a", "b", "c"))
    told = gateway.stream(packed, **{"Content-Encoding": "gzip"}).json()
    assert (told["rows"], told["batch_count"]) == (2_100, 3)


def test_a_form_that_is_not_there_is_told_at_once(gateway: Gateway) -> None:
    path, body = "/v1/forms/nobodys/submissions", {"submissions": [{"answers": {}}]}
    problem(gateway.ask("POST", path, json=body), 404, "FORM_NOT_FOUND")
    problem(gateway.submit("x", params={"form_version": "99"}), 404, "FORM_VERSION_NOT_FOUND")
    problem(gateway.submit("x", params={"form_version": "x"}), 422, "REQUEST_FILTER_INVALID")
    problem(gateway.submit("x", params={"vorm": "1"}), 422, "REQUEST_FILTER_INVALID")
    assert gateway.submit("x", params={"form_version": "1"}).status_code == 202


def test_durability_is_chosen_and_told(gateway: Gateway, database: Database) -> None:
    told = gateway.submit("x", key="durable", params={"durability": "postgres"})
    assert (told.status_code, told.json()["durability"]) == (202, "postgres")
    again = gateway.submit("x", key="durable", params={"durability": "postgres"})
    assert again.json() == told.json()
    count = "SELECT count(*) FROM penstock.outbox WHERE job_id = %s"
    assert database.value(count, told.json()["batches"][0]["job_id"]) == 1
    problem(gateway.submit("y", key="durable", params={"durability": "postgres"}), 409, "BATCH_CONFLICT")
    problem(gateway.submit("x", params={"durability": "disk"}), 422, "REQUEST_FILTER_INVALID")


def test_a_body_without_rows_is_refused(gateway: Gateway) -> None:
    problem(gateway.submit(), 422, "BATCH_EMPTY")
    problem(gateway.stream(b"\n \n"), 422, "BATCH_EMPTY")
    problem(gateway.stream(b""), 422, "BATCH_EMPTY")


def test_a_whole_of_several_batches_has_one_status(gateway: Gateway, worker: WorkerProcess) -> None:
    sent = gateway.stream(lines(2_500), key="whole-1")
    told = sent.json()
    assert sent.headers["location"] == "/v1/batches/whole-1"
    assert [part["rows"] for part in told["batches"]] == [1_000, 1_000, 500]
    wait_for(lambda: gateway.ask("GET", "/v1/batches/whole-1").json()["state"] == "done", "the whole to be stored")
    status = gateway.ask("GET", "/v1/batches/whole-1").json()
    assert (status["stored"], status["rows_accepted"], status["batches"]) == (2_500, 2_500, 3)
    assert status["batches_by_state"] == {"done": 3}
