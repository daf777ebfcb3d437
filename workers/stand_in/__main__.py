"""Runs the stand-in until it is interrupted, and says what to set."""

import sys

from penstock.workers.stand_in.server import StandIn


def main() -> None:
    """Serve on the port that is given, or on any free one."""
    with StandIn(int(sys.argv[1]) if len(sys.argv) > 1 else 0) as stand_in:
        for name, value in stand_in.environment().items():
            sys.stdout.write(f"{name}={value}\n")
        sys.stdout.flush()
        try:
            stand_in.stopping.wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
