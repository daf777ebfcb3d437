"""Asks platforms for fresh tokens. Meta's must be alive to be refreshed; Google has refresh tokens.

developers.facebook.com/docs/instagram-platform/reference/refresh_access_token,
docs/facebook-login/guides/access-tokens/get-long-lived, developers.google.com/identity/protocols/oauth2/web-server.
"""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from penstock.workers.platforms.answers import AnswerClass, Phase, PlatformFault
from penstock.workers.platforms.classification.facebook import FACEBOOK
from penstock.workers.platforms.classification.instagram import INSTAGRAM
from penstock.workers.platforms.classification.youtube import YOUTUBE
from penstock.workers.platforms.endpoints import Endpoints
from penstock.workers.platforms.graph import graph_keys, graph_trace
from penstock.workers.platforms.http import Call, PlatformHttp, Reply
from penstock.workers.platforms.judge import Judge
from penstock.workers.platforms.platform import AccountRef, Secret
from penstock.workers.platforms.youtube import youtube_keys
from penstock.workers.settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class FreshTokens:
    """What a platform gave.

    Attributes:
        access: the new token.
        refresh: a new refresh token; None where the old one stays.
        expires_in: None where the platform names no end.
    """

    access: str = field(repr=False)
    refresh: str | None = field(default=None, repr=False)
    expires_in: timedelta | None = None


class TokenRefresh:
    """One method a platform. All raise `PlatformFault`.

    `AUTH` means that a person has to authorise again, `PERMANENT` that the platform does not refresh this token now (it
    is younger than a day), and `RETRY` or `LIMITED` that it can be asked later; the old token stays what it is.
    """

    def __init__(self, endpoints: Endpoints, settings: WorkerSettings, http: PlatformHttp) -> None:
        self._endpoints = endpoints
        self._facebook_app = (settings.facebook_app_id, settings.facebook_app_secret)
        self._google_client = (settings.google_client_id, settings.google_client_secret)
        self._instagram = Judge("instagram", INSTAGRAM, http, graph_keys, graph_trace)
        self._facebook = Judge("facebook", FACEBOOK, http, graph_keys, graph_trace)
        self._google = Judge("youtube", YOUTUBE, http, _google_keys, lambda _reply: None)

    def instagram(self, account: AccountRef, token: Secret) -> FreshTokens:
        """60 more days for a long-lived token that is a day old at least and still valid."""
        url = f"{self._endpoints.instagram_tokens}/refresh_access_token"
        secrets = {"access_token": token.get_secret_value()}
        call = Call("GET", url, "/refresh_access_token", {"grant_type": "ig_refresh_token"}, secrets)
        return _fresh(_ask(self._instagram, call, account))

    def facebook_user(self, account: AccountRef, token: Secret) -> FreshTokens:
        """A long-lived user token for one that is still valid."""
        app, secret = self._facebook_app
        secrets = {"client_secret": secret, "fb_exchange_token": token.get_secret_value()}
        fields = {"grant_type": "fb_exchange_token", "client_id": app}
        url = f"{self._endpoints.facebook}/oauth/access_token"
        return _fresh(_ask(self._facebook, Call("GET", url, "/oauth/access_token", fields, secrets), account))

    def facebook_page(self, account: AccountRef, user_token: Secret) -> FreshTokens:
        """The page's token, derived anew from the stored user token. It names no end."""
        fields = {"fields": "id,access_token", "limit": "100"}
        call = Call("GET", f"{self._endpoints.facebook}/me/accounts", "/me/accounts", fields, token=user_token)
        found, reply = _asked(self._facebook, call, account, wanted="data")
        for page in found["data"] if isinstance(found["data"], list) else ():
            if isinstance(page, dict) and str(page.get("id")) == account.external_id and page.get("access_token"):
                return FreshTokens(str(page["access_token"]))
        raise _for_a_person(self._facebook.fault(reply, Phase.PREPARE, account, "190/492"))

    def google(self, account: AccountRef, refresh_token: Secret) -> FreshTokens:
        """An access token for about an hour."""
        client, secret = self._google_client
        secrets = {"client_secret": secret, "refresh_token": refresh_token.get_secret_value()}
        fields = {"grant_type": "refresh_token", "client_id": client}
        return _fresh(
            _ask(self._google, Call("POST", self._endpoints.google_token, "/token", fields, secrets), account)
        )


def _ask(judge: Judge, call: Call, account: AccountRef) -> dict[str, Any]:
    return _asked(judge, call, account, wanted="access_token")[0]


def _asked(judge: Judge, call: Call, account: AccountRef, *, wanted: str) -> tuple[dict[str, Any], Reply]:
    try:
        return judge.call(call, Phase.PREPARE, account, wanted=wanted)
    except PlatformFault as fault:
        raise _for_a_person(fault) from None


def _for_a_person(fault: PlatformFault) -> PlatformFault:
    """A token that can't be refreshed is not saved by refreshing it."""
    answer = fault.answer
    return PlatformFault(replace(answer, refresh=False)) if answer.cls is AnswerClass.AUTH else fault


def _fresh(found: dict[str, Any]) -> FreshTokens:
    seconds, refresh = found.get("expires_in"), found.get("refresh_token")
    lives = timedelta(seconds=min(seconds, 10**9)) if isinstance(seconds, int) and seconds > 0 else None
    return FreshTokens(str(found["access_token"]), refresh if isinstance(refresh, str) else None, lives)


def _google_keys(reply: Reply) -> list[str]:
    """Google's token endpoint puts the error itself where its other interfaces have an object."""
    error = (reply.json() or {}).get("error")
    named = [error] if isinstance(error, str) and not reply.failure else []
    return [*named, *youtube_keys(reply)]
