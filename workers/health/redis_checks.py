"""What is asked of Redis: itself, the queues and their workers, the schedulers, the circuits."""

import time
from collections.abc import Iterator, Sequence

from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.counts import QueueCounts
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.safety import Weight, check_redis
from penstock.schemas.names import Queue
from penstock.workers.health.report import Check, Status
from penstock.workers.health.scheduler_signs import lateness, read_signs
from penstock.workers.health.sources import Sources
from penstock.workers.health.words import spoken
from penstock.workers.protection.circuits_control import CircuitControl
from penstock.workers.protection.circuits_view import CircuitState


def look_at_redis(sources: Sources) -> Iterator[Check]:
    """How it is set up, how full it is, and how fast it answers.

    Raises:
        PenstockError: of the `QUEUE_` family.
    """
    started = time.perf_counter()
    with redis_errors("asking for its state"):
        facts = sources.client.info()
    took = time.perf_counter() - started
    hazards = [hazard for hazard in check_redis(sources.client) if hazard.weight is not Weight.NOTE]
    limit, used = int(facts.get("maxmemory", 0)), int(facts.get("used_memory", 0))
    share = used / limit if limit else None
    wrong = []
    if took * 1_000 > sources.settings.health_query_ms:
        wrong.append(f"it took {took:.1f} s to answer")
    if share is not None and share > sources.settings.health_redis_memory_share:
        wrong.append(f"{share:.0%} of its memory is used")
    wrong += [hazard.told for hazard in hazards if hazard.name != "memory"]
    unusable = any(hazard.weight is Weight.UNUSABLE for hazard in hazards)
    yield Check(
        "redis",
        Status.CRITICAL if unusable else Status.WARNING if wrong else Status.HEALTHY,
        "; ".join([_named(facts), *wrong]),
        seconds=took,
        value=share,
        threshold=sources.settings.health_redis_memory_share,
        unit="of maxmemory",
        sentence=f"Redis is not as it should be: {wrong[0]}" if wrong else None,
        step=hazards[0].remedy if hazards else "See what fills it or keeps it busy",
    )


def _named(facts: "dict[str, object]") -> str:
    policy = facts.get("maxmemory_policy", "unknown")
    persistence = "with an append-only file" if facts.get("aof_enabled") else "WITHOUT an append-only file"
    # Valkey tells a Redis version too, for clients that look for one.
    name = f"Valkey {facts['valkey_version']}" if "valkey_version" in facts else f"Redis {facts.get('redis_version')}"
    return f"{name}, {persistence}, maxmemory-policy {policy}"


def look_at_queues(sources: Sources) -> Iterator[Check]:
    """Where the jobs are, how long the oldest waits, who works, and whether each job is accounted for.

    Raises:
        PenstockError: of the `QUEUE_` family.
    """
    started = time.perf_counter()
    inspector = QueueInspector(sources.client, sources.settings.namespace)
    counted = [inspector.counts(queue) for queue in Queue]
    took = time.perf_counter() - started
    yield _queues(sources, counted, took)
    yield _workers(sources, counted)
    yield _accounts(counted)


def _age(counts: QueueCounts) -> float:
    return counts.oldest_ready_age.total_seconds() if counts.oldest_ready_age is not None else 0.0


def _queues(sources: Sources, counted: Sequence[QueueCounts], took: float) -> Check:
    limit = sources.settings.health_oldest_seconds
    # What an operator has paused waits because somebody wants it to.
    running = [counts for counts in counted if counts.paused is None]
    oldest = max(running, key=_age, default=None)
    age = _age(oldest) if oldest is not None else 0.0
    late = age > limit
    paused = [f"{counts.queue} is paused" for counts in counted if counts.paused is not None]
    told = "; ".join(
        f"{counts.queue}: {counts.ready:,} ready, {counts.leased:,} leased, {counts.scheduled:,} scheduled,"
        f" {counts.parked:,} parked, {counts.dead:,} dead"
        for counts in counted
    )
    return Check(
        "queues",
        Status.WARNING if late else Status.HEALTHY,
        "; ".join([told, *paused]),
        seconds=took,
        value=age,
        threshold=limit,
        unit="s",
        sentence=f"A job of the queue {oldest.queue} waits for {spoken(age)}" if late and oldest is not None else None,
        step="See what holds the queue up",
        path=f"/queues/{oldest.queue}" if late and oldest is not None else "/queues",
        facts={"waiting": sum(counts.waiting for counts in counted), "paused": paused},
    )


def _workers(sources: Sources, counted: Sequence[QueueCounts]) -> Check:
    heard = sum(counts.workers for counts in counted)
    idle = [counts for counts in counted if counts.ready and not counts.workers and counts.paused is None]
    stuck = [counts for counts in idle if _age(counts) > sources.settings.health_oldest_seconds]
    told = "; ".join(f"{counts.queue}: {counts.workers} worker(s)" for counts in counted)
    sentence = None
    if idle:
        names = ", ".join(counts.queue for counts in idle)
        ready = sum(counts.ready for counts in idle)
        sentence = f"{ready:,} job{' is' if ready == 1 else 's are'} ready and no worker serves {names}"
    elif not heard:
        sentence = "No worker is heard of"
    return Check(
        "workers",
        Status.CRITICAL if stuck else Status.WARNING if sentence else Status.HEALTHY,
        told,
        value=heard,
        unit="workers",
        sentence=sentence,
        step="Start workers: penstock worker",
        path="/queues",
        facts={"by_queue": {str(counts.queue): counts.workers for counts in counted}},
    )


def _accounts(counted: Sequence[QueueCounts]) -> Check:
    missing = sum(abs(counts.unaccounted) for counts in counted)
    return Check(
        "jobs_unaccounted",
        Status.CRITICAL if missing else Status.HEALTHY,
        f"{missing:,} job(s) are in no place, or in two" if missing else "each job is in one place",
        value=missing,
        threshold=0,
        unit="jobs",
        sentence=f"{missing:,} job(s) can't be accounted for" if missing else None,
        step="Run penstock reconcile, which names them",
        path="/queues",
    )


def look_at_schedulers(sources: Sources) -> Iterator[Check]:
    """Whether a scheduler is heard of, and whether its loops are late. Where several run, the best of each loop counts.

    Raises:
        PenstockError: of the `QUEUE_` family.
    """
    started = time.perf_counter()
    signs = read_signs(sources.client, sources.settings.namespace)
    took = time.perf_counter() - started
    limit = sources.settings.health_scheduler_lag_seconds
    if not signs:
        yield _scheduler(
            Status.WARNING, "no scheduler has been heard of", "No scheduler is heard of", took, None, limit
        )
        return
    late = lateness(signs)
    # A scheduler may have no loops to tell of yet; then its own age has to do.
    name, most = max(late.items(), key=lambda item: item[1], default=("signs", signs[0].age.total_seconds()))
    is_late = most > limit
    yield _scheduler(
        Status.WARNING if is_late else Status.HEALTHY,
        f"{len(signs)} heard of in the last hour; the loop {name} is {most:,.1f} s late",
        f"The scheduler's loop {name} is {spoken(most)} late" if is_late else None,
        took,
        most,
        limit,
    )


def _scheduler(status: Status, told: str, sentence: str | None, took: float, late: float | None, limit: float) -> Check:
    return Check(
        "scheduler",
        status,
        told,
        seconds=took,
        value=late,
        threshold=limit,
        unit="s",
        sentence=sentence,
        step="See the scheduler's log, or start one: penstock scheduler",
    )


def look_at_circuits(sources: Sources) -> Iterator[Check]:
    """Which circuits let no call in.

    Raises:
        PenstockError: of the families `QUEUE_` and `CIRCUIT_`.
    """
    started = time.perf_counter()
    states = CircuitControl(sources.client, sources.settings.namespace).states()
    found = [circuit for circuit in states if circuit.state is CircuitState.OPEN]
    names = ", ".join(circuit.name for circuit in found[:5])
    forced = [circuit.name for circuit in found if circuit.forced is not None]
    yield Check(
        "circuits",
        Status.WARNING if found else Status.HEALTHY,
        f"{len(found)} of {len(states)} open{f': {names}' if names else ''}",
        seconds=time.perf_counter() - started,
        value=len(found),
        threshold=0,
        unit="open",
        sentence=f"The circuit {names} is open{', by an operator' if forced else ''}" if found else None,
        step="See why, and what waits behind it",
        path="/circuits",
    )
