"""The person that a request is about, and whether something is theirs."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg

from penstock.schemas.person_data import SubjectKind
from penstock.workers.erasures.declared import DeclaredForm, declared_forms, undeclared_form
from penstock.workers.erasures.subjects import Subject, spelled

#: What a text that is searched for in PostgreSQL can't be made of: what JSON escapes, what is no ASCII, and the two
#: letters that other characters become in small letters.
_UNSEARCHABLE = re.compile(r'[^!-~]|["\\ki]')
#: A shorter piece of text finds nearly every row.
_SHORTEST_NEEDLE = 3


@dataclass(frozen=True, slots=True)
class Person:
    """A subject of a tenant, with the forms in whose rows it is looked for."""

    tenant: str
    subject: Subject
    forms: Mapping[str, DeclaredForm] = field(repr=False)

    @property
    def has_rows(self) -> bool:
        """Whether rows of forms can be theirs; an owner has posts."""
        return self.subject.kind is not SubjectKind.OWNER

    @property
    def form_keys(self) -> list[int]:
        """The forms that are looked into."""
        return [form.form_key for form in self.forms.values() if form.form_key is not None]

    @property
    def needle(self) -> str:
        """What stands, in small letters, in the JSON text of each row of theirs; empty where nothing is sure to."""
        longest = max(_UNSEARCHABLE.split(self.subject.value), key=len)
        return longest if len(longest) >= _SHORTEST_NEEDLE else ""

    def form(self, form_id: str) -> DeclaredForm | None:
        """A form as its rows are judged; None where its rows are not looked for."""
        if self.subject.form_id not in (None, form_id):
            return None
        return self.forms.get(form_id) or undeclared_form(self.tenant, form_id)

    def is_among(self, subjects: Iterable[Subject]) -> bool:
        """Whether a row that names these is theirs."""
        return self.subject in subjects

    def is_mentioned(self, text: str) -> bool:
        """Whether what names them stands somewhere in a text."""
        return self.subject.value in spelled(text)


def find_person(connection: psycopg.Connection[Any], tenant: str, subject: Subject) -> Person:
    """The person with the tenant's forms as they are now."""
    if subject.kind is SubjectKind.OWNER:
        return Person(tenant, subject, {})
    return Person(
        tenant, subject, declared_forms(connection, tenant, None if subject.form_id is None else [subject.form_id])
    )
