"""What is asked of posts: that they go out in time, and what of them waits for a person."""

import time
from collections.abc import Iterator

from penstock.schemas.scheduled_post import PostState
from penstock.workers.accounts.account import AccountState
from penstock.workers.accounts.overview import AccountsWatch, watch_accounts
from penstock.workers.database.failures import storage_errors
from penstock.workers.health.report import Check, Status
from penstock.workers.health.sources import Sources
from penstock.workers.health.words import spoken
from penstock.workers.posts.watch import CEILING, DUE, PARKED, PostsWatch, watch_posts

#: Posts that no scheduler has claimed for so many times the threshold show that none goes out.
CRITICAL_TIMES = 10


def look_at_posts(sources: Sources) -> Iterator[Check]:
    """Posts that are late, whose outcome nobody knows, or that are held; and accounts that need a person.

    Raises:
        PenstockError: of the `STORAGE_` family, before the first check.
    """
    started = time.perf_counter()
    with storage_errors(), sources.connection() as connection:
        posts, accounts = watch_posts(connection), watch_accounts(connection)
    took = time.perf_counter() - started
    yield _overdue(posts, sources.settings.health_post_overdue_seconds, took)
    yield _unknown(posts.total(PostState.UNKNOWN_OUTCOME))
    yield _held(posts.total(PostState.HELD))
    yield _accounts(accounts, posts.total(PARKED))


def _overdue(posts: PostsWatch, limit: float, took: float) -> Check:
    overdue, unclaimed = posts.overdue.total_seconds(), posts.unclaimed.total_seconds()
    status, step = Status.HEALTHY, ""
    if overdue > limit:
        status, step = Status.WARNING, "See what holds them (penstock posts list --state late)"
    if unclaimed > limit:
        step = "See that a scheduler runs, and what it logs (penstock posts list --state late)"
    if unclaimed > CRITICAL_TIMES * limit:
        status = Status.CRITICAL
    count = _counted(max(posts.late, 1), "post")
    is_late = f"{count} {_of(posts.late, 'is', 'are')} late, the earliest by {spoken(overdue)}"
    return Check(
        "posts",
        status,
        f"{_counted(posts.late, 'post')} late; the earliest that should be out is due for {overdue:,.0f} s",
        seconds=took,
        value=overdue,
        threshold=limit,
        unit="s",
        sentence=is_late if status is not Status.HEALTHY else None,
        step=step,
        path="/posts/list?state=late",
        facts={"late": posts.late, "due": posts.total(DUE)},
    )


def _unknown(count: int) -> Check:
    told = f"{_counted(count, 'post')} of unknown outcome"
    return Check(
        "posts_unknown",
        Status.WARNING if count else Status.HEALTHY,
        told,
        value=count,
        sentence=f"of {_counted(count, 'post')} nobody knows whether {_of(count, 'it is', 'they are')} live"
        if count
        else None,
        step="Look on the platform, then settle each (penstock posts list --state unknown_outcome)",
        path="/posts/list?state=unknown_outcome",
    )


def _held(count: int) -> Check:
    return Check(
        "posts_held",
        Status.WARNING if count else Status.HEALTHY,
        f"{_counted(count, 'post')} held for approval",
        value=count,
        sentence=f"{_counted(count, 'post')} came too late and {_of(count, 'is', 'are')} held" if count else None,
        step="Approve, move or cancel each (penstock posts list --state held)",
        path="/posts/list?state=held",
    )


def _accounts(accounts: AccountsWatch, parked: int) -> Check:
    count, ending = accounts.total(AccountState.REAUTHORIZE), sum(accounts.ending.values())
    sentence = None
    if count:
        sentence = f"{_counted(count, 'account')} must be authorised anew"
        if parked:
            sentence += f"; {_counted(parked, 'post')} {_of(parked, 'waits', 'wait')} for an account"
    elif ending:
        sentence = f"the tokens of {_counted(ending, 'account')} end within a week and were not refreshed"
    return Check(
        "accounts",
        Status.WARNING if sentence else Status.HEALTHY,
        f"{count:,} to be authorised anew, {ending:,} with a token that ends within a week",
        value=count,
        sentence=sentence,
        step="Get new tokens from their owners (penstock accounts reauthorize ID)",
        path="/accounts?state=reauthorize" if count else "/accounts",
        facts={"ending": ending, "parked": parked},
    )


def _counted(count: int, what: str) -> str:
    more = " or more" if count == CEILING else ""
    return f"{count:,}{more} {what}{'' if count == 1 else 's'}"


def _of(count: int, one: str, many: str) -> str:
    return one if count <= 1 else many
