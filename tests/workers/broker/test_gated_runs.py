"""A job that comes through its gates in several runs: what each run is called, and what it takes."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from penstock.workers.broker.gating import Admit, Gatekeeper, gate_copies
from penstock.workers.job import Done, Job, Outcome, Postpone
from penstock.workers.protection.circuits import Circuits
from penstock.workers.protection.circuits_view import CircuitOpenError, CircuitState
from penstock.workers.protection.gates import Gates, JobGates
from penstock.workers.protection.keys import gate_keys
from penstock.workers.protection.limits import LimitUse
from penstock.workers.protection.limits_view import LimitView
from penstock.workers.registry import Registration
from tests.system import wait_for
from tests.workers.broker.conftest import Chore, Floor

CIRCUIT = "platform:x"
ACCOUNT = LimitUse("account:1", 1, timedelta(hours=1), once=True)
AGAIN = Postpone(timedelta(milliseconds=20), "platform:not_ready")


def admitting(floor: Floor, registrations: Mapping[str, Registration], tenant_limit: int) -> Admit:
    copies = gate_copies(floor.client, floor.namespace)
    gates = Gates(floor.client, floor.namespace, copies.pauses, copies.overrides, "closed")
    return Gatekeeper(gates, registrations, (tenant_limit, timedelta(hours=1))).admit


def opened(floor: Floor, tenant_limit: int = 0, **gates: Any) -> None:
    floor.open(
        gates=lambda _: JobGates(**gates),
        admit=lambda registrations: admitting(floor, registrations, tenant_limit),
    )


def used(floor: Floor) -> int:
    (state,) = LimitView(floor.client, floor.namespace).look([ACCOUNT.key])
    return state.used


def test_each_run_has_a_name_and_all_of_them_take_once(floor: Floor) -> None:
    holders: list[str] = []

    def behave(job: Job) -> Outcome:
        holders.append(job.holder)
        return AGAIN if len(holders) < 5 else Done()

    opened(floor, uses=(ACCOUNT,))
    job_id = floor.put("several runs", behave)
    assert floor.ended(job_id).state == "done"
    assert len(set(holders)) == 5
    assert all(holder.startswith(f"{job_id}/") for holder in holders)
    assert used(floor) == 1
    late = floor.put("too late")
    assert floor.wait_until(late, "scheduled").blocked_by == "limit:account:1"


@pytest.mark.parametrize(("once", "runs"), [(True, 5), (False, 2)])
def test_of_the_tenants_limit_a_job_takes_as_of_its_own(floor: Floor, once: bool, runs: int) -> None:
    """Once, where its kind's own limits count it once; each run, where they do not."""
    started: list[str] = []

    def behave(job: Job) -> Outcome:
        started.append(job.holder)
        return AGAIN if len(started) < 5 else Done()

    opened(floor, tenant_limit=2, uses=(replace(ACCOUNT, limit=10, once=once),))
    job_id = floor.put("several runs", behave)
    wait_for(lambda: len(started) == runs, f"{runs} runs")
    if once:
        assert floor.ended(job_id).state == "done"
    else:
        held = f"limit:tenant:acme/kind:{Chore.kind}"
        wait_for(lambda: floor.view(job_id).blocked_by == held, "the tenant's limit to hold it")
    assert len(started) == runs


def test_a_job_has_the_try_that_its_gate_reserved(floor: Floor) -> None:
    """And gives it back where it makes no call: the next run tries."""
    circuits = Circuits(floor.client, floor.namespace, floor.settings)
    key = gate_keys(floor.namespace).key(f"circuit:{CIRCUIT}")
    floor.client.hset(key, mapping={"state": "open", "open_until": 1, "generation": 1})
    tries: list[bool] = []

    def behave(job: Job) -> Outcome:
        with pytest.raises(CircuitOpenError):
            circuits.ask(CIRCUIT, "somebody else")
        call = circuits.ask(CIRCUIT, job.holder)
        assert call is not None
        tries.append(call.probing)
        if len(tries) < 3:
            circuits.leave(CIRCUIT, call)
            return AGAIN
        circuits.tell(CIRCUIT, call)
        return Done()

    opened(floor, circuits=(CIRCUIT,))
    try:
        assert floor.ended(floor.put("tries", behave)).state == "done"
        assert tries == [True] * 3
        assert circuits.state(CIRCUIT).state is CircuitState.CLOSED
    finally:
        circuits.close()


def test_a_job_whose_own_guard_is_refused_waits_for_that_circuit(floor: Floor) -> None:
    """At no cost of an attempt, and known to operators by the circuit's name."""
    refusal = CircuitOpenError(CIRCUIT, timedelta(seconds=50))

    def behave(_: Job) -> Outcome:
        raise refusal

    floor.open()
    view = floor.wait_until(floor.put("refused", behave), "scheduled")
    assert (view.blocked_by, view.attempts) == ("circuit:platform:x", 0)
