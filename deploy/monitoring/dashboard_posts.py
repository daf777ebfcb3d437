"""Scheduled posts and their accounts."""

from deploy.monitoring.panels import Dashboard, Panel, Query, Row, number, p95, rate_of

POSTS = Dashboard(
    "penstock-posts",
    "Penstock: scheduled posts",
    "Whether posts are out in time, and what needs a person.",
    [
        Row(
            "Posts",
            [
                number(
                    "Overdue",
                    "How long the first has been due that should be out",
                    Query("max(penstock_posts_overdue_seconds)"),
                    "s",
                    warns_at=60,
                    alarms_at=600,
                ),
                number(
                    "Held",
                    "Wait for a decision",
                    Query('sum(max by (platform, state) (penstock_posts{state="held"})) or vector(0)'),
                    warns_at=1,
                ),
                number(
                    "Unknown outcome",
                    "Nobody knows whether they are out",
                    Query('sum(max by (platform, state) (penstock_posts{state="unknown_outcome"})) or vector(0)'),
                    warns_at=1,
                ),
                number(
                    "Published twice",
                    "In the last day",
                    Query("sum(increase(penstock_posts_published_twice_total[1d])) or vector(0)"),
                    alarms_at=1,
                ),
                number(
                    "To authorise",
                    "Accounts without a token that works",
                    Query('sum(max by (platform, state) (penstock_accounts{state="reauthorize"})) or vector(0)'),
                    warns_at=1,
                ),
                number(
                    "Tokens that end",
                    "Within a week",
                    Query("sum(max by (platform) (penstock_accounts_token_ends_soon)) or vector(0)"),
                    warns_at=1,
                ),
                Panel(
                    "Not out yet",
                    "By state",
                    [
                        Query(
                            "sum by (state) (max by (state, platform) (penstock_posts))", "{{state}}", may_be_empty=True
                        )
                    ],
                ),
                Panel(
                    "Lateness",
                    "One in twenty comes out later after its instant",
                    [p95("penstock_post_lateness_seconds", "platform", "{{platform}}", may_be_empty=True)],
                    "s",
                    warns_at=60,
                ),
                Panel(
                    "Came due",
                    "By what schedulers did",
                    [rate_of("penstock_posts_claimed_total", "became", "{{became}}", may_be_empty=True)],
                    "ops",
                ),
                Panel(
                    "Published",
                    "By platform",
                    [rate_of("penstock_post_lateness_seconds_count", "platform", "{{platform}}", may_be_empty=True)],
                    "ops",
                ),
                Panel(
                    "Jobs that ended without their post",
                    "By what became of it",
                    [rate_of("penstock_posts_jobless_total", "became", "{{became}}", may_be_empty=True)],
                    "ops",
                ),
                Panel(
                    "Tokens refreshed",
                    "By outcome",
                    [
                        rate_of(
                            "penstock_token_refreshes_total",
                            "platform, outcome",
                            "{{platform}} {{outcome}}",
                            may_be_empty=True,
                        )
                    ],
                    "ops",
                ),
            ],
        ),
    ],
)
