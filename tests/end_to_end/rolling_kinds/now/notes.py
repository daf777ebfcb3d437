"""A kind of a user's, as this release's services have it."""

from penstock.schemas.job import Payload
from penstock.schemas.names import Queue


class Note(Payload, kind="note.write", queue=Queue.SUBMISSIONS):
    """Leave a row in `public.notes_written`."""

    name: str
    text: str

    def idempotency_key(self) -> str:
        """The name."""
        return self.name


def notes_of(name: str) -> list[Payload]:
    """What a service of this release sends."""
    return [Note(name=f"{name}-{number}", text="one two") for number in range(2)]


#: Kinds that it sends by SQL, where every payload is of the first version.
BY_SQL = ("note.write",)
