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
LEASES_LOST = Counter(
    "penstock_leases_lost_total", "Leases that were somebody else's when this worker ended them", ["queue"]
)
JOBS_RECOVERED = Counter(
    "penstock_jobs_recovered_total", "Jobs taken back from workers that were not heard of", ["queue"]
)
SUBMISSIONS = Counter("penstock_submissions_total", "Rows of batches, by outcome", ["outcome"])
BATCHES_REPEATED = Counter(
    "penstock_batches_repeated_total", "Deliveries of a batch whose effect was committed before; they change nothing"
)
CACHE_REQUESTS = Counter("penstock_cache_requests_total", "Look-ups in a process cache", ["cache", "result"])
CACHE_SIZE = Gauge("penstock_cache_entries", "Entries of a process cache", ["cache"])

DEPENDENCY_AWAY = Gauge(
    "penstock_dependency_away",
    "1 while this process takes no jobs of queues that need it, since it does not serve (storage: PostgreSQL)",
    ["dependency"],
)
CIRCUIT_STATE = Gauge("penstock_circuit_state", "What a circuit is: 0 closed, 1 half-open, 2 open", ["circuit"])

LIMIT_REMAINING = Gauge(
    "penstock_limit_remaining",
    "What is left in the present window of a limit that an operator set; 0 while it is blocked. Not of accounts",
    ["limit"],
)
LIMITS_OVERRIDDEN = Gauge("penstock_limits_overridden", "Limits that operators have set, of accounts and patterns too")

LOOP_SECONDS = Histogram(
    "penstock_scheduler_loop_seconds",
    "Time that a run of a scheduler's loop took",
    ["loop"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60),
)
LOOP_FAILURES = Counter("penstock_scheduler_loop_failures_total", "Runs of a scheduler's loop that failed", ["loop"])
LOOP_LAG = Gauge(
    "penstock_scheduler_loop_lag_seconds", "Time since a scheduler's loop last ended a run without failing", ["loop"]
)
JOBS_REENQUEUED = Counter(
    "penstock_jobs_reenqueued_total",
    "Jobs of the outbox that had neither effect nor dead letter and were put into their queue again",
    ["queue", "kind"],
)

QUEUE_DEPTH = Gauge(
    "penstock_queue_depth",
    "Jobs in a queue, by where they are (ready, scheduled, leased, parked, dead)",
    ["queue", "state"],
)
QUEUE_OLDEST_AGE = Gauge(
    "penstock_queue_oldest_age_seconds",
    "How long the job that is ready longest has been so; 0 where none is",
    ["queue"],
)
JOBS_UNACCOUNTED = Gauge(
    "penstock_jobs_unaccounted", "Jobs that were accepted and are in no place, or in two; anything but 0 is a fault"
)
