"""Scheduled posts on time: a year of posts in the table, and some due each minute, through real processes.

PostgreSQL, Valkey, the platforms' stand-in, a scheduler and workers are processes of this run's own. The year's posts
are made within PostgreSQL. Those that are due are text and pictures for Facebook, Instagram and Mastodon, of enough
accounts for the limits, spread evenly. How late each is stands in the table: `published_at - due_at`.

`python -m benchmarks.posts [--posts N] [--due N] [--minutes N] [--workers N] [--json]`; a short run has
`--posts 20000 --due 100`.
"""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
from cryptography.fernet import Fernet
from psycopg.types.json import Jsonb

from penstock.migrations.runner import Migrator
from penstock.workers.accounts.account import NewAccount
from penstock.workers.accounts.secret import Secret
from penstock.workers.accounts.store import GivenTokens, add_account
from penstock.workers.accounts.token_keys import TokenKeys, Tokens
from penstock.workers.embedded.app_roles import grant_app_roles
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.postgres import EmbeddedPostgres
from penstock.workers.embedded.valkey import EmbeddedValkey
from penstock.workers.posts import claims

PLATFORMS = ("facebook", "instagram", "mastodon")
#: No account gets more within an hour than the smallest limit allows.
POSTS_AN_ACCOUNT = 8
TENANT = "bench"
PATIENCE = timedelta(minutes=3)
IDLE_SECONDS = 20

_COLUMNS = "(post_id, tenant, owner, account_id, platform, content, due_at, grace, digest)"
_YEAR = f"""
INSERT INTO penstock.scheduled_posts {_COLUMNS}
SELECT gen_random_uuid(), 'bench', 'owner-' || n %% 50, %(account)s, 'mastodon', '{{"text": "Later"}}',
       now() + INTERVAL '1 day' + n * INTERVAL '364 days' / %(posts)s, '1 hour', ''
  FROM generate_series(1, %(posts)s) AS n
"""
_LATENESS = """
SELECT count(*), percentile_cont(ARRAY[0.5, 0.95, 0.99, 1]) WITHIN GROUP (
           ORDER BY extract(epoch FROM published_at - due_at) * 1000
       )
  FROM penstock.scheduled_posts WHERE state = 'published' AND (%(platform)s::text IS NULL OR platform = %(platform)s)
"""
_LATE = """
SELECT p.platform, a.phase, a.answer_class, a.code, count(DISTINCT p.post_id)
  FROM penstock.scheduled_posts p JOIN penstock.publish_attempts a USING (post_id)
 WHERE p.published_at - p.due_at > INTERVAL '1 s' AND a.answer_class <> 'ok'
 GROUP BY p.platform, a.phase, a.answer_class, a.code
"""
_STATES = "SELECT state, count(*) FROM penstock.scheduled_posts WHERE due_at < now() + INTERVAL '1 hour' GROUP BY state"
_COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


@dataclass
class Watched:
    """A process of this run, and the most memory that it held, in MiB."""

    name: str
    process: "subprocess.Popen[bytes]"
    rss: list[float] = field(default_factory=list)

    def sample(self) -> None:
        """Note how much memory it holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        (kilobytes,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
        self.rss.append(int(kilobytes) / 1024)


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """PostgreSQL and Valkey, migrated, as an environment of the processes; `ADMIN_URL` is a superuser's."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-"))
        home = Home(Path(folder) / "home").lock()
        stack.callback(home.unlock)
        postgres, valkey = EmbeddedPostgres(home), EmbeddedValkey(home)
        urls = postgres.start()
        stack.callback(postgres.stop)
        redis_url = valkey.start()
        stack.callback(valkey.stop)
        Migrator(urls.admin).up()
        grant_app_roles(urls.admin, postgres.app_password)
        yield {
            "DATABASE_URL": urls.app,
            "REDIS_URL": redis_url,
            "ADMIN_URL": urls.admin,
            "PENSTOCK_HOME": str(Path(folder) / "processes"),
            "PENSTOCK_TOKEN_KEYS": f"k1:{Fernet.generate_key().decode()}",
        }


@contextmanager
def stand_in() -> Iterator[dict[str, str]]:
    """The platforms, as a process of their own; the settings that lead there."""
    command = [sys.executable, "-m", "penstock.workers.stand_in"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        settings: dict[str, str] = {}
        while "PENSTOCK_MEDIA_PRIVATE_HOSTS" not in settings:
            name, _, value = process.stdout.readline().strip().partition("=")
            settings[name] = value
        try:
            yield settings
        finally:
            process.send_signal(signal.SIGINT)


@contextmanager
def running(name: str, environment: Mapping[str, str]) -> Iterator[Watched]:
    """A `penstock` process that is ready."""
    command = [str(Path(sys.executable).parent / "penstock"), name]
    process = subprocess.Popen(command, env=os.environ | dict(environment), stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if f"the {name} is ready".encode() in line:
            break
    # Somebody must read on, or the process would wait for room in the pipe.
    reader = threading.Thread(target=process.stderr.read, daemon=True)
    reader.start()
    try:
        yield Watched(name, process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        reader.join()
        process.stderr.close()


def add_accounts(connection: "psycopg.Connection[Any]", keys: TokenKeys, number: int) -> dict[str, list[UUID]]:
    """So many accounts of each platform, with tokens that the stand-in takes."""
    made: dict[str, list[UUID]] = {platform: [] for platform in PLATFORMS}
    for platform in PLATFORMS:
        for place in range(number):
            account = NewAccount(uuid4(), "bench", platform, f"{platform}-{place}", f"{platform} {place}", {})
            sealed = keys.seal(account.account_id, Tokens(Secret(f"{platform}-{place}.1")))
            add_account(connection, TENANT, account, GivenTokens(sealed, None, None))
            made[platform].append(account.account_id)
    return made


def add_due(
    connection: "psycopg.Connection[Any]", accounts: Mapping[str, list[UUID]], files: str, due: list[datetime]
) -> None:
    """A post at each of these instants, the platforms and accounts in turn."""
    copy = f"COPY penstock.scheduled_posts {_COLUMNS} FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(copy.encode()) as rows:
        for place, instant in enumerate(due):
            platform = PLATFORMS[place % len(PLATFORMS)]
            own = accounts[platform]
            content: dict[str, Any] = {"text": f"Number {place} of this run"}
            if platform == "instagram":
                url = f"{files}/picture-{place}.jpg?bytes=1000"
                content["media"] = [{"url": url, "kind": "image"}]
            account = own[place // len(PLATFORMS) % len(own)]
            rows.write_row((uuid4(), TENANT, "bench", account, platform, Jsonb(content), instant, "1 hour", b""))


def explain(connection: "psycopg.Connection[Any]") -> dict[str, list[str]]:
    """The plans of the two statements that are run again and again, and what they touched."""
    due_by = datetime.now(UTC) + timedelta(hours=1)
    asked = {"claim": (claims._LOCK, {"due_by": due_by, "limit": claims.CLAIM_LIMIT}), "next": (claims._NEXT, {})}  # noqa: SLF001  they are what is measured
    plans = {}
    for name, (statement, parameters) in asked.items():
        with connection.transaction(force_rollback=True):
            rows = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {statement}".encode(), parameters)
            plans[name] = [str(row[0]) for row in rows]
    return plans


def time_claims(connection: "psycopg.Connection[Any]") -> dict[str, float]:
    """Milliseconds to claim all that is due within the hour, by 200, and posts; nothing of it stays."""
    posts, began = 0, time.perf_counter()
    with connection.transaction(force_rollback=True):
        while True:
            claim = claims.claim_due(connection, datetime.now(UTC), lead=timedelta(hours=1))
            posts += len(claim.moved)
            if not claim.is_full:
                break
    return {"posts": posts, "ms": round((time.perf_counter() - began) * 1_000, 1)}


def idle_transactions(connection: "psycopg.Connection[Any]") -> float:
    """Transactions a second that all loops of an idle scheduler commit."""

    def commits() -> int:
        row = connection.execute(_COMMITS).fetchone()
        assert row is not None
        return int(row[0])

    # Statistics arrive late: at the most a second, which both readings are.
    before = commits()
    time.sleep(IDLE_SECONDS)
    return round((commits() - before - 1) / IDLE_SECONDS, 1)


def wait_until_out(connection: "psycopg.Connection[Any]", watched: list[Watched], ends_at: datetime) -> dict[str, int]:
    """Wait until none of the due posts waits any more, or the patience is at its end; posts by state."""
    while True:
        for process in watched:
            process.sample()
        states: dict[str, int] = dict(connection.execute(_STATES).fetchall())
        if not states.keys() & {"scheduled", "claimed", "publishing"} or datetime.now(UTC) > ends_at + PATIENCE:
            return states
        time.sleep(1)


def lateness(connection: "psycopg.Connection[Any]", platform: str | None = None) -> dict[str, float]:
    """Milliseconds from the instants of the published posts to when they were out."""
    row = connection.execute(_LATENESS, {"platform": platform}).fetchone()
    assert row is not None
    count, found = row
    names = ("p50", "p95", "p99", "max")
    return {"posts": count} | {name: round(value, 1) for name, value in zip(names, found or (), strict=False)}


def doubles(settings: Mapping[str, str]) -> int:
    """Publications beyond the first one of a post, as the platforms saw it."""
    base = settings["PENSTOCK_MASTODON_URL"].removesuffix("/mastodon")
    with urllib.request.urlopen(f"{base}/__ctl/doubles", timeout=30) as answer:  # noqa: S310  our own address
        return len(json.load(answer)["items"])


def measure(posts: int, due: int, minutes: float, workers: int) -> dict[str, Any]:
    """Fill, run, and read what came of it."""
    with ExitStack() as stack:
        environment = stack.enter_context(servers())
        settings = stack.enter_context(stand_in())
        base = settings["PENSTOCK_MASTODON_URL"].removesuffix("/mastodon")
        admin = stack.enter_context(psycopg.connect(environment["ADMIN_URL"], autocommit=True))
        keys = TokenKeys.from_setting(environment["PENSTOCK_TOKEN_KEYS"])
        wanted = math.ceil(due * minutes)
        accounts = add_accounts(admin, keys, max(1, math.ceil(wanted / len(PLATFORMS) / POSTS_AN_ACCOUNT)))
        tell(f"{posts:,} posts over a year")
        admin.execute("SET synchronous_commit = off")
        admin.execute(_YEAR.encode(), {"account": accounts["mastodon"][0], "posts": posts})
        admin.execute("RESET synchronous_commit")
        admin.execute("VACUUM ANALYZE penstock.scheduled_posts")
        found: dict[str, Any] = {"posts": posts, "due": wanted}
        scheduler = stack.enter_context(running("scheduler", environment | settings))
        found["idle_transactions_per_second"] = idle_transactions(admin)
        scheduler.sample()
        found["idle_scheduler_mib"] = round(scheduler.rss[-1], 1)
        watched = [scheduler]
        watched += [stack.enter_context(running("worker", environment | settings)) for _ in range(workers)]
        begin = datetime.now(UTC) + timedelta(seconds=45)
        instants = [begin + place * timedelta(minutes=minutes) / wanted for place in range(wanted)]
        with admin.transaction(force_rollback=True):
            # As they stand before anybody has claimed one: within a transaction that nobody else sees.
            add_due(admin, accounts, f"{base}/files", instants)
            found["plans"], found["claims"] = explain(admin), time_claims(admin)
        add_due(admin, accounts, f"{base}/files", instants)
        tell(f"{wanted:,} posts are due from {begin:%H:%M:%S} on")
        found["states"] = wait_until_out(admin, watched, instants[-1])
        found["lateness_ms"] = lateness(admin)
        found["lateness_ms_by_platform"] = {platform: lateness(admin, platform) for platform in PLATFORMS}
        found["answers_of_those_over_a_second"] = [list(row) for row in admin.execute(_LATE)]
        found["doubles"] = doubles(settings)
        found["mib"] = {
            name: round(max(max(process.rss) for process in watched if process.name == name), 1)
            for name in ("scheduler", "worker")
        }
    return found


def tell(text: str) -> None:
    """Progress, beside the figures."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, default=1_000_000, help="over the coming year")
    parser.add_argument("--due", type=int, default=1_000, help="a minute")
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = measure(chosen.posts, chosen.due, chosen.minutes, chosen.workers)
    if chosen.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    plans = found.pop("plans")
    for name, value in found.items():
        sys.stdout.write(f"{name}: {value}\n")
    for name, lines in plans.items():
        sys.stdout.write(f"\nplan of the {name}:\n" + "".join(f"  {line}\n" for line in lines))


if __name__ == "__main__":
    main()
