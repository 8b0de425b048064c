"""``python -m serplatform``, and what the installed command calls."""

from __future__ import annotations

from serplatform import stopping


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    stopping.install()  # before anything that takes time is imported
    from serplatform.cli.main import run

    stopping.leave(run())


if __name__ == "__main__":
    main()
