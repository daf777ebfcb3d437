"""Processor time and memory of processes with all their children, by Linux's /proc."""

import os
from collections import defaultdict
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def tree(process_ids: list[int]) -> list[int]:
    """The processes, and all below them."""
    children: dict[int, list[int]] = defaultdict(list)
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _fields(int(folder.name))):
            children[int(fields[1])].append(int(folder.name))
    found, open_ones = [], list(process_ids)
    while open_ones:
        one = open_ones.pop()
        found.append(one)
        open_ones += children[one]
    return found


def processor_seconds(process_ids: list[int]) -> float:
    """What the processes and all below them took, those that ended and were waited for with it."""
    return sum(_own_seconds(one, fields) for one in tree(process_ids) if (fields := _fields(one)))


def _own_seconds(process_id: int, fields: list[str]) -> float:
    """What a process and its ended children took.

    `stat` counts in hundredths of a second, rounded down: nothing, for a server's process that ran for 9 ms. The
    scheduler's own figures are exact, but know only the threads that there are now.
    """
    own, children = (int(fields[11]) + int(fields[12])) / _TICKS, (int(fields[13]) + int(fields[14])) / _TICKS
    try:
        threads = [path.read_text() for path in Path(f"/proc/{process_id}/task").glob("*/schedstat")]
    except (FileNotFoundError, ProcessLookupError):
        threads = []
    return max(own, sum(int(text.split()[0]) for text in threads) / 1e9) + children


def resident_bytes(process_ids: list[int]) -> int:
    """What the processes and all below them hold in memory; pages that several share count for each."""
    return sum(int(fields[21]) * _PAGE for one in tree(process_ids) if (fields := _fields(one)))


def _fields(process_id: int) -> list[str]:
    """What follows the name in `stat` (the state is the first); empty where the process has ended."""
    try:
        text = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(") ")[2].split()
