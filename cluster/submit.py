"""Run a ``serplatform`` command on a Ray cluster, from its head node.

    ray submit cluster/config.yaml cluster/submit.py -- search moma --data … --out …

``ray submit`` copies this file to the head and runs it there; it becomes the same ``serplatform``
command, attached to the running cluster, and its exit code is the command's. ``ray submit``
joins the arguments with spaces and hands them to a shell on the head: quote an argument that
holds a space or another special character twice.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn


def find_command() -> str | None:
    """Path of ``serplatform``: beside the running Python, else on PATH."""
    beside = Path(sys.executable).parent / "serplatform"
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("serplatform")


def main(arguments: list[str]) -> NoReturn:
    """Become ``serplatform ARGUMENTS`` on the cluster; exit with 1 when it is not installed."""
    command = find_command()
    if command is None:
        sys.exit(
            f"submit.py: no 'serplatform' beside {sys.executable} or on PATH; "
            "install it on every node in setup_commands of the cluster file"
        )
    environment = {"SERPLATFORM_ADDRESS": "auto", **os.environ}
    os.execve(command, ["serplatform", *arguments], environment)  # noqa: S606 (no shell is meant)


if __name__ == "__main__":
    main(sys.argv[1:])
