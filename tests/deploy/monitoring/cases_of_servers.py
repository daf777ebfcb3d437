"""Faults of PostgreSQL, Redis, and of those who watch: in minutes."""

from tests.deploy.monitoring.case_figures import AT, OTHER, POD, both
from tests.deploy.monitoring.promtool_kit import Case, Stands, flat, grows, histogram

_SERVERS = (
    Case(
        "PenstockPostgresqlDown",
        both("penstock_postgresql_up", flat((1, 3), (0, 5), (1, 5))),
        (3, 5, 9),
        (Stands("critical"),),
    ),
    Case(
        "PenstockRedisDown", both("penstock_redis_up", flat((1, 3), (0, 5), (1, 5))), (3, 5, 9), (Stands("critical"),)
    ),
    # One Prometheus watches two deployments: the other one's PostgreSQL is none of its own.
    Case(
        "PenstockPostgresqlDown",
        {
            'penstock_postgresql_up{instance="pod-1:9192",namespace="production"}': flat((1, 3), (0, 5), (1, 5)),
            'penstock_postgresql_up{instance="pod-2:9192",namespace="staging"}': flat((1, 13)),
        },
        (3, 5, 9),
        (Stands("critical", labels={"namespace": "production"}),),
    ),
    Case(
        "PenstockServerUnreachable",
        {
            f"penstock_postgresql_up{{{POD}}}": flat((1, 3), (0, 6), (1, 5)),
            f"penstock_postgresql_up{{{OTHER}}}": flat((1, 14)),
            f"penstock_redis_up{{{POD}}}": flat((1, 14)),
            f"penstock_redis_up{{{OTHER}}}": flat((1, 14)),
        },
        (4, 6, 10),
        (Stands("warning", labels=AT | {"server": "postgresql"}),),
    ),
    Case(
        "PenstockStorageHeld",
        {
            f'penstock_dependency_away{{{POD},dependency="storage"}}': flat((0, 3), (1, 6), (0, 5)),
            f'penstock_dependency_away{{{OTHER},dependency="storage"}}': flat((0, 14)),
        },
        (4, 6, 10),
        (Stands("critical", labels={"dependency": "storage"}),),
    ),
    Case(
        "PenstockNotWatched",
        {f"penstock_redis_up{{{POD}}}": "1 1 1 _x20 1 1 1 1 1"},
        (4, 20, 25),
        (Stands("critical"),),
    ),
    Case(
        "PenstockTargetDown",
        {f"up{{{POD}}}": flat((1, 3), (0, 6), (1, 5)), f"up{{{OTHER}}}": flat((1, 14))},
        (4, 6, 10),
        (Stands("warning", labels=AT),),
    ),
    Case(
        "PenstockReadingOld",
        {
            f'penstock_reading_age_seconds{{{POD},reading="redis"}}': flat((1, 3), (150, 9), (1, 5)),
            f'penstock_reading_age_seconds{{{OTHER},reading="redis"}}': flat((2, 3), (180, 9), (1, 5)),
        },
        (6, 9, 14),
        (Stands("warning", "2m 30s", {"reading": "redis"}),),
    ),
    Case(
        "PenstockRedisMemoryHigh",
        both("penstock_redis_memory_used_bytes", flat((50, 3), (85, 10), (40, 5)))
        | both("penstock_redis_memory_limit_bytes", flat((100, 18))),
        (6, 9, 14),
        (Stands("warning", "85%"),),
    ),
    Case(
        "PenstockRedisMemoryHigh",
        both("penstock_redis_memory_used_bytes", flat((50, 3), (97, 10), (40, 5)))
        | both("penstock_redis_memory_limit_bytes", flat((100, 18))),
        (3, 9, 14),
        (Stands("warning", "97%"), Stands("critical", "97%")),
    ),
    Case(
        "PenstockRedisEvicts",
        both("penstock_redis_evicted_keys_total", grows((0, 3), (10, 2), (0, 20))),
        (2, 10, 20),
        (Stands("critical", "20"),),
    ),
    Case(
        "PenstockRedisRefusesClients",
        both("penstock_redis_rejected_connections_total", grows((0, 3), (9, 1), (0, 20))),
        (2, 12, 20),
        (Stands("warning", "9"),),
    ),
)

_DATABASE = (
    Case(
        "PenstockPoolNearlyFull",
        {
            f"penstock_db_pool_size{{{POD}}}": flat((25, 20)),
            f"penstock_db_pool_available{{{POD}}}": flat((20, 3), (1, 8), (20, 9)),
            f"penstock_db_pool_max{{{POD}}}": flat((25, 20)),
        },
        (6, 9, 13),
        (Stands("warning", "96%", AT),),
    ),
    Case(
        "PenstockPoolExhausted",
        {f"penstock_db_pool_requests_errors_total{{{POD}}}": grows((0, 3), (60, 6), (0, 20))},
        (3, 8, 16),
        (Stands("critical", "1", {"instance": "pod-1:9192"}),),
    ),
    Case(
        "PenstockQueriesSlow",
        histogram(
            "penstock_db_query_duration_seconds",
            f'{POD},operation="copy",table="submissions"',
            (0.01, 6),
            (2, 20),
            (0.01, 20),
            buckets=(0.01, 1, 2.5),
        ),
        (10, 24, 40),
        (Stands("warning", "2.425s", {"operation": "copy", "table": "submissions"}),),
    ),
)

CASES = (*_SERVERS, *_DATABASE)
