"""A real `penstock sidecar` with credentials, real letters and jobs, and what asks it."""

import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg

from penstock.producers import Producer, Submission, WriteSubmissionBatch
from penstock.schemas.limits import Limits
from penstock.schemas.post_content import PostContent
from penstock.workers.dead_letters.store import insert_letters
from tests import forked
from tests.posts_kit import new_account, new_post
from tests.recovery.servers import free_port
from tests.system import Database, wait_for
from tests.workers.dead_letters.replay_kit import a_letter
from tests.workers.sidecar.sidecar_kit import credentials

LINES, TOKENS = credentials(vera="viewer", otto="operator", ada="admin")
BATCH = {"form_id": "poll", "batch_id": "b-1", "submissions": [{"answers": {"q": "an answer"}}]}
PROBLEM = "application/problem+json"
REASON = {"reason": "a test"}


@dataclass(frozen=True, slots=True)
class Served:
    """A running `penstock sidecar` with credentials."""

    url: str
    port: int
    log: Path

    def ask(self, method: str, path: str, by: str | None = "ada", **options: Any) -> httpx.Response:
        """An answer to somebody, None for nobody; it must come in time."""
        headers = dict(options.pop("headers", {}))
        if by is not None:
            headers["Authorization"] = f"Bearer {TOKENS[by]}"
        return httpx.request(method, f"{self.url}{path}", headers=headers, timeout=10, **options)

    def say(self, text: bytes, seconds: float = 10.0) -> bytes:
        """All that comes back for these bytes, as they are."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(text)
            parts = []
            # What is refused unread is reset by the kernel, after the answer.
            with suppress(ConnectionResetError):
                while part := connection.recv(65_536):
                    parts.append(part)
        return b"".join(parts)

    def faults(self) -> list[str]:
        """What the process logged of faults of its own."""
        return [line for line in self.log.read_text().splitlines() if "INTERNAL_ERROR" in line or "Traceback" in line]


@contextmanager
def serving(environment: dict[str, str], database: Database, folder: Path) -> Iterator[Served]:
    """The sidecar within the block; it must stop cleanly, and have met no fault of its own."""
    die(database)
    plan_posts(database)
    wait_in_queues(environment)
    port = free_port()
    log = folder / "log"
    variables = {"PENSTOCK_SIDECAR_LISTEN": f"127.0.0.1:{port}", "PENSTOCK_SIDECAR_CREDENTIALS": LINES}
    with log.open("wb") as file:
        process = forked.start(["sidecar"], environment | variables, stderr=file)
    found = Served(f"http://127.0.0.1:{port}", port, log)
    try:
        wait_for(lambda: _is_ready(found), "the sidecar to be ready")
        order = found.ask("POST", "/api/v1/replays", json={**REASON, "filter": {"code": "JOB_POISON"}})
        assert order.status_code == 201, order.text
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    assert code == 0
    assert found.faults() == []


def die(database: Database) -> None:
    """Dead letters of two groups, some that no JSON can hold, some with what breaks careless pages."""
    hostile = {"form_id": "poll", "submissions": [{"answers": {"q": "\ud800<script>\x07"}}]}
    letters = [a_letter(number, kind="submission_batch.write", payload=BATCH) for number in range(8)]
    letters += [a_letter(20 + number, code="JOB_POISON") for number in range(3)]
    letters += [a_letter(30, body=b"\xff{", message_bytes=2), a_letter(31, payload=hostile)]
    with psycopg.connect(database.admin_url) as connection:
        insert_letters(connection, letters)


def plan_posts(database: Database) -> None:
    """Posts in states that an operator decides of, of accounts with tokens; contents that break careless pages."""
    hostile = PostContent(text="\u202e<script>alert(1)</script>", options={"<b>": "</script>"})
    with psycopg.connect(database.url, autocommit=True) as connection:
        accounts = [new_account(connection, platform) for platform in ("instagram", "youtube")]
        for number, state in enumerate(("scheduled", "held", "unknown_outcome", "dead", "published", "cancelled")):
            post = new_post(connection, accounts[number % 2], datetime(2031, 1, 2, number, tzinfo=UTC), content=hostile)
            statement = "UPDATE penstock.scheduled_posts SET state = %s, published_at = now() WHERE post_id = %s"
            connection.execute(statement, (state, post))


def wait_in_queues(environment: dict[str, str]) -> None:
    with Producer.from_environment(environment) as producer:
        for number in range(5):
            rows = (Submission(answers={"q": "x"}),)
            batch = WriteSubmissionBatch(form_id="poll", batch_id=f"waits-{number}", submissions=rows)
            producer.enqueue(batch.encode(Limits()))


def _is_ready(served: Served) -> bool:
    try:
        return served.ask("GET", "/health/ready", by=None).status_code == 200
    except httpx.HTTPError:
        return False


def letters_of(served: Served) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = served.ask("GET", "/api/v1/dead-letters?state=any&limit=200").json()["items"]
    return found


def posts_of(served: Served) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = served.ask("GET", "/api/v1/posts?limit=200").json()["items"]
    return found


def operations(served: Served) -> list[tuple[str, str]]:
    """Method and address of each operation, with something in the place of each parameter."""
    paths = served.ask("GET", "/api/v1/openapi.json").json()["paths"]
    filled = {"dead_id": str(uuid4()), "job_id": str(uuid4()), "replay_id": str(uuid4()), "fingerprint": "0" * 16}
    filled |= {"post_id": str(uuid4())}
    filled |= {"queue": "submissions", "name": "platform:x", "key": "account:1"}
    return [
        (method.upper(), re.sub(r"\{(\w+)\}", lambda found: filled[found[1]], path))
        for path, methods in paths.items()
        for method in methods
    ]
