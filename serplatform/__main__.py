"""``python -m serplatform``, and what the installed command calls."""

from __future__ import annotations

import os

from serplatform import stopping


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    # Threads that spin while they wait for each other take minutes for what takes seconds where
    # other programs use the same cores. OpenMP reads this when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    stopping.install()  # before anything that takes time is imported
    from serplatform.cli.main import run

    stopping.leave(run())


if __name__ == "__main__":
    main()
