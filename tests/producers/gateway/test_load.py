"""The load test in short: no error, no row lost or twice there, and answers within the seeds' second."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_twenty_users_for_ten_seconds_meet_no_error_and_every_accepted_row_is_there_once() -> None:
    command = [sys.executable, "-m", "benchmarks.load", "--phases", "10", "--phase-seconds", "3"]
    done = subprocess.run(
        [*command, "--users", "20", "--seconds", "10", "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-4_000:]
    found = json.loads(done.stdout)
    print(found)
    assert (found["missing"], found["double"]) == (0, 0)
    phase, storm = found["stages"]
    assert (phase["errors"], storm["errors"]) == ({}, {})
    # Below capacity: nothing but what was asked for.
    assert set(phase["answers"]) <= {"200", "202"}
    assert phase["accepted_rows"] > 20
    assert storm["accepted_rows"] > 500
    assert max(phase["mean_ms"], storm["mean_ms"]) < 1_000
    assert storm["gateway_connections"] >= 20
    assert found["gateway_most_mb"] < 200
