"""`penstock worker`, and without the gate step where the variable says `none`: production has no such switch."""

import os
import sys

from benchmarks.gated._gates import VARIABLE
from penstock.workers.broker.gating import Gatekeeper, admit_all
from penstock.workers.cli import main

if __name__ == "__main__":
    if os.environ[VARIABLE] == "none":
        Gatekeeper.admit = lambda _self, ready: admit_all(ready)  # type: ignore[method-assign]
    sys.argv[1:] = ["worker"]
    sys.exit(main())
