"""How each platform's tokens are exchanged for new ones, in terms of what is stored for an account.

| platform | access token | refresh token | `token_expires_at` |
|---|---|---|---|
| Instagram | the long-lived token, exchanged for itself | none | its end |
| Facebook | the page's | the long-lived token of the user whom the page's is derived from | the user token's end |
| YouTube | lives an hour | Google's | the access token's end |
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from penstock.schemas.errors import Code
from penstock.workers.accounts.account import Authorisation
from penstock.workers.accounts.refresh import Exchange, Refused, Renewed, Unanswered
from penstock.workers.accounts.secret import Secret
from penstock.workers.accounts.token_keys import Tokens
from penstock.workers.platforms.answers import AnswerClass, PlatformFault
from penstock.workers.platforms.platform import AccountRef
from penstock.workers.platforms.tokens import FreshTokens, TokenRefresh

#: After this a platform is asked again that does not refresh such a token now: Meta wants it to be a day old.
NOT_YET = timedelta(days=1)

_Ask = Callable[[AccountRef, Authorisation], Renewed | Refused]


class Exchanges:
    """Asks platforms by `TokenRefresh`, and tells what came of it. Safe to share between threads."""

    def __init__(self, platforms: TokenRefresh, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._platforms = platforms
        self._clock = clock

    def by_platform(self) -> Mapping[str, Exchange]:
        """The exchange of each platform that has one. Mastodon's tokens have no end and no exchange."""
        return {
            "facebook": _telling(self._facebook),
            "instagram": _telling(self._instagram),
            "youtube": _telling(self._youtube),
        }

    def _instagram(self, account: AccountRef, known: Authorisation) -> Renewed:
        fresh = self._platforms.instagram(account, known.tokens.access)
        return Renewed(Tokens(Secret(fresh.access)), self._end_of(fresh))

    def _facebook(self, account: AccountRef, known: Authorisation) -> Renewed | Refused:
        if known.tokens.refresh is None:
            return Refused()
        user = self._platforms.facebook_user(account, known.tokens.refresh)
        user_token = Secret(user.access)
        page = self._platforms.facebook_page(account, user_token)
        return Renewed(Tokens(Secret(page.access), user_token), self._end_of(user))

    def _youtube(self, account: AccountRef, known: Authorisation) -> Renewed | Refused:
        if known.tokens.refresh is None:
            return Refused()
        fresh = self._platforms.google(account, known.tokens.refresh)
        refresh = None if fresh.refresh is None else Secret(fresh.refresh)
        return Renewed(Tokens(Secret(fresh.access), refresh), self._end_of(fresh))

    def _end_of(self, fresh: FreshTokens) -> datetime | None:
        return None if fresh.expires_in is None else self._clock() + fresh.expires_in


def _telling(ask: _Ask) -> Exchange:
    """`ask` as an exchange: its faults are answers."""

    def exchange(known: Authorisation) -> Renewed | Refused | Unanswered:
        account = AccountRef(str(known.account_id), known.platform, known.external_id)
        try:
            return ask(account, known)
        except PlatformFault as fault:
            return _answer_of(fault)

    return exchange


def _answer_of(fault: PlatformFault) -> Refused | Unanswered:
    answer = fault.answer
    if answer.cls is AnswerClass.AUTH:
        return Refused(Code.ACCOUNT_TOKEN_EXPIRED)
    if answer.cls is AnswerClass.PERMANENT:
        return Unanswered(answer.code, NOT_YET)
    return Unanswered(answer.code, answer.retry_after)
