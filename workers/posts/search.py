"""Finds posts of all tenants for operators: lists by filter, and one with all that is known of it but its content."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg_pool import ConnectionPool

from penstock.producers.storage.posts import StoredAttempt, StoredPost, find_post, list_attempts
from penstock.schemas.errors import Code, NotFoundError
from penstock.workers.database.failures import storage_errors
from penstock.workers.database.pages import Page, read_cursor, require_limit, write_cursor
from penstock.workers.posts.filters import PostsFilter
from penstock.workers.telemetry.queries import timed_query

Pool = ConnectionPool[psycopg.Connection]

#: Calls to a platform that are shown of one post, the latest ones.
ATTEMPTS_SHOWN = 100
_EARLIEST, _LATEST = "posts earliest first", "posts latest first"

_COLUMNS = (
    *("post_id", "tenant", "owner", "account_id", "platform", "state", "due_at", "lateness_policy", "version"),
    *("parked_at", "attempts", "external_id", "url", "published_at", "last_code"),
)
_WALKED = ", ".join(_COLUMNS)
_SHOWN = ", ".join(f"post.{column}" for column in _COLUMNS)

_ACCOUNT = """
SELECT post.tenant, account.name, account.state
  FROM penstock.scheduled_posts post JOIN penstock.social_accounts account USING (account_id)
 WHERE post.post_id = %s
"""


@dataclass(frozen=True, slots=True)
class ListedPost:
    """A post of a list, without its content. `parked_at`: since when it is due and waits for its account."""

    post_id: UUID
    tenant: str
    owner: str
    account_id: UUID
    account_name: str
    platform: str
    state: str
    due_at: datetime
    lateness_policy: str
    version: int
    parked_at: datetime | None
    attempts: int
    external_id: str | None
    url: str | None
    published_at: datetime | None
    last_code: str | None

    def as_dict(self) -> dict[str, Any]:
        """The post as endpoints show it."""
        return {
            "post_id": str(self.post_id),
            "tenant": self.tenant,
            "owner": self.owner,
            "account_id": str(self.account_id),
            "account_name": self.account_name,
            "platform": self.platform,
            "state": self.state,
            "due_at": self.due_at.isoformat(),
            "lateness_policy": self.lateness_policy,
            "version": self.version,
            "waits_for_account_since": None if self.parked_at is None else self.parked_at.isoformat(),
            "attempts": self.attempts,
            "external_id": self.external_id,
            "url": self.url,
            "published_at": None if self.published_at is None else self.published_at.isoformat(),
            "code": self.last_code,
        }


@dataclass(frozen=True, slots=True)
class PostDetail:
    """A post, its account, and the calls that were made for it, the latest first. `post.content` is what it says."""

    post: StoredPost
    account_name: str
    account_state: str
    attempts: Sequence[StoredAttempt]


class PostSearch:
    """Reads posts. Safe to share between threads; each call is some statements, without a transaction."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def list(
        self, chosen: PostsFilter, *, limit: int = 50, cursor: str | None = None, latest_first: bool = False
    ) -> Page[ListedPost]:
        """A page of the posts that the filter means, by the instants for which they are scheduled.

        Raises:
            InvalidInputError: `REQUEST_FILTER_INVALID` for a limit or cursor that is none.
            PenstockError: of the family `STORAGE_`.
        """
        require_limit(limit)
        order = _LATEST if latest_first else _EARLIEST
        parameters = chosen.parameters() | {"rows": limit + 1}
        if cursor is not None:
            parameters["place_at"], parameters["place_id"] = read_cursor(cursor, order, datetime, UUID)
        statement = _listing(chosen, latest_first, behind_cursor=cursor is not None)
        with storage_errors(), self._pool.connection() as connection, timed_query("select", "scheduled_posts"):
            reader = connection.cursor(row_factory=class_row(ListedPost))
            # Planned for these values: which of the indexes serves depends on them.
            rows = reader.execute(statement.encode(), parameters, prepare=False).fetchall()
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(rows[:limit], None if last is None else write_cursor(order, last.due_at, last.post_id))

    def show(self, post_id: UUID) -> PostDetail:
        """All that is known of one post.

        Raises:
            NotFoundError: `POST_NOT_FOUND`.
            PenstockError: of the family `STORAGE_`.
        """
        with storage_errors(), self._pool.connection() as connection, timed_query("select", "scheduled_posts"):
            found = connection.execute(_ACCOUNT, (post_id,)).fetchone()
            post = None if found is None else find_post(connection, found[0], post_id)
            if found is None or post is None:
                raise _not_found(post_id)
            tenant, name, state = found
            return PostDetail(post, name, state, list_attempts(connection, tenant, post_id, ATTEMPTS_SHOWN))

    def tenant_of(self, post_id: UUID) -> str:
        """Whose post it is.

        Raises:
            NotFoundError: `POST_NOT_FOUND`.
            PenstockError: of the family `STORAGE_`.
        """
        with storage_errors(), self._pool.connection() as connection, timed_query("select", "scheduled_posts"):
            found = connection.execute(_ACCOUNT, (post_id,)).fetchone()
        if found is None:
            raise _not_found(post_id)
        return str(found[0])


def _not_found(post_id: UUID) -> NotFoundError:
    return NotFoundError(Code.POST_NOT_FOUND, f"there is no post {post_id}")


def _listing(chosen: PostsFilter, latest_first: bool, behind_cursor: bool) -> str:
    """The statement of a page: a walk in order through each state that is asked for, and the first rows of them all."""
    direction, beyond = ("DESC", "<") if latest_first else ("ASC", ">")
    order = f"ORDER BY due_at {direction}, post_id {direction}"
    place = f" AND (due_at, post_id) {beyond} (%(place_at)s, %(place_id)s)" if behind_cursor else ""
    walks = " UNION ALL ".join(
        f"(SELECT {_WALKED} FROM penstock.scheduled_posts WHERE {walk}{place} {order} LIMIT %(rows)s)"
        for walk in chosen.walks()
    )
    return f"""
        SELECT {_SHOWN}, account.name AS account_name
          FROM (SELECT * FROM ({walks}) AS walks {order} LIMIT %(rows)s) AS post
          JOIN penstock.social_accounts account USING (account_id)
         {order}
    """
