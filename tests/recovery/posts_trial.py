"""A trial of scheduled posts: accounts and posts, real workers and schedulers, and the record of what was published."""

import json
import secrets
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import psycopg
import pytest
from cryptography.fernet import Fernet

from penstock.producers import Producer
from penstock.producers.queue.connection import connect
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.job_view import JobView
from penstock.schemas.post_content import PostContent
from penstock.schemas.scheduled_post import LatenessPolicy, SchedulePost
from penstock.workers.accounts.account import NewAccount
from penstock.workers.accounts.secret import Secret
from penstock.workers.accounts.store import GivenTokens, add_account, reauthorise
from penstock.workers.accounts.token_keys import TokenKeys, Tokens
from penstock.workers.stand_in.server import environment_at
from tests import forked
from tests.recovery.posts_record import LETTERED, PostEnd, read_ends
from tests.recovery.stand_in_process import StandInProcess
from tests.recovery.trial import TrialWorker
from tests.system import PATIENCE_SECONDS, Database, Run, wait_for

TENANT = "acme"
#: What makes a trial short: dead workers are noticed soon, silent platforms given up early, circuits try again soon.
SHORT_SETTINGS = {
    "PENSTOCK_TENANT": TENANT,
    "PENSTOCK_LEASE_SECONDS": "3",
    "PENSTOCK_POOL_MIN": "1",
    "PENSTOCK_POOL_MAX": "8",
    "PENSTOCK_SHUTDOWN_SECONDS": "5",
    "PENSTOCK_PLATFORM_CONNECT_SECONDS": "2",
    "PENSTOCK_PLATFORM_READ_SECONDS": "2",
    "PENSTOCK_PLATFORM_CALL_SECONDS": "4",
    "PENSTOCK_UPLOAD_PIECE_BYTES": "262144",
    "PENSTOCK_POST_LOOK_UP_SECONDS": "1,2,3",
    "PENSTOCK_OUTBOX_SWEEP_SECONDS": "10",
    "PENSTOCK_CIRCUIT_FAILURES": "100",
    "PENSTOCK_CIRCUIT_WINDOW_SECONDS": "5",
    "PENSTOCK_CIRCUIT_OPEN_SECONDS": "2",
    "PENSTOCK_CIRCUIT_OPEN_LIMIT_SECONDS": "2",
    "PENSTOCK_CIRCUIT_PROBE_SECONDS": "6",
    "PENSTOCK_CIRCUIT_RAMP_SECONDS": "1",
}
_TRUNCATE = """
    TRUNCATE penstock.scheduled_posts, penstock.social_accounts, penstock.publish_attempts, penstock.outbox
"""


@dataclass(frozen=True, slots=True)
class TrialAccount:
    """An account at the stand-in: its token is `NAME.0`, by which the stand-in knows whose it is."""

    account_id: uuid.UUID
    platform: str
    name: str


class TrialScheduler(TrialWorker):
    """A scheduler of a trial."""

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.decode(errors="replace").rstrip())
            if "the scheduler is ready" in self.lines[-1]:
                self.ready.set()


@dataclass(repr=False)
class PostsTrial:
    """Posts on their way. Use it as a context manager: it stops what it started.

    Args:
        base_environment: names the servers; the namespace is made the trial's own.
        database: empty of posts and accounts.
        stand_in: running.
    """

    base_environment: dict[str, str]
    database: Database
    stand_in: StandInProcess
    settings: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(init=False)
    processes: list[TrialWorker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key_setting = f"first:{Fernet.generate_key().decode()}"
        self.environment = {
            **self.base_environment,
            **environment_at(self.stand_in.url),
            **SHORT_SETTINGS,
            "PENSTOCK_NAMESPACE": f"{self.base_environment['PENSTOCK_NAMESPACE']}-{secrets.token_hex(4)}",
            "PENSTOCK_TOKEN_KEYS": self.key_setting,
            **self.settings,
        }
        self.keys = TokenKeys.from_setting(self.key_setting)
        self._client = connect(self.environment["REDIS_URL"])
        self._inspector = QueueInspector(self._client, self.environment["PENSTOCK_NAMESPACE"])

    def __enter__(self) -> Self:
        self.database.query(_TRUNCATE)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.close()
        self._client.close()

    # Accounts and posts

    def add_accounts(self, platform: str, count: int, name: str = "", **tokens: Any) -> list[TrialAccount]:
        """Add active accounts `NAME-0` and on."""
        accounts = [
            TrialAccount(uuid.uuid4(), platform, f"{name or platform}-{number}") for number in range(count)
        ]  # fmt: skip
        with psycopg.connect(self.database.url) as connection:
            for account in accounts:
                new = NewAccount(account.account_id, "press", platform, account.name, account.name, {})
                add_account(connection, TENANT, new, self.tokens_of(account, **tokens))
        return accounts

    def add_account(self, platform: str, name: str, **tokens: Any) -> TrialAccount:
        """Add one active account: `NAME-0`."""
        (account,) = self.add_accounts(platform, 1, name, **tokens)
        return account

    def tokens_of(
        self, account: TrialAccount, number: int = 0, expires_in: timedelta | None = timedelta(days=30)
    ) -> GivenTokens:
        """Tokens that the stand-in takes for the account, the `number`-th ones."""
        refresh = {"youtube": account.name, "facebook": f"{account.name}.user"}.get(account.platform)
        tokens = Tokens(Secret(f"{account.name}.{number}"), None if refresh is None else Secret(refresh))
        ends_at = None if expires_in is None else datetime.now(UTC) + expires_in
        return GivenTokens(self.keys.seal(account.account_id, tokens), ends_at, None)

    def reauthorise(self, account: TrialAccount) -> int:
        """As a person does: new tokens; returns how many posts were let go."""
        with psycopg.connect(self.database.url) as connection:
            return reauthorise(connection, TENANT, account.account_id, self.tokens_of(account, 1))

    def schedule(
        self,
        posts: Iterable[tuple[TrialAccount, PostContent, datetime]],
        policy: LatenessPolicy = LatenessPolicy.RUN,
        grace: timedelta = timedelta(hours=1),
    ) -> list[uuid.UUID]:
        """Enqueue the jobs that take posts in; returns the posts' ids, in order."""
        jobs = [
            SchedulePost(
                account_id=account.account_id,
                due_at=due_at,
                content=content,
                lateness_policy=policy,
                grace_seconds=int(grace.total_seconds()),
                key=f"trial-{secrets.token_hex(8)}",
            )
            for account, content, due_at in posts
        ]
        with Producer.from_environment(self.environment) as producer:
            return [told.job_id for told in producer.enqueue_many(jobs)]

    def wait_until_stored(self, post_ids: Sequence[uuid.UUID], seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the jobs that take the posts in are done."""
        count = "SELECT count(*) FROM penstock.scheduled_posts WHERE post_id = ANY(%s)"
        wait_for(lambda: self._value(count, list(post_ids)) == len(post_ids), "all posts to be taken in", seconds)

    # Processes

    def start_workers(self, count: int, **env: object) -> list[TrialWorker]:
        """Start workers, and wait until they are ready."""
        return self._ready([self.start_worker(**env) for _ in range(count)])

    def start_schedulers(self, count: int, **env: object) -> list[TrialWorker]:
        """Start schedulers, and wait until they are ready."""
        return self._ready([self.start_scheduler(**env) for _ in range(count)])

    def start_worker(self, **env: object) -> TrialWorker:
        """Start a worker; it may not be ready yet."""
        return self._started(TrialWorker(self._spawn("worker", env)))

    def start_scheduler(self, **env: object) -> TrialWorker:
        """Start a scheduler; it may not be ready yet."""
        return self._started(TrialScheduler(self._spawn("scheduler", env)))

    def run(self, *arguments: str) -> Run:
        """Run a command as an operator does."""
        done = forked.run(arguments, self.environment)
        return Run(done.returncode, done.stdout.decode(), done.stderr.decode())

    def job_of(self, post_id: uuid.UUID) -> JobView:
        """The job that publishes a post, as an operator sees it."""
        view = self.find_job(post_id)
        assert view is not None
        return view

    def find_job(self, post_id: uuid.UUID) -> JobView | None:
        """As `job_of`; None while the post is not claimed, or its job is not in the queue yet."""
        claimed_by = "SELECT claimed_by FROM penstock.scheduled_posts WHERE post_id = %s"
        job_id = self.database.value(claimed_by, post_id)
        return None if job_id is None else self._inspector.find(job_id)

    def said(self) -> list[dict[str, Any]]:
        """What all processes logged, dead ones too."""
        found = []
        for line in [line for process in self.processes for line in list(process.lines)]:
            with suppress(ValueError):
                found.append(json.loads(line))
        return found

    # What became of it

    def states(self) -> Counter[str]:
        """How many posts are in each state; those that wait for their account are `parked`."""
        rows = self.database.query(
            "SELECT CASE WHEN parked_at IS NULL THEN state ELSE 'parked' END, count(*) FROM penstock.scheduled_posts"
            " GROUP BY 1"
        )
        return Counter(dict(rows))

    def wait_until_ended(self, seconds: float, *, but: Iterable[uuid.UUID] = ()) -> float:
        """Wait until all posts (`but` some) ended or wait for a person; returns the seconds that it took."""
        started = time.monotonic()
        still = (
            "SELECT count(*) FROM penstock.scheduled_posts WHERE (state IN ('claimed', 'publishing')"
            " OR state = 'scheduled' AND parked_at IS NULL) AND NOT post_id = ANY(%s)"
        )
        try:
            wait_for(lambda: self._value(still, list(but)) == 0, "all posts to end", seconds)
        except AssertionError:
            raise AssertionError(f"posts still on their way: {self.standing()}") from None
        return time.monotonic() - started

    def standing(self) -> str:
        """Where posts stand that have not ended, and what their jobs wait for."""
        ends = self.ends().values()
        jobs = [self.find_job(end.post_id) for end in ends if end.state in {"claimed", "publishing"}]
        waits = Counter("no job" if job is None else f"{job.state} {job.blocked_by} {job.code}" for job in jobs)
        alive = Counter(type(one).__name__ for one in self.processes if one.is_running())
        # Those that nobody killed.
        failed = [one.lines[-3:] for one in self.processes if (one.process.poll() or 0) > 0]
        return f"{dict(self.states())}, their jobs: {dict(waits)}; running: {dict(alive)}; failed: {failed}"

    def ends(self) -> dict[uuid.UUID, PostEnd]:
        """Where each post stands, held against the stand-in's record."""
        return read_ends(self.database, self.stand_in)

    def assert_sound(self, count: int) -> dict[uuid.UUID, PostEnd]:
        """Each post ended and has a reason where it was not published, none was published twice; returns the ends."""
        self.wait_until_lettered()
        ends = self.ends()
        faults = {str(end.post_id): fault for end in ends.values() if (fault := end.fault()) is not None}
        assert faults == {}
        assert self.stand_in.doubles() == []
        assert len(ends) == count
        assert sum(end.published for end in ends.values()) == len(self.stand_in.publications())
        return ends

    def wait_until_lettered(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the archive has the dead letters of all posts that leave one."""
        missing = (
            "SELECT count(*) FROM penstock.scheduled_posts p WHERE state = ANY(%s) AND NOT EXISTS"
            " (SELECT FROM penstock.dead_letters d WHERE d.job_id = p.claimed_by)"
        )
        wait_for(lambda: self._value(missing, list(LETTERED)) == 0, "the dead letters of posts", seconds)

    def assert_reconciled(self) -> None:
        """`penstock reconcile` finds every job accounted for."""
        found: list[Run] = []

        def clean() -> bool:
            found.append(self.run("reconcile", "--json"))
            return found[-1].code == 0

        try:
            # A job may just be on its way from the queue to the archive.
            wait_for(clean, "a clean reconcile")
        except AssertionError:
            raise AssertionError(found[-1].out + found[-1].err) from None

    def _value(self, statement: str, *parameters: object) -> Any:
        """A value; None while PostgreSQL is being restarted."""
        try:
            return self.database.value(statement, *parameters)
        except psycopg.OperationalError:
            return None

    def _spawn(self, command: str, env: dict[str, object]) -> "subprocess.Popen[bytes]":
        told = {name: str(value) for name, value in env.items()}
        return forked.start([command], self.environment | told, stderr=subprocess.PIPE)

    def _started(self, process: TrialWorker) -> TrialWorker:
        process.reader.start()
        self.processes.append(process)
        return process

    @staticmethod
    def _ready(processes: list[TrialWorker]) -> list[TrialWorker]:
        for process in processes:
            process.wait_until_ready()
        return processes


def text_post(text: str, **members: Any) -> PostContent:
    """A post's content by its text."""
    return PostContent(text=text, **members)


def soon(seconds: float = 1.0) -> datetime:
    """An instant so many seconds ahead."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.fixture
def stand_in() -> Iterator[StandInProcess]:
    """A stand-in of the test's own, with nothing in its record."""
    with StandInProcess() as running:
        yield running


@pytest.fixture
def posts(environment: dict[str, str], database: Database, stand_in: StandInProcess) -> Iterator[PostsTrial]:
    """A trial on the servers of the test run."""
    with PostsTrial(environment, database, stand_in) as made:
        yield made
