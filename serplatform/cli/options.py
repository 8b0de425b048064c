"""Options that several commands have, said once: their type, name, range and help."""

from __future__ import annotations

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]

Address = Annotated[
    str | None,
    typer.Option(envvar="SERPLATFORM_ADDRESS", help="A running Ray cluster; `auto` finds it."),
]

Data = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        help="A prepared dataset, path or URI; without it, the built-in demo corpus.",
    ),
]

Protocol = Annotated[
    str | None,
    typer.Option(help="Folds by name, e.g. `speaker-kfold:5`; default: the corpus's own."),
]

RunOut = Annotated[
    str | None,
    typer.Option(
        metavar="RUN",
        help="Directory of the run, or its URI (s3://…); default: a new one in `runs/`.",
    ),
]

Resume = Annotated[bool, typer.Option("--resume", help="Resume the run in --out.")]

TimeBudget = Annotated[
    str | None, typer.Option(help="Stop after this long, e.g. `90s`, `45m`, `2h`.")
]

Workers = Annotated[int, typer.Option(min=1, help="Processes that train one model together (DDP).")]

GpusPerTrial = Annotated[
    float | None,
    typer.Option(min=0, help="GPUs of each worker; a fraction packs trainings on one GPU."),
]

Concurrent = Annotated[
    int | None, typer.Option(min=1, help="Trainings at a time; default: as many as fit.")
]

Seed = Annotated[int, typer.Option(help="Seed of folds, sampling and training.")]

WarmStart = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RUN",
        help="An earlier run of the same architectures, path or URI: its best configurations are "
        "tried first; with the same dataset and folds, the sampler learns from all its trials. May "
        "be repeated.",
    ),
]
