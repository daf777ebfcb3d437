"""Jobs of any queues offered until all have found room, or the patience is over."""

from collections.abc import Collection, Sequence

from penstock.producers.patience import Patience, patiently
from penstock.producers.queue.bounds import QueueFullError
from penstock.producers.queue.enqueueing import Enqueuer, NewJob, Offered
from penstock.producers.queue.records import JobState


def offer_all(
    enqueuer: Enqueuer,
    queues: Sequence[str],
    jobs: Sequence[NewJob],
    revive: Collection[JobState],
    patience: Patience | None,
) -> list[Offered]:
    """Offer jobs, each to its queue; returns what became of each. A queue that is full does not hold up another one.

    Raises:
        QueueFullError: telling which of the jobs Penstock has.
        PenstockError: as `Enqueuer.enqueue`.
    """
    if queues and queues.count(queues[0]) == len(queues):
        return _offer(enqueuer, queues[0], jobs, revive, patience)
    told: list[Offered | None] = [None] * len(jobs)
    refusals: list[QueueFullError] = []
    for queue in dict.fromkeys(queues):
        places = [place for place, of in enumerate(queues) if of == queue]
        try:
            answers: Sequence[Offered | None] = _offer(
                enqueuer, queue, [jobs[place] for place in places], revive, patience
            )
        except QueueFullError as full:
            refusals.append(full)
            answers = full.offered
        for place, answer in zip(places, answers, strict=True):
            told[place] = answer
    if refusals:
        raise QueueFullError(refusals[0], told)
    return [one for one in told if one is not None]


def _offer(
    enqueuer: Enqueuer, queue: str, jobs: Sequence[NewJob], revive: Collection[JobState], patience: Patience | None
) -> list[Offered]:
    """Offer jobs of one queue; those that were refused again and again, as long as there is patience."""
    if patience is None:
        return enqueuer.enqueue(queue, jobs, revive=revive)
    told: list[Offered | None] = [None] * len(jobs)
    # What found room before must not be offered again: it may have died since, and would be revived.
    left: Sequence[int] = range(len(jobs))

    def offer() -> list[Offered]:
        nonlocal left
        try:
            offered = jobs if len(left) == len(jobs) else [jobs[place] for place in left]
            answers = enqueuer.enqueue(queue, offered, revive=revive)
        except QueueFullError as full:
            for place, answer in zip(left, full.offered, strict=True):
                told[place] = answer
            left = [place for place, answer in enumerate(told) if answer is None]
            raise QueueFullError(full, told) from None
        if len(left) == len(jobs):
            return answers
        for place, answer in zip(left, answers, strict=True):
            told[place] = answer
        return [one for one in told if one is not None]

    return patiently(offer, patience)
