"""Faults of jobs, queues, dead letters and schedulers: in minutes."""

from tests.deploy.monitoring.case_figures import OTHER, POD, POSTS, both, ends
from tests.deploy.monitoring.promtool_kit import Case, Stands, flat, grows, histogram

_MINUTES = 20
_LONG = 4 * 24 * 60
_STUCK = both("penstock_queue_oldest_age_seconds", flat((0, 2), (400, 12), (0, 6)), labels='queue="posts"')
_LETTERS = 'queue="posts",kind="a.b",code="JOB_POISON"'
_RUNS = both("penstock_queue_paused", flat((0, _MINUTES)), labels='queue="posts"')

_OF_JOBS = (
    Case(
        "PenstockJobsFail",
        ends("done", grows((49, 40)))
        | ends("done", grows((49, 40)), OTHER)
        | ends("dead", grows((0, 6), (2, 14), (0, 20))),
        (6, 18, 30),
        (Stands("warning", "2%", POSTS),),
    ),
    Case(
        "PenstockJobsFail",
        ends("done", grows((80, 40))) | ends("dead", grows((0, 6), (20, 14), (0, 20))),
        (6, 18, 30),
        (Stands("warning", "20%", POSTS), Stands("critical", "20%", POSTS)),
    ),
    Case(
        "PenstockJobsSlow",
        histogram(
            "penstock_job_duration_seconds",
            f'{POD},queue="submissions",kind="submission_batch.write"',
            (0.1, 6),
            (4, 20),
            (0.1, 20),
            buckets=(0.1, 2.5, 5),
        ),
        (10, 24, 40),
        (Stands("warning", "4.875s", {"queue": "submissions"}),),
    ),
    Case(
        "PenstockCacheMisses",
        {
            f'penstock_cache_requests_total{{{POD},cache="forms",result="hit"}}': grows((90, 5), (50, 40), (90, 40)),
            f'penstock_cache_requests_total{{{POD},cache="forms",result="miss"}}': grows((10, 5), (50, 40), (10, 40)),
        },
        (15, 40, 60),
        (Stands("warning", "50%", {"cache": "forms"}),),
    ),
    Case(
        "PenstockJobsUnaccounted",
        both("penstock_jobs_unaccounted", flat((0, 3), (2, 9), (0, 5))),
        (6, 9, 13),
        (Stands("critical", "2"),),
    ),
    Case(
        "PenstockJobsEnqueuedAgain",
        {f'penstock_jobs_reenqueued_total{{{POD},queue="posts",kind="a.b"}}': f"_x10 {flat((59, 90))}"},
        (9, 60, 75),
        (Stands("warning", "59", POSTS),),
    ),
    Case(
        "PenstockWorkersDie",
        {f'penstock_jobs_recovered_total{{{POD},queue="posts"}}': grows((0, 10), (14, 1), (0, 40))},
        (10, 20, 30),
        (Stands("warning", "14", POSTS),),
    ),
)

_QUEUES = (
    Case(
        "PenstockNoWorkers",
        _RUNS
        | both("penstock_queue_workers", flat((2, 3), (0, 6), (2, 9)), labels='queue="posts"')
        | both("penstock_queue_depth", flat((5, 18)), labels='queue="posts",state="ready"'),
        (4, 7, 10),
        (Stands("critical", labels=POSTS),),
    ),
    Case(
        "PenstockQueueBehind",
        _RUNS | _STUCK | ends("done", grows((60, _MINUTES))),
        (6, 9, 15),
        (Stands("warning", "6m 40s", POSTS),),
    ),
    Case("PenstockQueueStuck", _RUNS | _STUCK, (3, 9, 15), (Stands("critical", "6m 40s", POSTS),)),
    Case(
        "PenstockQueuePaused",
        both("penstock_queue_paused", flat((0, 3), (1, 40), (0, 9)), labels='queue="posts"')
        | both("penstock_queue_depth", flat((5, 52)), labels='queue="posts",state="ready"'),
        (32, 35, 44),
        (Stands("warning", labels=POSTS),),
    ),
    Case(
        "PenstockOutboxWaits",
        both("penstock_outbox_oldest_age_seconds", flat((0, 3), (90, 6), (0, 9))),
        (4, 6, 10),
        (Stands("warning", "1m 30s"),),
    ),
    Case(
        "PenstockOutboxWaits",
        both("penstock_outbox_oldest_age_seconds", flat((0, 3), (900, 6), (0, 9))),
        (4, 6, 10),
        (Stands("warning", "15m 0s"), Stands("critical", "15m 0s")),
    ),
    Case(
        "PenstockCircuitOpen",
        both("penstock_circuit_state", flat((0, 3), (2, 9), (1, 3), (0, 9)), labels='circuit="platform:x"'),
        (6, 9, 13),
        (Stands("warning", labels={"circuit": "platform:x"}),),
    ),
)

_DEAD_LETTERS = (
    Case(
        "PenstockDeadLettersGrow",
        # No series of letters until the first ones come, and then many at once.
        both("penstock_queue_depth", flat((0, 60)), labels='queue="posts",state="dead"')
        | both("penstock_dead_letters", f"_x20 {flat((12, 40))}", labels=_LETTERS),
        (19, 30, 40),
        (Stands("warning", "12", POSTS),),
    ),
    Case(
        "PenstockDeadLettersWait",
        both("penstock_queue_depth", flat((0, _LONG // 2)), labels='queue="posts",state="dead"')
        | both("penstock_dead_letters", flat((0, 60), (3, 1600), (0, 60)), labels=_LETTERS),
        (1_400, 1_600, 1_690),
        (Stands("warning", "3", POSTS),),
    ),
    Case(
        "PenstockDeadLettersNotArchived",
        both("penstock_dead_letters_unarchived", flat((0, 3), (4, 14), (0, 9)), labels='queue="posts"'),
        (11, 15, 18),
        (Stands("warning", "4", POSTS),),
    ),
)

_SCHEDULERS = (
    Case(
        "PenstockNoScheduler",
        both("penstock_schedulers", flat((1, 3), (0, 5), (1, 5))),
        (3, 5, 9),
        (Stands("critical"),),
    ),
    Case(
        "PenstockSchedulerLate",
        both("penstock_scheduler_late_seconds", flat((0, 3), (75, 6), (0, 5)), labels='loop="relay"'),
        (4, 6, 10),
        (Stands("warning", "1m 15s", {"loop": "relay"}),),
    ),
    Case(
        "PenstockSchedulerLoopFails",
        {f'penstock_scheduler_loop_failures_total{{{POD},loop="relay"}}': grows((0, 3), (2, 17), (0, 20))},
        (5, 20, 32),
        (Stands("warning", "20", {"loop": "relay"}),),
    ),
)

CASES = (*_OF_JOBS, *_QUEUES, *_DEAD_LETTERS, *_SCHEDULERS)
