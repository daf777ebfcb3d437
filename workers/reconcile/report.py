"""What a reconciliation found."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.producers.queue.counts import QueueCounts
from penstock.schemas.errors import Code, PenstockError

#: Jobs that the error names; the report has more.
JOBS_NAMED = 5
#: Faults that a report holds one by one. A queue that lost everything must not fill the memory of who asks.
FAULTS_HELD = 10_000


@dataclass(frozen=True, slots=True)
class Fault:
    """A job that is not in exactly one place, or whose place and record or effect disagree."""

    job_id: str
    queue: str | None
    problem: str

    def as_dict(self) -> dict[str, Any]:
        """The fault as commands and endpoints show it."""
        return {"job_id": self.job_id, "queue": self.queue, "problem": self.problem}


@dataclass(slots=True)
class Report:
    """The findings over all queues.

    Attributes:
        counts: of each queue, at one instant at the end.
        records: job records that were read, done ones too.
        looked_again: jobs that moved between two looks, and were judged by a look at one instant.
        ack_pending: jobs that wait or are held while their effect is committed already; no fault.
        faults: at most 10,000; `fault_count` counts all.
        database: PostgreSQL was asked too.
    """

    counts: list[QueueCounts] = field(default_factory=list)
    records: int = 0
    looked_again: int = 0
    ack_pending: int = 0
    faults: list[Fault] = field(default_factory=list)
    fault_count: int = 0
    database: bool = False
    seconds: float = 0.0

    def add_all(self, faults: Iterable[Fault]) -> None:
        """Note faults."""
        for fault in faults:
            self.fault_count += 1
            if len(self.faults) < FAULTS_HELD:
                self.faults.append(fault)

    @property
    def unaccounted(self) -> int:
        """Jobs that the counters miss, or have too many, over all queues."""
        return sum(abs(counts.unaccounted) for counts in self.counts)

    @property
    def clean(self) -> bool:
        """True where every job is accounted for."""
        return not self.fault_count and not self.unaccounted

    def as_dict(self) -> dict[str, Any]:
        """The report as commands and endpoints show it."""
        return {
            "clean": self.clean,
            "unaccounted": self.unaccounted,
            "fault_count": self.fault_count,
            "faults": [fault.as_dict() for fault in self.faults],
            "queues": [_by_place(counts) for counts in self.counts],
            "records": self.records,
            "looked_again": self.looked_again,
            "ack_pending": self.ack_pending,
            "database": self.database,
            "seconds": round(self.seconds, 3),
        }

    def require_clean(self) -> None:
        """Do nothing where every job is accounted for.

        Raises:
            PenstockError: `JOB_UNACCOUNTED`, naming the first jobs.
        """
        if not self.clean:
            raise PenstockError(Code.JOB_UNACCOUNTED, "; ".join([*_tell_faults(self), *_tell_counters(self.counts)]))


def _by_place(counts: QueueCounts) -> dict[str, Any]:
    shown = counts.as_dict()
    return {name: value for name, value in shown.items() if isinstance(value, int) or name == "queue"}


def _tell_faults(report: Report) -> list[str]:
    told = [f"job {fault.job_id}: {fault.problem}" for fault in report.faults[:JOBS_NAMED]]
    further = report.fault_count - len(told)
    return [*told, f"and {further:,} more"] if further else told


def _tell_counters(counts: Sequence[QueueCounts]) -> list[str]:
    return [
        f"the queue {one.queue!r} has {abs(one.unaccounted):,} job(s) {'fewer' if one.unaccounted > 0 else 'more'}"
        " than its counters say"
        for one in counts
        if one.unaccounted
    ]
