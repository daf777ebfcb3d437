"""What deliveries of a kind cost: seconds for each of themselves, and for the jobs in it."""

from dataclasses import dataclass
from datetime import timedelta

#: No delivery is taken to cost more than this for itself, beside its jobs, nor more than this part of what it takes:
#: what is held ahead of the threads hangs on it.
_FIXED_MOST = timedelta(milliseconds=5)
_FIXED_PART = 0.9
#: Deliveries whose sizes differ less than this (variance by squared mean) say nothing of what one costs for itself.
_ALIKE = 0.01
#: Nor do small jobs say it of one that is so many times as large: its bytes may be what takes long.
_LARGER = 2
#: What a delivery leaves of what was known before it.
MEMORY = 0.8


@dataclass(slots=True)
class Ran:
    """What ran of a kind, the more recent the heavier.

    Deliveries, their jobs, seconds and bytes, and the sums from which a line through them follows.
    """

    deliveries: float = 0.0
    jobs: float = 0.0
    seconds: float = 0.0
    size: float = 0.0
    size_by_size: float = 0.0
    seconds_by_size: float = 0.0

    def add(self, jobs: int, seconds: float, size: int) -> None:
        """A delivery of so many jobs, and bytes, ran for so long."""
        self.deliveries = self.deliveries * MEMORY + 1
        self.jobs = self.jobs * MEMORY + jobs
        self.seconds = self.seconds * MEMORY + seconds
        self.size = self.size * MEMORY + size
        self.size_by_size = self.size_by_size * MEMORY + size * size
        self.seconds_by_size = self.seconds_by_size * MEMORY + seconds * size

    def fixed(self) -> float:
        """Seconds that a delivery takes for itself, such as its transaction, however few jobs are in it.

        Without it small jobs in small groups would pass for long ones, and be parted into smaller groups yet.
        """
        size, seconds = self.size / self.deliveries, self.seconds / self.deliveries
        variance = self.size_by_size / self.deliveries - size * size
        if variance <= _ALIKE * size * size:
            return 0.0
        slope = (self.seconds_by_size / self.deliveries - size * seconds) / variance
        return max(0.0, min(seconds - slope * size, _FIXED_PART * seconds, _FIXED_MOST.total_seconds()))

    def rate(self) -> "Rate":
        """What the next ones should take. Where something ran."""
        fixed = self.fixed()
        usual = (self.seconds - self.deliveries * fixed) / self.size
        return Rate(fixed, usual, self.seconds / self.size, _LARGER * self.size / self.jobs)


@dataclass(frozen=True, slots=True)
class Rate:
    """Seconds of a delivery for itself, of a byte beside that, and of a byte of a job of more than `large` bytes."""

    fixed: float = 0.0
    usual: float = 0.0
    full: float = 0.0
    large: float = 0.0

    def of(self, size: float) -> float:
        """Seconds that a job of that size takes in a delivery."""
        return size * (self.usual if size <= self.large else self.full)


#: Of a kind that never ran.
UNKNOWN_RATE = Rate()


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds that a delivery takes for itself, and for each job in it."""

    fixed: float
    each: float

    def of(self, jobs: int) -> float:
        """Seconds of a delivery of so many jobs."""
        return self.fixed + self.each * jobs
