"""The first page: is it broken, and since when."""

from deploy.monitoring.panels import Dashboard, Panel, Query, Row, Shape, number, p95, rate_of

OVERVIEW = Dashboard(
    "penstock-overview",
    "Penstock: overview",
    "Is it broken, since when, and what waits.",
    [
        Row(
            "Now",
            [
                number("PostgreSQL", "1 while it answers", Query("max(penstock_postgresql_up)")),
                number("Redis", "1 while it answers", Query("max(penstock_redis_up)")),
                number("Schedulers", "Heard of in the last half a minute", Query("max(penstock_schedulers)")),
                number(
                    "Ready jobs",
                    "That could run now, of all queues",
                    Query('sum(max by (queue) (penstock_queue_depth{state="ready"}))'),
                ),
                number(
                    "Dead letters",
                    "That wait for a decision",
                    Query("sum(max by (queue, kind, code) (penstock_dead_letters)) or vector(0)"),
                    warns_at=1,
                ),
                number(
                    "Unaccounted",
                    "Jobs that are in no place, or in two; anything but 0 is a fault",
                    Query("max(penstock_jobs_unaccounted)"),
                    alarms_at=1,
                ),
                Panel(
                    "Alerts that fire",
                    "docs/alerts.md has a section for each",
                    [
                        Query(
                            'max by (alertname, severity) (ALERTS{alertname=~"Penstock.*", alertstate="firing"})',
                            may_be_empty=True,
                        )
                    ],
                    shape=Shape.TABLE,
                    width=24,
                    height=5,
                ),
            ],
        ),
        Row(
            "Work",
            [
                Panel(
                    "Jobs that ended",
                    "By how their deliveries ended",
                    [rate_of("penstock_jobs_finished_total", "outcome", "{{outcome}}")],
                    "ops",
                ),
                Panel(
                    "Rows of submissions",
                    "Stored, rejected, duplicate",
                    [rate_of("penstock_submissions_total", "outcome", "{{outcome}}", may_be_empty=True)],
                    "ops",
                ),
                Panel(
                    "Backlog",
                    "Seconds of work for one worker thread that could run now",
                    [Query("max by (queue) (penstock_queue_runnable_backlog_seconds)", "{{queue}}")],
                    "s",
                ),
            ],
        ),
        Row(
            "The objective: 99.9 % in 30 days",
            [
                Panel(
                    "Share that failed",
                    "Over an hour and over six: above 0.1 % more is used up than 30 days allow",
                    [
                        Query("penstock:objective_errors:ratio_rate1h", "{{objective}}, 1 h"),
                        Query("penstock:objective_errors:ratio_rate6h", "{{objective}}, 6 h"),
                    ],
                    "percentunit",
                    warns_at=0.001,
                    alarms_at=0.0144,
                    width=12,
                ),
                Panel(
                    "Share that failed, three days",
                    "What wakes nobody and uses up the allowance all the same",
                    [Query("penstock:objective_errors:ratio_rate3d", "{{objective}}")],
                    "percentunit",
                    warns_at=0.001,
                    width=12,
                ),
            ],
        ),
        Row(
            "Requests",
            [
                Panel(
                    "Requests",
                    "By application and status",
                    [rate_of("penstock_http_requests_total", "app, status", "{{app}} {{status}}")],
                    "reqps",
                ),
                Panel(
                    "One in twenty takes longer than",
                    "By application",
                    [p95("penstock_http_request_duration_seconds", "app", "{{app}}")],
                    "s",
                    warns_at=2,
                ),
                Panel(
                    "The slowest routes",
                    "One in twenty takes longer",
                    [
                        Query(
                            "topk(10, histogram_quantile(0.95, sum by (le, app, route) "
                            "(rate(penstock_http_request_duration_seconds_bucket[$__rate_interval]))))",
                            "{{app}} {{route}}",
                        )
                    ],
                    "s",
                ),
            ],
        ),
    ],
)
