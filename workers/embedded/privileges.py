"""As which user the embedded servers run, and how a child is tied to the life of its parent.

PostgreSQL refuses to run as root, so root hands the servers to `nobody`. The wheel's programs or the home
may lie below a folder that `nobody` can't enter (root's own home is 0700); the servers then keep one
capability that lets them pass: CAP_DAC_READ_SEARCH, or where a container lacks it CAP_DAC_OVERRIDE.
"""

import json
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from penstock.workers.embedded import launch
from penstock.workers.embedded.failures import EmbeddedServerError

_UNPRIVILEGED_USER = "nobody"
_UNPRIVILEGED_ID = 65534

#: capabilities(7), in the order in which they are tried.
_CAP_DAC_READ_SEARCH = 2
_CAP_DAC_OVERRIDE = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a server runs as: None for the user who runs `up`, and the capability that it keeps."""

    uid: int | None = None
    gid: int | None = None
    capability: int | None = None

    def command(self, command: Sequence[str], death_signal: signal.Signals) -> list[str]:
        """`command` started as this user, and sent `death_signal` when the thread that started it ends.

        The caller must start it from a thread that lives as long as the server shall: the main one.
        """
        return [*self._launcher(death_signal), *command]

    def reaches(self, paths: Sequence[Path]) -> bool:
        """Whether this user can enter every folder and run every program of `paths`."""
        launcher = self._launcher(signal.SIGKILL, probe=paths)
        return subprocess.run(launcher, capture_output=True, check=False).returncode == 0

    def own(self, path: Path) -> None:
        """Give `path` to this user."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def _launcher(self, death_signal: signal.Signals, probe: Sequence[Path] | None = None) -> list[str]:
        specification = {
            "parent_pid": os.getpid(),
            "death_signal": int(death_signal),
            "uid": self.uid,
            "gid": self.gid,
            "capability": self.capability,
            "probe": None if probe is None else [str(path) for path in probe],
        }
        # -I and -S: neither the environment nor site-packages have a say in what runs as root.
        return [sys.executable, "-I", "-S", launch.__file__, json.dumps(specification)]


def server_identity(paths: Sequence[Path]) -> Identity:
    """Whom to run a server as that needs all of `paths`.

    Raises:
        EmbeddedServerError: root can't hand the server to a user who reaches the paths.
    """
    if os.geteuid() != 0:
        return Identity()
    return _unprivileged(tuple(paths))


@cache
def _unprivileged(paths: tuple[Path, ...]) -> Identity:
    uid, gid = _unprivileged_ids()
    for capability in (None, _CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        identity = Identity(uid, gid, capability)
        if identity.reaches(paths):
            return identity
    raise EmbeddedServerError(
        f"PostgreSQL does not run as root, and user id {uid} can't reach {', '.join(map(str, paths))}",
        remedy="Run the command as an ordinary user, or put PENSTOCK_HOME and the virtual environment into"
        " folders that everyone may enter, or grant the container CAP_SETUID, CAP_SETGID, CAP_SETPCAP and"
        " CAP_DAC_READ_SEARCH.",
    )


def _unprivileged_ids() -> tuple[int, int]:
    try:
        entry = pwd.getpwnam(_UNPRIVILEGED_USER)
    except KeyError:  # images without a user database
        return _UNPRIVILEGED_ID, _UNPRIVILEGED_ID
    return entry.pw_uid, entry.pw_gid
