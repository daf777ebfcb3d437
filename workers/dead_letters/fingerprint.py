"""The group of a dead letter: the fingerprint of its last failure."""

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.workers.telemetry.fingerprint import fingerprint, site_of


def group_of(
    kind: str, code: str, error: str | None, message: str, history: Sequence[Mapping[str, Any]]
) -> tuple[str, str | None]:
    """The fingerprint of a death, and the site of its last failed attempt (None where no attempt raised anything)."""
    site = _site(history)
    return fingerprint(kind, code, error, message, site), site


def _site(history: Sequence[Mapping[str, Any]]) -> str | None:
    for attempt in reversed(history):
        frames = attempt.get("traceback")
        if isinstance(frames, list) and frames:
            own = attempt.get("own")
            return site_of([str(frame) for frame in frames], _positions(own) if isinstance(own, list) else None)
    return None


def _positions(own: list[Any]) -> set[int]:
    """Positions, whether they are listed or each frame has a yes or no."""
    if all(isinstance(one, bool) for one in own):
        return {place for place, is_own in enumerate(own) if is_own}
    return {one for one in own if isinstance(one, int)}
