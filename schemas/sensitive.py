"""The mark of what a payload holds of people: answers, texts that are posted, tokens.

A field, or the elements of one, are marked in the model: `answers: Annotated[dict[str, Any], Sensitive()]`. What is
marked is shown to operators as a placeholder that tells its type and its length; a reason lets an admin see it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sensitive:
    """Says of a field, in `Annotated`, that its values are shown redacted. Names of members and questions stay."""


def is_sensitive(metadata: Iterable[Any]) -> bool:
    """Whether the metadata of an annotation hold the mark, as an instance or as the class."""
    return any(isinstance(one, Sensitive) or one is Sensitive for one in metadata)
