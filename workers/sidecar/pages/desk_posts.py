"""The desk's part for posts and accounts."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.scheduled_post import PostState
from penstock.schemas.text import is_storable
from penstock.workers.accounts.account import AccountState
from penstock.workers.accounts.overview import AccountsFilter, watch_accounts
from penstock.workers.database.failures import storage_errors
from penstock.workers.dead_letters.post_contents import redacted_content
from penstock.workers.posts.calendar import Bucket, Planned
from penstock.workers.posts.choices import Choice, choices_of
from penstock.workers.posts.filters import PostsFilter, Standing
from penstock.workers.posts.watch import PARKED, watch_posts
from penstock.workers.sidecar.pages.desk_letters import With
from penstock.workers.sidecar.pages.desk_reads import POSTGRESQL, Reads
from penstock.workers.sidecar.pages.needs import ROWS, Decision, PageOf, PostsNow
from penstock.workers.sidecar.pages.post_plan import DAYS, Agenda, agenda_of, today_of

#: What was to go out longer ago is no news.
_LATELY = timedelta(days=7)
#: Posts that the page shows as the next ones.
NEXT_SHOWN = 8


class PostDesk(Reads):
    """Posts and accounts."""

    def agenda(self) -> Agenda:
        """What goes out today, by hour, and this week, by day."""
        now = datetime.now(UTC)
        start = today_of(now)
        return agenda_of(self._planned(start, start + timedelta(days=DAYS), Bucket.HOUR), now)

    def posts_now(self) -> PostsNow | None:
        """What of posts and accounts is late or waits for somebody; None where that is not known."""
        start = today_of(datetime.now(UTC))
        return self._read_or(POSTGRESQL, ("posts now", start), lambda: self._look(start), None)

    def _look(self, start: datetime) -> PostsNow:
        week = start - _LATELY
        planned = self._services.calendar.count(week, start + timedelta(days=1), Bucket.DAY)
        with storage_errors(), self._services.pool.connection() as connection:
            posts, accounts = watch_posts(connection), watch_accounts(connection)
        today = [one for one in planned if one.at >= start and one.state != PostState.CANCELLED]
        return PostsNow(
            due_today=sum(one.count for one in today),
            out_today=sum(one.count for one in today if one.state == PostState.PUBLISHED),
            late=posts.late,
            overdue=posts.overdue,
            unknown=posts.total(PostState.UNKNOWN_OUTCOME),
            held=posts.total(PostState.HELD),
            parked=posts.total(PARKED),
            dead=_of(planned, PostState.DEAD),
            expired=_of(planned, PostState.EXPIRED),
            week=urlencode({"due_after": f"{week:%Y-%m-%d}"}),
            reauthorize=accounts.total(AccountState.REAUTHORIZE),
            ending=sum(accounts.ending.values()),
        )

    def next_posts(self) -> Sequence[Any]:
        """The posts that go out next."""
        chosen = PostsFilter(state=Standing.WAITING)
        ask = self._services.posts.list
        return self._read(POSTGRESQL, "next posts", lambda: ask(chosen, limit=NEXT_SHOWN)).items

    def posts(self, query: Mapping[str, Any], cursor: str | None) -> PageOf:
        """A page of posts; those that ended latest first, the others by their instants."""
        order = query.get("order", "earliest")
        chosen = PostsFilter.parse({name: value for name, value in query.items() if name != "order"})
        page = self._read(
            POSTGRESQL,
            ("posts", chosen, order, cursor),
            lambda: self._services.posts.list(chosen, limit=ROWS, cursor=cursor, latest_first=order == "latest"),
        )
        return PageOf(page.items, page.next)

    def post(self, post_id: UUID) -> Any:
        """All that is known of a post, what it says redacted."""
        found = self._read(POSTGRESQL, ("post", post_id), lambda: self._services.posts.show(post_id))
        return With(found, content=redacted_content(found.post.content), choices=choices_of(found.post.state))

    def reveal_post(self, post_id: UUID, by: str, reason: str) -> Any:
        """What it says; who looked and why is recorded before anybody sees it."""
        return self._services.post_contents.reveal(post_id, by, reason)

    def decide(self, post_id: UUID, decision: Decision, by: str, reason: str) -> None:
        """Do what an operator has decided of a post."""
        decisions, tenant = self._services.post_decisions, self._services.posts.tenant_of(post_id)
        due_at, expected = decision.due_at, decision.expected
        match decision.choice:
            case Choice.RESCHEDULE:
                decisions.reschedule(by, reason, tenant, post_id, due_at or datetime.now(UTC), expected=expected)
            case Choice.CANCEL:
                decisions.cancel(by, reason, tenant, post_id, expected=expected)
            case Choice.APPROVE:
                decisions.approve(by, reason, tenant, post_id, due_at=due_at, expected=expected)
            case Choice.SETTLE:
                decisions.settle_as_live(by, reason, tenant, post_id, decision.external_id, decision.url)
            case Choice.PUBLISH_AGAIN:
                decisions.publish_again(by, reason, tenant, post_id)

    def accounts(self, query: Mapping[str, Any], cursor: str | None) -> PageOf:
        """A page of accounts."""
        chosen = _accounts_filter(query)
        page = self._read(
            POSTGRESQL,
            ("accounts", chosen, cursor),
            lambda: self._services.accounts.list(chosen, limit=ROWS, cursor=cursor),
        )
        return PageOf(page.items, page.next)

    def _planned(self, start: datetime, end: datetime, bucket: Bucket) -> Sequence[Planned]:
        return self._read(
            POSTGRESQL,
            ("calendar", start, end, bucket),
            lambda: self._services.calendar.count(start, end, bucket),
        )


def _of(planned: Sequence[Planned], state: PostState) -> int:
    return sum(one.count for one in planned if one.state == state)


def _accounts_filter(query: Mapping[str, Any]) -> AccountsFilter:
    for name, value in query.items():
        if not is_storable(value) or (name == "state" and value not in set(AccountState)):
            raise InvalidInputError(
                Code.REQUEST_FILTER_INVALID, f"{name}: {value[:60]!r} is none of {', '.join(AccountState)}"
            )
    state = AccountState(query["state"]) if "state" in query else None
    return AccountsFilter(state, query.get("platform"), query.get("tenant"), query.get("owner"))
