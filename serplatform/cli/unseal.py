"""``serplatform unseal RUN``: open the test rows of a run that was sealed."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from serplatform.cli.answer import describe_answer
from serplatform.cli.options import AsJson
from serplatform.cli.output import result


def command(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="What `search --seal` wrote, path or URI.", show_default=False
        ),
    ],
    combiner: Annotated[
        str | None,
        typer.Option(help="Ensemble to measure; default: the run's own; `none` measures none."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="Where the run's dataset lies now, if it has moved: path or URI."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Open the test rows of a sealed run, once the choice is made.

    It closes the choice: no trial can be added to the run afterwards. Then the kept models of
    every finished trial predict the test rows, and the ensemble that dev rows choose is measured:
    the first look at them. Other combiners are compared before, with `serplatform ensemble`, on
    dev rows.

    Examples:

        serplatform unseal runs/ravdess

        serplatform unseal runs/ravdess --combiner greedy
    """
    from serplatform.api.seal import unseal_run

    found = unseal_run(run, combiner=combiner, data=data)
    text = f"{describe_answer(found.answer)}\nReport: {found.report}"
    result(text, dataclasses.asdict(found), as_json=as_json)
