"""The `penstock` command."""

import sys


def main() -> None:
    """Run the command; the entry point that the package installs."""
    try:
        from penstock.workers.cli.root import run  # noqa: PLC0415  the base install lacks what the command needs
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("penstock"):
            raise
        sys.stderr.write(
            f"CONFIG_INVALID: the penstock command needs the package {error.name!r}\n"
            "  Install it with its extras: pip install 'penstock[worker]'\n"
        )
        raise SystemExit(1) from None
    raise SystemExit(run(sys.argv[1:]))
