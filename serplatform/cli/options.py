"""Options that several commands have, said once: their type, name, range and help."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from serplatform import plugins

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

Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE|MODULE",
        help="Python file or module that registers architectures, features, corpora, combiners, "
        f"figures or protocols; may be repeated, also in {plugins.VARIABLE}.",
        show_default=False,
    ),
]

TrustPlugins = Annotated[
    bool,
    typer.Option(
        "--trust-plugins",
        envvar="SERPLATFORM_TRUST_PLUGINS",
        help="Run the plugins that a bundle, or a run of another user, brings with it.",
    ),
]


def with_plugins(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command that also takes ``--plugin`` and ``--trust-plugins``, and heeds them first."""

    @functools.wraps(command)
    def run(*arguments: Any, plugin: list[str] | None, trust_plugins: bool, **options: Any) -> Any:
        of_environment = os.environ.get(plugins.VARIABLE, "").split(os.pathsep)
        named = [name for name in (*of_environment, *(plugin or [])) if name]
        plugins.load(named, trust=trust_plugins or None)
        return command(*arguments, **options)

    added = {"plugin": (Plugins, None), "trust_plugins": (TrustPlugins, False)}
    signature = inspect.signature(command, eval_str=True)
    parameters = [
        *signature.parameters.values(),
        *(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=kind)
            for name, (kind, value) in added.items()
        ),
    ]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
