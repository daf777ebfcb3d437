"""What the users of `benchmarks/load.py` do, for locust: small documents of real reports, and now and then a look.

Variables: LOAD_RATE (requests a second of one user; 0 for as many as are answered), LOAD_ACCEPTED (file: an id a line
of each row that was accepted), LOAD_TOLD (file: what was measured, as JSON). Whoever is told to come again does so
after `Retry-After`, with the same key.
"""

import json
import os
import random
import statistics
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, constant, constant_throughput, events, task

from penstock.schemas.limits import Limits
from penstock.workers.demo import FORM_ID, SUBMISSIONS_FILE
from penstock.workers.handover.files import open_submissions

RATE = float(os.environ["LOAD_RATE"])
#: Rows of a document: one in ten is larger.
ROWS = (1,) * 9 + (20,)

with open_submissions(SUBMISSIONS_FILE, Limits()) as _file:
    ANSWERS = [
        json.loads(row)["answers"] for row in _file.rows() if b'"damage":"C"' not in row and b'"damage":"B"' not in row
    ]


class Record:
    """What was seen of all users."""

    def __init__(self) -> None:
        self.accepted: list[str] = []
        self.seconds: list[float] = []
        self.answers: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def forget(self) -> None:
        """Forget the times of the ramp; what was accepted counts on."""
        self.seconds.clear()
        self.answers.clear()

    def note(self, status: int, seconds: float, fault: str) -> None:
        """An answer, or that there was none (status 0); `fault` says what is wrong with it, if anything is."""
        self.answers[str(status)] += 1
        if fault:
            self.errors[f"{status} {fault}"[:200]] += 1
        elif status < 300:
            self.seconds.append(seconds)

    def told(self) -> dict[str, Any]:
        """All of it; times in ms, of good answers."""
        cuts = statistics.quantiles(self.seconds, n=100) if len(self.seconds) > 1 else [0.0] * 99
        return {
            "answers": dict(self.answers),
            "errors": dict(self.errors),
            "accepted_rows": len(self.accepted),
            "mean_ms": 1_000 * statistics.fmean(self.seconds or [0.0]),
            "p50_ms": 1_000 * cuts[49],
            "p95_ms": 1_000 * cuts[94],
            "p99_ms": 1_000 * cuts[98],
            "max_ms": 1_000 * max(self.seconds, default=0.0),
        }


RECORD = Record()


@events.spawning_complete.add_listener
def _forget_the_ramp(**_: Any) -> None:
    RECORD.forget()


@events.user_error.add_listener
def _note_a_fault_of_ours(exception: Exception, **_: Any) -> None:
    RECORD.errors[repr(exception)] += 1


@events.quitting.add_listener
def _tell(**_: Any) -> None:
    Path(os.environ["LOAD_ACCEPTED"]).write_text("".join(f"{row_id}\n" for row_id in RECORD.accepted))
    Path(os.environ["LOAD_TOLD"]).write_text(json.dumps(RECORD.told()))


class Visitor(FastHttpUser):
    """Hands in reports; one request in ten asks what became of the last ones."""

    wait_time = constant_throughput(RATE) if RATE else constant(0)
    connection_timeout = 60.0
    network_timeout = 60.0
    batch_url: str | None = None

    @task
    def visit(self) -> None:
        """One request, or a few where it has to come again."""
        if self.batch_url is not None and random.random() < 0.1:  # noqa: S311  no secret
            self.request("GET", self.batch_url, "/v1/batches/{id}")
        else:
            self.submit()

    def submit(self) -> None:
        """Send a document until it is accepted."""
        now = datetime.now(UTC).isoformat()
        chosen = random.choices(ANSWERS, k=random.choice(ROWS))  # noqa: S311  no secret
        rows = [{"id": str(uuid.uuid4()), "submitted_at": now, "answers": answers} for answers in chosen]
        headers = {"Idempotency-Key": str(uuid.uuid4()), "Content-Type": "application/json"}
        body = json.dumps({"submissions": rows})
        while True:
            path = f"/v1/forms/{FORM_ID}/submissions"
            answer = self.request("POST", path, path, data=body, headers=headers)
            if answer.status_code != 503:
                break
            gevent.sleep(float(answer.headers.get("Retry-After") or 1))
        if answer.status_code == 202:
            RECORD.accepted += [str(row["id"]) for row in rows]
            self.batch_url = answer.headers["Location"]

    def request(self, method: str, path: str, name: str, **options: Any) -> Any:
        """Ask, and note what came of it: only 503 with Retry-After is no error besides what is good."""
        with self.client.request(method, path, name=name, catch_response=True, **options) as answer:
            refused = answer.status_code == 503 and "Retry-After" in (answer.headers or {})
            is_good = answer.status_code in {200, 202} or refused
            told = "" if is_good else repr(getattr(answer, "error", None) or answer.content)
            RECORD.note(answer.status_code, answer.request_meta["response_time"] / 1_000, told)
            answer.success() if is_good else answer.failure(told)
        return answer
