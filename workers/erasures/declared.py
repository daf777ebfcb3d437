"""Which questions of a form name the person that a row is about.

E-mail addresses do unless the question says `subject: false`, others where it says `subject: true`. The latest version
that has the question decides for the rows of all versions: who marks a question later means the earlier rows too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from penstock.schemas.forms import Form, QuestionType, parse_form
from penstock.schemas.identity import SubmissionIds
from penstock.schemas.person_data import SubjectKind
from penstock.workers.answers.asked import AskedQuestion, asked_questions
from penstock.workers.answers.rule import RefusedAnswerError
from penstock.workers.erasures.subjects import Subject, spelled, spelled_email, submission_id_of
from penstock.workers.telemetry.queries import timed_query

_VERSIONS = """
SELECT f.form_key, f.form_id, v.definition::text
  FROM penstock.forms f JOIN penstock.form_versions v USING (form_key)
 WHERE f.tenant = %s AND f.form_id = ANY(%s)
 ORDER BY f.form_key, v.version
"""
_FORM_IDS = "SELECT form_id FROM penstock.forms WHERE tenant = %s ORDER BY form_key"


@dataclass(frozen=True, slots=True)
class DeclaredForm:
    """A form as people are looked for in its rows.

    Attributes:
        form_key: None where the tenant has no such form (any more).
        names: of each question that some version has, whether its answers name a person.
        rules: of those that do, what brings an answer into its canonical form.
    """

    tenant: str
    form_id: str
    form_key: int | None
    names: Mapping[str, bool]
    rules: Mapping[str, AskedQuestion] = field(repr=False, default_factory=dict)

    def subjects(self, row_id: str | None, submission_id: bytes | None, answers: Any) -> Iterator[Subject]:
        """Everybody that a row names: answers to a question that no version has count too, since nobody judged them."""
        if submission_id is not None:
            yield Subject(SubjectKind.SUBMISSION, submission_id.hex(), self.form_id)
        if row_id is not None:
            yield Subject(SubjectKind.SUBMISSION, submission_id_of(self.tenant, self.form_id, row_id).hex, self.form_id)
            yield from self._addresses(row_id)
        for question_id, answer in answers.items() if isinstance(answers, dict) else ():
            if self.names.get(question_id, True):
                for value in self._values(question_id, answer):
                    yield Subject(SubjectKind.QUESTION, value, self.form_id, question_id)
                    yield from self._addresses(value)

    def value_of(self, question_id: str, given: str) -> str:
        """How the answer that somebody gives to a question is spelled in rows."""
        *_, canonical = self._values(question_id, given)
        return canonical

    def _addresses(self, text: str) -> Iterator[Subject]:
        if "@" in text:
            value = spelled_email(text)
            yield Subject(SubjectKind.EMAIL, value)
            yield Subject(SubjectKind.EMAIL, value, self.form_id)

    def loose_subjects(self, texts: Iterable[str]) -> Iterator[Subject]:
        """Everybody whom these texts may name, of a row so malformed that nobody knows which question each answers."""
        naming = [question_id for question_id, names in self.names.items() if names]
        for text in texts:
            yield from self._addresses(text)
            for question_id in naming:
                for value in self._values(question_id, text):
                    yield Subject(SubjectKind.QUESTION, value, self.form_id, question_id)

    def _values(self, question_id: str, answer: Any) -> Iterator[str]:
        """The spellings of an answer: as it stands there, and, where the question's rule takes it, as it is stored."""
        if isinstance(answer, (list, dict)):
            for inner in answer.values() if isinstance(answer, dict) else answer:
                yield from self._values(question_id, inner)
            return
        if isinstance(answer, bool) or not isinstance(answer, (str, int, float)):
            return
        text = str(answer)
        yield spelled(text)
        rule = self.rules.get(question_id)
        if rule is not None and not rule.is_empty(text):
            try:
                canonical = rule.read(text)
            except RefusedAnswerError:
                return
            if isinstance(canonical, str):
                yield spelled(canonical)


def declared_forms(
    connection: psycopg.Connection[Any], tenant: str, form_ids: Sequence[str] | None = None
) -> dict[str, DeclaredForm]:
    """The tenant's forms by id: those that are asked for, or all."""
    with timed_query("select", "forms"):
        if form_ids is None:
            form_ids = [form_id for (form_id,) in connection.execute(_FORM_IDS, (tenant,))]
        versions = connection.execute(_VERSIONS, (tenant, list(form_ids))).fetchall()
    found: dict[str, DeclaredForm] = {}
    for form_key, form_id, definition in versions:
        form, before = parse_form(definition), found.get(form_id)
        found[form_id] = DeclaredForm(
            tenant,
            form_id,
            form_key,
            names={**(before.names if before else {}), **_names(form)},
            rules={**(before.rules if before else {}), **{one.id: one for one in asked_questions(form)}},
        )
    return found


def undeclared_form(tenant: str, form_id: str) -> DeclaredForm:
    """A form that the tenant has not: of its rows each answer may name a person."""
    return DeclaredForm(tenant, form_id, None, {})


def submission_ids(form: DeclaredForm) -> SubmissionIds:
    """What derives the ids of the form's rows."""
    return SubmissionIds(form.tenant, form.form_id)


def _names(form: Form) -> dict[str, bool]:
    return {
        question.id: question.type is QuestionType.EMAIL if question.subject is None else question.subject
        for question in form.questions
    }
