"""YouTube: a resumable upload, whose last piece is the visible step.

developers.google.com/youtube/v3/guides/using_resumable_upload_protocol. A session answers its final answer again
and again, so whoever lost it asks the session. The video exists once its last byte has arrived.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from penstock.schemas.post_content import ContentFault, PostContent
from penstock.schemas.post_rules import YOUTUBE as RULES
from penstock.schemas.post_rules import content_faults
from penstock.workers.platforms.answers import Phase, PlatformFault
from penstock.workers.platforms.classification.youtube import YOUTUBE
from penstock.workers.platforms.endpoints import Endpoints
from penstock.workers.platforms.http import Call, PlatformHttp, Reply
from penstock.workers.platforms.judge import Judge, failure_keys
from penstock.workers.platforms.media import MediaSource
from penstock.workers.platforms.platform import (
    AccountRef,
    Found,
    NotFound,
    Prepared,
    Publication,
    Published,
    Secret,
    Sighting,
)
from penstock.workers.platforms.youtube_uploads import find_upload
from penstock.workers.protection.limits import LimitUse

PACIFIC = ZoneInfo("America/Los_Angeles")
#: Pieces but the last are multiples of this (the guide).
GRAIN_BYTES = 262_144
_RANGE = re.compile(r"(?:bytes=)?(\d{1,18})-(\d{1,18})")
_GOOGLE = re.compile(r"https://[a-z0-9-]+\.googleapis\.com/")
_DAY = timedelta(hours=24)


class YouTube:
    """A channel's uploads."""

    name = "youtube"
    circuit = "platform:youtube"

    def __init__(self, endpoints: Endpoints, http: PlatformHttp, media: MediaSource) -> None:
        self._upload = f"{endpoints.youtube}/upload/youtube/{endpoints.youtube_version}/videos"
        self._read = f"{endpoints.youtube}/youtube/{endpoints.youtube_version}"
        self._piece_bytes = endpoints.piece_bytes // GRAIN_BYTES * GRAIN_BYTES
        self._private_hosts = endpoints.private_hosts
        self._media = media
        self._http = http
        self._judge = Judge(self.name, YOUTUBE, http, youtube_keys, lambda _reply: None, quota_wait)

    @staticmethod
    def limits(account: AccountRef) -> Sequence[LimitUse]:
        """10 an hour for the channel, and 100 a day for the whole project: its bucket of uploads."""
        return (
            LimitUse(
                f"account:{account.account_id}",
                10,
                timedelta(hours=1),
                default_key="platform:youtube/account",
                once=True,
            ),
            LimitUse("platform:youtube", 100, _DAY, once=True),
        )

    def validate(self, content: PostContent) -> Sequence[ContentFault]:
        """What the platform would refuse."""
        return content_faults(RULES, content, self._private_hosts)

    def prepare(self, publication: Publication, token: Secret) -> Prepared:
        """Begin the session; then ask how far it came, and send the next piece, but never the last one."""
        if publication.handle is None:
            return self._start(publication, token)
        size = int(publication.state["size"])
        reply = self._ask(publication, size, token)
        if reply.ok:
            # An earlier life sent the last piece.
            raise PlatformFault(self._judge.answer(reply, Phase.PUBLISH, publication.account, "unreadable"))
        offset = self._offset(reply, publication, Phase.PREPARE)
        last = offset + self._piece_bytes - 1
        if last >= size - 1:
            return self._prepared(publication, offset, ready=True)
        reply = self._put(publication, offset, last, size, token)
        return self._prepared(publication, self._offset(reply, publication, Phase.PREPARE), ready=False)

    def publish(self, publication: Publication, token: Secret) -> Published:
        """Send the last piece."""
        size, offset = int(publication.state["size"]), int(publication.state["offset"])
        reply = self._put(publication, offset, size - 1, size, token)
        video = reply.text_of("id") if reply.ok else None
        if video is None:
            raise self._unanswered(reply, publication)
        return Published(video, watch_url(video), self._judge.facts(reply, publication.account))

    def confirm(self, publication: Publication, token: Secret) -> Published:
        """Read what became of the video: a rejected one is a permanent fault, a private one a changed privacy."""
        video = publication.external_id or ""
        url, fields = f"{self._read}/videos", {"part": "status,processingDetails", "id": video}
        call = Call("GET", url, "/videos", fields, token=token)
        found, reply = self._judge.call(call, Phase.CONFIRM, publication.account, wanted="items")
        status = _status_of(found)
        if status.get("uploadStatus") in {"failed", "rejected", "deleted"}:
            key = f"status:{status['uploadStatus']}"
            raise self._judge.fault(reply, Phase.CONFIRM, publication.account, key)
        wanted = str(publication.content.options.get("privacy", "public"))
        if status.get("privacyStatus", wanted) != wanted:
            # Projects without the platform's audit have their uploads locked.
            raise self._judge.fault(reply, Phase.CONFIRM, publication.account, "forbiddenPrivacySetting")
        return Published(video, watch_url(video), self._judge.facts(reply, publication.account))

    def look_up(self, publication: Publication, token: Secret) -> Sighting:
        """Ask the session; only where that is gone look through the channel's uploads."""
        size = int(publication.state["size"])
        reply = self._ask(publication, size, token)
        video = reply.text_of("id") if reply.ok else None
        if video is not None:
            return Found(video, watch_url(video))
        if reply.status == 308:
            # Not all bytes are there, so there is no video: the rest is sent to the same session.
            self._offset(reply, publication, Phase.LOOK_UP)
            return NotFound(certain=True, resume=True)
        if reply.status in {404, 410}:
            return find_upload(self._judge, self._read, publication, token)
        raise self._judge.fault(reply, Phase.LOOK_UP, publication.account)

    def _start(self, publication: Publication, token: Secret) -> Prepared:
        file = self._media.look(publication.content.media[0].url)
        kind = file.content_type if file.content_type.startswith("video/") else "application/octet-stream"
        headers = {"X-Upload-Content-Length": str(file.size_bytes), "X-Upload-Content-Type": kind}
        query = {"uploadType": "resumable", "part": "snippet,status"}
        if publication.content.options.get("notify_subscribers") is False:
            query["notifySubscribers"] = "false"
        call = Call(
            "POST", self._upload, "/upload/videos", body=video_resource(publication.content), headers=headers,
            query=query, token=token,
        )  # fmt: skip
        reply = self._http.send(call)
        location = reply.headers.get("location", "") if reply.ok else ""
        if not (location.startswith(f"{self._upload}?") or _GOOGLE.match(location)):
            # Another host would be handed the token.
            raise self._judge.fault(reply, Phase.PREPARE, publication.account)
        state = {"size": file.size_bytes, "type": kind, "offset": 0}
        return Prepared(location, state, ready=False)

    def _prepared(self, publication: Publication, offset: int, *, ready: bool) -> Prepared:
        return Prepared(publication.handle, {**publication.state, "offset": offset}, ready=ready)

    def _ask(self, publication: Publication, size: int, token: Secret) -> Reply:
        headers = {"Content-Range": f"bytes */{size}"}
        call = Call(
            "PUT", publication.handle or "", "/upload/videos", content=b"", headers=headers, token=token
        )  # fmt: skip
        return self._http.send(call)

    def _put(self, publication: Publication, first: int, last: int, size: int, token: Secret) -> Reply:
        content = self._media.piece(publication.content.media[0].url, first, last)
        headers = {"Content-Range": f"bytes {first}-{last}/{size}", "Content-Type": str(publication.state["type"])}
        call = Call("PUT", publication.handle or "", "/upload/videos", content=content, headers=headers, token=token)
        return self._http.send(call)

    def _offset(self, reply: Reply, publication: Publication, phase: Phase) -> int:
        """How many bytes the session has, by a 308. Raises `PlatformFault` for any other answer."""
        if reply.status != 308:
            raise self._judge.fault(reply, phase, publication.account)
        match = _RANGE.fullmatch(reply.headers.get("range", ""))
        return int(match[2]) + 1 if match else 0

    def _unanswered(self, reply: Reply, publication: Publication) -> PlatformFault:
        if reply.status == 308:
            return self._judge.fault(reply, Phase.PUBLISH, publication.account, "unreadable")
        return self._judge.fault(reply, Phase.PUBLISH, publication.account)


def youtube_keys(reply: Reply) -> list[str]:
    """The reason of the first error; then how the call failed, or its status."""
    error = (reply.json() or {}).get("error")
    errors = error.get("errors") if isinstance(error, dict) else None
    reason = errors[0].get("reason") if isinstance(errors, list) and errors and isinstance(errors[0], dict) else None
    named = [reason] if isinstance(reason, str) and not reply.failure else []
    return [*named, *failure_keys(reply)]


def quota_wait(key: str) -> timedelta | None:
    """Until midnight in California, when the project's units are new; for those keys alone."""
    if key not in {"quotaExceeded", "dailyLimitExceeded"}:
        return None
    now = datetime.now(PACIFIC)
    tomorrow = datetime(now.year, now.month, now.day, tzinfo=PACIFIC) + timedelta(days=1)
    return tomorrow.astimezone(UTC) - now.astimezone(UTC)


def video_resource(content: PostContent) -> Mapping[str, Any]:
    """The body that begins an upload; the privacy is always sent, since the default is not documented."""
    options = content.options
    snippet: dict[str, Any] = {
        "title": options["title"],
        "description": content.text,
        "categoryId": options.get("category_id", "22"),
    }
    status: dict[str, Any] = {
        "privacyStatus": options.get("privacy", "public"),
        "selfDeclaredMadeForKids": options.get("made_for_kids", False),
        "containsSyntheticMedia": options.get("synthetic_media", False),
    }
    if "tags" in options:
        snippet["tags"] = options["tags"]
    if "publish_at" in options:
        status["publishAt"] = options["publish_at"]
    return {"snippet": snippet, "status": status}


def watch_url(video: str) -> str:
    """The address at which people see a video."""
    return f"https://www.youtube.com/watch?v={video}"


def _status_of(found: Mapping[str, Any]) -> Mapping[str, Any]:
    items = found.get("items")
    first = items[0] if isinstance(items, list) and items else None
    status = first.get("status") if isinstance(first, dict) else None
    return status if isinstance(status, dict) else {}
