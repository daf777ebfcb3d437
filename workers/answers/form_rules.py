"""All rules of one form version, as one check of a row's answers."""

from collections.abc import Iterator, Sequence

from penstock.schemas.errors import Code
from penstock.schemas.faults import Fault
from penstock.schemas.forms import Form
from penstock.workers.answers.asked import AskedQuestion, asked_questions
from penstock.workers.answers.json_text import (
    Answer,
    ShadowingMembers,
    UndecodableError,
    decode_answers,
    encode_answers,
)
from penstock.workers.answers.optimistic import FastPath
from penstock.workers.answers.rule import RefusedAnswerError

#: No question id of a form is longer; of a longer one that came with answers, so much is shown.
_SHOWN_ID_CHARACTERS = 200


class FormRules:
    """One compiled validator per form version; immutable, so that threads may share it.

    There are two paths. `judge` is the specification, in plain Python. The fast path recognises rows that `judge`
    would accept without changing anything, which nearly all rows are, and leaves all others to it.
    """

    __slots__ = ("_fast_path", "_questions")

    def __init__(self, form: Form) -> None:
        self._questions = {question.id: question for question in asked_questions(form)}
        self._fast_path = FastPath(self._questions.values())

    def check(self, answers: bytes) -> bytes | tuple[Fault, ...]:
        """Judge a row's `answers`, given as its JSON bytes. Never raises, whatever the bytes.

        Returns:
            The canonical answers as UTF-8 JSON that `jsonb` accepts, which are the same object where nothing had to
            change; or all faults: first by the form's order of questions, then for each unknown question.
        """
        return answers if self._fast_path.recognises(answers) else self.judge(answers)

    def check_all(self, several: Sequence[bytes]) -> Sequence[bytes | tuple[Fault, ...]]:
        """Do what `check` does for the answers of several rows, in a third of the time where nothing has to change.

        Each must be one whole JSON value, as a decoder cut it. Where all are canonical this returns the same sequence.
        """
        doubtful = self._fast_path.unrecognised(several)
        if not doubtful:
            return several
        checked: list[bytes | tuple[Fault, ...]] = list(several)
        for place in doubtful:
            checked[place] = self.judge(several[place])
        return checked

    def judge(self, answers: bytes) -> bytes | tuple[Fault, ...]:
        """Do what `check` does, without the fast path."""
        try:
            sent = decode_answers(answers)
        except UndecodableError as error:
            return (Fault(None, Code.SUBMISSION_UNDECODABLE, str(error)),)
        if not isinstance(sent, dict):
            return (Fault(None, Code.SUBMISSION_INVALID, "send the answers as an object {question id: answer}"),)
        return self._judge_each(answers, sent)

    def _judge_each(self, answers: bytes, sent: dict[str, Answer]) -> bytes | tuple[Fault, ...]:
        canonical: dict[str, Answer] = {}
        faults: list[Fault] = []
        for name, question in self._questions.items():
            try:
                answer = question.read(sent.get(name))
            except RefusedAnswerError as refused:
                faults += [Fault(name, code, message) for code, message in refused.faults]
            else:
                if answer is not None:
                    canonical[name] = answer
        faults += _unknown_questions(sent, self._questions)
        if faults:
            return tuple(faults)
        if canonical == sent and not any(isinstance(each, ShadowingMembers) for each in (sent, *sent.values())):
            return answers
        return encode_answers(canonical)


def _unknown_questions(sent: dict[str, Answer], questions: dict[str, AskedQuestion]) -> Iterator[Fault]:
    for name in sent:
        if name not in questions:
            yield Fault(
                _storable_id(name), Code.ANSWER_UNKNOWN_QUESTION, "send answers to questions of the form version only"
            )


def _storable_id(name: str) -> str:
    r"""A question id as jsonb can hold it: U+0000 and unpaired surrogates as `\x00` and `\ud800`."""
    shown = name if len(name) <= _SHOWN_ID_CHARACTERS else name[: _SHOWN_ID_CHARACTERS - 1] + "…"
    return shown.encode(errors="backslashreplace").decode().replace("\x00", r"\x00")
