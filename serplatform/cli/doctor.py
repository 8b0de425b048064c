"""``serplatform doctor``: what this machine has and lacks, with the remedy of each finding."""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
from typing import Annotated

import typer

from serplatform.cli.options import AsJson
from serplatform.cli.output import result

_MARKS = {"ok": "ok", "note": "note", "fault": "FAULT"}
_INDENT = 24  # columns before a finding's text


def command(
    ray: Annotated[
        bool, typer.Option("--ray", help="Also start Ray, and end it: some seconds.")
    ] = False,
    storage: Annotated[
        str | None, typer.Option(metavar="URI", help="Also read this object storage (s3://…).")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Show what this machine has and lacks, and the remedy of each.

    A note tells what could be better, a fault what keeps serplatform from working; then the exit
    code is 1. With --json it is what a bug report needs; home directory and user's name are left
    out.

    Examples:

        serplatform doctor

        serplatform doctor --ray

        serplatform doctor --json
    """
    from serplatform.api.doctor import examine

    findings = examine(ray=ray, storage=storage)
    width = max(60, min(shutil.get_terminal_size().columns, 110))
    lines = []
    for finding in findings:
        head = f"{_MARKS[finding.level]:<6}{finding.topic:<{_INDENT - 6}}"
        further = " " * _INDENT
        fold = textwrap.TextWrapper(width, initial_indent=head, subsequent_indent=further)
        lines += fold.wrap(finding.text)
        if finding.remedy:
            fold.initial_indent = f"{further}→ "
            lines += fold.wrap(finding.remedy)
    faults = [finding for finding in findings if finding.level == "fault"]
    lines.append(f"{len(faults)} fault(s): see above" if faults else "serplatform can work here.")
    values = {"usable": not faults, "findings": list(map(dataclasses.asdict, findings))}
    result("\n".join(lines), values, as_json=as_json)
    return int(bool(faults))
