"""PostgreSQL, Redis, processes and machines."""

from deploy.monitoring.panels import Dashboard, Panel, Query, Row, p95, rate_of, share_of

SERVERS = Dashboard(
    "penstock-servers",
    "Penstock: servers and processes",
    "PostgreSQL, Redis, and what Penstock's own processes take.",
    [
        Row(
            "PostgreSQL",
            [
                Panel(
                    "Statements",
                    "A second, by operation",
                    [
                        rate_of(
                            "penstock_db_query_duration_seconds_count", "operation, table", "{{operation}} {{table}}"
                        )
                    ],
                    "ops",
                ),
                Panel(
                    "Duration of statements",
                    "One in twenty takes longer",
                    [p95("penstock_db_query_duration_seconds", "operation, table", "{{operation}} {{table}}")],
                    "s",
                    warns_at=1,
                ),
                Panel(
                    "Pools",
                    "Of what they may have, the share that is taken",
                    [
                        Query(
                            "(penstock_db_pool_size - penstock_db_pool_available) / penstock_db_pool_max",
                            "{{instance}}",
                        )
                    ],
                    "percentunit",
                    warns_at=0.9,
                ),
                Panel(
                    "Waiting for a connection",
                    "Clients now",
                    [Query("penstock_db_pool_requests_waiting", "{{instance}}")],
                ),
                Panel(
                    "No connection",
                    "Requests a second that got none, and attempts to connect that failed",
                    [
                        rate_of("penstock_db_pool_requests_errors_total", "instance", "{{instance}} requests"),
                        rate_of("penstock_db_pool_connections_errors_total", "instance", "{{instance}} attempts"),
                    ],
                    "ops",
                ),
                Panel(
                    "Dependency away",
                    "1 while workers take no jobs that need it",
                    [Query("max by (dependency) (penstock_dependency_away)", "{{dependency}}", may_be_empty=True)],
                    alarms_at=1,
                ),
            ],
        ),
        Row(
            "Redis",
            [
                Panel(
                    "Memory",
                    "Used, and its limit where there is one",
                    [
                        Query("max(penstock_redis_memory_used_bytes)", "used"),
                        Query("max(penstock_redis_memory_limit_bytes) > 0", "limit", may_be_empty=True),
                    ],
                    "bytes",
                ),
                Panel(
                    "Commands",
                    "A second",
                    [Query("max(rate(penstock_redis_commands_total[$__rate_interval]))", "commands")],
                    "ops",
                ),
                Panel(
                    "Clients",
                    "Connected, and refused a second",
                    [
                        Query("max(penstock_redis_connected_clients)", "connected"),
                        Query("max(rate(penstock_redis_rejected_connections_total[$__rate_interval]))", "refused"),
                    ],
                ),
                Panel(
                    "Evictions",
                    "Keys deleted for want of memory: there must be none",
                    [Query("max(rate(penstock_redis_evicted_keys_total[$__rate_interval]))", "keys")],
                    alarms_at=0.001,
                ),
                Panel(
                    "Fragmentation",
                    "Memory held, by what is used",
                    [Query("max(penstock_redis_memory_fragmentation_ratio)", "ratio")],
                ),
                Panel(
                    "Age of readings",
                    "Of what sidecars tell of the servers",
                    [Query("min by (reading) (penstock_reading_age_seconds)", "{{reading}}")],
                    "s",
                    warns_at=120,
                ),
            ],
        ),
        Row(
            "Processes",
            [
                Panel(
                    "Processes", "That live, by kind", [Query("sum by (process) (penstock_processes)", "{{process}}")]
                ),
                Panel(
                    "Memory",
                    "Of the largest of a kind, by what it may take",
                    [
                        Query(
                            "penstock_process_largest_resident_memory_bytes / penstock_process_memory_limit_bytes",
                            "{{instance}} {{process}}",
                        )
                    ],
                    "percentunit",
                    warns_at=0.8,
                ),
                Panel(
                    "Processors",
                    "By what they may take",
                    [
                        Query(
                            "sum by (instance, process) (rate(penstock_process_cpu_seconds_total[$__rate_interval]))"
                            " / max by (instance, process) (penstock_process_cpu_limit_cores)",
                            "{{instance}} {{process}}",
                        )
                    ],
                    "percentunit",
                    warns_at=0.8,
                ),
                Panel(
                    "Open files",
                    "And connections",
                    [Query("sum by (instance, process) (penstock_process_open_fds)", "{{instance}} {{process}}")],
                ),
                Panel(
                    "Caches",
                    "Of look-ups, the share that was answered",
                    [
                        share_of(
                            'penstock_cache_requests_total{result="hit"}',
                            "penstock_cache_requests_total",
                            "cache",
                            "{{cache}}",
                            may_be_empty=True,
                        )
                    ],
                    "percentunit",
                ),
                Panel(
                    "Silent processes",
                    "Age of the oldest word of one that lives",
                    [Query("penstock_process_snapshot_age_seconds", "{{instance}} {{process}}")],
                    "s",
                    warns_at=30,
                ),
            ],
        ),
        Row(
            "Machines",
            [
                Panel(
                    "Memory",
                    "Share that is taken; by the node exporter",
                    [Query("1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", "{{instance}}")],
                    "percentunit",
                    warns_at=0.8,
                ),
                Panel(
                    "Processors",
                    "Share of the time that they are busy",
                    [
                        Query(
                            '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[$__rate_interval]))',
                            "{{instance}}",
                        )
                    ],
                    "percentunit",
                    warns_at=0.8,
                ),
                Panel(
                    "Disks",
                    "Share that is free",
                    [
                        Query(
                            'node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|squashfs|overlay|nsfs"}'
                            " / node_filesystem_size_bytes",
                            "{{instance}} {{mountpoint}}",
                        )
                    ],
                    "percentunit",
                ),
            ],
        ),
    ],
)
