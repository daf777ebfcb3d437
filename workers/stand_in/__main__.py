"""Runs the stand-in until it is interrupted, and says what to set."""

import argparse
import signal
import sys

from penstock.workers.stand_in.server import StandIn


def main() -> None:
    """Serve on the port that is given, or on any free one."""
    parser = argparse.ArgumentParser(prog="python -m penstock.workers.stand_in", description=main.__doc__)
    parser.add_argument("port", type=int, nargs="?", default=0, help="any free one if absent")
    parser.add_argument("--quiet", action="store_true", help="do not print what to set")
    asked = parser.parse_args()
    with StandIn(asked.port) as stand_in:
        for name, value in () if asked.quiet else stand_in.environment().items():
            sys.stdout.write(f"{name}={value}\n")
        sys.stdout.flush()
        # By name, since who was started in the background by a shell would ignore an interrupt.
        for stop in (signal.SIGINT, signal.SIGTERM):
            signal.signal(stop, signal.default_int_handler)
        try:
            stand_in.stopping.wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
