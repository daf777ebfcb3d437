"""Faults of scheduled posts: in minutes."""

from tests.deploy.monitoring.case_figures import POD, both
from tests.deploy.monitoring.promtool_kit import Case, Stands, flat, histogram

CASES = (
    Case(
        "PenstockPostsLate",
        both("penstock_posts_overdue_seconds", flat((0, 3), (90, 6), (0, 9))),
        (4, 6, 10),
        (Stands("warning", "1m 30s"),),
    ),
    Case(
        "PenstockPostsLate",
        both("penstock_posts_overdue_seconds", flat((0, 3), (900, 6), (0, 9))),
        (4, 6, 10),
        (Stands("warning", "15m 0s"), Stands("critical", "15m 0s")),
    ),
    Case(
        "PenstockPostsPublishedLate",
        histogram(
            "penstock_post_lateness_seconds", f'{POD},platform="x"', (1, 6), (100, 20), (1, 40), buckets=(1, 60, 300)
        ),
        (10, 24, 60),
        (Stands("warning", "4m 48s", {"platform": "x"}),),
    ),
    Case(
        "PenstockPostsHeld",
        both("penstock_posts", flat((0, 3), (2, 9), (0, 5)), labels='state="held",platform="x"'),
        (6, 9, 13),
        (Stands("warning", "2", {"platform": "x"}),),
    ),
    Case(
        "PenstockPostsUnknownOutcome",
        both("penstock_posts", flat((0, 3), (2, 9), (0, 5)), labels='state="unknown_outcome",platform="x"'),
        (6, 9, 13),
        (Stands("warning", "2", {"platform": "x"}),),
    ),
    Case(
        "PenstockPostPublishedTwice",
        {f'penstock_posts_published_twice_total{{{POD},platform="x"}}': f"_x10 {flat((1, 90))}"},
        (9, 60, 75),
        (Stands("critical", labels={"platform": "x"}),),
    ),
    Case(
        "PenstockAccountsToAuthorise",
        both("penstock_accounts", flat((0, 3), (2, 9), (0, 5)), labels='state="reauthorize",platform="x"'),
        (6, 9, 13),
        (Stands("warning", "2", {"platform": "x"}),),
    ),
    Case(
        "PenstockTokensEnd",
        both("penstock_accounts_token_ends_soon", flat((0, 3), (2, 80), (0, 5)), labels='platform="x"'),
        (60, 70, 85),
        (Stands("warning", "2", {"platform": "x"}),),
    ),
)
