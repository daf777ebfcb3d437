"""Scheduled posts as a newcomer sees them: a few go out by themselves, to a stand-in of the platforms."""

import secrets
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click
import httpx
import psycopg

from penstock.schemas.errors import Code, ConflictError, InvalidInputError, UnavailableError
from penstock.schemas.post_content import Media, PostContent
from penstock.schemas.scheduled_post import LatenessPolicy, SchedulePost
from penstock.workers.accounts.account import NewAccount
from penstock.workers.accounts.secret import Secret
from penstock.workers.accounts.store import GivenTokens, add_account, reauthorise
from penstock.workers.accounts.token_keys import TokenKeys, Tokens
from penstock.workers.cli.environment import open_database, open_producer, worker_settings
from penstock.workers.cli.output import table
from penstock.workers.demo.posts import ACCOUNT, POSTS, DemoPost

#: How long after the last instant the table is shown, whatever is missing; a run within the hour can meet a limit.
_PATIENCE_SECONDS = 40
_LOOK_EVERY_SECONDS = 0.3
#: What an interrupted demonstration leaves is held soon, instead of being published by a later one.
_GRACE_SECONDS = 60
_COLUMNS = ("platform", "due", "published", "lateness", "url")

_STANDING = """
SELECT post_id, platform, due_at, state, published_at, last_code, url FROM penstock.scheduled_posts
 WHERE post_id = ANY(%s) ORDER BY due_at
"""
_OTHERS = "SELECT count(*) FROM penstock.social_accounts WHERE external_id <> %s"
_KNOWN = "SELECT account_id FROM penstock.social_accounts WHERE tenant = %s AND platform = %s AND external_id = %s"


def require_no_accounts_of_ones_own(url: str) -> None:
    """See that no post but the demonstration's can go to the stand-in, and be taken for published.

    Raises:
        InvalidInputError: `CONFIG_INVALID`: the database has accounts besides those of demonstrations.
        PenstockError: of the `STORAGE_` family.
    """
    with open_database(url) as connection:
        row = connection.execute(_OTHERS, (ACCOUNT,)).fetchone()
    if row is not None and row[0]:
        told = f"the database has {row[0]} account(s) of your own, whose posts would go to the stand-in of platforms"
        remedy = "Run `penstock up` without --demo, or the demonstration with another PENSTOCK_HOME."
        raise InvalidInputError(Code.CONFIG_INVALID, told, remedy=remedy)


def demonstrate_posts(stand_in_url: str) -> None:
    """Schedule the posts some seconds ahead, wait for them, show when each was published and where it is.

    Each call schedules new ones.

    Raises:
        PenstockError: a server does not answer, or the tokens' key is missing.
    """
    click.secho(f"\n{len(POSTS)} scheduled posts, to a stand-in of four platforms on this machine", bold=True)
    settings = worker_settings()
    # No two texts are the same, so that a record tells whether one was published twice.
    run = f"[{_clock_time(datetime.now(UTC))}, {secrets.token_hex(2)}]"
    with open_database(settings.database_url) as connection:
        keys = TokenKeys.from_setting(settings.token_keys)
        platforms = dict.fromkeys(post.platform for post in POSTS)
        accounts = {name: _account(connection, keys, settings.tenant, name) for name in platforms}
        with open_producer(settings) as producer:
            told = producer.enqueue_many(_jobs(accounts, stand_in_url, run))
        standing = _wait(connection, [one.job_id for one in told])
    click.echo(table([post.as_row() for post in standing], _COLUMNS))
    click.echo(_tell_record(stand_in_url, run, standing))


@dataclass(frozen=True, slots=True)
class _Standing:
    """Where a post stands."""

    post_id: uuid.UUID
    platform: str
    due_at: datetime
    state: str
    published_at: datetime | None
    last_code: str | None
    url: str | None

    @property
    def waits(self) -> bool:
        """Whether it has not come to its end."""
        return self.state in {"scheduled", "claimed", "publishing"}

    def as_row(self) -> dict[str, Any]:
        """The post as the table shows it."""
        at = self.published_at
        return {
            "platform": self.platform,
            "due": _clock_time(self.due_at),
            "published": f"{self.state} {self.last_code or ''}".strip() if at is None else _clock_time(at),
            "lateness": None if at is None else f"{(at - self.due_at).total_seconds():.2f} s",
            "url": self.url,
        }


def _account(connection: psycopg.Connection, keys: TokenKeys, tenant: str, platform: str) -> uuid.UUID:
    """The demonstration's account on a platform, active and with tokens that the stand-in takes."""
    known = connection.execute(_KNOWN, (tenant, platform, ACCOUNT)).fetchone()
    account_id: uuid.UUID = known[0] if known else uuid.uuid4()
    tokens = Tokens(Secret(f"{ACCOUNT}.0"), Secret(ACCOUNT) if platform == "youtube" else None)
    given = GivenTokens(keys.seal(account_id, tokens), None, None)
    with connection.transaction():
        if known:
            reauthorise(connection, tenant, account_id, given)
            return account_id
        new = NewAccount(account_id, ACCOUNT, platform, ACCOUNT, f"The demonstration's on {platform}", {})
        try:
            add_account(connection, tenant, new, given)
        except ConflictError:
            # Another demonstration was quicker, with the same tokens.
            return _account(connection, keys, tenant, platform)
    return account_id


def _jobs(accounts: dict[str, uuid.UUID], stand_in_url: str, run: str) -> Iterator[SchedulePost]:
    now = datetime.now(UTC)
    for post in POSTS:
        yield SchedulePost(
            account_id=accounts[post.platform],
            due_at=now + post.ahead,
            content=_content(post, stand_in_url, run),
            lateness_policy=LatenessPolicy.HOLD,
            grace_seconds=_GRACE_SECONDS,
        )


def _content(post: DemoPost, stand_in_url: str, run: str) -> PostContent:
    media = tuple(
        Media(url=f"{stand_in_url}/files/{name}?bytes={size}", kind="video" if name.endswith(".mp4") else "image")
        for name, size in post.files
    )
    return PostContent(text=f"{post.text} {run}", media=media, options=post.options)


def _wait(connection: psycopg.Connection, post_ids: Sequence[uuid.UUID]) -> list[_Standing]:
    """Wait until all posts are published, and not for ever; where they stand then."""
    ends_at = time.monotonic() + max(post.ahead for post in POSTS).total_seconds() + _PATIENCE_SECONDS
    while True:
        rows = connection.execute(_STANDING, (list(post_ids),)).fetchall()
        standing = [_Standing(*row) for row in rows]
        over = len(standing) == len(post_ids) and not any(post.waits for post in standing)
        if over or time.monotonic() > ends_at:
            return standing
        time.sleep(_LOOK_EVERY_SECONDS)


def _tell_record(stand_in_url: str, run: str, standing: Sequence[_Standing]) -> str:
    """What the stand-in says that it published, which nobody can change from outside."""
    waiting = sum(post.waits for post in standing) + len(POSTS) - len(standing)
    missing = f"; {waiting} of these posts still wait" if waiting else ""
    try:
        record = httpx.get(f"{stand_in_url}/__ctl/publications", timeout=5).raise_for_status().json()["items"]
        doubles = httpx.get(f"{stand_in_url}/__ctl/doubles", timeout=5).raise_for_status().json()["items"]
    except httpx.HTTPError as error:
        told = f"the stand-in of the platforms does not answer ({type(error).__name__})"
        raise UnavailableError(Code.PLATFORM_UNAVAILABLE, told) from None
    twice = f"{len(doubles)} of them twice" if doubles else "none of them twice"
    published = sum(one["text"].endswith(run) for one in record)
    return f"The stand-in's own record: {published} published, {twice}{missing}"


def _clock_time(instant: datetime) -> str:
    return instant.astimezone().strftime("%H:%M:%S")
