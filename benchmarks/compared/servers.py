"""The servers of a comparison: PostgreSQL and Valkey of its own, with what all contenders write into."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import redis

from benchmarks.compared.board import VARIABLE as BOARD
from benchmarks.compared.board import Board
from benchmarks.compared.work import FORM_KEY
from benchmarks.ingest import read_rows
from penstock.migrations.runner import Migrator
from penstock.producers.storage.forms import apply_form
from penstock.schemas.forms import parse_form
from penstock.workers.database.pool import open_pool
from penstock.workers.demo import FORM_FILE, FORM_ID
from penstock.workers.embedded.app_roles import grant_app_roles
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.postgres import EmbeddedPostgres
from penstock.workers.embedded.valkey import EmbeddedValkey
from penstock.workers.forms.cache import FormVersion
from penstock.workers.run import assemble
from penstock.workers.settings import WorkerSettings

#: As an administrator sets a server of this size; what a commit promises stays as it is. No checkpoint within a round.
POSTGRESQL = {"shared_buffers": "1GB", "max_wal_size": "16GB", "checkpoint_timeout": "1h", "autovacuum": "off"}
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Servers:
    """Running servers.

    Attributes:
        environment: what workers and producers are started with.
        rows_file: the rows, a line each.
        processes: the servers' process ids, by name.
    """

    admin: psycopg.Connection[Any]
    admin_url: str
    redis: redis.Redis
    environment: Mapping[str, str]
    board: Board
    folder: Path
    rows: list[bytes]
    form: FormVersion
    processes: Mapping[str, int]

    @property
    def rows_file(self) -> Path:
        """The rows, a line each."""
        return self.folder / "rows.ndjson"

    def clean(self) -> None:
        """Forget all jobs and what they wrote; no worker may be running."""
        self.redis.flushall()
        self.board.clear()
        self.admin.execute(
            "TRUNCATE penstock.submissions, penstock.submission_batches, penstock.base_batches,"
            " penstock.submission_rejections, penstock.job_effects, bench_effects"
        )
        if self.has_table("procrastinate_jobs"):
            self.admin.execute("TRUNCATE procrastinate_jobs CASCADE")
        self.admin.execute("CHECKPOINT")

    def bytes_of_keys(self) -> int:
        """What all keys of Redis hold, each element counted: connections' buffers are no part of it."""
        found: Any = [self.redis.memory_usage(key, samples=0) for key in self.redis.scan_iter(count=1_000)]
        return sum(size or 0 for size in found)

    def has_table(self, name: str) -> bool:
        """True where there is a table of that name."""
        return bool(self.count("SELECT count(*) FROM pg_tables WHERE tablename = %s", name))

    def count(self, query: str, *values: object) -> int:
        """The number that a query gives."""
        row = self.admin.execute(query.encode(), values).fetchone()
        return int(row[0]) if row else 0


@contextmanager
def servers(rows: int, settings: Mapping[str, str] = POSTGRESQL) -> Iterator[Servers]:
    """Start them, empty, with the form and the tables."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-")))
        home = Home(folder / "home").lock()
        stack.callback(home.unlock)
        postgres, valkey = EmbeddedPostgres(home, settings=settings), EmbeddedValkey(home)
        urls = postgres.start()
        stack.callback(postgres.stop)
        redis_url = valkey.start()
        stack.callback(valkey.stop)
        Migrator(urls.admin).up()
        grant_app_roles(urls.admin, postgres.app_password)
        board = Board(folder / "board")
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(_ROOT),
            "DATABASE_URL": urls.app,
            "REDIS_URL": redis_url,
            "RQ_REDIS_URL": redis_url,
            "PENSTOCK_ACTORS": "benchmarks.compared.kinds",
            # As the others: none of them is asked to log each job.
            "PENSTOCK_LOG_LEVEL": "warning",
            BOARD: str(board.folder),
        }
        worker = WorkerSettings.from_environment(environment)
        admin = stack.enter_context(psycopg.connect(urls.admin, autocommit=True))
        _prepare(admin)
        with open_pool(worker, "penstock-bench") as pool:
            form = assemble(worker, pool).forms.get("default", FORM_ID)
        environment[FORM_KEY] = str(form.form_key)
        client = stack.enter_context(redis.Redis.from_url(redis_url))
        pids = {"postgresql": postgres.pid or 0, "redis": valkey.pid or 0}
        made = Servers(admin, urls.admin, client, environment, board, folder, read_rows(worker, rows), form, pids)
        made.rows_file.write_bytes(b"\n".join(made.rows) + b"\n")
        yield made


def _prepare(admin: psycopg.Connection[Any]) -> None:
    apply_form(admin, "default", FORM_ID, parse_form(FORM_FILE.read_bytes()))
    admin.execute("CREATE TABLE bench_effects (effect_id uuid PRIMARY KEY)")
    admin.execute("GRANT INSERT, SELECT ON bench_effects TO PUBLIC")
    # procrastinate's tables are its users' own.
    admin.execute("GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC")


def poll_until(count: Any, wanted: int, began: float, patience: float) -> float:
    """The moment in which `count()` was `wanted`, by the monotonic clock.

    It is asked rarely at first and every few milliseconds in the end, so that asking takes little.

    Raises:
        RuntimeError: it was not in `patience` seconds.
    """
    while True:
        found, now = count(), time.monotonic()
        if found >= wanted:
            return now
        if now - began > patience:
            raise RuntimeError(f"{found} of {wanted} were done after {patience} s: the measurement is void")
        rest = (now - began) * (wanted - found) / found if found else 0.02
        time.sleep(min(0.25, max(0.003, rest / 4)))
