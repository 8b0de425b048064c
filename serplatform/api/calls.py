"""The functions of `import serplatform as sp`: each does what the command of its name does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from serplatform.api.arguments import checked_arguments, seconds_of
from serplatform.api.display import show_progress
from serplatform.api.results import (
    Bundle,
    CallOptions,
    Ensemble,
    Run,
    combine,
    run_request,
)
from serplatform.api.session import session
from serplatform.console import say
from serplatform.corpora.about import About, own_name
from serplatform.corpora.base import CORPORA
from serplatform.corpora.guess import corpus_and_source
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.join import joined
from serplatform.distributed import prepare as preparation
from serplatform.errors import BadInputError
from serplatform.plugins import load as import_plugins
from serplatform.storage.destination import BUNDLE, DATASET, ENSEMBLE, RUN
from serplatform.storage.location import Location, parse
from serplatform.storage.remote import remote
from serplatform.studies.request import SearchRequest

#: several combined runs are made by a call of this name
ensemble = combine


@checked_arguments
def prepare(
    corpus: str | Path,
    source: str | Path | None = None,
    *,
    out: str | Path | None = None,
    features: str | Sequence[str] | None = None,
    speeds: Sequence[float] = (),
    align: str = "none",
    alignments: str | Path | None = None,
    workers: int | None = None,
    label_map: Mapping[str, str] | None = None,
    speakers_differ: bool = False,
    max_duration: float | None = 60.0,
    overwrite: bool = False,
    name: str = "",
    language: str = "",
    licence: str = "",
    options: Mapping[str, Any] | None = None,
    address: str | None = None,
    quiet: bool | None = None,
    plugins: str | Path | Sequence[str | Path] = (),
) -> Dataset:
    """Check a corpus, extract its features and write a dataset.

    A dataset of the same request is left as it is, and a call that was stopped is resumed.

    Args:
        corpus: a name that `serplatform corpora` lists; or, alone, a directory or table, which is
            looked at.
        source: its directory or table; None for a path alone, and for ``demo``.
        out: the dataset, directory or URI; None: `data/` and the name of the corpus or table.
        features: registered names; None: those registered as defaults.
        speeds: at which the features are stored too, for training with ``data.speeds``.
        align: where word and phone times come from.
        alignments: directory of the alignment files.
        workers: most tasks at a time; None: all CPUs.
        label_map: label of the corpus to emotion; an empty name leaves it out.
        speakers_differ: names of speakers that differ only in case or zeros are different people.
        max_duration: longest utterance in seconds; None: no limit.
        overwrite: replace a dataset that was made otherwise.
        name: what your corpus is called; "": as its source.
        language: that is spoken, such as ``pl``.
        licence: of the recordings.
        options: of the corpus, e.g. ``{"utterances": 96, "speakers": 6}`` of ``demo``.
        address: of a running Ray cluster.
        quiet: tell nothing.
        plugins: files or modules that register corpora or features.

    Raises:
        BadInputError: something given is wrong, or nothing is left to prepare.
    """
    with session(quiet, plugins):
        kind, place, guessed = corpus_and_source(
            str(corpus), None if source is None else Path(source)
        )
        if guessed is not None and place is not None:
            say(guessed.sentence(place))
        own = place is not None and kind in CORPORA.names() and CORPORA.get(kind).is_format
        stem = own_name(place) if place is not None and own else kind
        with show_progress() as progress:
            made = preparation.prepare(
                kind,
                place,
                Path("data", stem) if out is None else out,
                features=None if features is None else _texts(features),
                speeds=speeds,
                align=align,
                alignments=None if alignments is None else Path(alignments),
                workers=workers,
                options=options,
                label_map=label_map,
                speakers_differ=speakers_differ,
                max_duration=max_duration,
                overwrite=overwrite,
                described=About(title=name, language=language, licence=licence),
                address=address,
                progress=progress,
            )
        return Dataset.open(made.address)


@checked_arguments
def join(
    data: Sequence[Dataset | str | Path],
    out: str | Path | None = None,
    *,
    label_map: Mapping[str, str] | None = None,
    speakers_differ: bool = False,
) -> Dataset:
    """Join datasets: their common labels and features, without a copy of the features.

    Args:
        data: at least two prepared datasets.
        out: a new directory; None: one in the user's cache folder.
        label_map: label to emotion, in all of them; an empty one leaves the label out.
        speakers_differ: speakers of one name are different people, also where corpora are the same.

    Raises:
        BadInputError: fewer than two labels or no feature is common, or ``out`` is in use.
    """
    places = [str(_address(one)) for one in data]
    return Dataset.open(joined(places, out, label_map=label_map, speakers_differ=speakers_differ))


@checked_arguments
def search(
    data: Dataset | str | Path | Sequence[Dataset | str | Path] | None = None,
    architectures: str | Sequence[str] = (),
    *,
    trials: int | str | None = None,
    time_budget: str | float | None = None,
    out: str | Path | None = None,
    protocol: str | None = None,
    space: str | Path | Sequence[str | Path] = (),
    settings: Mapping[str, Any] | None = None,
    small: bool | None = None,
    seed: int = 0,
    objective: str | Sequence[str] = "uar",
    sampler: str = "tpe",
    pruner: str = "folds",
    warm_start: str | Path | Sequence[str | Path] = (),
    storage: str | None = None,
    combiner: str | None = None,
    reference: bool = True,
    nested: bool = False,
    seal: bool = False,
    log: str | Sequence[str] = (),
    **options: Unpack[CallOptions],
) -> Run:
    """Search hyperparameters; write an ensemble, explanations and a page.

    Args:
        data: a prepared dataset, or several, see :func:`join`; None: the built-in demo corpus.
        architectures: registered names, or ``"all"``; none: the portfolio, strong and cheap
            systems first.
        trials: over all architectures; with ``nested`` in each study.
        time_budget: e.g. ``"10m"``, or seconds.
        out: the run, directory or URI; None: a new one in `runs/`.
        protocol: folds by name, e.g. ``"speaker-kfold:5"``; None: the corpus's own.
        space: search spaces: YAML files or packaged names.
        settings: parameter to value, held in every trial.
        small: packaged spaces of reduced sizes; None: where a trial of the papers' sizes takes
            more than a tenth of the time budget (two hours without one), and for the demo corpus.
        seed: of folds, sampling and training.
        objective: dev metric to optimise, or several.
        sampler: tpe, random or gp.
        pruner: folds, asha, median, hyperband or none.
        warm_start: earlier runs to learn from.
        storage: Optuna storage URL; None: a journal file in the run.
        combiner: of the ensemble; ``"none"`` makes none; None: product.
        reference: train an SVM of fixed settings too, and compare with it.
        nested: a study for each outer fold, steered by its dev rows alone; a trial trains one fold.
        seal: compute no test posteriors until ``run.unseal()``.
        log: trackers that the run is sent to, ``"mlflow=URI_OR_DIR"`` or ``"wandb=PROJECT"``.
        **options: see :class:`~serplatform.api.results.CallOptions`.

    Raises:
        KeyboardInterrupt: Ctrl-C; ``sp.load(out).resume()`` resumes the run.
        SerplatformError: it failed; the message says why and what to do.
    """
    request = SearchRequest(
        architectures=_texts(architectures),
        dataset=_address(data),
        protocol=protocol,
        spaces=_texts(space),
        settings=_settings(settings),
        small=small,
        seed=seed,
        objectives=tuple(objective.split(",") if isinstance(objective, str) else objective),
        sampler=sampler,
        pruner=pruner,
        storage=storage,
        warm_start=_texts(warm_start),
        trials=None if trials is None else str(trials),
        time_budget=seconds_of(time_budget),
        combiner=combiner,
        reference=reference,
        nested=nested,
        sealed=seal,
        log=_texts(log),
    )
    return run_request(request, out, options)


@checked_arguments
def train(
    data: Dataset | str | Path | Sequence[Dataset | str | Path] | None = None,
    architectures: str | Sequence[str] = (),
    *,
    out: str | Path | None = None,
    protocol: str | None = None,
    settings: Mapping[str, Any] | None = None,
    repeats: int = 1,
    seed: int = 0,
    seal: bool = False,
    log: str | Sequence[str] = (),
    **options: Unpack[CallOptions],
) -> Run:
    """Train one configuration, the paper's by default, over all folds of a protocol.

    Args:
        settings: parameter to value, instead of the paper's.
        repeats: times to train each, with seeds of their own; more than one are combined.

    The others are those of :func:`search`.
    """
    request = SearchRequest(
        architectures=_texts(architectures),
        dataset=_address(data),
        protocol=protocol,
        settings=_settings(settings),
        repeats=repeats,
        seed=seed,
        sealed=seal,
        log=_texts(log),
    )
    return run_request(request.of_one_configuration(), out, options)


@checked_arguments
def load(
    path: str | Path,
    *,
    plugins: str | Path | Sequence[str | Path] = (),
    trust_plugins: bool = False,
) -> Dataset | Run | Ensemble | Bundle:
    """Open what a directory, or a URI, holds.

    Args:
        path: directory or URI.
        plugins: files or modules that it was made with.
        trust_plugins: the code that bundles bring may run, from now on.

    Raises:
        BadInputError: it is none of ours.
        ArtifactError: it is damaged.
    """
    import_plugins(_texts(plugins), trust=trust_plugins or None)
    place = parse(path)
    for kind, opened in (
        (DATASET, Dataset.open),
        (RUN, Run),
        (ENSEMBLE, Ensemble),
        (BUNDLE, Bundle),
    ):
        if isinstance(place, Location):
            there = bool(remote(place).list(kind.marker))
        else:
            there = (place / kind.marker).is_file()
        if there:
            return opened(path)
    raise BadInputError(
        f"{path}: holds neither a dataset, a run, an ensemble nor a bundle; give a directory that "
        "`prepare`, `search`, `ensemble` or `export` wrote"
    )


def _address(
    data: Dataset | str | Path | Sequence[Dataset | str | Path] | None,
) -> str | Path | None:
    if data is None or isinstance(data, (str, Path)):
        return data
    if isinstance(data, Dataset):
        return data.address
    places = [str(_address(one)) for one in data]
    return joined(places) if len(places) > 1 else places[0]


def _texts(names: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    return tuple(map(str, [names] if isinstance(names, (str, Path)) else names))


def _plain(value: Any) -> Any:
    """A value of NumPy as Python's own."""
    if isinstance(value, np.generic):
        return value.item()
    raise BadInputError(f"settings: {value!r} is no number, text, list or truth value")


def _settings(values: Mapping[str, object] | None) -> tuple[str, ...]:
    """As a command's `--set` has them."""
    return tuple(
        f"{name}={value if isinstance(value, str) else json.dumps(value, default=_plain)}"
        for name, value in (values or {}).items()
    )
