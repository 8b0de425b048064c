"""Options that several commands have, said once: their type, name, range and help.

A command's parameter whose type is a dataclass of options, a group, stands for its fields.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer
from typer.models import OptionInfo

from serplatform import plugins
from serplatform.cli.completion import COMPLETIONS
from serplatform.cli.panels import MANY, PANELS
from serplatform.errors import BadInputError

if TYPE_CHECKING:
    from serplatform.distributed.tune.placement import SearchLimits

TestValues = Annotated[
    bool,
    typer.Option(
        "--test-values",
        help="Measure every trial alone on test rows, too: a look at them of its own; whoever "
        "chooses a trial by them has no test set left.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]

Seed = Annotated[int, typer.Option(help="Seed of folds, sampling and training.")]

TimeBudget = Annotated[
    str | None, typer.Option(help="Stop after this long, e.g. `90s`, `45m`, `2h`.")
]

Address = Annotated[
    str | None,
    typer.Option(envvar="SERPLATFORM_ADDRESS", help="A running Ray cluster; `auto` finds it."),
]


def parse_map(pairs: Sequence[str]) -> dict[str, str]:
    """``--map LABEL=EMOTION …`` as label to emotion, which may be empty.

    Raises:
        BadInputError: one is no pair, or a label is given twice.
    """
    faults = [pair for pair in pairs if "=" not in pair]
    if faults:
        raise BadInputError(f"--map {faults[0]}: write LABEL=EMOTION, e.g. --map angy=angry")
    parts = [(label.strip(), name.strip()) for label, _, name in (p.partition("=") for p in pairs)]
    labels = [label for label, _ in parts]
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise BadInputError(f"--map {twice[0]}: is given more than once; give each label one name")
    return dict(parts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resources:
    """Options of what trains: on how much it runs."""

    workers: Annotated[
        int, typer.Option(min=1, help="Processes that train one model together (DDP).")
    ] = 1
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(min=0, help="GPUs of each worker; a fraction packs trainings on one GPU."),
    ] = None
    concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trainings at a time; default: as many as fit.")
    ] = None
    address: Address = None

    def limits(self, begun: float) -> SearchLimits:
        """Of a call that began at this ``time.monotonic()``."""
        from serplatform.distributed.tune.placement import SearchLimits

        return SearchLimits(
            begun=begun,
            workers=self.workers,
            gpus_per_trial=self.gpus_per_trial,
            concurrent=self.concurrent,
            address=self.address,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of `search` and `train`: the data and the run."""

    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA",
            help="A prepared dataset, path or URI; without it, the built-in demo corpus. Several "
            "are joined by their common labels and features (see `serplatform join`).",
        ),
    ] = None
    joined_labels: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="LABEL=EMOTION",
            help="With several --data: rename a label in all of them, as `join --map` does; "
            "nothing after = leaves it out. May be repeated.",
        ),
    ] = None
    protocol: Annotated[
        str | None,
        typer.Option(help="Folds by name, e.g. `speaker-kfold:5`; default: the corpus's own."),
    ] = None
    out: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Directory of the run, or its URI (s3://…); default: a new one in `runs/`.",
        ),
    ] = None
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in --out.")] = False
    seal: Annotated[
        bool,
        typer.Option(
            "--seal",
            help="Compute no test posteriors until `serplatform unseal RUN`, after which no trial "
            "can be added.",
        ),
    ] = False
    log: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=WHERE]",
            help="Also send the run, live, to mlflow=URI_OR_DIR or wandb[=PROJECT]; may be "
            "repeated. TensorBoard files are always written into the run.",
        ),
    ] = None
    seed: Seed = 0

    def dataset(self) -> str | None:
        """The one that was named, or several joined in the cache folder; None: the demo corpus."""
        label_map = parse_map(self.joined_labels or [])
        if len(self.data or []) < 2 and label_map:
            raise BadInputError(
                "--map renames labels of several datasets that are joined: give --data twice or "
                "more; labels of a single one are renamed by `prepare --map`"
            )
        if not self.data or len(self.data) == 1:
            return self.data[0] if self.data else None
        from serplatform.datasets.join import joined

        return str(joined(self.data, label_map=label_map))


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
    """A command that also takes ``--plugin`` and ``--trust-plugins``, and heeds them first; its
    groups of options are taken apart, and its parameters get completion and groups in the help."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}

    def add(name: str, kind: Any, default: Any) -> None:
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, keyword, default=default, annotation=kind))

    signature = inspect.signature(command, eval_str=True)
    for name, parameter in signature.parameters.items():
        if not dataclasses.is_dataclass(group := parameter.annotation):
            add(name, group, parameter.default)
            continue
        groups[name] = group
        kinds = get_type_hints(group, include_extras=True)
        for field in dataclasses.fields(group):
            add(field.name, kinds[field.name], field.default)
    add("plugin", Plugins, None)
    add("trust_plugins", TrustPlugins, False)

    @functools.wraps(command)
    def run(*, plugin: list[str] | None, trust_plugins: bool, **options: Any) -> Any:
        of_environment = os.environ.get(plugins.VARIABLE, "").split(os.pathsep)
        named = [name for name in (*of_environment, *(plugin or [])) if name]
        plugins.load(named, trust=trust_plugins or None)
        for name, group in groups.items():
            fields = dataclasses.fields(group)
            options[name] = group(**{field.name: options.pop(field.name) for field in fields})
        return command(**options)

    many = sum(isinstance(get_args(p.annotation)[1], OptionInfo) for p in parameters) >= MANY
    parameters = [_dressed(parameter, panels=many) for parameter in parameters]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _dressed(parameter: inspect.Parameter, *, panels: bool) -> inspect.Parameter:
    """A parameter with its completion and, where asked for, its group in the help."""
    kind, info = get_args(parameter.annotation)[:2]
    info = copy.copy(info)
    if (complete := COMPLETIONS.get(parameter.name)) and kind not in (bool, bool | None):
        info.autocompletion = complete
    if panels and isinstance(info, OptionInfo):
        info.rich_help_panel = PANELS.get(parameter.name)
    return parameter.replace(annotation=Annotated[kind, info])
