"""Where a post stands in the middle of a run, before it is stored."""

from datetime import datetime

from penstock.schemas.post_content import PostContent
from penstock.schemas.scheduled_post import PostState
from penstock.workers.platforms.platform import AccountRef, Publication
from penstock.workers.posts.notes import Notes
from penstock.workers.posts.publishing import PostToPublish


class Position:
    """A post as its run has it.

    Attributes:
        attempt: visible steps that were begun.
        publishing: a visible step was begun, and what came of it is not known.
        own_try: by this very run, so that it is over.
        unknown: nobody could tell, and the job was given a new life.
    """

    def __init__(self, post: PostToPublish) -> None:
        self.post = post
        self.content = PostContent.model_validate(post.content)
        self.handle = post.handle
        self.notes = Notes.read(post.step)
        self.attempt = post.attempts
        self.armed_at = post.armed_at
        self.began_at = post.attempt_began_at
        self.publishing = post.state == PostState.PUBLISHING
        self.unknown = post.state == PostState.UNKNOWN_OUTCOME
        self.own_try = False

    @property
    def is_in_doubt(self) -> bool:
        """Whether a visible step was begun whose effect has to be looked up."""
        return self.publishing or self.unknown

    def begun(self, attempt: int, at: datetime) -> None:
        """The run began the visible step."""
        self.attempt, self.publishing, self.own_try = attempt, True, True
        self.began_at, self.armed_at = at, self.armed_at or at

    def taken_back(self, handle: str | None, notes: Notes) -> None:
        """The visible step had no effect."""
        self.handle, self.notes = handle, notes
        self.publishing = self.own_try = False

    def gate(self, what: str) -> str:
        """What the job waits for, as its record says it."""
        return f"platform:{self.post.platform}/{what}"

    def publication(self, external_account: str) -> Publication:
        """The post as its platform is told of it."""
        post = self.post
        return Publication(
            post_id=str(post.post_id),
            account=AccountRef(str(post.account_id), post.platform, external_account),
            content=self.content,
            handle=self.handle,
            state=self.notes.state,
            external_id=post.external_id,
            url=post.url,
            armed_at=self.armed_at,
            tries=self.notes.doubts,
        )
