"""What bodies of the API have in common."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from penstock.schemas.text import is_storable, trim


def _storable(text: str) -> str:
    if not is_storable(text):
        raise ValueError("it has U+0000 or an unpaired surrogate, which PostgreSQL can't store")
    return text


def _said(text: str) -> str:
    found = trim(text)
    if not found:
        raise ValueError("it says nothing")
    return found


#: What PostgreSQL can hold: a body in JSON can have more.
StorableText = Annotated[str, AfterValidator(_storable)]
#: Why an operator does it: kept for ever with who and when.
ReasonText = Annotated[StorableText, Field(min_length=1, max_length=1_000), AfterValidator(_said)]


class Body(BaseModel):
    """The body of a request: what it does not know it refuses."""

    model_config = ConfigDict(extra="forbid")


class Reason(Body):
    """Why."""

    reason: ReasonText


class Shown(BaseModel):
    """An answer of which it is told how old it is."""

    as_of: datetime = Field(description="when it was so")
    stale: bool = Field(description="true where a newer answer could not be had, since a server is away")
