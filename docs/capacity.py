"""The arithmetic of docs/capacity.md: from what was measured to what so many rows a day need.

`python -m docs.capacity --rows-a-day 1e9 --peak-factor 3` prints the plan for a load of yours; `--help` has all inputs.
`docs.generate` puts the tables into the page.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

_ROOT = Path(__file__).parent.parent
#: The page that the tables stand in.
PAGE = _ROOT / "docs" / "capacity.md"
_DAY_SECONDS = 86_400
_MONTH_DAYS = 30.4
_GB = 10**9
_TB = 10**12
#: Loads that the page has columns for, in rows a day.
COLUMNS = (10**7, 10**8, 10**9)
#: Redis's memory in GB that the page has rows for.
REDIS_SIZES = (4, 16, 64)


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured (`benchmarks.sizes`, and the gateway's stream in benchmarks/README.md), unit in each name."""

    json_bytes_a_row: float
    table_bytes_a_row: float
    index_bytes_a_row: float
    wal_bytes_a_row: float
    redis_bytes_a_done_batch: float
    ledger_bytes_a_batch: float
    worker_ms_a_row: float
    postgresql_ms_a_row: float
    redis_ms_a_batch: float
    gateway_rows_a_second: float = 50_900
    #: Of requests that bring a document of 1 or 20 rows each, over a machine of two cores.
    gateway_requests_a_second: float = 330

    @classmethod
    def measured(cls, path: Path = _ROOT / "benchmarks" / "results" / "sizes.json") -> "Figures":
        """The figures of the last run that was saved."""
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = found["rows_a_batch"]
        a_row = {f"{name}_ms_a_row": found[f"{name}_ms_a_batch"] / rows for name in ("worker", "postgresql")}
        names = {field.name for field in fields(cls)}
        return cls(**a_row, **{name: value for name, value in found.items() if name in names})


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be borne, and on what.

    Attributes:
        peak_factor: the busiest hours, as so many times the average.
        compression: how many times smaller a message is than its JSON. The demonstration's reports reach 14; made-up
            answers reached 4.8, which is what is planned with.
        busy_share: of a core that is planned with; the rest is for peaks within seconds, vacuum, checkpoints.
        cores_a_pod, connections_a_pod: of a worker in deploy/kubernetes.
        server_memory_gb, index_memory_share: of one PostgreSQL, and what of it may hold the current month's indexes.
        server_disk_tb, server_wal_mb_a_second: what one PostgreSQL should hold and write at the most.
        random_ids: submission ids that are in no order of time: derived ones, and UUIDs of version 4. A new row then
            goes to any page of an index, so the whole of the month's has to stay in memory.
    """

    rows_a_day: float = 10**9
    peak_factor: float = 3
    batch_rows: float = 1_000
    compression: float = 4.8
    busy_share: float = 0.6
    retention_days: float = 90
    cores_a_pod: float = 0.5
    connections_a_pod: float = 8
    server_memory_gb: float = 256
    index_memory_share: float = 0.5
    server_disk_tb: float = 10
    server_wal_mb_a_second: float = 100
    redis_memory_gb: float = 16
    redis_memory_share: float = 0.9
    known_for_days: float = 7
    random_ids: bool = True


class Plan:
    """What a load needs. Each figure carries its unit in its name."""

    def __init__(self, load: Load, figures: Figures) -> None:
        self.load = load
        self.figures = figures
        self.rows_a_second = load.rows_a_day / _DAY_SECONDS
        self.peak_rows_a_second = self.rows_a_second * load.peak_factor
        self.batches_a_day = load.rows_a_day / load.batch_rows
        self.peak_batches_a_second = self.peak_rows_a_second / load.batch_rows

    def _cores(self, ms_a_row: float) -> float:
        return self.peak_rows_a_second * ms_a_row / 1_000 / self.load.busy_share

    @property
    def worker_cores(self) -> float:
        """Processor of all workers at the peak."""
        return self._cores(self.figures.worker_ms_a_row)

    @property
    def worker_pods(self) -> int:
        """Pods that have it; two at the least, so that one may be lost."""
        return max(2, math.ceil(self.worker_cores / self.load.cores_a_pod))

    @property
    def catch_up_minutes(self) -> float:
        """How long these pods take, at the average rate, for what came in an hour in which nobody stored anything."""
        rate = self.worker_pods * self.load.cores_a_pod * self.load.busy_share * 1_000 / self.figures.worker_ms_a_row
        return self.rows_a_second * 60 / (rate - self.rows_a_second)

    @property
    def postgresql_cores(self) -> float:
        """Processor that storing takes in all PostgreSQL servers together; your own queries come on top."""
        return self._cores(self.figures.postgresql_ms_a_row)

    @property
    def redis_core_share(self) -> float:
        """Of the one core that Redis runs its scripts on."""
        return self.peak_batches_a_second * self.figures.redis_ms_a_batch / 1_000

    @property
    def worker_connections(self) -> int:
        """Connections to PostgreSQL of all workers, before a pooler."""
        return math.ceil(self.worker_pods * self.load.connections_a_pod)

    @property
    def disk_bytes_a_day(self) -> float:
        """Rows, their indexes and the ledger of batches."""
        rows = self.load.rows_a_day * (self.figures.table_bytes_a_row + self.figures.index_bytes_a_row)
        return rows + self.batches_a_day * self.figures.ledger_bytes_a_batch

    @property
    def wal_bytes_a_day(self) -> float:
        """What is written ahead, and archived for recovery to an instant."""
        return self.load.rows_a_day * self.figures.wal_bytes_a_row

    @property
    def peak_wal_mb_a_second(self) -> float:
        """The same at the peak."""
        return self.peak_rows_a_second * self.figures.wal_bytes_a_row / 1e6

    @property
    def disk_bytes(self) -> float:
        """All that is kept, on one copy."""
        return self.disk_bytes_a_day * self.load.retention_days

    @property
    def month_index_bytes(self) -> float:
        """Indexes of the month that is being written."""
        return self.load.rows_a_day * _MONTH_DAYS * self.figures.index_bytes_a_row

    def servers_by_reason(self) -> dict[str, int]:
        """How many PostgreSQL servers each limit asks for."""
        memory = self.load.server_memory_gb * _GB * self.load.index_memory_share
        needs = {
            "disk": self.disk_bytes / (self.load.server_disk_tb * _TB),
            "WAL": self.peak_wal_mb_a_second / self.load.server_wal_mb_a_second,
            "index in memory": self.month_index_bytes / memory if self.load.random_ids else 0,
        }
        return {name: max(1, math.ceil(need)) for name, need in needs.items()}

    @property
    def servers(self) -> int:
        """PostgreSQL servers (without standbys): what the tightest limit asks for."""
        return max(self.servers_by_reason().values())

    @property
    def message_bytes_a_batch(self) -> float:
        """A batch as it is in Redis and on the way there and back."""
        return self.load.batch_rows * self.figures.json_bytes_a_row / self.load.compression

    @property
    def redis_bytes_a_waiting_batch(self) -> float:
        """Its message, and what Redis keeps about a job."""
        return self.message_bytes_a_batch + self.figures.redis_bytes_a_done_batch

    @property
    def redis_done_bytes(self) -> float:
        """Records of finished batches, by which a resend is known."""
        return self.batches_a_day * self.load.known_for_days * self.figures.redis_bytes_a_done_batch

    def held_hours(self, redis_memory_gb: float | None = None, *, peak: bool = False) -> float:
        """How long batches can come in while nobody stores them, until Redis takes no more."""
        memory = (redis_memory_gb or self.load.redis_memory_gb) * _GB * self.load.redis_memory_share
        batches = max(0.0, memory - self.redis_done_bytes) / self.redis_bytes_a_waiting_batch
        rate = self.batches_a_day / 24 * (self.load.peak_factor if peak else 1)
        return batches / rate

    @property
    def gateway_processes(self) -> int:
        """Processes for streams; two at the least."""
        return max(2, math.ceil(self.peak_rows_a_second / (self.figures.gateway_rows_a_second * self.load.busy_share)))

    @property
    def network_mbit_a_second(self) -> float:
        """At the peak between workers and PostgreSQL, which is the most: rows go there uncompressed."""
        return self.peak_rows_a_second * self.figures.json_bytes_a_row * 8 / 1e6

    @property
    def redis_network_mbit_a_second(self) -> float:
        """At the peak in and out of Redis, without replicas."""
        return self.peak_batches_a_second * self.message_bytes_a_batch * 2 * 8 / 1e6


def _servers(plan: Plan) -> str:
    reasons = plan.servers_by_reason()
    return f"{plan.servers} ({', '.join(f'{name} {count}' for name, count in reasons.items())})"


Cell = Callable[[Plan], str]
#: The rows of the page's first table.
ROWS: tuple[tuple[str, Cell], ...] = (
    ("rows a second, average", lambda plan: f"{plan.rows_a_second:,.0f}"),
    ("rows a second at the peak", lambda plan: f"{plan.peak_rows_a_second:,.0f}"),
    ("batches a second at the peak", lambda plan: number(plan.peak_batches_a_second)),
    ("workers: cores at the peak", lambda plan: number(plan.worker_cores)),
    ("workers: pods of half a core", lambda plan: f"{plan.worker_pods:,}"),
    ("workers: minutes to catch up an hour's outage", lambda plan: number(plan.catch_up_minutes)),
    ("workers: connections to PostgreSQL", lambda plan: f"{plan.worker_connections:,}"),
    ("gateways for streams", lambda plan: f"{plan.gateway_processes:,}"),
    ("PostgreSQL: cores at the peak", lambda plan: number(plan.postgresql_cores)),
    ("PostgreSQL: disk a day", lambda plan: size(plan.disk_bytes_a_day)),
    ("PostgreSQL: disk that is kept, one copy", lambda plan: size(plan.disk_bytes)),
    ("PostgreSQL: WAL a day", lambda plan: size(plan.wal_bytes_a_day)),
    ("PostgreSQL: WAL at the peak, MB/s", lambda plan: number(plan.peak_wal_mb_a_second)),
    ("a partition (a month)", lambda plan: size(plan.disk_bytes_a_day * _MONTH_DAYS)),
    ("as much in a day, in an hour", lambda plan: f"{size(plan.disk_bytes_a_day)}, {size(plan.disk_bytes_a_day / 24)}"),
    ("indexes of the month being written", lambda plan: size(plan.month_index_bytes)),
    ("PostgreSQL servers, by what asks for most", _servers),
    ("Redis: share of its core", lambda plan: f"{plan.redis_core_share:.1%}"),
    ("Redis: a batch that waits", lambda plan: size(plan.redis_bytes_a_waiting_batch)),
    ("Redis: what is known of finished batches", lambda plan: size(plan.redis_done_bytes)),
    ("network, workers to PostgreSQL, Mbit/s", lambda plan: number(plan.network_mbit_a_second)),
    ("network, Redis in and out, Mbit/s", lambda plan: number(plan.redis_network_mbit_a_second)),
)


def number(value: float) -> str:
    """Two significant digits below 10, whole numbers above."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def size(value: float) -> str:
    """Bytes with a unit of powers of 1,000."""
    for unit, scale in (("PB", 10**15), ("TB", _TB), ("GB", _GB), ("MB", 10**6), ("kB", 10**3)):
        if value >= scale:
            return f"{number(value / scale)} {unit}"
    return f"{value:.0f} B"


def duration(hours: float) -> str:
    """Hours as a person says them."""
    if hours >= 48:
        return f"{number(hours / 24)} days"
    return f"{number(hours)} h" if hours >= 1 else f"{hours * 60:.0f} min"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plans_table(loads: Sequence[Load], figures: Figures) -> str:
    """What each load needs."""
    plans = [Plan(load, figures) for load in loads]
    head = ["rows a day", *(f"{load.rows_a_day:,.0f}" for load in loads)]
    return _table(head, [[name, *(cell(plan) for plan in plans)] for name, cell in ROWS])


def outage_table(loads: Sequence[Load], figures: Figures, sizes: Sequence[int] = REDIS_SIZES) -> str:
    """How long Redis holds what comes in while PostgreSQL is away: on average, and all of it at the peak."""
    plans = [Plan(load, figures) for load in loads]
    head = ["Redis's `maxmemory`", *(f"{load.rows_a_day:,.0f} rows a day" for load in loads)]
    rows = [
        [
            f"{gigabytes} GB",
            *(
                f"{duration(plan.held_hours(gigabytes))}; {duration(plan.held_hours(gigabytes, peak=True))}"
                for plan in plans
            ),
        ]
        for gigabytes in sizes
    ]
    return _table(head, rows)


def figures_table(figures: Figures) -> str:
    """What was measured."""
    return _table(
        ["figure", "measured"], [[name.replace("_", " "), f"{value:,.6g}"] for name, value in asdict(figures).items()]
    )


def tables() -> dict[str, str]:
    """The page's generated tables by their marker."""
    figures = Figures.measured()
    loads = [Load(rows_a_day=rows) for rows in COLUMNS]
    return {
        "figures": figures_table(figures),
        "inputs": _table(
            ["input", "value"], [[name.replace("_", " "), f"{value:g}"] for name, value in asdict(Load()).items()]
        ),
        "plans": plans_table(loads, figures),
        "outages": outage_table(loads, figures),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the plan of a load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in asdict(Load()).items():
        if name != "random_ids":
            parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value, help=f"{value:g} by default")
    parser.add_argument("--ordered-ids", action="store_true", help="submission ids are UUIDs of version 7")
    told = vars(parser.parse_args(arguments))
    load = Load(random_ids=not told.pop("ordered_ids"), **told)
    figures = Figures.measured()
    held = outage_table([load], figures, sorted({*REDIS_SIZES, math.ceil(load.redis_memory_gb)}))
    sys.stdout.write(f"{plans_table([load], figures)}\n\n{held}\n")


if __name__ == "__main__":
    main()
