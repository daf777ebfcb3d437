"""YouTube's resumable uploads, a channel's list of them, and Google's tokens.

A token `NAME.n` is the channel `NAME`'s.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from penstock.workers.stand_in.exchange import Request, Response
from penstock.workers.stand_in.facebook_video import BROKEN
from penstock.workers.stand_in.faults import google_error
from penstock.workers.stand_in.world import World

Action = Callable[[], Response]
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_UPLOAD = ["upload", "youtube", "v3", "videos"]


@dataclass(slots=True)
class Session:
    """An upload; `video` is its final answer, which it gives again and again."""

    channel: str
    resource: dict[str, Any]
    size: int
    stored: int = 0
    video: dict[str, Any] = field(default_factory=dict)


class YouTube:
    """The routes below `/google`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sessions: dict[str, Session] = world.keep("youtube_sessions")
        self._starts: list[datetime] = []
        self._videos: dict[str, dict[str, Any]] = world.keep("youtube_videos")

    def route(self, request: Request, path: list[str]) -> tuple[str, Action]:
        """The operation's name, and what does it."""
        if path == ["token"]:
            return "google.token", lambda: self._token(request)
        name, action = self._operation(request, path)
        return name, lambda: self._token_error(request) or action()

    def forget_sessions(self) -> None:
        """Let all sessions be gone, as they are after some time."""
        with self._world.lock:
            self._sessions.clear()

    def _operation(self, request: Request, path: list[str]) -> tuple[str, Action]:
        if path == _UPLOAD and request.method == "POST":
            return "youtube.start", lambda: self._start(request)
        if path == _UPLOAD:
            asks = request.headers.get("content-range", "").startswith("bytes */")
            return ("youtube.status" if asks else "youtube.piece"), lambda: self._put(request, asks=asks)
        reads: dict[str, Action] = {
            "channels": lambda: _items({"contentDetails": {"relatedPlaylists": {"uploads": "UU1"}}}),
            "playlistItems": lambda: _items(*self._uploads(_channel(request))),
            "videos": lambda: _items(*self._one(str(request.fields.get("id", "")))),
        }
        read = reads.get(path[-1] if path else "")
        return (f"youtube.{path[-1]}", read) if read else ("youtube.unknown", lambda: google_error(404, "notFound"))

    def _token_error(self, request: Request) -> Response | None:
        refused = not request.token or self._world.knobs.tokens.get(request.token) in {"expired", "revoked"}
        return google_error(401, "authError") if refused else None

    def _start(self, request: Request) -> Response:
        resource = {name: request.fields.get(name, {}) for name in ("snippet", "status")}
        title, status = str(resource["snippet"].get("title", "")), resource["status"]
        if not 1 <= len(title) <= 100 or "<" in title:
            return google_error(400, "invalidTitle")
        if "publishAt" in status and status.get("privacyStatus") != "private":
            return google_error(400, "invalidPublishAt")
        now = self._world.now()
        self._starts = [at for at in self._starts if now - at < timedelta(hours=24)]
        if len(self._starts) >= self._world.knobs.youtube_daily:
            return google_error(403, "quotaExceeded")
        self._starts.append(now)
        name = f"session{self._world.new_id()}"
        self._sessions[name] = Session(_channel(request), resource, int(request.headers["x-upload-content-length"]))
        location = f"{self._world.base}/google/{'/'.join(_UPLOAD)}?uploadType=resumable&upload_id={name}"
        return Response(200, b"", {"Location": location})

    def _put(self, request: Request, *, asks: bool) -> Response:
        session = self._sessions.get(str(request.fields.get("upload_id", "")))
        if session is None:
            return google_error(404, "notFound")
        if session.video:
            return Response(201, session.video)
        return self._incomplete(session) if asks else self._store(session, request)

    def _store(self, session: Session, request: Request) -> Response:
        match = _RANGE.fullmatch(request.headers.get("content-range", ""))
        first = int(match[1]) if match else 0
        knobs = self._world.knobs_of(session.channel)
        cut = knobs.cuts.pop(0) if knobs.cuts else -1
        if first == session.stored:
            session.stored += len(request.body) if cut < 0 else min(cut, len(request.body))
        if session.stored >= session.size:
            session.video = self._make(session)
            return Response(201, session.video)
        if cut >= 0 and not knobs.cut_answers:
            return Response(BROKEN)
        return self._incomplete(session)

    def _incomplete(self, session: Session) -> Response:
        told = session.stored > 0 and not self._world.knobs_of(session.channel).no_range
        return Response(308, b"", {"Range": f"bytes=0-{session.stored - 1}"} if told else {})

    def _make(self, session: Session) -> dict[str, Any]:
        snippet, status = session.resource["snippet"], dict(session.resource["status"])
        status["privacyStatus"] = self._world.knobs_of(session.channel).privacy or self._privacy(status)
        status["uploadStatus"] = "uploaded"
        text = str(snippet.get("description", ""))
        made = self._world.publish("youtube", session.channel, "video", text, media=(str(snippet["title"]),))
        video = {"kind": "youtube#video", "id": made.external_id, "snippet": snippet, "status": status}
        self._videos[made.external_id] = video
        return video

    def _privacy(self, status: dict[str, Any]) -> str:
        """A time that has passed shows the video at once."""
        at = status.get("publishAt")
        past = at is not None and datetime.fromisoformat(str(at)) <= self._world.now()
        return "public" if past else str(status.get("privacyStatus", "public"))

    def _uploads(self, channel: str) -> list[dict[str, Any]]:
        return [
            {
                "snippet": {"title": one.media[0], "publishedAt": one.at.isoformat()},
                "contentDetails": {"videoId": one.external_id},
            }
            for one in reversed(self._world.publications("youtube", channel)[-50:])
        ]

    def _one(self, video: str) -> list[dict[str, Any]]:
        known = self._videos.get(video)
        if known is None:
            return []
        return [{**known, "status": {**known["status"], "uploadStatus": self._world.knobs.upload_status}}]

    def _token(self, request: Request) -> Response:
        refresh = str(request.fields.get("refresh_token", ""))
        if not refresh or self._world.knobs.tokens.get(refresh) in {"expired", "revoked"}:
            told = "Token has been expired or revoked."
            return Response(400, {"error": "invalid_grant", "error_description": told})
        access = f"{refresh}.{self._world.new_id()}"
        return Response(body={"access_token": access, "expires_in": 3_599, "scope": "s", "token_type": "Bearer"})


def _channel(request: Request) -> str:
    return request.token.rsplit(".", 1)[0]


def _items(*items: dict[str, Any]) -> Response:
    return Response(body={"items": list(items)})
