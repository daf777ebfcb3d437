"""What a Facebook page's codes mean. Keys are `code/subcode` or `code`.

Posts answered with 1, 2 or a page of HTML were seen live, several times over: at the visible step these are ambiguous.
"""

from datetime import timedelta

from penstock.schemas.errors import Code
from penstock.workers.platforms.classification.meta import HANDLING, LIMITING, META, PAGE_CODES
from penstock.workers.platforms.classification.row import (
    AMBIGUOUS,
    PERMANENT,
    RETRY,
    TRANSPORT,
    Row,
    Table,
    again,
    duplicate,
    limited,
    refused,
    temporary,
    token,
)

_PHOTOS = "https://developers.facebook.com/docs/graph-api/reference/page/photos"
_VIDEOS = "https://developers.facebook.com/docs/graph-api/reference/page/videos"
_UPLOADS = "https://developers.facebook.com/docs/video-api/guides/publishing"
_REPORTED = "https://github.com/gitroomhq/postiz-app"
_REPEATED = "https://github.com/arsduo/koala/issues/699"
_LINKS_REPEATED = "https://github.com/facebookarchive/php-graph-sdk/issues/1141"
_INVALID = Code.POST_MEDIA_INVALID
_RESTRICTED = Code.PLATFORM_ACCOUNT_RESTRICTED
_MEDIA = Code.PLATFORM_MEDIA_UNREACHABLE
_MINUTE = timedelta(minutes=1)


def _restart(meaning: str) -> Row:
    # At the finishing call nobody knows: the video's status tells.
    code = Code.PLATFORM_HANDLE_EXPIRED
    return Row(code, meaning, _UPLOADS, RETRY, AMBIGUOUS, RETRY, _MINUTE, restart=True)


FACEBOOK: Table = {
    **TRANSPORT,
    **META,
    "1/99": temporary("an unknown error; posts answered so were seen live", _LINKS_REPEATED),
    "1/2853006": token("the person may not do this on the page", PAGE_CODES, refresh=False, code=_RESTRICTED),
    "2": temporary("the service failed; posts answered so were seen live", _REPEATED),
    "100": refused("a parameter is not valid", HANDLING),
    "100/33": Row(
        Code.PLATFORM_NOT_READY, "the object can't be read now", HANDLING, PERMANENT, PERMANENT, RETRY,
        timedelta(seconds=5),
    ),
    "200/2069030": refused("the page does not support this call", PAGE_CODES),
    "200/2069031": refused("the page does not support this field", PAGE_CODES),
    "200/2069033": refused("the page does not support this", PAGE_CODES),
    "324": refused("the picture is missing or not valid", _PHOTOS, _INVALID),
    "368": limited("the page is held back for its behaviour", HANDLING, timedelta(hours=1)),
    "368/1390008": limited("the page posts too fast", _REPORTED, timedelta(hours=1)),
    "368/1404082": duplicate("the same content is there already", _REPORTED),
    "368/4854002": token("the person has to confirm who they are", _REPORTED, refresh=False, code=_RESTRICTED),
    "382": refused("the video is too small", _VIDEOS, _INVALID),
    "389": again("the video could not be fetched", _VIDEOS, _MINUTE, code=_MEDIA),
    "506": duplicate("the same as the post before", HANDLING),
    "613/1996": limited("an odd number of calls", LIMITING, timedelta(hours=1)),
    "6000": refused("the video is not valid", _VIDEOS, _INVALID),
    "6001": temporary("the upload of the video failed", _VIDEOS, _MINUTE, circuit=False),
    "1609005": again("the link could not be read", HANDLING, timedelta(minutes=10), code=_MEDIA),
    "1609008": refused("a link to Facebook itself", _REPORTED),
    "1346003": refused("the content was reported as abusive", _REPORTED),
    "1366046": refused("the picture is too large, or of a format that is not taken", _REPORTED, _INVALID),
    "1366051": duplicate("the picture was posted already", _REPORTED),
    "1404078": token("the page needs its authorisation to publish", _REPORTED, refresh=False, code=_RESTRICTED),
    "1404102": refused("the content is against the standards", _REPORTED),
    "1404112": token("the account is limited", _REPORTED, refresh=False, code=_RESTRICTED),
    "1363019": temporary("the upload took too long", _UPLOADS, _MINUTE, circuit=False),
    "1363022": refused("the video is too small", _UPLOADS, _INVALID),
    "1363023": refused("the video is too large", _UPLOADS, _INVALID),
    "1363024": refused("the video's format is not taken", _UPLOADS, _INVALID),
    "1363025": refused("the video is too short", _UPLOADS, _INVALID),
    "1363026": refused("the video is too long", _UPLOADS, _INVALID),
    "1363030": _restart("the upload took too long"),
    "1363031": refused("the video's file is broken", _UPLOADS, _INVALID),
    "1363032": refused("the video's file can't be read", _UPLOADS, _INVALID),
    "1363033": _restart("the upload's offset does not fit"),
    "1363037": _restart("the upload's offset does not fit"),
    "1363041": _restart("the upload session has expired"),
    "rupload": temporary("the upload was interrupted", _UPLOADS, circuit=False),
    "rupload:final": refused("the upload was refused", _UPLOADS, _INVALID),
    "http:404": _restart("the upload session is not found"),
}  # fmt: skip
