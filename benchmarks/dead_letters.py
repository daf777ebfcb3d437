"""A million dead letters: how long operators wait for lists, filters, searches, groups and counts.

The letters are made within PostgreSQL of rows of the demonstration's file: 50 groups, 1,000 forms, 20 tenants, 90 days,
most of them open. The triggers count as they do in production; the indexes are built afterwards, as that is faster.
Each query runs with other values each time, through the same code as the pages and commands, as the worker's role. Then
the pages are asked over HTTP of a sidecar of its own, whole, as a browser gets them.

`python -m benchmarks.dead_letters [--letters N] [--rounds N] [--json]`; takes up to 8 GB of disk while it runs.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from penstock.migrations.runner import Migrator
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.group_filters import GroupFilter, GroupState
from penstock.workers.dead_letters.groups import GroupOrder, GroupStore
from penstock.workers.dead_letters.search import LetterSearch
from penstock.workers.demo import SUBMISSIONS_FILE
from penstock.workers.embedded.app_roles import grant_app_roles
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.ports import find_free
from penstock.workers.embedded.postgres import EmbeddedPostgres
from penstock.workers.embedded.valkey import EmbeddedValkey
from penstock.workers.handover.files import open_submissions
from penstock.workers.settings import WorkerSettings

CHUNK = 50_000
TARGET_MS = 200
PAGE_TARGET_MS = 500
#: Loading need not survive a power cut; what is measured only reads.
SETTINGS = {"fsync": "off", "synchronous_commit": "off", "max_wal_size": "1GB", "maintenance_work_mem": "512MB"}

_FILL = """
INSERT INTO penstock.dead_letters
       (dead_id, job_id, queue, kind, tenant, code, message, error, fingerprint, site, state, became, form_id,
        attempts, recoveries, crashes, postpones, payload_version, idempotency_key, enqueued_at, died_at, worker,
        release, history, message_bytes, body, header_ok, payload, search, resolved_at, resolved_by, resolution_reason)
SELECT gen_random_uuid(), job_id, 'submissions', kind, 'tenant-' || form %% 20, code, message, error,
       substr(md5('group' || groupe), 1, 16), 'penstock/workers/actors/a' || groupe || '.py in store', state,
       CASE WHEN state = 'requeued' THEN 'done' END, 'form-' || form, 4, 0, 0, 0, 1, batch, died_at - INTERVAL '1 min',
       died_at, 'host:1:boot', release, history, octet_length(payload::text), convert_to(payload::text, 'UTF8'), true,
       payload, to_tsvector('simple', concat_ws(' ', job_id, kind, code, message, error, 'form', form,
                                                'form' || form, lower(replace(code, '_', '')), replace(batch, '-', ''),
                                                replace(batch, '-', ' '))),
       CASE WHEN state <> 'open' THEN died_at + INTERVAL '1 day' END,
       CASE WHEN state <> 'open' THEN 'ada' END, CASE WHEN state <> 'open' THEN 'looked at' END
  FROM (
    SELECT gen_random_uuid() AS job_id, n, groupe, form, 'import-' || n AS batch,
           (ARRAY['submission_batch.write', 'report.make', 'mail.send', 'file.scan', 'form.sync'])[1 + groupe %% 5]
               AS kind,
           (ARRAY['BATCH_CONFLICT', 'FORM_NOT_FOUND', 'JOB_PAYLOAD_INVALID', 'INTERNAL_ERROR', 'JOB_TIME_LIMIT',
                  'STORAGE_REFUSED', 'JOB_POISON'])[1 + groupe %% 7] AS code,
           'the form ''form-' || form || ''' was refused for cause ' || groupe AS message,
           'builtins.Error' || groupe AS error,
           (ARRAY['open', 'open', 'open', 'open', 'open', 'open', 'open', 'discarded', 'discarded', 'requeued'])
               [1 + n %% 10] AS state,
           now() - INTERVAL '90 days' * (1 - n::float8 / %(letters)s) AS died_at,
           '1.' || (n * 20 / %(letters)s) AS release,
           jsonb_build_array(%(attempt)s::jsonb, %(attempt)s::jsonb, %(attempt)s::jsonb) AS history,
           jsonb_build_object('form_id', 'form-' || form, 'batch_id', 'import-' || n, 'submissions',
                              jsonb_build_array(a.row || jsonb_build_object('id', n), b.row),
                              'bucket', n %% 100,
                              'source', CASE WHEN n < %(letters)s / 20 THEN 'old' ELSE 'new' END) AS payload
      FROM (
        SELECT n, floor(50 * power(random(), 2))::int AS groupe, floor(1000 * random())::int AS form,
               n %% %(rows)s AS first, (n * 7 + 1) %% %(rows)s AS second
          FROM generate_series(%(begin)s::bigint, %(end)s::bigint) AS n
      ) AS drawn
      JOIN given a ON a.place = first JOIN given b ON b.place = second
  ) AS made
"""
_ATTEMPT = {
    "at": "2026-11-01T00:00:00.000Z",
    "attempt": 1,
    "outcome": "retried",
    "code": "INTERNAL_ERROR",
    "seconds": 0.01,
    "message": "the actor raised Error",
    "worker": "host:1:boot",
    "release": "1.0",
    "error": "builtins.Error",
    "traceback": [f"/srv/app/penstock/workers/module_{n}.py:{n} in function_{n}" for n in range(8)],
}


@contextmanager
def database() -> Iterator[tuple[str, WorkerSettings]]:
    """A migrated PostgreSQL of this run's own: a superuser's URL, and a worker's settings."""
    with ExitStack() as stack:
        home = Home(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-"))))
        home.lock()
        postgres = EmbeddedPostgres(home, settings=SETTINGS)
        urls = postgres.start()
        stack.callback(postgres.stop)
        Migrator(urls.admin).up()
        grant_app_roles(urls.admin, postgres.app_password)
        environment = {"DATABASE_URL": urls.app, "REDIS_URL": "redis://localhost:1"}
        yield urls.admin, WorkerSettings.from_environment(environment)


def fill(admin_url: str, settings: WorkerSettings, letters: int) -> None:
    """Make the letters."""
    with open_submissions(SUBMISSIONS_FILE, settings.limits) as file:
        rows = [json.loads(row) for row in islice(file.rows(), 2_000)]
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("SET ROLE penstock_owner")
        connection.execute("CREATE TEMPORARY TABLE given (place bigint PRIMARY KEY, row jsonb NOT NULL)")
        with connection.cursor() as cursor, cursor.copy("COPY given FROM STDIN") as copy:
            for place, row in enumerate(rows):
                copy.write_row((place, Jsonb(row)))
        indexes = connection.execute("""
            SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
             WHERE indrelid = 'penstock.dead_letters'::regclass AND NOT indisprimary
        """).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}".encode())
        parameters = {"letters": letters, "rows": len(rows), "attempt": Jsonb(_ATTEMPT)}
        for begin in range(0, letters, CHUNK):
            bounds = {"begin": begin, "end": min(begin + CHUNK, letters) - 1}
            connection.execute(_FILL.encode(), parameters | bounds)
            tell(f"{bounds['end'] + 1:,} letters")
        for name, definition in indexes:
            started = time.perf_counter()
            connection.execute(definition.encode())
            tell(f"{name}: {time.perf_counter() - started:.0f} s")
        connection.execute("RESET ROLE")
        connection.execute("VACUUM ANALYZE")
        size = connection.execute("SELECT pg_size_pretty(pg_database_size(current_database()))").fetchone()
        tell(f"the database has {size[0] if size else '?'}")


def tell(text: str) -> None:
    """Progress, beside the figures."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")


class Queries:
    """What operators ask, with other values each time."""

    def __init__(self, search: LetterSearch, groups: GroupStore, letters: int, draw: random.Random) -> None:
        self._search = search
        self._groups = groups
        self._letters = letters
        self._draw = draw
        page = groups.list(GroupFilter(state=GroupState.ANY), limit=100)
        self._fingerprints = [group.fingerprint for group in page.items]

    def all(self) -> dict[str, Callable[[], object]]:
        """Name and query."""
        return self._lists() | self._contents() | self._others()

    def _lists(self) -> dict[str, Callable[[], object]]:
        return {
            "list: open": lambda: self._list({}),
            "list: open, from a random day": lambda: self._list({"until": self._day()}),
            "list: open, oldest first": lambda: self._search.list(LetterFilter(), newest_first=False),
            "list: any state": lambda: self._list({"state": "any"}),
            "list: kind": lambda: self._list({"kind": "mail.send", "until": self._day()}),
            "list: code": lambda: self._list({"code": "JOB_POISON", "until": self._day()}),
            "list: tenant": lambda: self._list({"tenant": f"tenant-{self._draw.randrange(20)}"}),
            "list: form": lambda: self._list({"form": self._form()}),
            "list: group, any state": lambda: self._list({"group": self._group(), "state": "any"}),
            "list: form and code": lambda: self._list({"form": self._form(), "code": "JOB_POISON"}),
            "list: tenant and group": lambda: self._list({"tenant": "tenant-3", "group": self._group()}),
            "list: kind and code that never meet": lambda: self._list({"kind": "report.make", "code": "NEVER_SEEN"}),
            "list: second page": lambda: self._second_page({"form": self._form(), "state": "any"}),
        }

    def _contents(self) -> dict[str, Callable[[], object]]:
        return {
            "payload: batch (1 letter)": lambda: self._list({"payload": f"batch_id={self._batch()}", "state": "any"}),
            "payload: form and kind": lambda: self._list({"payload": f"form_id={self._form()}", "kind": "mail.send"}),
            "payload: form (1 in 1,000)": lambda: self._list({"payload": f"form_id={self._form()}"}),
            "payload: position": lambda: self._list({"payload": f"submissions.0.id={self._number()}"}),
            "payload: any element (common)": lambda: self._list({"payload": "submissions.*.answers.damage=None"}),
            "payload: species and tenant": lambda: self._list(
                {"payload": "submissions.*.answers.species=Turkey vulture", "tenant": "tenant-7"}
            ),
            "payload: 1 in 100": lambda: self._list({"payload": f"bucket={self._draw.randrange(100)}"}),
            "payload: form, second page": lambda: self._second_page({"payload": f"form_id={self._form()}"}),
            "payload: none": lambda: self._list({"payload": "form_id=nobody's"}),
            "payload: 1 in 20, none recent": lambda: self._list({"payload": "source=old"}),
            "text: batch": lambda: self._list({"text": self._batch(), "state": "any"}),
            "text: common words": lambda: self._list({"text": "form was refused"}),
            "text: form, cut short": lambda: self._list({"text": f"batch_conflict form-{self._draw.randrange(100)}"}),
            "text: none": lambda: self._list({"text": "unheard"}),
        }

    def _others(self) -> dict[str, Callable[[], object]]:
        return {
            "one letter": self._one,
            "groups: most open first": lambda: self._groups.list(GroupFilter()),
            "groups: last seen first": lambda: self._groups.list(GroupFilter(), order=GroupOrder.LAST_SEEN),
            "groups: of a form": lambda: self._groups.list(GroupFilter(form_id=self._form())),
            "group: detail": lambda: self._groups.show(self._group()),
            "count: open, to 10,000": lambda: self._count({}),
            "count: tenant": lambda: self._count({"tenant": f"tenant-{self._draw.randrange(20)}"}),
            "count: form": lambda: self._count({"form": self._form(), "state": "any"}),
            "count: payload form": lambda: self._count({"payload": f"form_id={self._form()}"}),
            "count: common text": lambda: self._count({"text": "refused"}),
        }

    def pages(self, address: str) -> dict[str, Callable[[], object]]:
        """Name and request of a page."""

        def ask(path: str, **query: str) -> object:
            url = f"{address}{path}?{urllib.parse.urlencode(query)}"
            with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  our own address
                return answer.read()

        return {
            "page: overview": lambda: ask("/"),
            "page: groups": lambda: ask("/dead-letters"),
            "page: a group": lambda: ask(f"/dead-letters/groups/{self._group()}"),
            "page: list": lambda: ask("/dead-letters/list", until=self._day()),
            "page: list of a form and code": lambda: ask(
                "/dead-letters/list", form=self._form(), code="JOB_POISON", state="any"
            ),
            "page: list by payload (1 in 1,000)": lambda: ask("/dead-letters/list", payload=f"form_id={self._form()}"),
            "page: list by payload (1 letter)": lambda: ask("/dead-letters/list", payload=f"batch_id={self._batch()}"),
            "page: list by words": lambda: ask("/dead-letters/list", text="form was refused"),
            "page: a letter": lambda: ask(f"/dead-letters/{self._some_letter()}"),
            "page: search of a batch": lambda: ask("/search", q=self._batch()),
            "page: audit": lambda: ask("/audit"),
            "page: queues": lambda: ask("/queues"),
        }

    def _list(self, given: dict[str, str]) -> object:
        return self._search.list(LetterFilter.parse(given))

    def _count(self, given: dict[str, str]) -> object:
        return self._search.count(LetterFilter.parse(given))

    def _second_page(self, given: dict[str, str]) -> object:
        chosen = LetterFilter.parse(given)
        return self._search.list(chosen, cursor=self._search.list(chosen).next)

    def _one(self) -> object:
        return self._search.show(self._some_letter())

    def _some_letter(self) -> UUID:
        (letter,) = self._search.sample(LetterFilter.parse({"until": self._day()}), 1)
        return letter.dead_id

    def _day(self) -> str:
        return (datetime.now(UTC) - timedelta(days=self._draw.uniform(0, 85))).isoformat()

    def _form(self) -> str:
        return f"form-{self._draw.randrange(1_000)}"

    def _group(self) -> str:
        return self._draw.choice(self._fingerprints)

    def _number(self) -> int:
        return self._draw.randrange(self._letters)

    def _batch(self) -> str:
        return f"import-{self._number()}"


@contextmanager
def sidecar(settings: WorkerSettings) -> Iterator[str]:
    """The address of a sidecar, a process of its own, with a Redis in which nothing waits."""
    with ExitStack() as stack:
        home = Home(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-"))))
        home.lock()
        valkey = EmbeddedValkey(home)
        redis_url = valkey.start()
        stack.callback(valkey.stop)
        listen = f"127.0.0.1:{find_free()}"
        environment = {"DATABASE_URL": settings.database_url, "REDIS_URL": redis_url, "PENSTOCK_SIDECAR_LISTEN": listen}
        command = [Path(sys.executable).with_name("penstock"), "sidecar"]
        process = subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        wait_for_answer(f"http://{listen}/health/live")
        yield f"http://{listen}"


def wait_for_answer(url: str) -> None:
    """Wait until a server answers, half a minute at the most."""
    ends_at = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310  our own address
                return
        except OSError:
            if time.monotonic() > ends_at:
                raise
            time.sleep(0.1)


def measure(queries: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each query: p50, p95 and the longest. The queries take turns."""
    taken: dict[str, list[float]] = {name: [] for name in queries}
    for turn in range(rounds + 1):
        for name, query in queries.items():
            started = time.perf_counter()
            query()
            if turn:  # the first one warms up
                taken[name].append((time.perf_counter() - started) * 1_000)
    return {name: _figures(times) for name, times in taken.items()}


def _figures(times: list[float]) -> dict[str, float]:
    return {"p50": statistics.median(times), "p95": statistics.quantiles(times, n=20)[-1], "max": max(times)}


def main() -> None:
    """Fill, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--letters", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with database() as (admin_url, settings):
        fill(admin_url, settings, arguments.letters)
        with open_pool(settings, "penstock-bench") as pool:
            draw = random.Random(20261121)  # noqa: S311  nothing secret
            groups = GroupStore(pool, Transactions(pool, settings))
            queries = Queries(LetterSearch(pool), groups, arguments.letters, draw)
            found: dict[str, Any] = measure(queries.all(), arguments.rounds)
            with sidecar(settings) as address:
                found |= measure(queries.pages(address), arguments.rounds)
    if arguments.json:
        sys.stdout.write(json.dumps({"letters": arguments.letters, "milliseconds": found}) + "\n")
        return
    for name, figures in found.items():
        target = PAGE_TARGET_MS if name.startswith("page: ") else TARGET_MS
        over = "" if figures["p95"] < target else f"   over {target} ms"
        told = "   ".join(f"{key} {value:8.1f}" for key, value in figures.items())
        sys.stdout.write(f"{name:38} {told} ms{over}\n")


if __name__ == "__main__":
    main()
