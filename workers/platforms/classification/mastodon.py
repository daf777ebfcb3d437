"""What Mastodon's answers mean. Keys are `http:<status>`: its errors have no codes."""

from datetime import timedelta

from penstock.schemas.errors import Code
from penstock.workers.platforms.classification.row import TRANSPORT, Table, limited, refused, temporary, token

_STATUSES = "https://docs.joinmastodon.org/methods/statuses/"
_MEDIA = "https://docs.joinmastodon.org/methods/media/"
_LIMITS = "https://docs.joinmastodon.org/api/rate-limits/"

MASTODON: Table = {
    **TRANSPORT,
    "http:401": token("the token is not valid", _STATUSES, refresh=False),
    "http:403": token("the account may not do this", _STATUSES, refresh=False, code=Code.PLATFORM_PERMISSION_DENIED),
    "http:404": refused("the thing is not found", _STATUSES),
    "http:413": refused("the media is too large", _MEDIA, Code.POST_MEDIA_INVALID),
    "http:422": refused("the status is not valid", _STATUSES),
    "http:429": limited("too many requests", _LIMITS, timedelta(minutes=5)),
    "http:503": temporary("the server is away or overloaded", _STATUSES),
}
