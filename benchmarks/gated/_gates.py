"""What a job of the benchmark has to pass, by the variable that its worker was started with."""

import os
from collections.abc import Callable
from datetime import timedelta

from penstock.workers.job import Job
from penstock.workers.protection.gates import JobGates
from penstock.workers.protection.limits import LimitUse

#: Names the gates of a worker's jobs.
VARIABLE = "PENSTOCK_BENCH_GATES"
#: Keys that an operator could pause; nobody does.
KEYS = ("platform:bench", "account:bench")
#: It never binds.
USE = LimitUse("account:bench", 1_000_000, timedelta(minutes=1), default_key="platform:bench")

GATES = {
    "none": None,
    "pauses": JobGates(KEYS),
    "limit": JobGates(KEYS, uses=(USE,)),
    "limit and circuit": JobGates(KEYS, ("platform:bench",), (USE,)),
}


def chosen_gates() -> Callable[[Job], JobGates] | None:
    """The function that a registration has."""
    gates = GATES[os.environ.get(VARIABLE, "none")]
    return None if gates is None else lambda _job: gates
