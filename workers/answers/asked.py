"""A question as an answer meets it: may it be missing, what counts as missing, which rule."""

from dataclasses import dataclass

from penstock.schemas.errors import Code
from penstock.schemas.forms import Form, Question
from penstock.schemas.text import trim
from penstock.workers.answers.json_text import Answer
from penstock.workers.answers.rule import RefusedAnswerError, Rule
from penstock.workers.answers.rules import rule_for


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """One question with its rule."""

    id: str
    required: bool
    #: Trimmed texts that count as no answer; the empty text always does.
    empty_texts: frozenset[str]
    rule: Rule

    def is_empty(self, answer: Answer) -> bool:
        """Whether an answer counts as none: null, an empty list, white space, or one of `empty_values`."""
        if isinstance(answer, str):
            return trim(answer) in self.empty_texts
        return answer is None or answer == []

    def read(self, answer: Answer) -> Answer:
        """The canonical answer; None where it counts as none.

        Raises:
            RefusedAnswerError: with every fault of the answer.
        """
        if not self.is_empty(answer):
            return self.rule.read(answer)
        if self.required:
            raise RefusedAnswerError((Code.ANSWER_REQUIRED, "answer this question; it is required"))
        return None


def asked_questions(form: Form) -> tuple[AskedQuestion, ...]:
    """The form's questions in its order."""
    return tuple(_asked(question, form) for question in form.questions)


def _asked(question: Question, form: Form) -> AskedQuestion:
    empty_texts = frozenset({"", *(trim(text) for text in question.empty_values)})
    return AskedQuestion(question.id, question.required, empty_texts, rule_for(question, form))
