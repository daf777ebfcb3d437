"""Every metric of this release in one table. Labels never hold ids: their values are few and known.

Counters and histograms are summed over the processes of a machine; `GAUGE_RULES` says what becomes of their gauges.
Gauges of what all processes share are declared in `SHARED`: each sidecar reads them from the servers.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import Counter, Gauge, Histogram

#: Seconds of what answers somebody: requests and statements.
_ANSWER_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class JobHistogram(Histogram):
    """A histogram of what many jobs have alike."""

    def observe_alike(self, amount: float, times: int) -> None:
        """As so many calls of `observe` with this amount, in one."""
        self._sum.inc(amount * times)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(times)


JOBS_FINISHED = Counter(
    "penstock_jobs_finished_total",
    "Job deliveries that ended, by outcome (done, retried, postponed, released, dead)",
    ["queue", "kind", "outcome"],
)
JOB_DURATION = JobHistogram(
    "penstock_job_duration_seconds",
    "Time from a job's start to its outcome",
    ["queue", "kind"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
JOB_WAIT = JobHistogram(
    "penstock_job_wait_seconds",
    "Time from when a job was ready to its lease",
    ["queue", "kind"],
    buckets=(0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 43200),
)
LEASES_LOST = Counter(
    "penstock_leases_lost_total", "Leases that were somebody else's when this worker ended them", ["queue"]
)
JOBS_RECOVERED = Counter(
    "penstock_jobs_recovered_total", "Jobs taken back from workers that were not heard of", ["queue"]
)
SUBMISSIONS = Counter(
    "penstock_submissions_total", "Rows of batches, by outcome (stored, rejected, duplicate, erased)", ["outcome"]
)
BATCHES_REPEATED = Counter(
    "penstock_batches_repeated_total", "Deliveries of a batch whose effect was committed before; they change nothing"
)
POST_LATENESS = Histogram(
    "penstock_post_lateness_seconds",
    "Time from when a post was to be published to when its platform had it",
    ["platform"],
    buckets=(0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21600),
)
POSTS_PUBLISHED_TWICE = Counter(
    "penstock_posts_published_twice_total", "Posts that a platform named a second id for: an alarm", ["platform"]
)
POSTS_CLAIMED = Counter(
    "penstock_posts_claimed_total",
    "Posts that came due, by what schedulers did (claimed, expired, held; parked: they wait for their account)",
    ["became"],
)
POSTS_JOBLESS = Counter(
    "penstock_posts_jobless_total",
    "Posts whose job ended without them, by what became of them (dead, unknown_outcome; stuck: nobody knows the job)",
    ["became"],
)
TOKEN_REFRESHES = Counter(
    "penstock_token_refreshes_total",
    "Accounts whose tokens schedulers were to refresh, by outcome (refreshed, ended, unanswered, busy, unreadable)",
    ["platform", "outcome"],
)
CACHE_REQUESTS = Counter("penstock_cache_requests_total", "Look-ups in a process cache, by result", ["cache", "result"])
CACHE_SIZE = Gauge("penstock_cache_entries", "Entries of a process cache", ["cache"])

HTTP_REQUESTS = Counter(
    "penstock_http_requests_total",
    "Requests that were answered, by the template of their route (never the path) and their status",
    ["app", "method", "route", "status"],
)
HTTP_DURATION = Histogram(
    "penstock_http_request_duration_seconds",
    "Time from a request to the end of its answer",
    ["app", "method", "route"],
    buckets=_ANSWER_BUCKETS,
)
QUERY_DURATION = Histogram(
    "penstock_db_query_duration_seconds",
    "Time that a statement took, its way to PostgreSQL and back included",
    ["operation", "table"],
    buckets=_ANSWER_BUCKETS,
)

DEPENDENCY_AWAY = Gauge(
    "penstock_dependency_away",
    "1 while this process takes no jobs of queues that need it, since it does not serve (storage: PostgreSQL)",
    ["dependency"],
)

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
DEAD_LETTERS_ARCHIVED = Counter(
    "penstock_dead_letters_archived_total", "Dead letters that went from Redis to PostgreSQL", ["queue"]
)
DEAD_LETTERS_REFUSED = Counter(
    "penstock_dead_letters_refused_total",
    "Tries to archive a dead letter that failed for the letter's own sake; it stays in Redis",
    ["queue"],
)


class Rule(StrEnum):
    """What the gauge of several processes of a machine is, together. Only processes that live count."""

    SUM = "sum"
    MAX = "max"
    #: Of the process whose snapshot is the latest.
    MOST_RECENT = "mostrecent"


#: By name. A gauge that is not here (one of an actor of one's own) is summed.
GAUGE_RULES: Mapping[str, Rule] = {
    "penstock_cache_entries": Rule.SUM,
    "penstock_dependency_away": Rule.MAX,
    "penstock_process_cpu_limit_cores": Rule.MAX,
    "penstock_process_largest_resident_memory_bytes": Rule.MAX,
    "penstock_process_memory_limit_bytes": Rule.MAX,
    "penstock_process_started_timestamp_seconds": Rule.MAX,
    # The one that is worst off: a scheduler whose loop hangs must show, though another one does its work.
    "penstock_scheduler_loop_lag_seconds": Rule.MAX,
}


@dataclass(frozen=True, slots=True)
class Shared:
    """A metric of what all processes share.

    Attributes:
        type: `gauge`, or `counter` where the server itself counts.
        name: as it is exposed, a counter's with `_total`.
    """

    name: str
    told: str
    labels: tuple[str, ...] = ()
    type: str = "gauge"


#: What each sidecar reads from PostgreSQL and Redis when it is asked: the same in each pod.
SHARED: Mapping[str, Shared] = {
    shared.name: shared
    for shared in (
        Shared(
            "penstock_jobs_enqueued_total",
            "Jobs that a queue took in since it began; kind is empty for those beyond the first 100 kinds",
            ("queue", "kind"),
            "counter",
        ),
        Shared("penstock_queue_depth", "Jobs in a queue, by where they are", ("queue", "state")),
        Shared(
            "penstock_queue_oldest_age_seconds",
            "How long the job that is ready longest has been so; 0 where none is",
            ("queue",),
        ),
        Shared("penstock_queue_paused", "1 while an operator has paused the queue", ("queue",)),
        Shared("penstock_queue_workers", "Workers that serve a queue and are heard of", ("queue",)),
        Shared(
            "penstock_queue_runnable_backlog_seconds",
            "Seconds that one worker thread would need for the jobs that could run now",
            ("queue",),
        ),
        Shared("penstock_dead_letters", "Dead letters that wait for an operator", ("queue", "kind", "code")),
        Shared("penstock_dead_letters_unarchived", "Dead letters that Redis has and PostgreSQL not yet", ("queue",)),
        Shared(
            "penstock_posts",
            "Posts that are not out yet: due (and claimed by no scheduler), parked (due, and their account waits for a"
            " person), held, claimed, publishing, unknown_outcome; 10,000 of each state at the most",
            ("state", "platform"),
        ),
        Shared(
            "penstock_posts_overdue_seconds",
            "How long the earliest post has been due that should be out and is not, held and parked ones aside",
        ),
        Shared(
            "penstock_accounts",
            "Accounts: active, reauthorize (a person has to give new tokens), disabled",
            ("platform", "state"),
        ),
        Shared(
            "penstock_accounts_token_ends_soon",
            "Active accounts whose token ends within a week and is not one that is renewed when it is needed",
            ("platform",),
        ),
        Shared("penstock_circuit_state", "What a circuit is: 0 closed, 1 half-open, 2 open", ("circuit",)),
        Shared("penstock_limits", "Keys of limits in use, by what they limit", ("family",)),
        Shared("penstock_limits_exhausted", "Keys of limits of which nothing is left now", ("family",)),
        Shared("penstock_limits_blocked", "Keys that are blocked, since their provider said so", ("family",)),
        Shared("penstock_limits_overridden", "Limits that operators have set, of accounts and patterns too"),
        Shared(
            "penstock_limit_remaining",
            "What is left in the window of a limit that an operator set; 0 while it is blocked. Not of accounts",
            ("limit",),
        ),
        Shared(
            "penstock_limit_largest_used_ratio", "Of the fullest limit of a family, the share that is used", ("family",)
        ),
        Shared(
            "penstock_jobs_unaccounted",
            "Jobs that were accepted and are in no place, or in two; anything but 0 is a fault",
        ),
        Shared("penstock_outbox_backlog", "Jobs that wait in the outbox and are due, 10,000 at the most"),
        Shared("penstock_outbox_oldest_age_seconds", "How long the first of these has been due; 0 where none is"),
        Shared("penstock_audit_seal", "The number of the audit's newest seal; one that falls was removed"),
        Shared("penstock_audit_unsealed", "Actions of operators that wait for their seal, 10,000 at the most"),
        Shared("penstock_audit_unsealed_age_seconds", "How long the first of these has waited; 0 where none does"),
        Shared("penstock_schedulers", "Schedulers that were heard of in the last half a minute"),
        Shared(
            "penstock_scheduler_late_seconds",
            "How late a loop is with that scheduler which does it best, among those heard of in the last hour",
            ("loop",),
        ),
        Shared("penstock_redis_up", "1 while Redis answers this sidecar"),
        Shared("penstock_postgresql_up", "1 while PostgreSQL answers this sidecar"),
        Shared("penstock_redis_memory_used_bytes", "Memory that Redis uses"),
        Shared("penstock_redis_memory_limit_bytes", "Redis's maxmemory; 0 for none"),
        Shared("penstock_redis_memory_fragmentation_ratio", "Memory that Redis holds, by what it uses"),
        Shared("penstock_redis_connected_clients", "Clients that are connected to Redis"),
        Shared("penstock_redis_evicted_keys_total", "Keys that Redis deleted for want of memory", (), "counter"),
        Shared("penstock_redis_rejected_connections_total", "Connections beyond the limit of Redis", (), "counter"),
        Shared("penstock_redis_commands_total", "Commands that Redis ran", (), "counter"),
        Shared(
            "penstock_reading_age_seconds",
            "Age of what a sidecar tells of the shared servers; it rises while one is away",
            ("reading",),
        ),
    )
}
