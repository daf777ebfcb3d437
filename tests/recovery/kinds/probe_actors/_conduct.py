"""What a probe does beside its effect: it notes that it starts, dies, asks for more time, sleeps, fails."""

import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from probes import Probe

from penstock.workers.job import Job, Outcome, Postpone

#: Names the file that each start is noted in.
STARTS = "PENSTOCK_TEST_STARTS"


class AskedToFailError(Exception):
    """Raised where the payload asks for it."""


def note_start(job: Job) -> None:
    """Append the job's id, this process's and the monotonic time, which all processes of a machine share."""
    line = f"{job.job_id} {os.getpid()} {time.monotonic():.6f}\n"
    # One write to a file opened for appending: lines of several processes don't mix.
    descriptor = os.open(os.environ[STARTS], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def starts_of(job_id: UUID) -> int:
    """How often the job has started, this time included."""
    return Path(os.environ[STARTS]).read_text(encoding="ascii").count(f"{job_id} ")


def before_effect(job: Job, probe: Probe) -> Outcome | None:
    """Note the start; then die, or give the outcome of a probe that is postponed; None where the work goes on."""
    note_start(job)
    if probe.die and starts_of(job.job_id) <= probe.die:
        os.kill(os.getpid(), signal.SIGKILL)
    if probe.postpone and starts_of(job.job_id) <= probe.postpone:
        return Postpone(timedelta(seconds=probe.postpone_seconds), "a gate that is closed")
    return None


def fail_as_asked(job: Job, probe: Probe) -> None:
    """Fail where the payload asks for it, when the effect is written and not yet committed."""
    if job.attempt <= probe.fail:
        raise AskedToFailError(f"attempt {job.attempt} of {probe.fail} that fail")
