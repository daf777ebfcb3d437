"""The rules of a replay: when it stops, goes on or ends, how fast it may go, and what it says of itself."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from penstock.workers.dead_letters.replay import Replay, ReplayStatus

#: Letters on their way at once. What waits in a queue takes no more of it, so that live jobs are not kept waiting.
IN_FLIGHT_LIMIT = 1_000
#: The stop rule needs so many outcomes, or the canary's, to say anything.
LEAST_OUTCOMES = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a replay changes to, and the sentence that tells why."""

    status: ReplayStatus
    told: str


def judge(replay: Replay, now: datetime, canary_until: datetime | None) -> Verdict | None:
    """What the outcomes so far make of a canary or a running replay; None where it goes on as it is."""
    if replay.status is ReplayStatus.CANARY:
        return _judge_canary(replay, now, canary_until)
    if replay.status is not ReplayStatus.RUNNING:
        return None
    ended = replay.done + replay.died
    # Where fewer than that were sent at all, their outcomes are all that there will ever be.
    is_over = not (replay.unsent or replay.waiting)
    if (is_over or ended >= max(LEAST_OUTCOMES, replay.canary)) and _is_too_many(replay, ended):
        return Verdict(ReplayStatus.STOPPED, told_stopped(replay, ended))
    return Verdict(ReplayStatus.DONE, told_done(replay)) if is_over else None


def _judge_canary(replay: Replay, now: datetime, canary_until: datetime | None) -> Verdict | None:
    if replay.sent < replay.canary and replay.unsent:
        return None
    # Once so many died that the others can't make up for it, there is nothing left to wait for.
    if _is_too_many(replay, replay.sent):
        return Verdict(ReplayStatus.STOPPED, told_stopped(replay, replay.sent))
    if not replay.waiting:
        if replay.unsent:
            return Verdict(ReplayStatus.RUNNING, told_progress(replay))
        return Verdict(ReplayStatus.DONE, told_done(replay))
    if canary_until is not None and now >= canary_until:
        told = f"{replay.waiting:,} of the canary's {replay.sent:,} have no outcome yet: see what holds their jobs."
        return Verdict(ReplayStatus.PAUSED, told)
    return None


def _is_too_many(replay: Replay, of: int) -> bool:
    # A division, since 0.29 * 100 is less than 29.
    return of > 0 and replay.died / of > replay.stop_share


def told_stopped(replay: Replay, of: int) -> str:
    """Why the stop rule ended it."""
    share, limit = f"{100 * replay.died / of:.3g}", f"{100 * replay.stop_share:.3g}"
    told = f"{replay.died:,} of {of:,} died again ({share} %), over the limit of {limit} %"
    return f"{told}; {replay.unsent:,} were not sent." if replay.unsent else f"{told}; all were sent."


def told_done(replay: Replay) -> str:
    """How it ended."""
    if not replay.total:
        return "No open letter was chosen."
    return _sentence(_healed(replay) if replay.sent else "Nothing was sent", *_lost(replay))


def told_progress(replay: Replay) -> str:
    """How it stands while it goes on."""
    if replay.status is ReplayStatus.PREPARING:
        return f"{replay.total:,} letters are noted so far; nothing is sent yet."
    done = f"{replay.done:,} of {replay.total:,} are done"
    waiting = [f"{replay.waiting:,} of the canary wait"] if replay.status is ReplayStatus.CANARY else []
    return _sentence(done, *_lost(replay), *waiting)


def told_halted(replay: Replay, verb: str, by: str, reason: str) -> str:
    """That an operator paused or cancelled it."""
    return f"{verb} by {by}: {reason}. {replay.unsent:,} are not sent."


def _lost(replay: Replay) -> list[str]:
    died = [f"{replay.died:,} died again"] if replay.died else []
    skipped = f"{replay.skipped:,} were skipped, which were resolved already, were lost or can't be requeued"
    return [*died, skipped] if replay.skipped else died


def _healed(replay: Replay) -> str:
    if replay.done == replay.sent:
        return f"All {replay.sent:,} are done" if replay.sent != 1 else "The one that was sent is done"
    return f"{replay.done:,} of {replay.sent:,} are done"


def _sentence(*parts: str) -> str:
    return "; ".join(parts) + "."


@dataclass(frozen=True, slots=True)
class Allowance:
    """Letters that the pace allows: `tokens` at the instant `at`."""

    tokens: float
    at: datetime


def allowed(replay: Replay, before: Allowance | None, now: datetime) -> Allowance:
    """What has accrued by `now`: a second's worth at the most, so that no pause is made up for in one go."""
    if before is None:
        return Allowance(1.0, now)
    seconds = max(now - before.at, timedelta(0)).total_seconds()
    most = max(1.0, replay.pace_per_second)
    return Allowance(min(most, before.tokens + seconds * replay.pace_per_second), now)


def letters_to_send(replay: Replay, tokens: float) -> int:
    """How many may be sent now."""
    if replay.status is ReplayStatus.CANARY:
        wanted = replay.canary - replay.sent
    elif replay.status is ReplayStatus.RUNNING:
        wanted = int(tokens)
    else:
        return 0
    return max(0, min(wanted, IN_FLIGHT_LIMIT - replay.waiting, replay.unsent))
