"""A request to stop, by real signals to a real process."""

import signal
import subprocess
import sys

import pytest

#: Waits again and again for a moment, so that a signal is likely to find it at the door of a wait.
_PROGRAM = """
import sys
from penstock.workers.termination import Termination
stop = Termination()
print("ready", flush=True)
rounds = 0
while not stop.wait({timeout}):
    rounds += 1
assert stop.event.is_set() and stop.wait() and stop.wait(0)
sys.exit(7)
"""


def start(timeout: str) -> "subprocess.Popen[bytes]":
    program = _PROGRAM.format(timeout=timeout)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("timeout", ["None", "30", "0.0001", "0"])
def test_a_signal_ends_the_wait(number: signal.Signals, timeout: str) -> None:
    with start(timeout) as process:
        process.send_signal(number)
        assert process.wait(60) == 7


def test_many_signals_are_one_request() -> None:
    with start("0.0001") as process:
        for _ in range(20):
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 7
