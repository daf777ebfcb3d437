"""What an operator may decide of a post, by where it stands; docs/posts.md has the table."""

from collections.abc import Mapping
from enum import StrEnum

from penstock.schemas.scheduled_post import PostState


class Choice(StrEnum):
    """One decision."""

    RESCHEDULE = "reschedule"
    CANCEL = "cancel"
    APPROVE = "approve"
    #: It is live, and this is its id there.
    SETTLE = "settle"
    PUBLISH_AGAIN = "publish-again"


_CHOICES: Mapping[PostState, tuple[Choice, ...]] = {
    PostState.SCHEDULED: (Choice.RESCHEDULE, Choice.CANCEL),
    PostState.HELD: (Choice.APPROVE, Choice.RESCHEDULE, Choice.CANCEL),
    PostState.CLAIMED: (Choice.RESCHEDULE, Choice.CANCEL),
    PostState.UNKNOWN_OUTCOME: (Choice.SETTLE, Choice.PUBLISH_AGAIN),
    PostState.EXPIRED: (Choice.RESCHEDULE,),
    PostState.DEAD: (Choice.RESCHEDULE,),
}


def choices_of(state: str) -> tuple[Choice, ...]:
    """The decisions that a post of this state allows, the likeliest first."""
    return _CHOICES.get(PostState(state), ())
