"""Queues, jobs, dead letters, gates and schedulers."""

from deploy.monitoring.panels import Dashboard, Panel, Query, Row, Shape, p95, rate_of, share_of

JOBS = Dashboard(
    "penstock-jobs",
    "Penstock: queues and jobs",
    "What waits where, how long, and how it ends.",
    [
        Row(
            "Queues",
            [
                Panel(
                    "Ready",
                    "Jobs that wait for a worker",
                    [Query('max by (queue) (penstock_queue_depth{state="ready"})', "{{queue}}")],
                ),
                Panel(
                    "Elsewhere",
                    "Scheduled, leased, parked, and dead until somebody decides",
                    [Query('max by (queue, state) (penstock_queue_depth{state!="ready"})', "{{queue}} {{state}}")],
                ),
                Panel(
                    "The oldest ready job",
                    "How long it has been ready",
                    [Query("max by (queue) (penstock_queue_oldest_age_seconds)", "{{queue}}")],
                    "s",
                    warns_at=300,
                ),
                Panel(
                    "Workers",
                    "That serve a queue and are heard of",
                    [Query("max by (queue) (penstock_queue_workers)", "{{queue}}")],
                ),
                Panel(
                    "Paused",
                    "1 while an operator has paused it",
                    [Query("max by (queue) (penstock_queue_paused)", "{{queue}}")],
                ),
                Panel(
                    "Taken in",
                    "Jobs a second",
                    [
                        Query(
                            "sum by (queue) (max by (queue, kind) "
                            "(rate(penstock_jobs_enqueued_total[$__rate_interval])))",
                            "{{queue}}",
                        )
                    ],
                    "ops",
                ),
            ],
        ),
        Row(
            "Jobs",
            [
                Panel(
                    "Done",
                    "By kind",
                    [rate_of("penstock_jobs_finished_total", "kind", "{{kind}}", where='{outcome="done"}')],
                    "ops",
                ),
                Panel(
                    "Not done",
                    "Retried, postponed, released, dead, by kind",
                    [
                        rate_of(
                            "penstock_jobs_finished_total",
                            "kind, outcome",
                            "{{kind}} {{outcome}}",
                            where='{outcome!="done"}',
                            may_be_empty=True,
                        )
                    ],
                    "ops",
                ),
                Panel(
                    "Share that died",
                    "Of those that ended; the alert begins at 1 %",
                    [
                        share_of(
                            'penstock_jobs_finished_total{outcome="dead"}',
                            'penstock_jobs_finished_total{outcome=~"done|dead"}',
                            "queue",
                            "{{queue}}",
                            may_be_empty=True,
                        )
                    ],
                    "percentunit",
                    warns_at=0.01,
                    alarms_at=0.05,
                ),
                Panel(
                    "Wait",
                    "From ready to leased: one in twenty waits longer",
                    [p95("penstock_job_wait_seconds", "queue", "{{queue}}")],
                    "s",
                ),
                Panel(
                    "Duration",
                    "One in twenty takes longer",
                    [p95("penstock_job_duration_seconds", "kind", "{{kind}}")],
                    "s",
                    warns_at=2,
                ),
                Panel(
                    "Harm",
                    "Taken back from dead workers, leases lost, enqueued again from the outbox",
                    [
                        rate_of("penstock_jobs_recovered_total", "queue", "{{queue}} taken back", may_be_empty=True),
                        rate_of("penstock_leases_lost_total", "queue", "{{queue}} lost", may_be_empty=True),
                        rate_of("penstock_jobs_reenqueued_total", "queue", "{{queue}} again", may_be_empty=True),
                    ],
                    "ops",
                ),
            ],
        ),
        Row(
            "Dead letters, gates and the outbox",
            [
                Panel(
                    "Dead letters",
                    "That wait for a decision",
                    [Query("penstock:dead_letters:open", "{{queue}}")],
                    warns_at=1,
                ),
                Panel(
                    "What they died of",
                    "Open ones by code",
                    [
                        Query(
                            "topk(10, sum by (code) (max by (queue, kind, code) (penstock_dead_letters)))",
                            "{{code}}",
                            may_be_empty=True,
                        )
                    ],
                    shape=Shape.TABLE,
                ),
                Panel(
                    "The outbox",
                    "How long its first job has been due",
                    [Query("max(penstock_outbox_oldest_age_seconds)", "oldest")],
                    "s",
                    warns_at=60,
                ),
                Panel(
                    "Circuits",
                    "0 closed, 1 half-open, 2 open",
                    [Query("max by (circuit) (penstock_circuit_state)", "{{circuit}}", may_be_empty=True)],
                    alarms_at=2,
                ),
                Panel(
                    "Limits",
                    "Of the fullest of a family, what is used",
                    [Query("max by (family) (penstock_limit_largest_used_ratio)", "{{family}}", may_be_empty=True)],
                    "percentunit",
                    warns_at=0.9,
                ),
                Panel(
                    "Blocked",
                    "Keys whose platform said: not now",
                    [Query("max by (family) (penstock_limits_blocked)", "{{family}}", may_be_empty=True)],
                ),
            ],
        ),
        Row(
            "Schedulers",
            [
                Panel(
                    "Lateness of loops",
                    "With that scheduler which does it best",
                    [Query("max by (loop) (penstock_scheduler_late_seconds)", "{{loop}}")],
                    "s",
                    warns_at=60,
                ),
                Panel(
                    "Duration of loops",
                    "One run in twenty takes longer",
                    [p95("penstock_scheduler_loop_seconds", "loop", "{{loop}}")],
                    "s",
                ),
                Panel(
                    "Failures of loops",
                    "Runs that failed",
                    [rate_of("penstock_scheduler_loop_failures_total", "loop", "{{loop}}", may_be_empty=True)],
                    "ops",
                ),
            ],
        ),
    ],
)
