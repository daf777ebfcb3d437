"""Codes that Instagram and Facebook share: tokens, rights, throttles. Keys are `code/subcode` or `code`.

The status of HTTP says next to nothing here: almost all is 400, throttles included, and `OAuthException` is the type of
nearly every error.
"""

from datetime import timedelta

from penstock.schemas.errors import Code
from penstock.workers.platforms.classification.row import Row, Table, limited, refused, temporary, token

HANDLING = "https://developers.facebook.com/docs/graph-api/guides/error-handling"
LIMITING = "https://developers.facebook.com/docs/graph-api/overview/rate-limiting"
PAGE_CODES = "https://developers.facebook.com/docs/pages-api/error-codes"
_THROTTLED = timedelta(minutes=15)


def _person(meaning: str) -> Row:
    return token(meaning, HANDLING, refresh=False, code=Code.PLATFORM_ACCOUNT_RESTRICTED)


def _right(meaning: str, source: str = HANDLING) -> Row:
    return token(meaning, source, refresh=False, code=Code.PLATFORM_PERMISSION_DENIED)


META: Table = {
    "-1": temporary("the platform failed", HANDLING),
    "1": temporary("an unknown error, possibly an outage", HANDLING),
    "2": temporary("the service failed for the moment", HANDLING),
    "3": refused("the app lacks the capability", HANDLING),
    "4": limited("the app's calls are used up", LIMITING, _THROTTLED, scope="platform", circuit=True),
    "10": _right("the permission was not granted, or was removed"),
    "17": limited("the user's calls are used up", LIMITING, _THROTTLED),
    "32": limited("the page's calls are used up", LIMITING, _THROTTLED),
    "341": limited("the app's limit is reached", HANDLING, _THROTTLED, scope="platform", circuit=True),
    "613": limited("a limit of this kind of call is reached", LIMITING, _THROTTLED),
    "80001": limited("the page's business use is throttled", LIMITING, _THROTTLED),
    "80002": limited("the Instagram account's business use is throttled", LIMITING, _THROTTLED),
    "102": token("the session is no longer valid", HANDLING, refresh=True),
    "190": token("the token is not valid", HANDLING, refresh=True),
    "190/458": _person("the person removed the app"),
    "190/459": _person("the person has to pass a checkpoint"),
    "190/460": token("the person changed the password", HANDLING, refresh=False),
    "190/463": token("the token has expired", HANDLING, refresh=True),
    "190/464": _person("the person's account is not confirmed"),
    "190/467": token("the token is no longer valid", HANDLING, refresh=True),
    "190/492": token("the person lost the role on the page", HANDLING, refresh=False),
    "190/2069032": token("a page's token is wanted", PAGE_CODES, refresh=True),
    "200-299": _right("a permission is missing"),
}
