"""Reads what the processes of a machine have published, and keeps what ended ones have counted."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from penstock.workers.telemetry.exposition_merge import fold
from penstock.workers.telemetry.snapshots import FORMAT, Snapshot
from penstock.workers.telemetry.snapshots_folder import ENDED, MetricsFolder

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a machine: those that live, and what all others have counted."""

    living: list[Snapshot]
    ended: Snapshot | None
    unreadable: int = 0


def read_processes(path: Path, clock: Callable[[], float] = time.time) -> Processes:
    """Read every snapshot; those of ended processes are added to one file and then removed.

    Any number of readers may be at it, and may be killed anywhere: the file of ended ones says whom it holds, so that
    nobody is counted twice, and it is there before theirs go.

    Raises:
        OSError: the folder can't be read.
    """
    folder = MetricsFolder(path)
    folder.make()
    with folder.reading():
        return _Reader(folder).read(clock())


class _Reader:
    def __init__(self, folder: MetricsFolder) -> None:
        self._folder = folder
        self._unreadable = 0

    def read(self, now: float) -> Processes:
        ended = self._decode(ENDED)
        living: list[Snapshot] = []
        gone: list[Snapshot] = []
        names: list[str] = []
        held = set(ended.folded) if ended else set()
        for name in self._folder.names():
            if name in held:  # whoever folded it was killed before it could remove it
                self._folder.forget(name)
            # Asked before it is read: its last snapshot is there once its lock is free.
            elif self._folder.is_alive(name):
                living += self._read(name)
            else:
                gone += self._read(name)
                names.append(name)
        if names:
            ended = fold(ended, gone, names, now)
            self._folder.write(ENDED, msgspec.json.encode(ended))
            for name in names:
                self._folder.forget(name)
        for name in self._folder.leftovers():
            self._folder.forget_without_snapshot(name)
        return Processes(living, ended, self._unreadable)

    def _read(self, name: str) -> list[Snapshot]:
        found = self._decode(name)
        return [] if found is None else [found]

    def _decode(self, name: str) -> Snapshot | None:
        try:
            found = msgspec.json.decode(self._folder.snapshot(name).read_bytes(), type=Snapshot)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError:
            found = None
        if found is None or found.format != FORMAT:
            _log.warning("the measures in %s.json can't be read by this release", name)
            self._unreadable += 1
            return None
        return found
