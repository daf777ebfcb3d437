"""Sentry hears of each death once: by a fingerprint, with ids and our stack, and with nothing that people wrote.

Nothing is sent by itself: no integration is on, so that neither a retry nor a log line makes an event. Building and
sending are done by threads of their own, with bounded queues: where Sentry is slow, events are dropped, and no job
waits.
"""

import json
import logging
import queue
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

import sentry_sdk
from sentry_sdk.types import Event, Hint
from sentry_sdk.utils import BadDsn

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.trace import span_id_of, trace_id_of
from penstock.workers.telemetry.fingerprint import fingerprint, site_of
from penstock.workers.telemetry.scrubbing import OURS, scrub

_log = logging.getLogger(__name__)

#: Deaths, and then events, that may wait for a slow Sentry.
QUEUE_SIZE = 2_000
#: The rest between two events: each takes half a millisecond of the interpreter, which jobs need in a storm of deaths.
PACE = timedelta(milliseconds=4)
#: How long a stop waits for events to be sent.
FLUSH = timedelta(seconds=2)

_FRAME = re.compile(r"(?P<file>.+):(?P<line>\d+) in (?P<function>.+)\Z", re.DOTALL)
_TEXT_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Death:
    """A job that became a dead letter, as Redis has confirmed.

    Attributes:
        told: why, without contents.
        entry: the history's entry of the last attempt, JSON; `sentry` in it is the id of the event.
        trace: the job's `traceparent`.
    """

    job_id: str
    kind: str
    queue: str
    tenant: str
    attempts: int
    code: str
    told: str
    entry: str
    trace: str | None = None


@contextmanager
def telling_sentry(dsn: str | None, environment: str, process: str) -> Iterator[None]:
    """Tell Sentry of deaths within the block; nothing happens without a DSN. The end waits up to `FLUSH` for events.

    Args:
        dsn: the address, as Sentry shows it.
        environment: `production`, `staging`: whatever events are told apart by.
        process: what this process is.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where the DSN is none.
    """
    if not dsn:
        yield
        return
    _initialise(dsn, environment)
    # Of all threads: the tags of the current scope would be those of this one.
    sentry_sdk.get_global_scope().set_tag("process", process)
    teller = _Teller()
    teller.start()
    _current.append(teller)
    try:
        yield
    finally:
        _current.remove(teller)
        ends_at = time.monotonic() + FLUSH.total_seconds()
        teller.stop(ends_at)
        # Not `close`: that would wait for a hanging request beyond the time that it is given.
        sentry_sdk.flush(timeout=max(0.0, ends_at - time.monotonic()))
        sentry_sdk.get_global_scope().set_client(None)
        sentry_sdk.get_global_scope().remove_tag("process")


def is_telling() -> bool:
    """Whether Sentry is told of anything."""
    return bool(_current)


def new_event_id() -> str | None:
    """An id for the event of a death, 32 hexadecimal digits; None where nobody tells Sentry."""
    return uuid.uuid4().hex if _current else None


def tell_death(death: Death) -> None:
    """Tell Sentry of a death; returns at once, and drops it where too many wait."""
    for teller in _current:
        teller.tell(death)


def event_of(death: Death) -> Event:
    """The event of a death."""
    entry: Mapping[str, Any] = json.loads(death.entry) if death.entry else {}
    frames = [str(frame) for frame in entry.get("traceback") or ()]
    own = {place for place in entry.get("own") or () if isinstance(place, int)}
    error = str(entry.get("error") or "") or None
    told = death.told[:_TEXT_LIMIT]
    group = fingerprint(death.kind, death.code, error, told, site_of(frames, own))
    release = str(entry.get("release") or version("penstock"))
    event: Event = {
        "level": "error",
        "platform": "python",
        "timestamp": datetime.now(UTC),
        "logger": "penstock.dead_letters",
        "fingerprint": [group],
        "transaction": death.kind,
        "release": f"penstock@{release}",
        "tags": {
            "kind": death.kind,
            "queue": death.queue,
            "tenant": death.tenant,
            "code": death.code,
            "worker": str(entry.get("worker") or ""),
            "group": group,
        },
        "contexts": {
            "job": {"type": "job", "id": death.job_id, "attempt": entry.get("attempt") or death.attempts},
            "worker": {"type": "worker", **{name: entry[name] for name in ("host", "pid") if name in entry}},
        },
    }
    if entry.get("sentry"):
        event["event_id"] = str(entry["sentry"])
    if trace_id := trace_id_of(death.trace):
        event["contexts"]["trace"] = {"trace_id": trace_id, "span_id": span_id_of(death.trace)}
    if error is None:
        event["message"] = f"{death.code}: {told}"
    else:
        event["exception"] = {"values": [_exception(error, f"{death.code}: {told}", frames, own)]}
    return event


def _exception(error: str, told: str, frames: list[str], own: set[int]) -> dict[str, Any]:
    module, _, name = error.rpartition(".")
    shown = [_frame(frame, place in own) for place, frame in enumerate(frames)]
    return {
        "type": name,
        "module": module,
        "value": told,
        "mechanism": {"type": "penstock", "handled": True},
        "stacktrace": {"frames": shown} if shown else None,
    }


def _frame(frame: str, is_own: bool) -> dict[str, Any]:
    found = _FRAME.match(frame)
    if found is None:
        return {"function": "?", "filename": "?", "in_app": is_own}
    return {
        "filename": re.sub(r".*/(?:site|dist)-packages/", "", found["file"]),
        "abs_path": found["file"],
        "function": found["function"],
        "lineno": int(found["line"]),
        "in_app": is_own,
    }


class _Teller:
    """Makes events of deaths, in a thread of its own: Sentry's client spends a millisecond of each."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Death | None] = queue.Queue(QUEUE_SIZE)
        self._thread = threading.Thread(target=self._run, name="penstock-sentry", daemon=True)
        self._dropped = 0
        self._hurrying = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def tell(self, death: Death) -> None:
        try:
            self._waiting.put_nowait(death)
        except queue.Full:
            self._dropped += 1

    def stop(self, ends_at: float) -> None:
        """Make events of what waits, until `time.monotonic()` is `ends_at`."""
        self._hurrying.set()
        try:
            self._waiting.put(None, timeout=max(0.0, ends_at - time.monotonic()))
        except queue.Full:
            _log.warning("Sentry is not told of %d death(s): there is no time left", self._waiting.qsize())
        self._thread.join(max(0.0, ends_at - time.monotonic()))
        if self._dropped:
            _log.warning("Sentry was not told of %d death(s): too many came at once", self._dropped)

    def _run(self) -> None:
        while (death := self._waiting.get()) is not None:
            try:
                # A scope of its own: what others have bound says nothing of this job.
                with sentry_sdk.new_scope() as scope:
                    scope.clear_breadcrumbs()
                    scope.capture_event(event_of(death), hint={OURS: True})
            except Exception as error:  # noqa: BLE001, RUF100  no fault here may end the thread
                _log.warning("telling Sentry of a death failed: %s", type(error).__name__)
            self._hurrying.wait(PACE.total_seconds())


#: Who tells, while somebody does.
_current: list[_Teller] = []


def _initialise(dsn: str, environment: str) -> None:
    try:
        sentry_sdk.init(
            dsn=dsn,
            environment=environment,
            release=f"penstock@{version('penstock')}",
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=[],
            include_local_variables=False,
            include_source_context=False,
            max_request_body_size="never",
            auto_session_tracking=False,
            enable_logs=False,
            enable_metrics=False,
            enable_backpressure_handling=False,
            traces_sample_rate=None,
            max_breadcrumbs=20,
            spotlight=False,
            debug=False,
            transport_queue_size=QUEUE_SIZE,
            shutdown_timeout=FLUSH.total_seconds(),
            before_send=_before_send,
            before_send_transaction=lambda _event, _hint: None,
        )
    except (BadDsn, ValueError):
        raise InvalidInputError(Code.CONFIG_INVALID, "SENTRY_DSN is no DSN") from None


def _before_send(event: Event, hint: Hint) -> Event | None:
    return scrub(event, is_ours=bool(hint.get(OURS)))
