"""What a process may take of its machine: the limits of its control group, else all that the machine has."""

import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")


def memory_limit_bytes() -> float:
    """The memory at which the kernel ends the process, or its neighbours in the group."""
    machine = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    # A group without a limit says `max`.
    return min([float(text) for text in _limits("memory.max") if text.isdigit()], default=machine)


def processor_limit_cores() -> float:
    """Processors that the process may keep busy; below 1 where it is allowed a part of one."""
    quotas = [text.split() for text in _limits("cpu.max")]
    shares = [float(quota) / float(period) for quota, period in quotas if quota != "max"]
    return min([*shares, float(os.cpu_count() or 1)])


def _limits(name: str) -> list[str]:
    """What this group and those above it say; the least holds. Nothing where there are no groups of version 2."""
    try:
        line = next(line for line in _OWN_GROUP.read_text("ascii").splitlines() if line.startswith("0::/"))
    except (OSError, StopIteration):
        return []
    own = _GROUPS / line.removeprefix("0::/")
    files = [folder / name for folder in (own, *own.parents) if folder.is_relative_to(_GROUPS)]
    return [file.read_text("ascii").strip() for file in files if file.is_file()]
