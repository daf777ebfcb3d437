"""The same kind in the next release: its payload has another shape; and a kind that only this release has."""

from typing import Any, ClassVar

from penstock.schemas.job import Payload
from penstock.schemas.names import Queue


class Note(Payload, kind="note.write", queue=Queue.SUBMISSIONS):
    """Leave a row in `public.notes_written`."""

    payload_version: ClassVar[int] = 2

    name: str
    words: list[str]

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        """Version 1 had a text."""
        if version == 1:
            return {"name": data["name"], "words": data["text"].split()}
        return super().upcast(version, data)

    def idempotency_key(self) -> str:
        """The name."""
        return self.name


class Star(Payload, kind="star.give", queue=Queue.SUBMISSIONS):
    """Leave a row in `penstock.stars`, which this release's migration makes."""

    name: str

    def idempotency_key(self) -> str:
        """The name."""
        return self.name


def notes_of(name: str) -> list[Payload]:
    """What a service of this release sends."""
    notes: list[Payload] = [Note(name=f"{name}-{number}", words=["one", "two"]) for number in range(2)]
    return [*notes, Star(name=f"{name}-star")]


#: Kinds that it sends by SQL, where every payload is of the first version.
BY_SQL = ("note.write", "star.give")
