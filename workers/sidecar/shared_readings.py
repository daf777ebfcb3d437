"""What a sidecar reads of PostgreSQL and Redis for `/metrics`: samples by the name of the metric."""

import re
from collections.abc import Sequence

import psycopg
import redis

from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.tallies import Tallies
from penstock.schemas.names import Queue
from penstock.workers.audit.chain import chain_state
from penstock.workers.database.failures import storage_errors
from penstock.workers.database.outbox_backlog import count_backlog
from penstock.workers.protection.circuits_control import CircuitControl
from penstock.workers.protection.circuits_view import CircuitState
from penstock.workers.protection.limits_view import LimitState, LimitView
from penstock.workers.sidecar.autoscale import Autoscale

#: Values of labels, in the order in which the metric declares its labels, and the number.
Samples = dict[str, list[tuple[tuple[str, ...], float]]]

#: Labels that others name are cut off here; what is beyond is told together, as `other`.
LABELS_LIMIT = 200
OTHER = "other"
#: Keys of limits that are looked at; they are read in pages of this size.
_LIMIT_PAGE = 500
_LIMIT_KEYS = 5_000

_LEVELS = {CircuitState.CLOSED: 0.0, CircuitState.HALF_OPEN: 1.0, CircuitState.OPEN: 2.0}
_FAMILY = re.compile(r"[a-z][a-z_]{0,30}")
#: Keys that may be a label: these names are few. Accounts' and tenants' are ids, and a pattern has no units of its own.
_FEW = re.compile(r"(platform|kind):[^/:*]+(/(platform|kind):[^/:*]+)*")

_DEAD = """
SELECT kind, code, sum(open)::bigint FROM penstock.dead_letter_groups
 WHERE open > 0 GROUP BY kind, code ORDER BY 3 DESC, 1, 2
"""

#: A kind goes to one queue, so the queue of any of its letters is that of all.
_QUEUES = """
SELECT kind, letter.queue
  FROM unnest(%s::text[]) AS kind,
       LATERAL (SELECT queue FROM penstock.dead_letters AS one
                 WHERE one.state = 'open' AND one.kind = kind.kind
                 ORDER BY died_at DESC, dead_id DESC LIMIT 1) AS letter
"""

#: What Redis tells of itself: our name, its name.
_REDIS_FACTS = {
    "penstock_redis_memory_used_bytes": "used_memory",
    "penstock_redis_memory_limit_bytes": "maxmemory",
    "penstock_redis_memory_fragmentation_ratio": "mem_fragmentation_ratio",
    "penstock_redis_connected_clients": "connected_clients",
    "penstock_redis_evicted_keys_total": "evicted_keys",
    "penstock_redis_rejected_connections_total": "rejected_connections",
    "penstock_redis_commands_total": "total_commands_processed",
}


def read_redis_itself(client: redis.Redis) -> Samples:
    """Memory, evictions and clients of Redis.

    Raises:
        PenstockError: of the family `QUEUE_`.
    """
    with redis_errors("asking for its state"):
        facts = client.info()
    found = {name: facts.get(fact) for name, fact in _REDIS_FACTS.items()}
    return {name: [((), float(value))] for name, value in found.items() if isinstance(value, int | float)}


def read_queues(inspector: QueueInspector, tallies: Tallies) -> Samples:
    """Depth, age, workers and what was taken in, by queue.

    Raises:
        PenstockError: of the family `QUEUE_`.
    """
    samples: Samples = {}
    unaccounted = 0
    for queue in Queue:
        counts = inspector.counts(queue)
        age = counts.oldest_ready_age
        for state in ("ready", "scheduled", "leased", "parked", "dead"):
            _add(samples, "penstock_queue_depth", (queue, state), getattr(counts, state))
        _add(samples, "penstock_dead_letters_unarchived", (queue,), counts.unarchived)
        _add(samples, "penstock_queue_oldest_age_seconds", (queue,), age.total_seconds() if age else 0)
        _add(samples, "penstock_queue_paused", (queue,), counts.paused is not None)
        _add(samples, "penstock_queue_workers", (queue,), counts.workers)
        for kind, count in tallies.enqueued(queue).items():
            _add(samples, "penstock_jobs_enqueued_total", (queue, kind), count)
        unaccounted += abs(counts.unaccounted)
    _add(samples, "penstock_jobs_unaccounted", (), unaccounted)
    return samples


def read_backlog(autoscale: Autoscale) -> Samples:
    """Seconds of work that could run now, by queue.

    Raises:
        PenstockError: of the family `QUEUE_`.
    """
    backlogs = autoscale.read()
    told = [((queue,), backlog.runnable_backlog_seconds) for queue, backlog in backlogs.items()]
    return {"penstock_queue_runnable_backlog_seconds": [*told]}


def read_gates(circuits: CircuitControl, limits: LimitView) -> Samples:
    """Circuits by name, limits by what they limit: their keys hold ids.

    Raises:
        PenstockError: of the family `QUEUE_`.
    """
    samples: Samples = {}
    views = circuits.states()
    for view in views[:LABELS_LIMIT]:
        _add(samples, "penstock_circuit_state", (view.name,), _LEVELS[view.state])
    if beyond := views[LABELS_LIMIT:]:
        _add(samples, "penstock_circuit_state", (OTHER,), max(_LEVELS[view.state] for view in beyond))
    families: dict[str, list[LimitState]] = {}
    for state in _limit_states(limits):
        families.setdefault(limit_family(state.key), []).append(state)
    for family, states in sorted(families.items())[:LABELS_LIMIT]:
        _add(samples, "penstock_limits", (family,), len(states))
        _add(samples, "penstock_limits_exhausted", (family,), sum(state.remaining == 0 for state in states))
        _add(samples, "penstock_limits_blocked", (family,), sum(state.blocked is not None for state in states))
        shares = [state.used / state.limit for state in states if state.limit]
        _add(samples, "penstock_limit_largest_used_ratio", (family,), max(shares, default=0.0))
    _add_overridden(samples, limits.overridden())
    return samples


def _add_overridden(samples: Samples, states: Sequence[LimitState]) -> None:
    _add(samples, "penstock_limits_overridden", (), len(states))
    named = [state for state in states if _FEW.fullmatch(state.key) and state.remaining is not None]
    for state in named[:LABELS_LIMIT]:
        left = 0 if state.blocked or state.remaining is None else state.remaining
        _add(samples, "penstock_limit_remaining", (state.key,), left)


def limit_family(key: str) -> str:
    """What a key limits, without names and ids: `account:123` is `account`, `tenant:a/kind:b` is `tenant/kind`."""
    parts = [part.partition(":")[0] for part in key.split("/")]
    if len(parts) > 3 or not all(_FAMILY.fullmatch(part) for part in parts):
        return OTHER
    # A part that is no name of a family, such as one of `account:a/b`, is somebody's.
    with_names = [part for part in key.split("/") if ":" in part]
    return "/".join(parts) if len(with_names) == len(parts) else parts[0]


def read_postgresql(connection: psycopg.Connection) -> Samples:
    """Dead letters, the outbox and the audit's chain.

    Raises:
        PenstockError: of the family `STORAGE_`.
    """
    samples: Samples = {}
    with storage_errors():
        rows = connection.execute(_DEAD).fetchall()
        kinds = sorted({kind for kind, _, _ in rows[:LABELS_LIMIT]})
        queues: dict[str, str] = dict(connection.execute(_QUEUES, (kinds,)).fetchall())
        backlog = count_backlog(connection)
        chain = chain_state(connection)
    for kind, code, count in rows[:LABELS_LIMIT]:
        _add(samples, "penstock_dead_letters", (queues.get(kind, ""), kind, code), count)
    if beyond := rows[LABELS_LIMIT:]:
        _add(samples, "penstock_dead_letters", ("", OTHER, OTHER), sum(count for _, _, count in beyond))
    _add(samples, "penstock_outbox_backlog", (), backlog.waiting)
    _add(samples, "penstock_outbox_oldest_age_seconds", (), backlog.oldest.total_seconds())
    _add(samples, "penstock_audit_seal", (), 0 if chain.newest is None else chain.newest.number)
    _add(samples, "penstock_audit_unsealed", (), chain.waiting)
    _add(samples, "penstock_audit_unsealed_age_seconds", (), chain.oldest.total_seconds())
    return samples


def _limit_states(limits: LimitView) -> Sequence[LimitState]:
    states, after = limits.page(_LIMIT_PAGE)
    while after is not None and len(states) < _LIMIT_KEYS:
        more, after = limits.page(_LIMIT_PAGE, after)
        states += more
    return states


def _add(samples: Samples, name: str, labels: tuple[str, ...], value: float) -> None:
    samples.setdefault(name, []).append((tuple(str(label) for label in labels), float(value)))
