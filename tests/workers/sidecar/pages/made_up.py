"""A desk with made-up answers, and an app around it: pages are looked at without a server behind them."""
# ruff: noqa: ARG002, RUF001  it answers whatever it is asked, in the typography of pages

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid5

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from penstock.producers.queue.counts import Pause, QueueCounts
from penstock.producers.queue.job_view import Holder, JobView
from penstock.schemas.errors import Code, NotFoundError, PenstockError
from penstock.workers.dead_letters.letters import Became, Letter, LetterDetail, LetterState
from penstock.workers.protection.circuits_view import CircuitState, CircuitView, Forced
from penstock.workers.protection.limits_view import Block, LimitState, Override
from penstock.workers.protection.pauses import PausedKey
from penstock.workers.sidecar.access.operator import Operator, Role
from penstock.workers.sidecar.access.require import ForbiddenError
from penstock.workers.sidecar.pages.errors import error_page
from penstock.workers.sidecar.pages.harmless import pretty_json
from penstock.workers.sidecar.pages.needs import (
    Changed,
    Edited,
    Figures,
    Found,
    Health,
    Missing,
    Need,
    PageOf,
    QueueRow,
    Refused,
    ReplayOrder,
)
from penstock.workers.sidecar.pages.routes import router
from tests.workers.sidecar.pages.made_up_posts import MadeUpPosts

NOW = datetime.now(UTC)
_SPACE = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
FINGERPRINT = "9f2c41d07ab35e18"
CAUSES = (
    (
        "FORM_NOT_FOUND",
        "no form wildlife-survey-2026 is known to the tenant parks",
        "penstock.schemas.errors.NotFoundError",
        214,
    ),
    (
        "JOB_PAYLOAD_INVALID",
        "the payload does not fit: submissions.3.answers is missing",
        "penstock.schemas.errors.InvalidInputError",
        41,
    ),
    ("STORAGE_TIMEOUT", "a statement took longer than 30 s", "psycopg.errors.QueryCanceled", 12),
    ("JOB_POISON", "3 workers died while it ran; the last with signal 9", None, 1),
)


def ago(**parts: float) -> datetime:
    return NOW - timedelta(**parts)


def identity(text: str) -> UUID:
    return uuid5(_SPACE, text)


def letter(at: int = 0, cause: int = 0, **changes: Any) -> Letter:
    code, message, error, _ = CAUSES[cause % len(CAUSES)]
    made = Letter(
        dead_id=identity(f"letter {at} {cause}"),
        job_id=identity(f"job {at} {cause}"),
        queue="submissions",
        kind="submission_batch.write",
        tenant=("parks", "harbour", "default")[at % 3],
        code=code,
        message=message,
        error=error,
        attempts=4,
        died_at=ago(minutes=7 + at * 3.3),
        group=FINGERPRINT,
        state=LetterState.OPEN,
        became=None,
        form_id="wildlife-survey-2026" if at % 4 else "bird-count",
        platform=None,
        account=None,
        release="2026.11.3",
        message_bytes=18_204,
    )
    return replace(made, **changes)


PAYLOAD: dict[str, Any] = {
    "form_id": "wildlife-survey-2026",
    "batch_id": "parks-2026-11-21-0042",
    "submissions": [
        {
            "id": "0198c3f2-5f0e-7c5e-9d0e-6f5b8f0c4a11",
            "submitted_at": "2026-11-21T02:58:11Z",
            "answers": {"species": "‹text, 9 characters›", "count": "‹number›", "seen": "‹boolean›"},
        },
        {
            "id": "0198c3f2-5f0e-7c5e-9d0e-6f5b8f0c4a12",
            "submitted_at": "2026-11-21T02:59:40Z",
            "answers": {"species": "‹text, 12 characters›", "count": "‹number›", "seen": None},
        },
    ],
}
HISTORY: list[dict[str, Any]] = [
    {
        "at": (ago(minutes=9, seconds=14)).isoformat(),
        "outcome": "retry",
        "code": "FORM_NOT_FOUND",
        "message": CAUSES[0][1],
        "worker": "worker-7d4f:31:0a9c",
        "release": "2026.11.3",
        "seconds": 0.018,
    },
    {
        "at": (ago(minutes=8, seconds=50)).isoformat(),
        "outcome": "postponed",
        "blocked_by": "storage",
        "worker": "worker-7d4f:31:0a9c",
    },
    {
        "at": (ago(minutes=8, seconds=2)).isoformat(),
        "outcome": "retry",
        "code": "FORM_NOT_FOUND",
        "message": CAUSES[0][1],
        "worker": "worker-9b21:28:77e1",
        "release": "2026.11.3",
        "seconds": 0.021,
    },
    {
        "at": (ago(minutes=7)).isoformat(),
        "outcome": "dead",
        "code": "FORM_NOT_FOUND",
        "message": CAUSES[0][1],
        "worker": "worker-9b21:28:77e1",
        "release": "2026.11.3",
        "seconds": 0.019,
        "traceback": [
            "dramatiq/worker.py:533 in process_message",
            "penstock/workers/broker/performing.py:88 in perform",
            "penstock/workers/execution.py:97 in run",
            "penstock/workers/actors/submission_batch.py:52 in write",
            "penstock/workers/forms/cache.py:121 in compiled",
            "psycopg/cursor.py:97 in execute",
        ],
        "own": [1, 2, 3, 4],
    },
]


@dataclass
class MadeUpDesk(MadeUpPosts):
    """Answers from memory; what was done is noted in `acts`."""

    calm: bool = False
    away: Sequence[Missing] = ()
    refuse: PenstockError | None = None
    acts: list[tuple[Any, ...]] = field(default_factory=list)
    letters_shown: Sequence[Letter] | None = None
    payload_shown: Any = None
    status: str = "running"

    @property
    def missing(self) -> Sequence[Missing]:
        return self.away

    def health(self) -> Health:
        if self.refuse:
            raise self.refuse
        if self.calm:
            return Health("HEALTHY", "All well.", NOW)
        return Health(
            "WARNING",
            "268 jobs died in the last hour, most because the form wildlife-survey-2026 is not known. Nothing is lost.",
            NOW,
        )

    def needs(self) -> Sequence[Need]:
        if self.calm:
            return []
        return [
            Need(
                "critical",
                "214 batches of the form wildlife-survey-2026 died: the form is not known to the tenant parks.",
                "Apply the form, then replay the letters.",
                "See the group",
                f"/dead-letters/groups/{FINGERPRINT}",
            ),
            Need(
                "warning",
                "The queue publishing has been paused by mara for 3 h.",
                "Resume it when the reason has passed",
                "See the queue",
                "/queues/publishing",
            ),
            Need(
                "info",
                "A replay was stopped: 12 of 40 died again (30 %), over the limit of 20 %.",
                "",
                "See the replay",
                f"/replays/{identity('replay')}",
            ),
        ]

    def figures(self) -> Figures:
        wave = [
            max(0.0, 620 + 140 * math.sin(at / 7) + 60 * math.sin(at * 1.9) - (380 if 52 < at < 58 else 0))
            for at in range(72)
        ]
        old = [0.4 + 0.3 * abs(math.sin(at)) + (90 - at if 52 < at < 66 else 0) for at in range(72)]
        dead = [0.0 if self.calm or at < 54 else 4.0 + 30 * math.sin((at - 53) / 6) for at in range(72)]
        return Figures(wave, [1.2] * 72 if self.calm else old, dead, [None] * 72)

    def figures_of(self, queue: str) -> Figures:
        return self.figures()

    def queues(self) -> Sequence[QueueRow]:
        paused = None if self.calm else Pause("mara", "Instagram maintenance until 06:00", ago(hours=3))
        busy = QueueCounts(
            "submissions",
            12_480,
            3,
            16,
            0,
            0 if self.calm else 268,
            1_204_311,
            1_191_544,
            0,
            0,
            4,
            None,
            timedelta(seconds=41),
            None,
            1,
            {"parks": 11_902, "harbour": 571, "default": 7},
        )
        empty = QueueCounts(
            "posts", 0, 1_204, 0, 0, 0, 5_120, 3_916, 0, 0, 4, None, None, NOW + timedelta(minutes=12), 1
        )
        held = QueueCounts("publishing", 38, 0, 0, 214, 0, 9_001, 8_749, 0, 0, 2, paused, timedelta(hours=3), None, 1)
        return [
            QueueRow(busy, 612.0, timedelta(minutes=20, seconds=24)),
            QueueRow(empty, 3.5, None),
            QueueRow(held, 0.0, None),
        ]

    def weights(self, queue: str) -> Mapping[str, int]:
        return {"harbour": 5}

    def circuits(self) -> Sequence[CircuitView]:
        closed = CircuitView("storage", CircuitState.CLOSED, 100, 0, None, None, None, None)
        if self.calm:
            return [closed]
        return [
            CircuitView(
                "platform:instagram", CircuitState.OPEN, 0, 5, ago(minutes=12), NOW + timedelta(seconds=40), None, None
            ),
            CircuitView(
                "platform:youtube",
                CircuitState.OPEN,
                0,
                0,
                ago(hours=1),
                None,
                None,
                Forced(CircuitState.OPEN, "mara", "quota used up", ago(hours=1), NOW + timedelta(hours=5)),
            ),
            closed,
        ]

    def limits(self, after: str | None = None) -> PageOf:
        if self.calm:
            return PageOf([])
        return PageOf(
            [
                LimitState("account:17841400", 25, timedelta(hours=1), 25, NOW + timedelta(minutes=18), None, None),
                LimitState(
                    "account:20031",
                    50,
                    timedelta(hours=1),
                    3,
                    None,
                    Override("account:*", 50, timedelta(hours=1), "campaign week", "jon", ago(days=1), None),
                    None,
                ),
                LimitState(
                    "platform:youtube",
                    10_000,
                    timedelta(days=1),
                    10_000,
                    NOW + timedelta(hours=5),
                    None,
                    Block(NOW + timedelta(hours=5), "quotaExceeded"),
                ),
            ]
        )

    def pauses(self) -> Sequence[PausedKey]:
        return [] if self.calm else [PausedKey("tenant:harbour", Pause("jon", "they asked us to", ago(minutes=50)))]

    def groups(self, query: Mapping[str, Any], cursor: str | None) -> PageOf:
        return PageOf([] if self.calm else [self._group(at) for at in range(len(CAUSES))])

    def _group(self, at: int) -> Any:
        code, message, error, count = CAUSES[at]
        return SimpleNamespace(
            fingerprint=FINGERPRINT if at == 0 else f"{at:016x}",
            kind="submission_batch.write",
            code=code,
            error=error,
            sample_message=message,
            site="penstock/workers/forms/cache.py compiled",
            first_seen=ago(hours=9 - at),
            last_seen=ago(minutes=7 + at * 40),
            total=count + 20,
            open=count,
            requeued=18,
            healed=18,
            discarded=2,
            first_release="2026.11.2",
            last_release="2026.11.3",
            note="Parks publish the form at 09:00. – mara" if at == 0 else None,
            snoozed_until=ago(hours=-3) if at == 1 else None,
            snoozed_open=count if at == 1 else None,
            is_snoozed=lambda _now: at == 1,
            sentry_id="a3f0" * 8,
            trend=[0] * 38 + [3, 8, 21, 30, 41, 44, 38, 22, 9, 2],
            affected="form wildlife-survey-2026, 2 tenants",
        )

    def group(self, fingerprint: str) -> Any:
        if fingerprint != FINGERPRINT:
            raise NotFoundError(Code.JOB_NOT_FOUND, "there is no such group")
        return SimpleNamespace(
            group=self._group(0),
            trend=[0] * 38 + [3, 8, 21, 30, 41, 44, 38, 22, 9, 2],
            releases=["2026.11.2", "2026.11.3"],
            remedy="Apply the form first: penstock forms apply FILE.",
            runbook="/codes/FORM_NOT_FOUND",
            sentry=None,
            affected={
                "form": [("wildlife-survey-2026", 206, 226), ("bird-count", 8, 8)],
                "tenant": [("parks", 190, 204), ("harbour", 24, 30)],
            },
        )

    def annotate(self, fingerprint: str, by: str, reason: str, note: str) -> None:
        self.acts.append(("annotate", fingerprint, by, note))

    def snooze(self, fingerprint: str, by: str, reason: str, until: datetime | None) -> None:
        self.acts.append(("snooze", fingerprint, by, reason, until))

    def letters(self, query: Mapping[str, Any], cursor: str | None) -> PageOf:
        if self.letters_shown is not None:
            return PageOf(self.letters_shown)
        if query.get("state", "open") not in {"open", "any"}:
            return PageOf([])
        return PageOf([letter(at, at if "group" not in query else 0) for at in range(14)], "next")

    def count(self, query: Mapping[str, Any]) -> Any:
        return SimpleNamespace(n=268, exact=True)

    def letter(self, dead_id: UUID) -> Any:
        shown = (self.letters_shown or [letter(0)])[0]
        if dead_id != shown.dead_id:
            raise NotFoundError(Code.JOB_NOT_FOUND, f"there is no dead letter {dead_id}")
        detail = LetterDetail(
            letter=shown,
            recoveries=1,
            crashes=0,
            postpones=1,
            payload_version=1,
            idempotency_key="parks-2026-11-21-0042",
            enqueued_at=ago(minutes=9, seconds=20),
            archived_at=ago(minutes=6),
            worker="worker-9b21:28:77e1",
            trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
            history=HISTORY,
            resolved_at=None,
            resolved_by=None,
            resolution_reason=None,
            replay_id=None,
            edited=None,
            sentry_id="a3f0" * 8,
            readable=True,
            other_deaths=[letter(60, 0, state=LetterState.REQUEUED, became=Became.DIED)],
        )
        facts = {name: getattr(detail, name) for name in detail.__slots__}
        return SimpleNamespace(**facts, remedy=detail.remedy, runbook="/codes/FORM_NOT_FOUND", sentry=None)

    def payload(self, dead_id: UUID) -> Any:
        return self.payload_shown or PAYLOAD

    def redacted(self, dead_id: UUID) -> Any:
        return self.payload_shown or PAYLOAD

    def reveal(self, dead_id: UUID, by: str, reason: str) -> Any:
        self.acts.append(("reveal", dead_id, by, reason))
        return self.payload_shown or PAYLOAD

    def editable(self, dead_id: UUID, by: str, reason: str) -> str:
        return pretty_json(self.reveal(dead_id, by, reason))

    def propose(self, dead_id: UUID, text: str) -> Edited | Refused:
        payload = json.loads(text)
        if "form_id" not in payload:
            return Refused([{"path": "form_id", "message": "it is required"}])
        return Edited([Changed("form_id", '"wildlife-survey-2026"', f'"{payload["form_id"]}"')])

    def requeue(self, dead_id: UUID, by: str, reason: str, edited: Edited | None = None) -> bool:
        self.acts.append(("requeue", dead_id, by, reason, edited is not None))
        return True

    def discard(self, ids: Sequence[UUID], by: str, reason: str) -> int:
        self.acts.append(("discard", list(ids), by, reason))
        return len(ids)

    def dry_run(self, order: ReplayOrder) -> Any:
        held = [
            SimpleNamespace(
                gate="paused:tenant:harbour", reason="paused by jon: they asked us to", until=None, letters=24
            )
        ]
        return SimpleNamespace(
            count=214,
            exact=True,
            by_code={"FORM_NOT_FOUND": 214},
            by_kind={"submission_batch.write": 214},
            oldest=ago(hours=9),
            sample=[letter(at) for at in range(5)],
            held=held,
            gates_known=True,
            upcasts=[],
            refused={"its message can't be read": 1},
        )

    def start(self, order: ReplayOrder) -> Any:
        self.acts.append(("start", order))
        return self.replay(identity("replay"))

    def replay(self, replay_id: UUID) -> Any:
        told = {"running": "52 of 214 are done; 2 died again.", "done": "All 214 are done; 2 died again (1 %)."}
        return SimpleNamespace(
            replay_id=replay_id,
            created_at=ago(minutes=2),
            created_by="mara",
            reason="the form is there now",
            selection={"group": FINGERPRINT, "state": "open"},
            status=self.status,
            canary=5,
            pace_per_second=50.0,
            stop_share=0.2,
            total=214,
            sent=64,
            done=52,
            died=2,
            waiting=10 if self.status == "running" else 0,
            skipped=0,
            started_at=ago(minutes=2),
            ended_at=None,
            told=told.get(self.status, ""),
        )

    def replays(self, cursor: str | None) -> PageOf:
        return PageOf([] if self.calm else [self.replay(identity("replay"))])

    def change_replay(self, replay_id: UUID, verb: str, by: str, reason: str) -> None:
        self.acts.append((verb, replay_id, by, reason))

    def pause(self, target: str, by: str, reason: str) -> None:
        self.acts.append(("pause", target, by, reason))

    def resume(self, target: str, by: str, reason: str) -> None:
        self.acts.append(("resume", target, by, reason))

    def force_circuit(self, name: str, state: str, by: str, reason: str, lasting: timedelta | None) -> None:
        self.acts.append(("circuit", name, state, by, reason, lasting))

    def set_limit(
        self, key: str, limit: int, window: timedelta, lasting: timedelta | None, by: str, reason: str
    ) -> None:
        self.acts.append(("limit", key, limit, window, lasting, by, reason))

    def clear_limit(self, key: str, by: str, reason: str) -> None:
        self.acts.append(("clear", key, by, reason))

    def audit(self, query: Mapping[str, str], cursor: str | None) -> PageOf:
        return PageOf(
            []
            if self.calm
            else [
                SimpleNamespace(
                    at=ago(minutes=2),
                    actor="mara",
                    action="replay.start",
                    target=str(identity("replay")),
                    reason="the form is there now",
                    details={"letters": 214, "canary": 5},
                ),
                SimpleNamespace(
                    at=ago(minutes=50),
                    actor="jon",
                    action="queue.pause",
                    target="tenant:harbour",
                    reason="they asked us to",
                    details={},
                ),
            ]
        )

    def search(self, text: str) -> Found:
        if text != str(identity("job")):
            return Found()
        return Found(
            job=JobView(
                job_id=identity("job"),
                queue="publishing",
                kind="scheduled_post.publish",
                tenant="harbour",
                state="parked",
                since=ago(minutes=49),
                enqueued_at=ago(minutes=49, seconds=30),
                eligible_at=None,
                blocked_by="paused:tenant:harbour",
                place=12,
                ahead=None,
                worker=Holder("b", "h", "1", "r", None, None),
                attempts=1,
                recoveries=0,
                crashes=0,
                cause=None,
                postpones=2,
                postponed_at=ago(minutes=49),
                parked_at=ago(minutes=49),
                died_at=None,
                code="PLATFORM_API_TIMEOUT",
                message="graph.facebook.com did not answer in 10 s",
                history=[
                    {"at": ago(minutes=49, seconds=20).isoformat(), "outcome": "retry", "code": "PLATFORM_API_TIMEOUT"},
                    {"at": ago(minutes=49).isoformat(), "outcome": "parked", "blocked_by": "paused:tenant:harbour"},
                ],
            )
        )


def make_app(desk: MadeUpDesk, role: Role = Role.ADMIN) -> FastAPI:
    """The pages at this desk, for an operator of that role."""
    app = FastAPI()
    app.state.desk_of = lambda _request: desk
    app.include_router(router)

    async def ours(request: Request, error: Exception) -> HTMLResponse:
        assert isinstance(error, PenstockError)
        statuses = ((ForbiddenError, 403), (NotFoundError, 404))
        status = next((code for kind, code in statuses if isinstance(error, kind)), 422)
        return error_page(request, error, 503 if error.code in {Code.STORAGE_UNAVAILABLE} else status)

    app.add_exception_handler(PenstockError, ours)  # type: ignore[arg-type]

    @app.middleware("http")
    async def known(request: Request, call_next: Any) -> Any:
        request.state.operator = Operator("mara", role, "a session")
        request.state.csrf = "a-token"
        answer = await call_next(request)
        answer.headers["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self';"
            " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
        return answer

    return app


class PageClient:
    """Asks an app in this process, as somebody's browser would; redirects are not followed."""

    def __init__(self, desk: MadeUpDesk, role: Role = Role.ADMIN) -> None:
        self._app = make_app(desk, role)

    def get(self, path: str, **further: Any) -> httpx.Response:
        return asyncio.run(self._send("GET", path, **further))

    def post(self, path: str, **further: Any) -> httpx.Response:
        return asyncio.run(self._send("POST", path, **further))

    async def _send(self, method: str, path: str, **further: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            return await client.request(method, path, **further)
