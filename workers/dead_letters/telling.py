"""Has Sentry hear of deaths that no worker told it of: poison, found when its worker was gone."""

from dataclasses import replace

from penstock.schemas.encoding import compact_json
from penstock.schemas.envelope import decode_envelope
from penstock.schemas.errors import InvalidInputError
from penstock.workers.dead_letters.record import LetterRecord
from penstock.workers.telemetry.sentry import Death, is_telling, tell_death

_OF_AN_ATTEMPT = ("attempt", "traceback", "own", "worker", "host", "pid", "release")


def with_event(letter: LetterRecord) -> LetterRecord:
    """The letter with the id of an event, where it has none and Sentry is to be told.

    The id is the letter's own: whoever is told twice of it, after a kill in between, knows it by that.
    """
    return letter if letter.sentry is not None or not is_telling() else replace(letter, sentry=letter.dead_id.hex)


def tell_of(letter: LetterRecord, message: bytes) -> None:
    """Tell Sentry of a letter that has its event's id from `with_event`.

    Args:
        letter: as it stands in PostgreSQL.
        message: of the job, as it was in the queue.
    """
    if letter.sentry != letter.dead_id.hex:
        return
    told = next((entry for entry in reversed(letter.history) if entry.get("traceback")), None)
    told = told or (letter.history[-1] if letter.history else {})
    entry = {name: told[name] for name in _OF_AN_ATTEMPT if name in told} | {"sentry": letter.sentry}
    try:
        trace = decode_envelope(message)[0].trace
    except InvalidInputError:
        trace = None
    tell_death(
        Death(
            job_id=str(letter.job_id),
            kind=letter.kind,
            queue=letter.queue,
            tenant=letter.tenant,
            attempts=letter.attempts,
            code=letter.code,
            told=letter.message,
            entry=compact_json(entry).decode(errors="replace"),
            trace=trace,
        )
    )
