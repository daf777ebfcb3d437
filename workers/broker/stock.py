"""Jobs over dramatiq's stock Redis broker.

The seam: `Execution` knows jobs and outcomes; this module alone knows messages, and turns one into the other.
The stock broker's known faults (a retry that can't be enqueued is lost, far-future messages hide near ones, dead
letters last seven days) are told in docs/decisions/0003.
"""

from collections.abc import Callable
from datetime import timedelta

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage

from penstock.producers.queue.message import EnvelopeEncoder, WirePayload
from penstock.schemas.envelope import EnvelopeHeader
from penstock.schemas.errors import PenstockError
from penstock.workers.execution import Execution
from penstock.workers.job import Dead, Postpone, Retry
from penstock.workers.protection.retry import Verdict, WorthRetryingError, judge_failure
from penstock.workers.registry import Policy, Registration

#: A worker that has not been heard of for this long is taken for dead, and its jobs go to others.
HEARTBEAT_TIMEOUT = timedelta(seconds=5)
#: Of a million commands, how many look after dead workers' jobs: all, so that recovery is no matter of luck.
MAINTENANCE_CHANCE = 1_000_000
#: The note on a message of how many of its deliveries cost no attempt.
_SPARED = "spared"


class JobDeadError(PenstockError):
    """Raised to dramatiq when a job's outcome is dead."""


def build_broker(
    client: redis.Redis, namespace: str, execution: Execution, middleware: list[dramatiq.Middleware]
) -> dramatiq.Broker:
    """Make the broker of a worker process, with an actor for each registered kind.

    Sets dramatiq's encoder for the whole process, which is the worker's own.
    """
    dramatiq.set_encoder(EnvelopeEncoder())
    broker = RedisBroker(
        client=client,
        namespace=namespace,
        middleware=middleware,
        heartbeat_timeout=HEARTBEAT_TIMEOUT // timedelta(milliseconds=1),
        maintenance_chance=MAINTENANCE_CHANCE,
    )
    for registration in execution.registrations.values():
        _declare(broker, registration, execution)
    return broker


def _declare(broker: dramatiq.Broker, registration: Registration, execution: Execution) -> None:
    policy = registration.policy

    def perform(payload: WirePayload) -> None:
        _perform(execution, CurrentMessage.get_current_message(), payload)

    dramatiq.Actor(
        perform,
        broker=broker,
        actor_name=registration.payload.kind,
        queue_name=registration.payload.queue,
        priority=0,
        options={
            "retry_when": _retry_when(policy),
            "min_backoff": policy.backoff_base // timedelta(milliseconds=1),
            "max_backoff": policy.backoff_cap // timedelta(milliseconds=1),
        },
    )


def _perform(execution: Execution, message: "dramatiq.Message[None] | None", payload: WirePayload) -> None:
    if message is None:
        raise RuntimeError("CurrentMessage must be among the middleware")
    header = EnvelopeHeader(
        id=message.message_id,
        kind=message.actor_name,
        queue=message.queue_name,
        tenant=message.options["tenant"],
        enqueued_at=message.options["enqueued_at"],
        payload_version=message.options["payload_version"],
        encoding=message.options["encoding"],
    )
    attempt = _attempts_before(message) + 1
    (outcome,) = execution.run([execution.unpack(header, bytes(payload), attempt)])
    match outcome:
        case Dead(code=code, message=told):
            raise JobDeadError(code, told)
        case Retry(code=code, message=told):
            raise WorthRetryingError(code, told)
        case Postpone(delay=delay):
            raise dramatiq.errors.Retry(delay=delay // timedelta(milliseconds=1))


def _attempts_before(message: "dramatiq.Message[None]") -> int:
    """Attempts that the job itself has had; dramatiq's count has those too that were not its fault."""
    return int(message.options.get("retries") or 0) - int(message.options.get(_SPARED) or 0)


def _retry_when(policy: Policy) -> Callable[[int, BaseException], bool]:
    def retry_when(_retries: int, error: BaseException) -> bool:
        message = CurrentMessage.get_current_message()
        if message is None:
            raise RuntimeError("CurrentMessage must be among the middleware, before Retries")
        verdict = judge_failure(error).verdict
        if verdict is Verdict.WAIT or isinstance(error, dramatiq.errors.Retry):
            message.options[_SPARED] = int(message.options.get(_SPARED) or 0) + 1
            return True
        # dramatiq has counted this attempt already.
        return verdict is Verdict.RETRY and _attempts_before(message) <= policy.max_retries

    return retry_when
