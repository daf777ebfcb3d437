"""Nothing that people wrote, and no key to anything, stands in what operators and their tools are shown unasked.

Jobs full of canaries succeed, are rejected, are retried and die, while all processes log everything. The canaries are
looked for in the logs, at Sentry, in metrics, in the audit and in the pages and answers about dead letters.
"""

import json
import signal
import subprocess
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from penstock.producers import Producer
from penstock.producers.queue.connection import connect
from penstock.producers.queue.enqueueing import Enqueuer, NewJob
from penstock.schemas.envelope import EnvelopeHeader, encode_envelope
from penstock.schemas.limits import Limits
from penstock.schemas.post_content import PostContent
from tests.posts_kit import ago, new_account, new_post, post_of, tokens_of
from tests.recovery.servers import free_port
from tests.sentry_server import SentryServer, sentry_server, wait_for_events
from tests.system import BIN, Database, Penstock, wait_for
from tests.workers.sidecar.sidecar_kit import credentials
from tests.workers.telemetry.failing_kit import FAILING, KIND, LEAKS, QUEUE, WAYS, enqueue_failing

FORM = {
    "id": "leaks",
    "title": "T",
    "questions": [
        {"id": "q", "text": "?", "type": "text"},
        {"id": "n", "text": "?", "type": "number"},
        {"id": "mail", "text": "?", "type": "email"},
    ],
}
REASON = {"reason": "looking for leaks"}


def canary(where: str) -> str:
    """A text that stands nowhere by chance, in the shape of a key."""
    return f"sk-canary{where}{uuid.uuid4().hex}"


CANARIES = {
    where: canary(where)
    for where in (
        *("answer", "rejected", "mail", "unknown", "file", "dead", "failing", "edited", "broken", "unreadable"),
        *("header", "cookie", "token", "body", "member", "searched"),
        *("post", "alt", "media", "option", "unwanted", "account", "refresh"),
    )
}


@dataclass(slots=True)
class Told:
    """A process with everything that it writes."""

    process: "subprocess.Popen[bytes]"
    lines: list[str] = field(default_factory=list)

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace"))

    @property
    def text(self) -> str:
        return "".join(self.lines)


@dataclass(slots=True)
class Deployment:
    """All processes of a deployment, and who may ask its sidecar."""

    processes: dict[str, Told]
    sentry: SentryServer
    address: str
    tokens: Mapping[str, str]

    def ask(self, path: str, name: str = "vera", body: Any = None, **headers: str) -> tuple[int, str]:
        """Status and text of an answer."""
        headers = {"Authorization": f"Bearer {self.tokens[name]}", "Accept": "*/*"} | headers
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        asked = urllib.request.Request(f"http://{self.address}{path}", data=data, headers=headers)
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def seen(self, path: str) -> str:
        """The text of an answer that must be one."""
        status, text = self.ask(path)
        assert status == 200, (path, status, text)
        return text


@pytest.fixture(scope="module")
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with connect(redis_url) as found:
        yield found


@pytest.fixture(scope="module")
def deployment(environment: dict[str, str]) -> Iterator[Deployment]:
    address = f"127.0.0.1:{free_port()}"
    lines, tokens = credentials(vera="viewer", otto="operator", ada="admin")
    with sentry_server() as sentry:
        env = environment | FAILING
        env |= {"SENTRY_DSN": sentry.dsn, "PENSTOCK_LOG_LEVEL": "debug", "PENSTOCK_SIDECAR_LISTEN": address}
        env |= {"PENSTOCK_SIDECAR_CREDENTIALS": lines}
        processes = {}
        for name in ("worker", "scheduler", "sidecar"):
            process = subprocess.Popen(
                [BIN / "penstock", name], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            processes[name] = Told(process)
            threading.Thread(target=processes[name].read, daemon=True).start()
        yield Deployment(processes, sentry, address, tokens)
        for told in processes.values():
            told.process.send_signal(signal.SIGTERM)
        for told in processes.values():
            assert told.process.wait(60) == 0, told.text[-2_000:]
            assert told.process.stdout is not None
            told.process.stdout.close()


def rows() -> Iterator[dict[str, Any]]:
    """Submissions: good ones, and ones that break a rule in ways of their own."""
    yield {"answers": {"q": CANARIES["answer"], "n": 1, "mail": f"{CANARIES['mail']}@example.org"}}
    yield {"answers": {"q": [CANARIES["rejected"]]}}
    yield {"answers": {"n": CANARIES["rejected"]}}
    yield {"answers": {"mail": CANARIES["rejected"]}}
    yield {"answers": {"what": CANARIES["unknown"]}}
    yield {"answers": {"q": {"name": CANARIES["file"]}}}
    yield {"id": "not-a-time", "submitted_at": CANARIES["rejected"], "answers": {"q": "x"}}


def enqueue_raw(client: "redis.Redis", namespace: str, kind: str, payload: bytes, header: bytes | None = None) -> None:
    """Enqueue what no producer of ours would."""
    made = EnvelopeHeader(id=uuid.uuid4(), kind=kind, queue=QUEUE, enqueued_at=datetime.now(UTC))
    message = encode_envelope(made, payload) if header is None else header + b"\n" + payload
    job = NewJob(made.id, kind, "default", message, made.id.hex, timedelta(hours=1))
    Enqueuer(client, namespace).enqueue(QUEUE, [job])


@pytest.fixture(scope="module")
def places(
    deployment: Deployment,
    client: "redis.Redis",
    redis_url: str,
    namespace: str,
    database: Database,
    penstock: Penstock,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """All that is shown, by where, when everything has happened."""
    folder = tmp_path_factory.mktemp("rows")
    _submit(penstock, folder)
    with Producer(redis_url, namespace=namespace) as producer:
        producer.submit("nowhere", [{"answers": {"q": CANARIES["dead"]}}], batch_id="lost")
    enqueue_failing(client, namespace, [*range(WAYS), -1, WAYS], secret=CANARIES["failing"])
    enqueue_raw(client, namespace, KIND, json.dumps({"way": CANARIES["broken"], "more": CANARIES["broken"]}).encode())
    enqueue_raw(client, namespace, KIND, f"{{{CANARIES['broken']}".encode())
    enqueue_raw(client, namespace, KIND, b"{}", json.dumps({"v": CANARIES["unreadable"]}).encode())
    enqueue_raw(client, namespace, KIND, CANARIES["unreadable"].encode(), CANARIES["unreadable"].encode())
    _plan_posts(database, redis_url, namespace)
    letters = WAYS + 1 + 4 + 1 + 1
    wait_for(lambda: database.value("SELECT count(*) FROM penstock.dead_letters") == letters, "all letters")
    wait_for_events(deployment.sentry, letters)
    _operate(deployment, database)
    return _look(deployment, client, namespace, database)


def _plan_posts(database: Database, redis_url: str, namespace: str) -> None:
    """Posts: one by a job, one whose job dies, and one of each state that an operator looks at."""
    said = {"text": CANARIES["post"], "options": {"spoiler_text": CANARIES["option"]}}
    media = [{"url": f"https://example.org/{CANARIES['media']}.jpg", "alt": CANARIES["alt"]}]
    content = PostContent.model_validate({**said, "media": media})
    with psycopg.connect(database.url, autocommit=True) as connection:
        tokens = tokens_of(CANARIES["account"], CANARIES["refresh"])
        account = new_account(connection, "mastodon", tokens=tokens)
        for state in ("held", "unknown_outcome", "dead", "published"):
            post = new_post(connection, account, ago(hours=-5), content=content)
            statement = "UPDATE penstock.scheduled_posts SET state = %s, published_at = now() WHERE post_id = %s"
            connection.execute(statement, (state, post))
        with Producer(redis_url, namespace=namespace, tenant="acme") as producer:
            producer.enqueue(post_of(account, ago(hours=-6), content=content).encode(Limits()))
            unwanted = PostContent(text=CANARIES["unwanted"])
            producer.enqueue(post_of(uuid.uuid4(), ago(hours=-6), content=unwanted).encode(Limits()))
        waiting = "SELECT count(*) FROM penstock.scheduled_posts WHERE state = 'scheduled'"
        wait_for(lambda: database.value(waiting) == 1, "the post that a job stores")


def _submit(penstock: Penstock, folder: Path) -> None:
    (folder / "form.json").write_text(json.dumps(FORM))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    assert penstock("forms", "apply", folder / "form.json").code == 0
    done = penstock("submit", "leaks", folder / "rows.jsonl", "--batch-id", "b", "--wait", "--json")
    assert CANARIES["answer"] not in done.out + done.err


def _operate(deployment: Deployment, database: Database) -> None:
    """What operators do, rightly and wrongly."""
    (of_failing,) = database.query(
        "SELECT dead_id FROM penstock.dead_letters WHERE kind = %s AND code = 'INTERNAL_ERROR' LIMIT 1", KIND
    )[0]
    path = f"/api/v1/dead-letters/{of_failing}"
    status, text = deployment.ask(f"{path}/reveal", "ada", REASON)
    assert status == 200
    # The control of all the others: here it has to be.
    assert CANARIES["failing"] in text
    batch = database.value("SELECT dead_id FROM penstock.dead_letters WHERE kind = 'submission_batch.write'")
    post = database.value("SELECT post_id FROM penstock.scheduled_posts WHERE state = 'held'")
    status, text = deployment.ask(f"/api/v1/posts/{post}/reveal", "ada", REASON)
    # And here.
    assert (status, CANARIES["post"] in text) == (200, True)
    moved = REASON | {"due_at": ago(hours=-7).isoformat()}
    assert deployment.ask(f"/api/v1/posts/{post}/reschedule", "otto", moved)[0] == 200
    path = f"/api/v1/dead-letters/{batch}"
    wrong = {"form_id": CANARIES["body"], "submissions": CANARIES["body"], CANARIES["member"]: CANARIES["body"]}
    assert deployment.ask(f"{path}/requeue", "ada", REASON | {"payload": wrong})[0] == 422
    edited = {"form_id": "leaks", "batch_id": "lost-0001", "submissions": [{"answers": {"q": CANARIES["edited"]}}]}
    status, text = deployment.ask(f"{path}/requeue", "ada", REASON | {"payload": edited})
    assert status == 200, text
    assert CANARIES["edited"] not in text
    wait_for(
        lambda: database.value("SELECT became FROM penstock.dead_letters WHERE dead_id = %s", batch) == "done",
        "the edited job",
    )
    for headers in (
        {"Authorization": f"Bearer {CANARIES['token']}"},
        {"X-Api-Key": CANARIES["header"], "traceparent": CANARIES["header"], "X-Request-Id": CANARIES["header"]},
        {"Cookie": f"session={CANARIES['cookie']}; penstock={CANARIES['cookie']}"},
    ):
        deployment.ask("/api/v1/dead-letters", **headers)
        deployment.ask("/dead-letters", **headers)
    deployment.ask(f"/search?q={CANARIES['searched']}")
    deployment.ask(f"/api/v1/dead-letters?text={CANARIES['searched']}")
    deployment.ask("/log-in", body={"name": "ada", "token": CANARIES["token"]})


def _look(deployment: Deployment, client: "redis.Redis", namespace: str, database: Database) -> dict[str, str]:
    found = {f"GET {path}": deployment.seen(path) for path in _paths(database)}
    found["the audit in Redis"] = _audit_in_redis(client, namespace)
    found["operator_actions"] = str(database.query("SELECT to_jsonb(a) FROM penstock.operator_actions a"))
    found["groups"] = str(database.query("SELECT to_jsonb(g) FROM penstock.dead_letter_groups g"))
    found["histories"] = str(database.query("SELECT message, error, history FROM penstock.dead_letters"))
    found["Sentry"] = b"".join(deployment.sentry.bodies).decode(errors="replace")
    return found | {f"the log of the {name}": told.text for name, told in deployment.processes.items()}


def _paths(database: Database) -> Iterator[str]:
    yield from ("/metrics", "/health", "/", "/queues", "/dead-letters", "/dead-letters/list?state=any", "/audit")
    yield from ("/api/v1/dead-letters?state=any", "/api/v1/dead-letters/groups", "/api/v1/audit")
    yield "/api/v1/dead-letters/export?state=any"
    yield from ("/posts", "/posts/list", "/accounts", "/api/v1/posts", "/api/v1/accounts")
    for (post_id,) in database.query("SELECT post_id FROM penstock.scheduled_posts"):
        yield from (f"/posts/{post_id}", f"/api/v1/posts/{post_id}", f"/search?q={post_id}")
    for (dead_id,) in database.query("SELECT dead_id FROM penstock.dead_letters"):
        yield from (f"/api/v1/dead-letters/{dead_id}", f"/dead-letters/{dead_id}", f"/dead-letters/{dead_id}/payload")
    for (fingerprint,) in database.query("SELECT fingerprint FROM penstock.dead_letter_groups"):
        yield from (f"/api/v1/dead-letters/groups/{fingerprint}", f"/dead-letters/groups/{fingerprint}")


def _audit_in_redis(client: "redis.Redis", namespace: str) -> str:
    texts = []
    for key in client.scan_iter(match=f"*{namespace}*audit*"):
        kind = client.type(key)
        assert kind in (b"list", b"stream"), kind
        texts.append(str(client.lrange(key, 0, -1) if kind == b"list" else client.xrange(key)))
    return "".join(texts)


def leaks_in(places: Mapping[str, str]) -> list[tuple[str, str]]:
    """Where which canaries stand."""
    return [(place, where) for place, text in places.items() for where, secret in CANARIES.items() if secret in text]


def test_no_canary_stands_anywhere(places: dict[str, str]) -> None:
    assert leaks_in(places) == []
    # What is looked into is what should be there, and not nothing.
    assert '"outcome": "done"' in places["the log of the worker"]
    assert '"code": "JOB_PAYLOAD_INVALID"' in places["the log of the worker"]
    assert "the scheduler is ready" in places["the log of the scheduler"]
    assert "the sidecar is ready" in places["the log of the sidecar"]
    assert "dead_letter.reveal" in places["operator_actions"]
    assert "post.reveal" in places["operator_actions"]
    assert "post.reschedule" in places["operator_actions"]
    assert 'penstock_posts{platform="mastodon",state="unknown_outcome"} 1.0' in places["GET /metrics"]
    assert "The press office" in places["GET /accounts"]
    assert "KeyError" in places["Sentry"]
    assert "ValueError" in places["histories"]
    assert "\\u2039text, " in places["GET /api/v1/dead-letters/export?state=any"]


def test_a_leak_would_be_found(
    places: dict[str, str], deployment: Deployment, client: "redis.Redis", namespace: str
) -> None:
    worker = deployment.processes["worker"]
    enqueue_failing(client, namespace, [LEAKS], secret=CANARIES["failing"])
    wait_for(lambda: "the secret is" in worker.text, "the line that leaks")
    assert leaks_in({"the log of the worker": worker.text}) == [("the log of the worker", "failing")]
