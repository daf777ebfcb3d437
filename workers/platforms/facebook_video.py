"""A page's videos and reels: an upload session, then one finishing call that shows the video.

developers.facebook.com/docs/video-api/guides/publishing and guides/reels-publishing. The video's id is known
before it is visible, so its status tells what became of an unanswered call.
"""

from typing import Any

from penstock.workers.platforms.answers import Phase
from penstock.workers.platforms.endpoints import Endpoints
from penstock.workers.platforms.http import Call, Reply
from penstock.workers.platforms.judge import Judge
from penstock.workers.platforms.matching import text_or_none
from penstock.workers.platforms.media import MediaSource
from penstock.workers.platforms.platform import (
    Found,
    NotFound,
    Prepared,
    Publication,
    Published,
    Secret,
    Sighting,
    Unknown,
)


class FacebookVideo:
    """The part of `Facebook` that uploads videos; its methods are as the platform's."""

    def __init__(self, endpoints: Endpoints, judge: Judge, media: MediaSource) -> None:
        self._base = endpoints.facebook
        self._upload = f"{endpoints.facebook_upload}/"
        self._piece_bytes = endpoints.piece_bytes
        self._judge = judge
        self._media = media

    def prepare(self, publication: Publication, token: Secret) -> Prepared:
        """Begin the session; then, each time, ask how far the upload came, and send the next piece."""
        state = dict(publication.state)
        if publication.handle is None:
            return self._start(publication, state, token)
        if int(state["offset"]) >= int(state["size"]):
            return Prepared(publication.handle, state, ready=True)
        state["offset"] = self._bytes_there(publication, token)
        if int(state["offset"]) >= int(state["size"]):
            return Prepared(publication.handle, state, ready=True)
        return self._send(publication, state, token)

    def publish(self, publication: Publication, token: Secret) -> Published:
        """End the session: the video shows."""
        content, reel = publication.content, _is_reel(publication)
        fields = {"upload_phase": "finish", "description": content.text}
        if reel:
            fields |= {"video_id": publication.handle or "", "video_state": "PUBLISHED"}
        else:
            fields["upload_session_id"] = str(publication.state["session"])
        if "title" in content.options:
            fields["title"] = str(content.options["title"])
        _, reply = self._edge(publication, fields, Phase.PUBLISH, token, wanted="success")
        return Published(publication.handle, None, self._judge.facts(reply, publication.account))

    def look_up(self, publication: Publication, token: Secret) -> Sighting:
        """Ask the video."""
        found = self._status(publication, Phase.LOOK_UP, token)
        status = found.get("status")
        publishing = status.get("publishing_phase") if isinstance(status, dict) else None
        told = publishing.get("publish_status") if isinstance(publishing, dict) else None
        if told == "published":
            return Found(publication.handle, text_or_none(found.get("permalink_url")))
        if isinstance(status, dict) and status.get("video_status") in {"expired", "upload_failed"}:
            return NotFound(certain=True, handle_usable=False)
        if told in {"not_started", "draft"}:
            return NotFound(certain=False)
        return Unknown("the video's status does not say whether it is published")

    def _start(self, publication: Publication, state: dict[str, Any], token: Secret) -> Prepared:
        file = self._media.look(publication.content.media[0].url)
        fields = {"upload_phase": "start"}
        if not _is_reel(publication):
            fields["file_size"] = str(file.size_bytes)
        found, reply = self._edge(publication, fields, Phase.PREPARE, token, wanted="video_id")
        if _is_reel(publication) and not str(found.get("upload_url")).startswith(self._upload):
            # Another host would be handed the token.
            raise self._judge.fault(reply, Phase.PREPARE, publication.account, "unreadable")
        state |= {"size": file.size_bytes, "offset": 0, "session": str(found.get("upload_session_id", ""))}
        state["upload_url"] = str(found.get("upload_url", ""))
        return Prepared(str(found["video_id"]), state, ready=False)

    def _send(self, publication: Publication, state: dict[str, Any], token: Secret) -> Prepared:
        size, offset = int(state["size"]), int(state["offset"])
        last = min(offset + self._piece_bytes, size) - 1
        content = self._media.piece(publication.content.media[0].url, offset, last)
        if _is_reel(publication):
            headers = {"offset": str(offset), "file_size": str(size), "Content-Type": "application/octet-stream"}
            url, path = str(state["upload_url"]), "/video-upload/{video}"
            call = Call("POST", url, path, content=content, headers=headers, token=token, scheme="OAuth")
            self._judge.call(call, Phase.PREPARE, publication.account, wanted="success")
            reached = last + 1
        else:
            reached = self._transfer(publication, state, content, token)
        return Prepared(publication.handle, {**state, "offset": reached}, ready=False)

    def _transfer(self, publication: Publication, state: dict[str, Any], content: bytes, token: Secret) -> int:
        fields = {
            "upload_phase": "transfer",
            "upload_session_id": str(state["session"]),
            "start_offset": str(state["offset"]),
        }
        url = f"{self._base}/{publication.account.external_id}/videos"
        file = ("video", "application/octet-stream", content)
        call = Call("POST", url, "/{page}/videos", fields, file=file, token=token)
        found, reply = self._judge.call(call, Phase.PREPARE, publication.account, wanted="start_offset")
        reached = str(found["start_offset"])
        if not (reached.isascii() and reached.isdecimal()):
            raise self._judge.fault(reply, Phase.PREPARE, publication.account, "unreadable")
        return int(reached)

    def _bytes_there(self, publication: Publication, token: Secret) -> int:
        status = self._status(publication, Phase.PREPARE, token).get("status")
        uploading = status.get("uploading_phase") if isinstance(status, dict) else None
        # The platform writes it so.
        there = uploading.get("bytes_transfered") if isinstance(uploading, dict) else None
        return there if isinstance(there, int) and there >= 0 else 0

    def _status(self, publication: Publication, phase: Phase, token: Secret) -> dict[str, Any]:
        url = f"{self._base}/{publication.handle}"
        call = Call("GET", url, "/{video}", {"fields": "status,permalink_url"}, token=token)
        return self._judge.call(call, phase, publication.account)[0]

    def _edge(
        self, publication: Publication, fields: dict[str, str], phase: Phase, token: Secret, *, wanted: str
    ) -> tuple[dict[str, Any], Reply]:
        edge = "video_reels" if _is_reel(publication) else "videos"
        url = f"{self._base}/{publication.account.external_id}/{edge}"
        call = Call("POST", url, f"/{{page}}/{edge}", fields, token=token)
        return self._judge.call(call, phase, publication.account, wanted=wanted)


def _is_reel(publication: Publication) -> bool:
    return bool(publication.content.options.get("reel"))
