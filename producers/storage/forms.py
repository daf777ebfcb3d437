"""Forms and their versions in PostgreSQL. A version never changes once it is stored."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from penstock.schemas.forms import Form, parse_form


@dataclass(frozen=True, slots=True)
class StoredForm:
    """One version of a form. `definition` is its JSON text."""

    form_key: int
    tenant: str
    form_id: str
    version: int
    latest_version: int
    definition: str
    created_at: datetime

    def parse(self) -> Form:
        """The definition as a model."""
        return parse_form(self.definition)

    def as_dict(self) -> dict[str, Any]:
        """The form as commands and endpoints show it."""
        definition: Mapping[str, Any] = json.loads(self.definition)
        return {
            "form_id": self.form_id,
            "tenant": self.tenant,
            "version": self.version,
            "latest_version": self.latest_version,
            "created_at": self.created_at.isoformat(),
            "definition": definition,
        }


@dataclass(frozen=True, slots=True)
class FormSummary:
    """One line of a list of forms."""

    form_id: str
    title: str
    latest_version: int
    questions: int
    updated_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """The line as commands and endpoints show it."""
        return {
            "form_id": self.form_id,
            "title": self.title,
            "latest_version": self.latest_version,
            "questions": self.questions,
            "updated_at": self.updated_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a form did: the version that is the latest now, and whether it is new."""

    form_id: str
    version: int
    created: bool


_COLUMNS = """
    f.form_key, f.tenant, f.form_id, v.version, f.latest_version, v.definition::text AS definition, v.created_at
"""

_ONE = f"""
SELECT {_COLUMNS}
  FROM penstock.forms f
  JOIN penstock.form_versions v ON v.form_key = f.form_key AND v.version = coalesce(%(version)s, f.latest_version)
 WHERE f.tenant = %(tenant)s AND f.form_id = %(form_id)s
"""

_RECENT = f"""
SELECT {_COLUMNS}
  FROM penstock.forms f
  JOIN penstock.form_versions v ON v.form_key = f.form_key AND v.version = f.latest_version
 ORDER BY f.updated_at DESC
 LIMIT %s
"""

_LIST = """
SELECT f.form_id, v.definition ->> 'title' AS title, f.latest_version,
       json_array_length(v.definition -> 'questions') AS questions, f.updated_at
  FROM penstock.forms f
  JOIN penstock.form_versions v ON v.form_key = f.form_key AND v.version = f.latest_version
 WHERE f.tenant = %(tenant)s AND f.form_id > %(after)s
 ORDER BY f.form_id
 LIMIT %(limit)s
"""

# The row of the form is what two appliers of it meet at: the second waits for the first.
_CLAIM = """
INSERT INTO penstock.forms (tenant, form_id, latest_version) VALUES (%s, %s, 0)
ON CONFLICT (tenant, form_id) DO NOTHING
"""
_LOCK = """
SELECT f.form_key, f.latest_version, v.digest
  FROM penstock.forms f
  LEFT JOIN penstock.form_versions v ON v.form_key = f.form_key AND v.version = f.latest_version
 WHERE f.tenant = %s AND f.form_id = %s
   FOR UPDATE OF f
"""
_ADD_VERSION = "INSERT INTO penstock.form_versions (form_key, version, definition, digest) VALUES (%s, %s, %s, %s)"
_POINT = "UPDATE penstock.forms SET latest_version = %s, updated_at = now() WHERE form_key = %s"


def find_form(
    connection: psycopg.Connection, tenant: str, form_id: str, version: int | None = None
) -> StoredForm | None:
    """One version of a form, the latest if none is named; None where there is no such form or version."""
    with connection.cursor(row_factory=class_row(StoredForm)) as cursor:
        return cursor.execute(_ONE, {"tenant": tenant, "form_id": form_id, "version": version}).fetchone()


def recent_forms(connection: psycopg.Connection, limit: int) -> list[StoredForm]:
    """The latest versions of the forms that changed last, of every tenant."""
    with connection.cursor(row_factory=class_row(StoredForm)) as cursor:
        return cursor.execute(_RECENT, (limit,)).fetchall()


def list_forms(connection: psycopg.Connection, tenant: str, after: str = "", limit: int = 100) -> list[FormSummary]:
    """A page of a tenant's forms by id, those after `after`."""
    with connection.cursor(row_factory=class_row(FormSummary)) as cursor:
        return cursor.execute(_LIST, {"tenant": tenant, "after": after, "limit": limit}).fetchall()


def apply_form(connection: psycopg.Connection, tenant: str, form_id: str, form: Form) -> Applied:
    """Make `form` the latest version of the form; nothing changes where it is that already.

    Runs within the caller's transaction, which it makes wait for other appliers of the same form.
    """
    definition = form.canonical_json()
    digest = hashlib.sha256(definition).digest()
    connection.execute(_CLAIM, (tenant, form_id))
    form_key, latest, known = connection.execute(_LOCK, (tenant, form_id)).fetchone() or (0, 0, None)
    if known == digest:
        return Applied(form_id, latest, created=False)
    version = latest + 1
    connection.execute(_ADD_VERSION, (form_key, version, definition.decode(), digest))
    connection.execute(_POINT, (version, form_key))
    return Applied(form_id, version, created=True)
