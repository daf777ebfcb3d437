"""Programs that come as Debian packages: installed where we are root, else their tests are skipped."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def require_program(name: str, package: str) -> str:
    """The path of a program; installs its package as root, and skips the test where that can't be."""
    found = _find(name)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _install(name, package)
        found = _find(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {package}")
    return found


def _find(name: str) -> str | None:
    # Debian keeps servers where an ordinary user's PATH does not look.
    folders = [os.environ.get("PATH", ""), "/usr/sbin", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin")))]
    return shutil.which(name, path=":".join(folders))


def _install(name: str, package: str) -> None:
    with (Path(tempfile.gettempdir()) / "penstock-tests-apt.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if _find(name) is not None:
            return
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (("update", "-q"), ("install", "-y", "-q", "--no-install-recommends", package)):
            subprocess.run(["apt-get", *arguments], env=quiet, capture_output=True, check=False, timeout=300)
