"""What `penstock health` looks at, with what a deployment must have besides: each process, and every migration."""

from collections.abc import Iterator
from contextlib import ExitStack

from penstock.workers.health.examination import Health
from penstock.workers.health.report import Check, Status
from penstock.workers.health.sources import Sources
from penstock.workers.health.vitals import ReadVitals
from penstock.workers.verify.result import Outcome, Result
from penstock.workers.verify.target import Target

_OUTCOMES = {
    Status.HEALTHY: Outcome.OK,
    Status.UNKNOWN: Outcome.SKIPPED,
    Status.WARNING: Outcome.WARN,
    Status.CRITICAL: Outcome.FAIL,
}
#: Of the time that a check has; the rest is for the report.
_SHARE = 0.9


def check_deployment(target: Target) -> Iterator[Result]:
    """Each check of health: servers, schema, queues, workers, schedulers, circuits, dead letters, outbox, posts, disk.

    A check that asks a server which does not answer is skipped; the server's own one fails.
    """
    settings = target.settings
    with ExitStack() as stack:
        client = stack.enter_context(target.redis())
        vitals = ReadVitals(settings.metrics_folder) if settings.metrics_folder.is_dir() else None
        health = Health(Sources(settings, target.database, client, vitals), limit=target.limit * _SHARE)
        stack.callback(health.close)
        checks = health.report().checks
    yield from (_as_result(check) for check in checks)


def _as_result(check: Check) -> Result:
    outcome = _OUTCOMES[check.status]
    missing, step = _missing(check), check.step and f"{check.step.rstrip('.')}."
    if missing is not None and outcome in {Outcome.OK, Outcome.WARN}:
        return Result(check.name, Outcome.FAIL, missing, step, seconds=check.seconds)
    remedy = check.remedy or (step if step and outcome in {Outcome.WARN, Outcome.FAIL} else None)
    told = check.sentence or check.told
    return Result(check.name, outcome, told, remedy, check.code, check.seconds)


def _missing(check: Check) -> str | None:
    """Which process a deployment lacks. Health only warns, since for a while everything waits and nothing is lost."""
    if check.name == "scheduler" and check.value is None:
        return "no scheduler is heard of"
    by_queue: dict[str, int] = check.facts.get("by_queue", {}) if check.name == "workers" else {}
    idle = [queue for queue, workers in by_queue.items() if not workers]
    return f"no worker serves {', '.join(idle)}" if idle else None
