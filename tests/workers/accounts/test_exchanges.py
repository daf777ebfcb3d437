"""What platforms answer when they are asked for new tokens, in terms of what is stored."""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from penstock.schemas.errors import Code
from penstock.workers.accounts.account import Authorisation
from penstock.workers.accounts.exchanges import NOT_YET, Exchanges
from penstock.workers.accounts.refresh import Refused, Renewed, Unanswered
from penstock.workers.platforms.answers import Answer, AnswerClass, Phase, PlatformFault
from penstock.workers.platforms.tokens import FreshTokens, TokenRefresh
from tests.posts_kit import tokens_of

NOW = datetime(2026, 11, 21, tzinfo=UTC)
SIXTY_DAYS = timedelta(days=60)


@dataclass
class Platforms:
    """Gives one answer to all, or raises it, and notes what it was asked with."""

    answer: object
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        def ask(_account: object, token: Any) -> object:
            self.asked.append((name, token.get_secret_value()))
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        return ask


def exchange(platform: str, platforms: Platforms, refresh: str | None = "refresh") -> object:
    known = Authorisation(uuid.uuid4(), platform, "x", tokens_of("access", refresh), 1, None)
    return Exchanges(cast("TokenRefresh", platforms), lambda: NOW).by_platform()[platform](known)


def test_instagrams_token_is_exchanged_for_itself() -> None:
    platforms = Platforms(FreshTokens("new", None, SIXTY_DAYS))
    assert exchange("instagram", platforms, None) == Renewed(tokens_of("new", None), NOW + SIXTY_DAYS)
    assert platforms.asked == [("instagram", "access")]


def test_facebooks_page_token_is_derived_from_a_new_user_token() -> None:
    platforms = Platforms(FreshTokens("new", None, SIXTY_DAYS))
    assert exchange("facebook", platforms) == Renewed(tokens_of("new", "new"), NOW + SIXTY_DAYS)
    assert platforms.asked == [("facebook_user", "refresh"), ("facebook_page", "new")]


def test_googles_refresh_token_stays_unless_there_is_another() -> None:
    platforms = Platforms(FreshTokens("new", None, timedelta(hours=1)))
    assert exchange("youtube", platforms) == Renewed(tokens_of("new", None), NOW + timedelta(hours=1))
    assert platforms.asked == [("google", "refresh")]
    assert exchange("youtube", Platforms(FreshTokens("new", "other"))) == Renewed(tokens_of("new", "other"), None)


@pytest.mark.parametrize("platform", ["facebook", "youtube"])
def test_without_what_renews_it_only_a_person_can(platform: str) -> None:
    platforms = Platforms(FreshTokens("new"))
    assert exchange(platform, platforms, None) == Refused(Code.ACCOUNT_TOKEN_EXPIRED)
    assert platforms.asked == []


WAIT = timedelta(seconds=90)
FAULTS = {
    AnswerClass.AUTH: Refused(Code.ACCOUNT_TOKEN_EXPIRED),
    AnswerClass.PERMANENT: Unanswered(Code.PLATFORM_API_ERROR, NOT_YET),
    AnswerClass.RETRY: Unanswered(Code.PLATFORM_API_ERROR, WAIT),
    AnswerClass.LIMITED: Unanswered(Code.PLATFORM_API_ERROR, WAIT),
    AnswerClass.AMBIGUOUS: Unanswered(Code.PLATFORM_API_ERROR, WAIT),
}


@pytest.mark.parametrize(("cls", "expected"), FAULTS.items(), ids=FAULTS)
@pytest.mark.parametrize("platform", ["facebook", "instagram", "youtube"])
def test_a_fault_is_an_answer(platform: str, cls: AnswerClass, expected: object) -> None:
    fault = PlatformFault(Answer(cls, Phase.PREPARE, Code.PLATFORM_API_ERROR, "no", retry_after=WAIT))
    assert exchange(platform, Platforms(fault)) == expected
