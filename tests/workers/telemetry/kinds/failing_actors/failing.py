"""Fails in seven ways."""

import json
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta

from failing import Failing

from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.workers.job import Dead, Done, Job, Outcome, Retry
from penstock.workers.registry import Actor, Policy, Registration, Resources


def _looks_it_up(secret: str) -> Outcome:
    return {}[secret]


def _reads_a_number(secret: str) -> Outcome:
    return Done(counts={"n": int(secret)})


def _meets_a_full_disk(secret: str) -> Outcome:
    raise OSError(28, "no space left", secret)


def _fails_on_its_way(secret: str) -> Outcome:
    try:
        return _looks_it_up(secret)
    except KeyError as error:
        raise RuntimeError(f"no {secret}") from error


def _reads_json(secret: str) -> Outcome:
    return Done(counts=json.loads(f"{{{secret}"))


def _is_refused(secret: str) -> Outcome:
    raise InvalidInputError(Code.JOB_PAYLOAD_INVALID, f"a text of {len(secret)} characters is too long")


def _gives_up(secret: str) -> Outcome:
    if not secret:
        raise PenstockError(Code.INTERNAL_ERROR, "there is no secret")
    return Retry(Code.INTERNAL_ERROR, "the other side said no")


_log = logging.getLogger(__name__)

WAYS: Sequence[Callable[[str], Outcome]] = (
    _looks_it_up,
    _reads_a_number,
    _meets_a_full_disk,
    _fails_on_its_way,
    _reads_json,
    _is_refused,
    _gives_up,
)


#: What no actor may do: the control of tests that look for leaks.
LEAKS = 100


def _run(job: Job) -> Outcome:
    payload = Failing.model_validate_json(job.payload)
    if payload.way == LEAKS:
        _log.warning("the secret is %s", payload.secret)
    if payload.way < 0:
        return Dead(Code.INTERNAL_ERROR, "asked to")
    return WAYS[payload.way](payload.secret) if payload.way < len(WAYS) else Done()


def _build(_resources: Resources) -> Actor:
    return lambda jobs, _transaction: [_run(job) for job in jobs]


_POLICY = Policy(max_retries=2, backoff_base=timedelta(milliseconds=20))
REGISTRATION = Registration(Failing, _build, _POLICY, ledger=False, needs_storage=False)
