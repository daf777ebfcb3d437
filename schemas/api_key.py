"""API keys: their form, and what each may do."""

import re
import secrets
import string
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

#: Letters and digits alone, so that a double click marks a whole key and no shell or URL changes it.
_ALPHABET = string.ascii_letters + string.digits
_PREFIX_LENGTH = 12
#: 62 to the power of 43 is a little more than 2 to the power of 256.
_SECRET_LENGTH = 43
_FORM = re.compile(rf"pk_(?P<prefix>[A-Za-z0-9]{{{_PREFIX_LENGTH}}})_[A-Za-z0-9]{{{_SECRET_LENGTH}}}")


class Scope(StrEnum):
    """What a key may do. None stands for several: a key has each by its name."""

    SUBMISSIONS_WRITE = "submissions:write"
    POSTS_WRITE = "posts:write"
    FORMS_WRITE = "forms:write"
    STATUS_READ = "status:read"
    FORMS_READ = "forms:read"
    POSTS_READ = "posts:read"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as its holder has it: `pk_<prefix>_<secret>`.

    Attributes:
        prefix: its public part, by which it is found and may be named: 12 letters and digits.
        text: the whole key. It is shown once, and neither stored nor logged.
    """

    prefix: str
    text: str = field(repr=False)

    @classmethod
    def make(cls) -> Self:
        """A new key, with 256 random bits in its secret."""
        prefix = _random(_PREFIX_LENGTH)
        return cls(prefix, f"pk_{prefix}_{_random(_SECRET_LENGTH)}")

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The key that `text` is; None where it has not the form of one."""
        found = _FORM.fullmatch(text)
        return None if found is None else cls(found["prefix"], text)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
