"""What each log line says of its origin: the process, and the jobs that its thread is at work on."""

import os
import platform
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from functools import cache
from importlib.metadata import version
from typing import Any

#: The jobs of a delivery: what is known of each, by its id.
Jobs = dict[str, dict[str, Any]]
#: What gives them. Most deliveries log nothing, and then nobody asks.
BoundJobs = Callable[[], Jobs]

_NOTHING: Mapping[str, Any] = {}
_jobs: ContextVar[BoundJobs] = ContextVar("penstock_jobs", default=dict)
_process: dict[str, Any] = {}


def name_process(kind: str) -> None:
    """Say what this process is: `worker`, `scheduler`, `sidecar`."""
    _process.update(process=kind, host=platform.node(), pid=os.getpid(), release=version("penstock"))


def name_boot(boot: str) -> None:
    """Say by what id the queues know this life of the process."""
    _process["boot"] = boot


def process_facts() -> Mapping[str, Any]:
    """`process`, `host`, `pid`, `release` and `boot`, as far as they were said."""
    return _process


def bind_jobs(jobs: Jobs | BoundJobs) -> Token[BoundJobs]:
    """Have the lines of this thread say what is known of these jobs, until `unbind_jobs`.

    A function that gives them is called once, when something is first asked or told of them.
    """
    return _jobs.set(cache(jobs) if callable(jobs) else lambda: jobs)


def unbind_jobs(token: Token[BoundJobs]) -> None:
    """Have the lines of this thread say what they said before."""
    _jobs.reset(token)


def note_of_job(job_id: str, **facts: Any) -> None:
    """Add to what the lines of a job say from now on; nothing happens where this thread is not at work on it."""
    jobs = _jobs.get()()
    if job_id in jobs:
        jobs[job_id].update(facts)


def job_facts(job_id: str | None) -> Mapping[str, Any]:
    """What is known of the job that a line is about.

    That is the one of `job_id`, or else the only one of the delivery. Of several their kind, queue and number are told.
    """
    jobs = _jobs.get()()
    if not jobs:
        return _NOTHING
    if job_id is not None:
        return jobs.get(job_id, _NOTHING)
    first = next(iter(jobs.values()))
    if len(jobs) == 1:
        return first
    return {"kind": first["kind"], "queue": first["queue"], "jobs": len(jobs)}


def bound_facts() -> Mapping[str, Any]:
    """What was bound with `structlog.contextvars`, which whoever binds something has imported."""
    structlog = sys.modules.get("structlog.contextvars")
    return structlog.get_contextvars() if structlog is not None else _NOTHING
