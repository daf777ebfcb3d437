"""Every metric of this release in one table. Labels never hold ids: their values are few and known."""

from prometheus_client import Counter, Gauge, Histogram

JOBS_FINISHED = Counter(
    "penstock_jobs_finished_total", "Job deliveries that ended, by outcome", ["queue", "kind", "outcome"]
)
JOB_DURATION = Histogram(
    "penstock_job_duration_seconds",
    "Time from a job's start to its outcome",
    ["queue", "kind"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
JOB_WAIT = Histogram(
    "penstock_job_wait_seconds",
    "Time from a job's enqueueing to its start",
    ["queue", "kind"],
    buckets=(0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 43200),
)
SUBMISSIONS = Counter("penstock_submissions_total", "Rows of batches, by outcome", ["outcome"])
BATCHES_REPEATED = Counter(
    "penstock_batches_repeated_total", "Deliveries of a batch whose effect was committed before; they change nothing"
)
CACHE_REQUESTS = Counter("penstock_cache_requests_total", "Look-ups in a process cache", ["cache", "result"])
CACHE_SIZE = Gauge("penstock_cache_entries", "Entries of a process cache", ["cache"])
