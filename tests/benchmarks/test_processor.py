"""Processor time and memory of processes, as benchmarks read them."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.compared.processor import processor_seconds, resident_bytes, tree

#: Works until it has taken so much of the processor, in a child of its own, and says so.
_WORK = """
import subprocess, sys, time
if sys.argv[1:]:
    while time.process_time() < 0.2: pass
    print("worked", flush=True)
    sys.stdin.read()
else:
    subprocess.run([sys.executable, sys.argv[0], "child"])
"""


def test_children_count_with_their_parents(tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text(_WORK)
    with subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"worked\n"
        both = tree([process.pid])
        assert len(both) == 2
        assert processor_seconds([process.pid]) >= 0.2
        assert processor_seconds([process.pid]) < processor_seconds([process.pid, both[1]])
        assert resident_bytes([process.pid]) > resident_bytes([both[1]]) > 1_000_000
        process.stdin.close()
    assert processor_seconds([process.pid]) == 0


def test_a_parent_keeps_the_time_of_children_that_ended() -> None:
    before = processor_seconds([os.getpid()])
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.2: pass"], check=True)
    assert processor_seconds([os.getpid()]) - before >= 0.17
