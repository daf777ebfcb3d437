"""The sidecar under requests that nobody sends by mistake: none breaks it, and none keeps others waiting."""

import re
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.served_sidecar import PROBLEM, TOKENS, Served, letters_of, operations, serving
from tests.system import Database


@pytest.fixture(scope="module")
def served(
    environment: dict[str, str], database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    with serving(environment, database, tmp_path_factory.mktemp("sidecar")) as found:
        yield found


HOSTILE_TEXTS = {
    "NUL": "%00",
    "NUL within": "a%00b",
    "no UTF-8": "%ff%fe",
    "surrogate": "%ed%a0%80",
    "long": "x" * 30_000,
}
SOUGHT = (
    *("/api/v1/dead-letters?kind={}", "/api/v1/dead-letters?text={}", "/api/v1/dead-letters?payload=form_id={}"),
    *("/api/v1/dead-letters?payload={}=1", "/api/v1/dead-letters?cursor={}", "/api/v1/dead-letters/groups?text={}"),
    *("/api/v1/dead-letters/groups?form={}", "/api/v1/dead-letters/groups?cursor={}", "/api/v1/dead-letters/groups/{}"),
    *("/api/v1/dead-letters/{}", "/api/v1/dead-letters/export?form={}", "/api/v1/dead-letters?group={}"),
    *("/api/v1/audit?actor={}", "/api/v1/audit?action={}", "/api/v1/audit?target={}", "/api/v1/audit?text={}"),
    *("/api/v1/posts?state={}", "/api/v1/posts?tenant={}", "/api/v1/posts?owner={}", "/api/v1/posts?cursor={}"),
    *("/api/v1/posts?account={}", "/api/v1/posts?due_after={}", "/api/v1/posts?order={}", "/api/v1/posts/{}"),
    *("/api/v1/posts/calendar?from={}", "/api/v1/accounts?platform={}", "/api/v1/accounts?cursor={}"),
    *("/api/v1/audit?cursor={}", "/api/v1/replays?cursor={}", "/api/v1/replays/{}", "/api/v1/jobs/{}"),
    *(
        "/api/v1/queues/{}",
        "/api/v1/queues/{}/jobs",
        "/api/v1/queues/submissions/jobs?cursor={}",
        "/api/v1/limits?cursor={}",
    ),
)
PAGES = (
    *("/search?q={}", "/audit?actor={}", "/audit?text={}", "/dead-letters?text={}", "/dead-letters?form={}"),
    *("/dead-letters/list?text={}", "/dead-letters/list?payload={}=1", "/dead-letters/list?cursor={}"),
    *("/dead-letters/groups/{}", "/dead-letters/{}", "/replays/{}", "/replays/new?kind={}", "/replays/new?id={}"),
    *("/posts/{}", "/posts/list?platform={}", "/posts/list?due_after={}", "/posts/list?cursor={}"),
    *("/accounts?owner={}", "/accounts?state={}"),
    *("/queues/{}", "/codes/{}", "/log-in?next={}", "/log-in?refused={}", "/replays?cursor={}", "/{}", "/static/{}"),
)


@pytest.mark.parametrize("hostile", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS)
def test_parameters_that_no_server_takes_are_refused_and_break_nothing(served: Served, hostile: str) -> None:
    for address in SOUGHT:
        answer = served.ask("GET", address.format(hostile))
        assert answer.status_code in ({200} if _is_text(hostile) else set()) | {404, 414, 422}, (address, answer.text)
    for address in PAGES:
        answer = served.ask("GET", address.format(hostile), headers={"Accept": "text/html"})
        assert answer.status_code < 500, (address, answer.status_code, answer.text[:500])


def _is_text(hostile: str) -> bool:
    """Whether PostgreSQL could be asked for it: what is no UTF-8 comes as marks of that."""
    return "%00" not in hostile


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": b'{"reason": "\xff\xfe"}',
    "NUL": b'{"reason": "a\\u0000b"}',
    "surrogate": b'{"reason": "\\ud800"}',
    "deep": b'{"reason": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "number too large": b'{"reason": 1e999}',
    "long number": b'{"reason": ' + b"9" * 10_000 + b"}",
    "list": b"[]",
    "long": b'{"reason": "' + b"x" * 2_000 + b'"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_bodies_that_mean_nothing_are_refused(served: Served, body: bytes) -> None:
    changing = [(method, path) for method, path in operations(served) if method != "GET"]
    for method, path in changing:
        answer = served.ask(method, path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in {400, 404, 422}, (method, path, answer.status_code, answer.text[:500])
        assert answer.headers["content-type"] == PROBLEM


FORMS = (
    *(
        "/queues/{}/pause",
        "/queues/{}/resume",
        "/queues/posts/{}",
        "/pauses/pause",
        "/pauses/resume",
        "/circuits/force",
    ),
    *(
        "/limits/set",
        "/dead-letters/chosen",
        "/dead-letters/{}/requeue",
        "/dead-letters/{}/discard",
        "/replays/{}/pause",
    ),
    *("/dead-letters/{}/reveal", "/dead-letters/{}/edit", "/dead-letters/groups/{}/note", "/replays/new", "/log-out"),
)
FIELDS = (
    *("reason", "confirmed", "name", "what", "act", "id", "payload", "note", "state", "key", "limit", "window", "kind"),
    *("circuit", "queue", "canary", "pace", "pace_per_second", "stop_share", "for", "until", "snoozed_until", "tenant"),
)


@pytest.mark.parametrize("hostile", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS)
def test_forms_of_pages_with_what_no_server_takes_break_nothing(served: Served, hostile: str) -> None:
    known = {"fingerprint": letters_of(served)[0]["group"], "id": letters_of(served)[0]["id"]}
    names = {"dead-letters": known["id"], "groups": known["fingerprint"], "queues": "posts"}
    body = "&".join(f"{name}={hostile}" for name in FIELDS)
    as_form = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
    for address in FORMS:
        kind = next((name for name in reversed(address.split("/")) if name in names), "")
        for place in {hostile, names.get(kind, hostile)}:
            for sent in (body, f"{body}&confirmed=yes"):
                answer = served.ask("POST", address.format(place), content=sent, headers=as_form)
                assert answer.status_code < 500, (address, place[:40], answer.status_code)


TOO_LONG = 2 * 1024 * 1024


def test_a_long_body_is_refused_by_what_it_says_and_by_what_it_is(served: Served) -> None:
    path = "/api/v1/pauses"
    answer = served.ask("POST", path, content=b" " * TOO_LONG, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "REQUEST_BODY_TOO_LARGE")

    def parts() -> Iterator[bytes]:
        for _ in range(32):
            yield b" " * (TOO_LONG // 32)

    answer = served.ask("POST", path, content=parts(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


TRAVERSALS = (
    *("/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/%2e%2e/app.py", "/static/....//app.py"),
    *("/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/..\\app.py", "/static/..%5capp.py", "/static/"),
    *("/static/penstock.css/../../__init__.py", "/static/penstock.css%00.py", "//etc/passwd", "/../../etc/passwd"),
)


@pytest.mark.parametrize("path", TRAVERSALS)
def test_only_the_pages_own_files_can_be_had(served: Served, path: str) -> None:
    token = TOKENS["ada"]
    said = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    answer = served.say(said.encode())
    assert re.match(rb"HTTP/1\.1 4\d\d ", answer), answer[:300]
    assert b"root:" not in answer
    assert b"import " not in answer


def test_what_follows_on_a_connection_is_answered_too(served: Served) -> None:
    with httpx.Client(base_url=served.url, timeout=60) as client:
        took = []
        for _ in range(20):
            started = time.monotonic()
            assert client.get("/health/live").status_code == 200
            took.append(time.monotonic() - started)
    # An answer's body that waits for the asker's word on its head would take 40 ms each time.
    assert min(took) < 0.03, took


def test_nothing_that_is_sent_becomes_a_header(served: Served) -> None:
    split = "%0d%0aX-Injected:%20yes"
    for path in (f"/log-in?next=/{split}", f"/search?q={split}", f"/nothing{split}", f"/codes/x{split}"):
        for headers in ({}, {"Accept": "text/html"}):
            for by in (None, "ada"):
                answer = served.ask("GET", path, by=by, headers=headers)
                assert "x-injected" not in answer.headers, path
                assert answer.status_code < 500
    form = {"name": "ada", "token": TOKENS["ada"], "next": "/a\r\nX-Injected: yes"}
    assert "x-injected" not in served.ask("POST", "/log-in", by=None, data=form).headers


RAW = {
    "no HTTP": b"\x00\x01\x02\r\n\r\n",
    "no host": b"GET /api/v1/queues HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
    "long header": b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    "length twice": b"POST /log-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabc",
    "length no number": b"POST /log-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1x\r\n\r\na",
    "length below zero": b"POST /log-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\na",
    "bad chunk": b"POST /log-in HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "space in name": b"GET /health/live HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
}


@pytest.mark.parametrize("said", RAW.values(), ids=RAW)
def test_what_is_no_request_is_refused(served: Served, said: bytes) -> None:
    answer = served.say(said)
    assert re.match(rb"HTTP/1\.1 4\d\d ", answer), answer[:300]


def test_slow_askers_keep_nobody_else_waiting(served: Served) -> None:
    begun = b"POST /api/v1/pauses HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    token = f"Authorization: Bearer {TOKENS['ada']}\r\nContent-Length: 1000\r\n\r\n{{".encode()
    slow = [socket.create_connection(("127.0.0.1", served.port), timeout=60) for _ in range(200)]
    try:
        for number, connection in enumerate(slow):
            # Half of them stop within the head, half within the body.
            connection.sendall(begun if number % 2 else begun + token)
        took = []
        for path in ("/health/live", "/health/ready", "/api/v1/queues", "/api/v1/dead-letters", "/metrics") * 3:
            started = time.monotonic()
            assert served.ask("GET", path).status_code == 200, path
            took.append(time.monotonic() - started)
        assert max(took) < 8, took
        # A body that does not come is not waited for, nor is a head.
        refused = slow[0].recv(65_536)
        assert refused.startswith(b"HTTP/1.1 4"), refused[:200]
        assert slow[1].recv(65_536) == b""
    finally:
        for connection in slow:
            connection.close()
