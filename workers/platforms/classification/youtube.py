"""What YouTube's answers mean. Keys are the `reason` of the first error, or `http:<status>`.

The visible step is the last piece of the upload: whatever it is answered, the session tells what became of it.
"""

from datetime import timedelta

from penstock.schemas.errors import Code
from penstock.workers.platforms.classification.row import (
    AMBIGUOUS,
    PERMANENT,
    RETRY,
    TRANSPORT,
    Row,
    Table,
    limited,
    refused,
    temporary,
    token,
)

_ERRORS = "https://developers.google.com/youtube/v3/docs/errors"
_CORE = "https://developers.google.com/youtube/v3/docs/core_errors"
_INSERT = "https://developers.google.com/youtube/v3/docs/videos/insert"
_UPLOAD = "https://developers.google.com/youtube/v3/guides/using_resumable_upload_protocol"
_VIDEO = "https://developers.google.com/youtube/v3/docs/videos"
_TOKENS = "https://developers.google.com/identity/protocols/oauth2/web-server"
_OPTION, _INVALID = Code.POST_OPTION_INVALID, Code.POST_MEDIA_INVALID
_RESTRICTED, _DENIED = Code.PLATFORM_ACCOUNT_RESTRICTED, Code.PLATFORM_PERMISSION_DENIED
_BURST = timedelta(seconds=30)

YOUTUBE: Table = {
    **TRANSPORT,
    "authError": token("the token is not valid", _CORE, refresh=True),
    "expired": token("the token has expired", _CORE, refresh=True),
    "http:401": token("the token is refused", _CORE, refresh=True),
    "youtubeSignupRequired": token("the account has no channel", _ERRORS, refresh=False, code=_RESTRICTED),
    "authenticatedUserAccountClosed": token("the account is closed", _ERRORS, refresh=False, code=_RESTRICTED),
    "authenticatedUserAccountSuspended": token("the account is suspended", _ERRORS, refresh=False, code=_RESTRICTED),
    "authenticatedUserNotChannel": token("the user is not the channel", _ERRORS, refresh=False, code=_RESTRICTED),
    "insufficientPermissions": token("a right is missing", _CORE, refresh=False, code=_DENIED),
    "forbidden": token("the request is forbidden", _CORE, refresh=False, code=_DENIED),
    # Until midnight in California at the most; the client computes it.
    "quotaExceeded": limited(
        "the project's units of the day are used up", _ERRORS, timedelta(hours=24), scope="platform"
    ),
    "dailyLimitExceeded": limited("the project's day is used up", _CORE, timedelta(hours=24), scope="platform"),
    "rateLimitExceeded": limited("too many requests", _CORE, _BURST),
    "userRateLimitExceeded": limited("too many requests of the user", _CORE, _BURST),
    "uploadRateLimitExceeded": limited("too many uploads", _ERRORS, _BURST),
    "uploadLimitExceeded": limited("the channel's uploads of a day are used up", _INSERT, timedelta(hours=24)),
    "invalidTitle": refused("the title is not taken", _INSERT, _OPTION),
    "invalidDescription": refused("the description is not taken", _INSERT, Code.POST_TEXT_INVALID),
    "invalidTags": refused("the tags are not taken", _INSERT, _OPTION),
    "invalidCategoryId": refused("the category is unknown", _INSERT, _OPTION),
    "invalidPublishAt": refused("the instant of publication is not taken", _INSERT, _OPTION),
    "invalidFilename": refused("the file's name is not taken", _INSERT, _INVALID),
    "invalidVideoMetadata": refused("the video's data are not taken", _INSERT, _OPTION),
    "invalidRecordingDetails": refused("the recording's data are not taken", _INSERT, _OPTION),
    "defaultLanguageNotSet": refused("a default language is wanted", _INSERT, _OPTION),
    "mediaBodyRequired": refused("the upload has no video", _INSERT, _INVALID),
    "forbiddenPrivacySetting": refused("the privacy is not allowed", _INSERT, _OPTION),
    "forbiddenLicenseSetting": refused("the licence is not allowed", _INSERT, _OPTION),
    "internalError": temporary("YouTube failed", _CORE),
    "backendError": temporary("YouTube failed", _CORE),
    "http:404": Row(
        Code.PLATFORM_HANDLE_EXPIRED, "the upload session is gone", _UPLOAD, RETRY, AMBIGUOUS, RETRY, restart=True
    ),
    "http:410": Row(
        Code.PLATFORM_HANDLE_EXPIRED, "the upload session is gone", _UPLOAD, RETRY, AMBIGUOUS, RETRY, restart=True
    ),
    # Any other refusal ends the session for good. At the last piece the session is asked all the same.
    "http:4": Row(Code.POST_PLATFORM_ERROR, "the upload is refused", _UPLOAD, PERMANENT, AMBIGUOUS, PERMANENT),
    "status:failed": refused("the video could not be processed", _VIDEO, _INVALID),
    "status:rejected": refused("YouTube rejected the video", _VIDEO),
    "status:deleted": refused("the video was deleted", _VIDEO),
    "invalid_grant": token("the refresh token is expired or revoked", _TOKENS, refresh=False),
}
