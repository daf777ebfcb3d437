"""What Instagram's codes mean. Keys are `code/subcode` or `code`; a container's own error is `subcode`."""

from dataclasses import replace
from datetime import timedelta

from penstock.schemas.errors import Code
from penstock.workers.platforms.classification.meta import META
from penstock.workers.platforms.classification.row import (
    AMBIGUOUS,
    PENDING,
    PERMANENT,
    RETRY,
    TRANSPORT,
    Row,
    Table,
    again,
    limited,
    refused,
    temporary,
    token,
)

_CODES = "https://developers.facebook.com/docs/instagram-platform/instagram-graph-api/reference/error-codes"
_CONTAINER = "https://developers.facebook.com/docs/instagram-platform/instagram-graph-api/reference/ig-container"
_UPLOADS = "https://github.com/gitroomhq/postiz-app"
_MINUTE = timedelta(minutes=1)
_MEDIA = Code.PLATFORM_MEDIA_UNREACHABLE
_GONE = Code.PLATFORM_HANDLE_EXPIRED
_EXPIRED = again("the container has expired", _CODES, timedelta(0), restart=True, code=_GONE)
_FAILED = temporary("the upload or the container failed", _CODES, _MINUTE, circuit=False, restart=True)
_INVALID = Code.POST_MEDIA_INVALID

#: A container read in vain proves nothing: publishing it was seen to work.
_UNSEEN = "https://github.com/gitroomhq/postiz-app/issues/1562"

INSTAGRAM: Table = {
    **TRANSPORT,
    **META,
    # The app's throttle would block every account, and this one is about one account.
    "4/2207051": limited("the action looks like spam", _CODES, timedelta(hours=6), publish=AMBIGUOUS),
    "9/2207042": limited("the account's publications of a day are used up", _CODES, timedelta(hours=24)),
    "-2/2207003": again("Instagram could not fetch the media in time", _CODES, _MINUTE, restart=True, code=_MEDIA),
    "-2/2207020": _EXPIRED,
    "-1/2207001": temporary("Instagram failed", _CODES),
    "-1/2207032": _FAILED,
    "-1/2207053": _FAILED,
    "24/2207006": again("the media is not found", _CODES, _MINUTE, restart=True, code=_GONE),
    "24/2207008": Row(
        _GONE, "the container is not found, which may pass", _CODES, RETRY, AMBIGUOUS, RETRY, timedelta(seconds=30)
    ),
    "25/2207050": token("the account is restricted", _CODES, refresh=False, code=Code.PLATFORM_ACCOUNT_RESTRICTED),
    "9004/2207052": again("the media could not be fetched", _CODES, timedelta(seconds=5), restart=True, code=_MEDIA),
    "9007/2207027": Row(
        Code.PLATFORM_NOT_READY, "the media is not ready", _CODES, PENDING, PENDING, PENDING, timedelta(seconds=5)
    ),
    "1/2207057": refused("the thumbnail's offset is outside of the video", _CODES, Code.POST_OPTION_INVALID),
    "100": refused("a parameter is not valid", _CODES),
    "100/33": Row(
        Code.PLATFORM_NOT_READY,
        "the object can't be read now",
        _UNSEEN,
        PENDING,
        AMBIGUOUS,
        PENDING,
        timedelta(seconds=10),
    ),
    "100/2207023": refused("the media type is unknown", _CODES, _INVALID),
    "100/2207028": refused("a carousel has 2 to 10 media", _CODES, _INVALID),
    "100/2207035": refused("a tag of a product lacks its place", _CODES),
    "100/2207036": refused("a picture's tags lack their places", _CODES),
    "100/2207037": refused("a tag of a product is not valid", _CODES),
    "100/2207040": refused("too many mentions", _CODES, Code.POST_TEXT_INVALID),
    "352/2207026": refused("the video's format is not taken", _CODES, _INVALID),
    "36000/2207004": refused("the picture is too large", _CODES, _INVALID),
    "36001/2207005": refused("the picture's format is not taken", _CODES, _INVALID),
    "36003/2207009": refused("the picture's shape is not taken", _CODES, _INVALID),
    "36004/2207010": refused("the caption is too long", _CODES, Code.POST_TEXT_TOO_LONG),
    "2207003": again("Instagram could not fetch the media in time", _CODES, _MINUTE, restart=True, code=_MEDIA),
    "2207004": refused("the picture is too large", _CODES, _INVALID),
    "2207005": refused("the picture's format is not taken", _CODES, _INVALID),
    "2207009": refused("the picture's shape is not taken", _CODES, _INVALID),
    "2207020": _EXPIRED,
    "2207026": refused("the video's format is not taken", _CODES, _INVALID),
    "2207052": again("the media could not be fetched", _CODES, timedelta(seconds=5), restart=True, code=_MEDIA),
    "2207053": again("the upload failed", _CODES, _MINUTE, restart=True, code=Code.PLATFORM_API_ERROR),
    "2207077": refused("the video could not be fetched", _UPLOADS, _MEDIA),
    "2207081": refused("the account has no trial reels", _UPLOADS),
    "2207082": again("the upload failed", _UPLOADS, _MINUTE, restart=True, code=Code.PLATFORM_API_ERROR),
    "2207085": refused("the video could not be processed", _UPLOADS, _INVALID),
    "status:EXPIRED": replace(_EXPIRED, source=_CONTAINER),
    "status:ERROR": Row(Code.POST_PLATFORM_ERROR, "the container failed", _CONTAINER, PERMANENT, AMBIGUOUS, PERMANENT),
}
