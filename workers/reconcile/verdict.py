"""What is wrong with a job that was looked at in one instant: in no place, in two, or not where its record says."""

from penstock.producers.queue.locating import ARCHIVED, LANES, LEASED, PARKED, READY, Located, Place
from penstock.producers.queue.records import JobState


def problem_of(job: Located) -> str | None:
    """What is wrong with the job, in words; None where it is in exactly one place that fits its record."""
    if job.state is None:
        return _without_record(job.places)
    if job.state in {JobState.DONE, ARCHIVED}:
        return f"its record says {job.state}, and it stands in {_names(job.places)}" if job.places else None
    if job.expected is None:
        return f"its record has the unknown state {job.state[:40]!r}"
    return _of_live(job)


def _without_record(places: list[Place]) -> str | None:
    # In no place either: it was purged, or is done and its record has expired. The counters tell if it was not.
    return f"its record is missing, and it stands in {_names(places)}" if places else None


def _of_live(job: Located) -> str | None:
    if not job.places:
        return f"its record says {job.state}, and it is in no place"
    if len(job.places) > 1:
        return f"it stands in two places: {_names(job.places)}"
    place = job.places[0]
    if place.suffix != job.expected and not (place.suffix in LANES and job.state == JobState.READY):
        return f"its record puts it in {job.expected}, and it stands in {place.suffix}"
    if not place.listed:
        return _unlisted(place)
    return None if job.has_message else "its message is missing"


def _unlisted(place: Place) -> str:
    kind, _, name = place.suffix.partition(":")
    why = {
        READY: f"the tenant {name} is not in the rotation, so nobody takes its jobs",
        LEASED: f"the worker {name} that holds it is not among the queue's workers, so nobody recovers it",
        PARKED: f"its park {name} is not among the queue's parks, so nobody releases it",
    }
    return why[f"{kind}:"]


def _names(places: list[Place]) -> str:
    return " and ".join(place.suffix for place in places)
