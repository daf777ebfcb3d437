"""What every answer carries, and what becomes of errors, long bodies and slow work."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request
from prometheus_client import REGISTRY

from penstock.schemas.errors import CATALOGUE, Code, PenstockError
from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.bounds import BODY_LIMIT
from penstock.workers.sidecar.problems import PROBLEM, problem
from penstock.workers.sidecar.security_headers import CONTENT_SECURITY_POLICY
from tests.workers.sidecar.sidecar_kit import AS_BROWSER, Client, client_of, running_app

SECRET = "the-answer-of-a-person"
#: Lets slow work end.
GO_ON = threading.Event()


def probe_routes() -> APIRouter:
    """Routes that misbehave, as no real one should."""
    router = APIRouter()

    @router.get("/api/v1/probe/fault")
    def fault() -> None:
        raise RuntimeError(SECRET)

    @router.get("/api/v1/probe/slow")
    def slow() -> str:
        GO_ON.wait(60)
        return "late"

    @router.get("/api/v1/probe/number/{number}")
    def number(number: int) -> int:
        return number

    @router.post("/api/v1/probe/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    return router


@pytest.fixture(scope="module")
def app(settings: WorkerSettings) -> Iterator[FastAPI]:
    with running_app(settings) as made:
        made.include_router(probe_routes())
        yield made


@pytest.fixture
def client(app: FastAPI) -> Client:
    return client_of(app)


@pytest.mark.parametrize("path", ["/health/live", "/log-in", "/nothing", "/api/v1/probe/fault"])
def test_every_answer_has_the_security_headers(client: Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "*" not in CONTENT_SECURITY_POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "strict-transport-security" not in headers
    assert "server" not in headers


def test_behind_tls_browsers_are_told_to_stay_there(client: Client) -> None:
    answer = client.get("/log-in", headers={"x-forwarded-proto": "https"} | AS_BROWSER)
    assert answer.headers["strict-transport-security"].startswith("max-age=")
    assert "; Secure" in answer.headers["set-cookie"]


def test_an_unexpected_error_tells_nothing_of_itself(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    answer = client.get("/api/v1/probe/fault")
    assert (answer.status_code, answer.headers["content-type"], answer.json()["code"]) == (
        500,
        PROBLEM,
        "INTERNAL_ERROR",
    )
    assert SECRET not in answer.text
    assert "a request failed: RuntimeError" in caplog.messages


def test_what_takes_too_long_is_answered_in_time(client: Client) -> None:
    started = time.monotonic()
    answer = client.get("/api/v1/probe/slow")
    assert time.monotonic() - started < 20, "of 2 s on an idle machine"
    GO_ON.set()
    assert (answer.status_code, answer.json()["code"]) == (503, "REQUEST_TIMEOUT")
    assert "retry-after" in answer.headers


def test_a_wrong_parameter_is_named_and_not_quoted(client: Client) -> None:
    answer = client.get(f"/api/v1/probe/number/{SECRET}")
    assert (answer.status_code, answer.json()["code"]) == (422, "REQUEST_INVALID")
    assert answer.json()["details"]["faults"][0]["at"] == "path.number"
    assert SECRET not in json.dumps(answer.json()["details"]) + answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/api/v1/nothing", 404, "REQUEST_NOT_FOUND"), ("DELETE", "/health", 405, "REQUEST_METHOD_NOT_ALLOWED")],
    ids=["no such address", "no such method"],
)
def test_programs_get_problems(client: Client, method: str, path: str, status: int, code: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert (answer.json()["code"], answer.json()["status"], answer.json()["instance"]) == (code, status, path)


def test_browsers_get_pages(client: Client) -> None:
    answer = client.get("/nothing", headers=AS_BROWSER)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")


def test_head_is_get_without_a_body(client: Client) -> None:
    answer = client.request("HEAD", "/health/live")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_body_within_the_limit_is_read_and_a_longer_one_refused(client: Client) -> None:
    as_json = {"content-type": "application/json"}
    assert client.post("/api/v1/probe/length", content=b" " * BODY_LIMIT, headers=as_json).json() == BODY_LIMIT
    told = client.post("/api/v1/probe/length", content=b" " * (BODY_LIMIT + 1), headers=as_json)
    assert (told.status_code, told.json()["code"]) == (413, "REQUEST_BODY_TOO_LARGE")


def test_a_body_that_does_not_tell_its_length_is_bounded_too(app: FastAPI) -> None:
    async def ask() -> httpx.Response:
        async def parts() -> "asyncio.AsyncIterator[bytes]":  # type: ignore[name-defined]
            for _ in range(3):
                yield b" " * (BODY_LIMIT // 2)

        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post(
                "/api/v1/probe/length", content=parts(), headers={"content-type": "application/json"}
            )

    assert asyncio.run(ask()).status_code == 413


def test_fastapis_own_pages_are_off_and_the_description_of_the_api_is_there(client: Client) -> None:
    assert {client.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json")} == {404}
    assert "/health/live" in client.get("/api/v1/openapi.json").json()["paths"]


def test_requests_are_counted_by_the_template_of_their_route(client: Client) -> None:
    def counted(route: str, status: str) -> float:
        labels = {"app": "sidecar", "method": "GET", "route": route, "status": status}
        return REGISTRY.get_sample_value("penstock_http_requests_total", labels) or 0.0

    known, unknown = counted("/api/v1/probe/number/{number}", "200"), counted("none", "404")
    client.get("/api/v1/probe/number/7")
    client.get(f"/api/v1/{SECRET}")
    assert counted("/api/v1/probe/number/{number}", "200") == known + 1
    assert counted("none", "404") == unknown + 1


def test_every_code_has_a_status_and_can_be_told() -> None:
    for code in CATALOGUE:
        told = problem(PenstockError(code, "\ud800"))
        assert 400 <= told["status"] <= 599
        json.dumps(told).encode()
    assert problem(PenstockError(Code.RATE_LIMIT_EXCEEDED, "x"))["status"] == 429
