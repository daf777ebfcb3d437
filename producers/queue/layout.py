"""Where a queue's keys are. docs/queue.md describes each; the scripts in `lua/` derive the same names."""

from dataclasses import dataclass
from functools import cached_property

#: Raised when the keys or the fields of a job change so that an earlier release could not go on with them.
LAYOUT = 1


@dataclass(frozen=True)
class QueueKeys:
    """The keys of one queue. All have the hash tag `{queue}`, so a step touches one slot of a Cluster."""

    namespace: str
    queue: str

    @cached_property
    def base(self) -> str:
        """What every key of the queue begins with."""
        return f"{self.namespace}:{{{self.queue}}}"

    def key(self, suffix: str) -> str:
        """The key of that suffix, such as `scheduled`."""
        return f"{self.base}:{suffix}"

    def job(self, job_id: object) -> str:
        """The key of a job's hash."""
        return f"{self.base}:job:{job_id}"
