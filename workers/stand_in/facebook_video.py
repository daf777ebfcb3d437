"""A page's videos and reels: a session, bytes that may be cut off, and the call that shows the video."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from penstock.workers.stand_in.exchange import Request, Response
from penstock.workers.stand_in.faults import meta_error
from penstock.workers.stand_in.world import World

Action = Callable[[], Response]
#: An answer of this status is not sent: the connection breaks in its place.
BROKEN = 0


@dataclass(slots=True)
class Session:
    """An upload; `size` is 0 until it is told."""

    page: str
    kind: str
    size: int
    stored: int = 0
    published: bool = False


class FacebookVideo:
    """The video edges of a page."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sessions: dict[str, Session] = world.keep("facebook_videos")

    def knows(self, video: str) -> bool:
        """Whether an id is a video's."""
        return video in self._sessions

    def route(self, page: str, request: Request, kind: str) -> tuple[str, Action]:
        """The operation of an upload's phase, and what does it."""
        phase = str(request.fields.get("upload_phase", ""))
        actions: dict[str, Action] = {
            "start": lambda: self._start(page, request, kind),
            "transfer": lambda: self._transfer(request),
            "finish": lambda: self._finish(request),
        }
        if phase not in actions:
            return "facebook.unknown", lambda: meta_error(100)
        return f"facebook.video_{phase}", actions[phase]

    def upload(self, request: Request, video: str) -> Response:
        """Bytes of a reel."""
        session = self._sessions.get(video)
        if session is None:
            return Response(404, {"debug_info": {"retriable": False, "type": "NotFound", "message": "stand-in"}})
        session.size = int(request.headers.get("file_size", "0"))
        return self._store(session, int(request.headers.get("offset", "0")), request.body)

    def status(self, video: str) -> Response:
        """How far a video is."""
        session = self._sessions[video]
        complete = 0 < session.size <= session.stored
        status = {
            "video_status": "ready" if session.published else "upload_complete" if complete else "uploading",
            "uploading_phase": {
                "status": "complete" if complete else "in_progress",
                "bytes_transfered": session.stored,
            },
            "processing_phase": {"status": "complete" if session.published else "not_started"},
            "publishing_phase": {
                "status": "complete" if session.published else "not_started",
                "publish_status": "published" if session.published else "not_started",
            },
        }
        return Response(body={"id": video, "status": status, "permalink_url": f"{self._world.base}/videos/{video}"})

    def _start(self, page: str, request: Request, kind: str) -> Response:
        video = self._world.new_id()
        self._sessions[video] = Session(page, kind, int(request.fields.get("file_size", 0)))
        if kind == "reel":
            return Response(
                body={"video_id": video, "upload_url": f"{self._world.base}/rupload/video-upload/v25.0/{video}"}
            )
        return Response(body={"video_id": video, "upload_session_id": video, "start_offset": "0", "end_offset": "0"})

    def _transfer(self, request: Request) -> Response:
        session = self._sessions.get(str(request.fields.get("upload_session_id", "")))
        if session is None:
            return meta_error(6000, 1363041)
        answer = self._store(session, int(request.fields.get("start_offset", 0)), request.file)
        if answer.status != 200:
            return answer
        return Response(body={"start_offset": str(session.stored), "end_offset": str(session.size)})

    def _store(self, session: Session, offset: int, content: bytes) -> Response:
        if offset != session.stored:
            return meta_error(6000, 1363037)
        cuts = self._world.knobs_of(session.page).cuts
        cut = cuts.pop(0) if cuts else -1
        session.stored += len(content) if cut < 0 else min(cut, len(content))
        return Response(body={"success": True}) if cut < 0 else Response(BROKEN)

    def _finish(self, request: Request) -> Response:
        video = str(request.fields.get("video_id") or request.fields.get("upload_session_id", ""))
        session = self._sessions.get(video)
        if session is None or session.stored < session.size or not session.size:
            return meta_error(6000, 1363041)
        reels = self._world.within("facebook", session.page, timedelta(hours=24), "reel")
        if session.kind == "reel" and reels >= self._world.knobs_of(session.page).reels_daily:
            return meta_error(368, 1390008)
        text = str(request.fields.get("description", ""))
        # A second call makes a second publication here, the worst that could happen.
        self._world.publish("facebook", session.page, session.kind, text, external_id=video)
        session.published = True
        return Response(body={"success": True})
