"""The words in which pages tell of posts: why one stands where it does, answers of platforms, what waits for whom."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.schemas.scheduled_post import LatenessPolicy, PostState
from penstock.workers.platforms.answers import AnswerClass, Phase

_SENTENCES: Mapping[str, str] = {
    PostState.SCHEDULED: "It waits for its instant.",
    PostState.HELD: "It came too late and is held: somebody has to approve, move or cancel it.",
    PostState.CLAIMED: "A job has it. Nothing of it is visible yet.",
    PostState.PUBLISHING: "Its platform was asked to publish it; the answer is awaited, or looked up.",
    PostState.PUBLISHED: "It is live.",
    PostState.DEAD: "It did not go out, and no further try is made.",
    PostState.CANCELLED: "It was cancelled and does not go out.",
    PostState.UNKNOWN_OUTCOME: "Nobody knows whether it is live: somebody has to look on its platform.",
    PostState.EXPIRED: "It came too late and was not wanted any more.",
}
_POLICIES: Mapping[str, str] = {
    LatenessPolicy.RUN: "it is published, however late",
    LatenessPolicy.EXPIRE: "it expires",
    LatenessPolicy.HOLD: "it is held for approval",
}
_ANSWERS: Mapping[str, tuple[str, str]] = {
    AnswerClass.OK: ("good", "answered well"),
    AnswerClass.PENDING: ("accent", "not ready yet"),
    AnswerClass.RETRY: ("warn", "failed, nothing became visible"),
    AnswerClass.AMBIGUOUS: ("bad", "nobody can tell what came of it"),
    AnswerClass.PERMANENT: ("bad", "refused for good"),
    AnswerClass.AUTH: ("bad", "the token was refused"),
    AnswerClass.LIMITED: ("warn", "not now: a limit"),
    AnswerClass.DUPLICATE: ("warn", "the same post is there already"),
}
_PHASES: Mapping[str, str] = {
    Phase.PREPARE: "Prepare",
    Phase.PUBLISH: "Publish",
    Phase.CONFIRM: "Confirm",
    Phase.LOOK_UP: "Look up",
}


@dataclass(frozen=True, slots=True)
class Work:
    """Posts that are late or wait for somebody: how many, what that means, and where they are listed."""

    name: str
    count: int
    tone: str
    told: str
    path: str


def works_of(now: Any) -> list[Work]:
    """The lists of work, those that press most first; those without a post are left out."""
    found = [
        Work("Late", now.late, "bad", "Should have been out a minute ago.", "/posts/list?state=late"),
        Work(
            "Unknown outcome",
            now.unknown,
            "bad",
            "Look on the platform: note that it is live, or publish again.",
            "/posts/list?state=unknown_outcome",
        ),
        Work("Held", now.held, "warn", "Came too late: approve, move or cancel.", "/posts/list?state=held"),
        Work("Parked", now.parked, "warn", "Due, and the account waits for new tokens.", "/posts/list?state=parked"),
        Work("Dead", now.dead, "bad", "Did not go out, of the last week.", f"/posts/list?state=dead&{now.week}"),
        Work(
            "Expired", now.expired, "warn", "Came too late, of the last week.", f"/posts/list?state=expired&{now.week}"
        ),
    ]
    return [work for work in found if work.count]


def post_sentence(post: Any) -> str:
    """Why a post is where it is, in one sentence."""
    if post.parked_at is not None:
        return "It is due, and waits for its account to be authorised anew."
    return _SENTENCES.get(str(post.state), f"It is {post.state}.")


def post_badge(post: Any) -> str:
    """The name of a post's badge."""
    return "parked" if post.parked_at is not None else str(post.state)


def answer_told(answer: str) -> tuple[str, str]:
    """The tone and words of a class of answers."""
    return _ANSWERS.get(answer, ("", answer))


def phase_told(phase: str) -> str:
    """A step of a publication."""
    return _PHASES.get(phase, phase)


def policy_told(policy: str) -> str:
    """What becomes of a post that is late."""
    return _POLICIES.get(policy, policy)


FILTERS: Mapping[str, Any] = {
    "post_sentence": post_sentence,
    "post_badge": post_badge,
    "answer_told": answer_told,
    "phase_told": phase_told,
    "policy_told": policy_told,
    "works_of": works_of,
}
