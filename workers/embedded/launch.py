"""Become an unprivileged user, ask to be told when the parent dies, then become the given program.

Runs as a script, `python -I -S launch.py SPECIFICATION PROGRAM ARGUMENT...`, because these steps must happen
in the new process after the change of user (which clears the death signal) and before the program starts.
It imports the standard library alone, so that it starts in some 15 ms. The specification is a JSON object:

    parent_pid: int              a launcher whose parent is already another one ends at once
    death_signal: int            sent to the program when the thread that started it ends
    uid, gid: int | null         whom to become
    capability: int | null       the one Linux capability that the program keeps (numbers: capabilities(7))
    probe: list[str] | null      instead of the program: exit 0 if all these can be entered or run, else 1
"""

import ctypes
import json
import os
import signal
import sys
from typing import Any

# <linux/prctl.h>, <linux/securebits.h>, <linux/capability.h>
_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_SECUREBITS = 28
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> None:
    """Do what the module says; returns only by an exception."""
    specification = json.loads(arguments[0])
    if specification["uid"] is not None:
        _drop(specification["uid"], specification["gid"], specification["capability"])
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if specification["probe"] is not None:
        raise SystemExit(not all(_usable(path) for path in specification["probe"]))
    _prctl(_PR_SET_PDEATHSIG, specification["death_signal"])
    if os.getppid() != specification["parent_pid"]:
        raise SystemExit("the parent ended while this program was starting")
    _become(arguments[1:])


def _become(command: list[str]) -> None:
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python; the program expects the system's default
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming the program, without a shell, is the point
    except OSError as error:
        raise SystemExit(f"{command[0]} can't be run: {error.strerror}") from None


def _drop(uid: int, gid: int, capability: int | None) -> None:
    if capability is not None:
        # Without this bit access(2), by which PostgreSQL looks for its own program, ignores capabilities of
        # all but root. With it the change of user leaves them alone, and `_keep_only` takes the rest away.
        _prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
        _bound(capability)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if capability is not None:
        _keep_only(capability)


def _bound(capability: int) -> None:
    number = 0
    while _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
        if number != capability:
            _prctl(_PR_CAPBSET_DROP, number)
        number += 1


def _keep_only(capability: int) -> None:
    """Leave exactly one capability, in the ambient set too, so that it survives the start of a program.

    Permitted and ambient sets are equal then, and the kernel does not treat the program as a set-user-ID
    one (AT_SECURE), which would make the loader ignore `$ORIGIN` in library paths.
    """
    word, bit = divmod(capability, 32)
    data = (ctypes.c_uint32 * 6)()
    for field in range(3):  # effective, permitted, inheritable
        data[word * 3 + field] = 1 << bit
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, data), "capset")
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)


def _usable(path: str) -> bool:
    return os.access(path, os.X_OK)


def _prctl(option: int, value: int, more: int = 0) -> None:
    unsigned: Any = ctypes.c_ulong
    _check(_libc.prctl(option, unsigned(value), unsigned(more), unsigned(0), unsigned(0)), f"prctl {option}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main(sys.argv[1:])
