"""Runs `penstock` commands of the release that PYTHONPATH names, in one process: each of its own would start anew.

Told on standard input, a list of arguments as a line of JSON; answers likewise with code, out and err.
"""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout

from penstock.workers.cli.root import run


def main() -> None:
    """Until standard input ends."""
    for line in sys.stdin:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = run(json.loads(line))
        print(json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}), flush=True)


if __name__ == "__main__":
    main()
