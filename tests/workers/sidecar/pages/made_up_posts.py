"""The part of a made-up desk for posts and accounts."""
# ruff: noqa: ARG002, RUF001  it answers whatever it is asked, with the marks of placeholders

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid5

from penstock.producers.storage.posts import StoredAttempt, StoredPost
from penstock.schemas.errors import Code, NotFoundError
from penstock.workers.accounts.overview import ListedAccount
from penstock.workers.posts.calendar import Planned
from penstock.workers.posts.choices import choices_of
from penstock.workers.posts.search import ListedPost
from penstock.workers.sidecar.pages.needs import Decision, PageOf, PostsNow
from penstock.workers.sidecar.pages.post_plan import Agenda, agenda_of, today_of

NOW = datetime.now(UTC)
_SPACE = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
POST = uuid5(_SPACE, "post")
ACCOUNT = uuid5(_SPACE, "account")
CONTENT: dict[str, Any] = {
    "text": "‹text, 214 characters›",
    "media": [{"kind": "image", "url": "‹text, 61 characters›"}],
}


def ago(**parts: float) -> datetime:
    return NOW - timedelta(**parts)


def listed_post(at: int = 0, state: str = "scheduled", **changes: Any) -> ListedPost:
    made = ListedPost(
        post_id=POST if at == 0 else uuid5(_SPACE, f"post {at}"),
        tenant=("parks", "harbour", "default")[at % 3],
        owner="press",
        account_id=ACCOUNT,
        account_name="The press office",
        platform=("instagram", "facebook", "youtube", "mastodon")[at % 4],
        state=state,
        due_at=NOW + timedelta(minutes=4 + at * 13),
        lateness_policy="run",
        version=1,
        parked_at=None,
        attempts=0,
        external_id=None,
        url=None,
        published_at=None,
        last_code=None,
    )
    return replace(made, **changes)


def stored_post(state: str = "unknown_outcome", **changes: Any) -> StoredPost:
    made = StoredPost(
        post_id=POST,
        tenant="parks",
        owner="press",
        account_id=ACCOUNT,
        platform="instagram",
        content=CONTENT,
        state=state,
        due_at=ago(minutes=42),
        lateness_policy="hold",
        grace=timedelta(hours=1),
        idempotency_key="herons-2026-11-21",
        version=3,
        claimed_by=uuid5(_SPACE, "post job"),
        parked_at=None,
        attempts=1,
        external_id=None,
        url=None,
        published_at=None,
        last_code="POST_UNKNOWN_OUTCOME",
        created_at=ago(days=6),
        updated_at=ago(minutes=31),
    )
    return replace(made, **changes)


def attempt(phase: str = "prepare", answer: str = "ok", **changes: Any) -> StoredAttempt:
    made = StoredAttempt(
        at=ago(minutes=41),
        attempt=0,
        phase=phase,
        request={"method": "POST", "path": "/v25.0/1784/media", "parameters": ["caption", "image_url"]},
        answer_class=answer,
        code=None,
        platform_code=None,
        trace_id="AbC1dEf2gHi",
        detail=None,
        seconds=0.41,
        worker="worker-7d4f:31:0a9c",
        release="2026.11.3",
    )
    return replace(made, **changes)


def account(at: int = 0, **changes: Any) -> ListedAccount:
    made = ListedAccount(
        account_id=ACCOUNT if at == 0 else uuid5(_SPACE, f"account {at}"),
        tenant="parks",
        owner="press",
        platform=("instagram", "facebook", "youtube", "mastodon")[at % 4],
        external_id=f"1784140{at}",
        name="The press office",
        state="active",
        state_code=None,
        state_changed_at=ago(days=30),
        token_expires_at=NOW + timedelta(days=3 + 20 * at),
        refresh_due_at=ago(days=12),
        refreshed_at=ago(days=57),
        refresh_code="PLATFORM_API_TIMEOUT" if at == 0 else None,
        created_at=ago(days=90),
        ends_soon=at == 0,
        posts_waiting=0,
    )
    return replace(made, **changes)


class MadeUpPosts:
    """Answers of posts from memory. A desk has `calm` and `acts`, and may have a post or a row to show."""

    calm: bool
    acts: list[tuple[Any, ...]]
    post_shown: StoredPost | None = None
    listed_shown: ListedPost | None = None
    account_shown: ListedAccount | None = None
    attempts_shown: Sequence[StoredAttempt] = (
        attempt("publish", "ambiguous", attempt=1, code="PLATFORM_API_TIMEOUT", detail="instagram: no answer in 30 s"),
        attempt("prepare", "pending"),
        attempt(),
    )

    def agenda(self) -> Agenda:
        start = today_of(NOW)
        planned = [
            Planned(start + timedelta(hours=hour * 5), state, platform, count)
            for hour in range(30)
            for state, platform, count in (
                ("scheduled", "instagram", 14 + hour),
                ("published", "facebook", 3),
                ("held", "youtube", hour % 3),
                ("cancelled", "mastodon", 2),
            )
        ]
        return agenda_of([] if self.calm else planned, NOW)

    def posts_now(self) -> PostsNow | None:
        busy = PostsNow(214, 93, 12, timedelta(minutes=9), 2, 7, 31, 4, 1, "due_after=2026-11-14", 2, 1)
        nothing = PostsNow(3, 1, 0, timedelta(0), 0, 0, 0, 0, 0, "due_after=2026-11-14", 0, 0)
        return nothing if self.calm else busy

    def next_posts(self) -> Sequence[Any]:
        return [] if self.calm else [self._listed(at) for at in range(8)]

    def _listed(self, at: int) -> ListedPost:
        if self.listed_shown is not None:
            return self.listed_shown
        states = ("scheduled", "held", "claimed", "publishing", "published", "dead", "cancelled", "unknown_outcome")
        return listed_post(at, states[at % 8], parked_at=ago(hours=2) if at == 8 else None)

    def posts(self, query: Mapping[str, Any], cursor: str | None) -> PageOf:
        return PageOf([] if self.calm else [self._listed(at) for at in range(14)], "next")

    def post(self, post_id: UUID) -> Any:
        if post_id != POST:
            raise NotFoundError(Code.POST_NOT_FOUND, f"there is no post {post_id}")
        shown = self.post_shown or stored_post()
        return SimpleNamespace(
            post=shown,
            account_name=(self.account_shown or account()).name,
            account_state="active",
            attempts=self.attempts_shown,
            content=shown.content,
            choices=choices_of(shown.state),
        )

    def reveal_post(self, post_id: UUID, by: str, reason: str) -> Any:
        self.acts.append(("reveal", post_id, by, reason))
        return {"text": "Herons at dusk."}

    def decide(self, post_id: UUID, decision: Decision, by: str, reason: str) -> None:
        self.acts.append((str(decision.choice), post_id, decision, by, reason))

    def accounts(self, query: Mapping[str, Any], cursor: str | None) -> PageOf:
        if self.calm:
            return PageOf([])
        if self.account_shown is not None:
            return PageOf([self.account_shown])
        dead = account(9, state="reauthorize", state_code="ACCOUNT_TOKEN_EXPIRED", posts_waiting=31)
        return PageOf([dead] if query.get("state") == "reauthorize" else [dead, *(account(at) for at in range(5))])
