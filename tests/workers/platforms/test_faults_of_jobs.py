"""What a platform's fault means for a job whose actor lets it through."""

from datetime import timedelta

import pytest

from penstock.schemas.errors import Code
from penstock.workers.platforms.answers import Answer, AnswerClass, LimitFact, Phase, PlatformFault
from penstock.workers.protection.retry import Verdict, judge_failure

WAIT, RETRY, PERMANENT = Verdict.WAIT, Verdict.RETRY, Verdict.PERMANENT
AFTER = timedelta(minutes=3)
BLOCKED = LimitFact("account:7", AFTER)


@pytest.mark.parametrize(
    ("cls", "verdict"),
    [
        (AnswerClass.PENDING, WAIT),
        (AnswerClass.RETRY, RETRY),
        (AnswerClass.AMBIGUOUS, RETRY),
        (AnswerClass.PERMANENT, PERMANENT),
        (AnswerClass.AUTH, WAIT),
        (AnswerClass.LIMITED, WAIT),
        (AnswerClass.DUPLICATE, RETRY),
    ],
)
@pytest.mark.parametrize("code", [Code.PLATFORM_API_ERROR, Code.POST_PLATFORM_ERROR])
def test_the_answers_class_decides_and_not_its_code(cls: AnswerClass, verdict: Verdict, code: Code) -> None:
    failure = judge_failure(PlatformFault(Answer(cls, Phase.PREPARE, code, "told", "4/1", retry_after=AFTER)))
    assert (failure.verdict, failure.code, failure.delay, failure.message) == (verdict, code, AFTER, "told (4/1)")
    assert failure.blocked_by == ""


def test_a_limit_is_named_as_its_block_is() -> None:
    """So that lifting the block wakes the job."""
    facts = (LimitFact("platform:x", used_percent=40), BLOCKED)
    answer = Answer(AnswerClass.LIMITED, Phase.PREPARE, Code.RATE_LIMIT_EXCEEDED, "told", limit_facts=facts)
    assert judge_failure(PlatformFault(answer)).blocked_by == "blocked:account:7"


def test_every_class_has_its_meaning() -> None:
    for cls in AnswerClass:
        assert PlatformFault(Answer(cls, Phase.PREPARE, Code.PLATFORM_API_ERROR, "told")).verdict in Verdict
