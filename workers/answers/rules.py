"""Which rule each type of question has."""

from collections.abc import Callable, Mapping
from zoneinfo import ZoneInfo

from penstock.schemas.forms import DEFAULT_MAX_LENGTH, DEFAULT_MAX_RATING, Form, Question, QuestionType
from penstock.workers.answers.choices import BooleanRule, OneOptionRule, Options, SeveralOptionsRule
from penstock.workers.answers.contacts import EmailRule, PhoneRule
from penstock.workers.answers.files import FileRule
from penstock.workers.answers.moments import DateRule, DatetimeRule, TimeRule
from penstock.workers.answers.numbers import NumberRule, RatingRule
from penstock.workers.answers.rule import Rule
from penstock.workers.answers.text import TextRule


def rule_for(question: Question, form: Form) -> Rule:
    """The rule of one of the form's questions."""
    return _RULES[question.type](question, form)


def _text(question: Question, _form: Form) -> Rule:
    return TextRule(question.max_length or DEFAULT_MAX_LENGTH[question.type])


def _one_option(question: Question, _form: Form) -> Rule:
    return OneOptionRule(Options(question.options or ()))


def _several_options(question: Question, _form: Form) -> Rule:
    return SeveralOptionsRule(Options(question.options or ()))


def _checkbox(question: Question, form: Form) -> Rule:
    return BooleanRule() if question.options is None else _several_options(question, form)


def _rating(question: Question, form: Form) -> Rule:
    if question.options is not None:
        return _one_option(question, form)
    return RatingRule(DEFAULT_MAX_RATING if question.max is None else int(question.max))


_RULES: Mapping[QuestionType, Callable[[Question, Form], Rule]] = {
    QuestionType.TEXT: _text,
    QuestionType.TEXTAREA: _text,
    QuestionType.EMAIL: lambda _question, _form: EmailRule(),
    QuestionType.PHONE: lambda question, form: PhoneRule(question.region or form.region),
    QuestionType.NUMBER: lambda question, _form: NumberRule(question.min, question.max),
    QuestionType.DATE: lambda _question, _form: DateRule(),
    QuestionType.TIME: lambda _question, _form: TimeRule(),
    QuestionType.DATETIME: lambda _question, form: DatetimeRule(ZoneInfo(form.timezone)),
    QuestionType.SELECT: _one_option,
    QuestionType.MULTISELECT: _several_options,
    QuestionType.RADIO: _one_option,
    QuestionType.CHECKBOX: _checkbox,
    QuestionType.BOOLEAN: lambda _question, _form: BooleanRule(),
    QuestionType.RATING: _rating,
    QuestionType.FILE: lambda _question, _form: FileRule(),
}
