"""What a search, an ensemble or an export has left in a directory, with tables of pandas."""

from __future__ import annotations

import dataclasses
import html
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from pydantic import ConfigDict
from typing_extensions import TypedDict, Unpack

from serplatform.api.arguments import checked_arguments, seconds_of
from serplatform.api.classify import Classification, PredictOptions
from serplatform.api.execute import SearchSummary, carry_out
from serplatform.api.seal import unseal_run
from serplatform.api.session import session
from serplatform.api.write import write_bundle, write_ensemble, write_report
from serplatform.artifacts.ensemble import read_ensemble
from serplatform.artifacts.posteriors import read_posterior_table
from serplatform.artifacts.trial import trials_table
from serplatform.console import parse_timeout, percent
from serplatform.distributed.tune.placement import SearchLimits
from serplatform.prediction.open import read_bundle
from serplatform.prediction.output import flat_values
from serplatform.prediction.system import with_interval
from serplatform.report.answer import Answer, read_answer
from serplatform.report.data import build_report_data
from serplatform.report.leaderboard import rank_trials
from serplatform.report.load import load_run, load_source
from serplatform.run_directory import RunDirectory
from serplatform.statistics.intervals import Interval
from serplatform.storage.mirror import open_copy
from serplatform.studies.request import SearchRequest


class CallOptions(TypedDict, total=False):
    """On what a call that trains runs, and what it tells.

    Keys:
        workers: processes that train one model together.
        gpus_per_trial: of each worker; a fraction packs trainings on one GPU.
        concurrent: trainings at a time; as many as fit.
        retries: times a trial that failed is tried again; 1.
        trial_timeout: what an epoch may take, e.g. ``45m`` or ``never``.
        address: of a running Ray cluster; a Ray of this machine's own that ends with the call.
        explain: ask the best models what they attend to; True.
        audio: put the sound of what is explained into the report.
        quiet: tell nothing; what happens is told on a terminal and in a notebook.
        plugins: files or modules that register architectures, features and the like.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]
    workers: int
    gpus_per_trial: float | None
    concurrent: int | None
    retries: int
    trial_timeout: str | None
    address: str | None
    explain: bool
    audio: bool | None
    quiet: bool | None
    plugins: str | Path | Sequence[str | Path]


def run_request(
    request: SearchRequest,
    out: str | Path | None,
    options: CallOptions,
    *,
    resume: bool = False,
) -> Run:
    """Search, train or resume as asked; return the run with its ``summary``."""
    limits = SearchLimits(
        workers=options.get("workers", 1),
        gpus_per_trial=options.get("gpus_per_trial"),
        concurrent=options.get("concurrent"),
        retries=options.get("retries", 1),
        trial_timeout=parse_timeout(options.get("trial_timeout")),
        address=options.get("address"),
    )
    explain, audio = options.get("explain", True), options.get("audio")
    with session(options.get("quiet"), options.get("plugins", ())):
        summary = carry_out(request, limits, out, resume=resume, explain=explain, audio=audio)
    run = Run(summary.run)
    run.summary = summary
    return run


@dataclasses.dataclass(frozen=True)
class ReportPage(os.PathLike[str]):
    """A page that was written, path or URI; a notebook shows its summary and a link."""

    path: str
    summary: str  # HTML

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path

    def _repr_html_(self) -> str:
        link = html.escape(self.path, quote=True)
        return f'{self.summary}<p><a href="{link}" target="_blank">{link}</a></p>'


class _System:
    """What classifies recordings; see its children."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self.directory = open_copy(path)

    @checked_arguments
    def predict(
        self,
        *audio: str | Path,
        quiet: bool | None = None,
        **options: Unpack[PredictOptions],
    ) -> pd.DataFrame:
        """Classify recordings.

        Args:
            *audio: files and folders.
            quiet: tell nothing.
            **options: see :class:`~serplatform.api.classify.PredictOptions`.

        Returns:
            one row per recording, and per window where windows are asked for: ``file, part,
            start, end, emotion, p_<class>…, note``, with ``answer, confidence`` where ``reject``
            is given. ``attrs["summary"]`` says which were left out, and why.

        Raises:
            BadInputError: none could be classified.
        """
        with session(quiet):
            found = Classification(self.path, [str(path) for path in audio], **options)
            table = pd.DataFrame([flat_values(row, found.classes) for row in found.rows])
            table.attrs["summary"] = found.end()
        return table

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


class _Exportable(_System):
    """What has a page and can be exported."""

    @checked_arguments
    def report(
        self,
        out: str | Path | None = None,
        *,
        test_values: bool = False,
        evaluations: Sequence[str | Path] = (),
        fairness: bool = False,
    ) -> ReportPage:
        """Write the page; ``report.html`` in the directory unless ``out`` says otherwise.

        Args:
            out: the file.
            test_values: measure every trial alone on test rows, too, a look of its own.
            evaluations: files that :func:`evaluate` wrote of this system.
            fairness: compare test recalls between genders and between speakers.
        """
        page, _ = write_report(
            self.path, out, test_values=test_values, evaluations=evaluations, fairness=fairness
        )
        return ReportPage(page, self._repr_html_())

    @checked_arguments
    def export(
        self,
        out: str | Path,
        *,
        trial: int | None = None,
        with_encoder: bool = False,
        encoder_licence: str | None = None,
        refit: bool = False,
        data: str | Path | None = None,
        quiet: bool | None = None,
    ) -> Bundle:
        """Write a bundle.

        Args:
            out: a new or empty directory, or a URI.
            trial: of a run; None: the best on dev.
            with_encoder: pack the pretrained encoders that its models need.
            encoder_licence: of them, where neither their files nor their names tell it.
            refit: train each member once on all rows of the dataset; this very model is not
                tested, and its metrics are those of its cross-validated twin.
            data: where the dataset for that lies now, if it has moved.
            quiet: tell nothing.

        Raises:
            BadInputError: ``out`` is in use, an encoder cannot be packed, or the dataset that
                ``refit`` needs is not there or another.
        """
        with session(quiet):
            write_bundle(
                self.path,
                out,
                trial=trial,
                with_encoder=with_encoder,
                encoder_licence=encoder_licence,
                refit=refit,
                data=data,
            )
        return Bundle(out)


class Run(_Exportable):
    """What ``search`` and ``train`` make: trials, their models and posteriors.

    Args:
        path: directory or URI.

    Attributes:
        info: the content of ``run.json`` when it was opened.
        summary: of the call that made this object; None where it was only opened.

    Raises:
        ArtifactError: it is no run, or it is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._run = RunDirectory(self.directory)
        self.info = self._run.read_run()
        self.summary: SearchSummary | None = None

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial that has ended: the columns of ``trials.parquet``."""
        return trials_table(list(self._run.records().values())).to_pandas()

    def leaderboard(self, *, test_values: bool = False) -> pd.DataFrame:
        """The complete trials, best mean dev objective first, then the larger likelihood.

        Args:
            test_values: measure every trial on test rows, too, for reporting; the run counts it
                as a look. Whoever chooses a trial by them has no test set left.

        Returns:
            ``trials`` by ``rank`` from 1; with ``test_values`` also ``test_uar`` and its 95 %
            interval by speaker, ``test_low`` to ``test_high`` (pooled over folds; missing where
            a trial's posteriors are).
        """
        board = rank_trials([load_run(self.directory)], tested=0)
        if test_values:
            source = load_source(self.directory)
            board = build_report_data(source, test_values=True).leaderboard
        table = self.trials.set_index("trial").loc[[r.trial for r in board]].reset_index()
        table = table.drop(columns=["state", "fold_dev_uar", "host", "error"])
        if test_values:
            tested = [r.test.ends() if r.test else (None, None, None) for r in board]
            names = ["test_uar", "test_low", "test_high"]
            columns = pd.DataFrame(tested, columns=names, dtype=float)
            table = pd.concat([table, columns], axis="columns")
        table.index = pd.RangeIndex(1, len(table) + 1, name="rank")
        return table

    @property
    def answer(self) -> Answer:
        """Test UAR of the ensemble, the best single trial, the trial that ``predict`` takes and the
        reference; and what became of the trials that were asked for."""
        return read_answer(self.directory)

    @checked_arguments
    def resume(
        self,
        trials: str | int | None = None,
        *,
        time_budget: str | float | None = None,
        combiner: str | None = None,
        **options: Unpack[CallOptions],
    ) -> Run:
        """Train further trials, or what an interrupted call left; then all that ``search`` does.

        Args:
            trials: over the life of the run, or ``"+5"`` more than it was last asked for.
            time_budget: e.g. ``"10m"``, or seconds.
            combiner: of the ensemble; None: the run's.
            **options: see :class:`CallOptions`.

        Returns:
            the run, opened again.
        """
        request = SearchRequest(
            trials=None if trials is None else str(trials),
            time_budget=seconds_of(time_budget),
            combiner=combiner,
        )
        return run_request(request, self.path, options, resume=True)

    @checked_arguments
    def unseal(
        self,
        *,
        combiner: str | None = None,
        data: str | Path | None = None,
        quiet: bool | None = None,
    ) -> Run:
        """Open the test rows of a run that was begun with ``seal``; no trial can be added then.

        Args:
            combiner: of the ensemble that is measured; None: the run's.
            data: where the dataset lies now, if it has moved.
            quiet: tell nothing.

        Returns:
            the run, opened again.
        """
        with session(quiet):
            unseal_run(self.path, combiner=combiner, data=data)
        return Run(self.path)

    @checked_arguments
    def ensemble(
        self,
        combiner: str = "product",
        *,
        out: str | Path | None = None,
        temperature: bool = False,
        objective: str = "uar",
        seed: int | None = None,
        test_values: bool = False,
    ) -> Ensemble:
        """Combine the finished trials, see :func:`combine`.

        Args:
            out: where it is written; None: the run's own ensemble, which its page shows, gives
                way to it.
            seed: of bags; None: the run's.
        """
        return combine(
            [self],
            f"{self.path.rstrip('/')}/ensemble" if out is None else out,
            combiner=combiner,
            temperature=temperature,
            objective=objective,
            seed=self.info["seed"] if seed is None else seed,
            test_values=test_values,
        )

    def __repr__(self) -> str:
        counts = self.trials["state"].value_counts().to_dict()
        states = ", ".join(f"{number} {state}" for state, number in counts.items())
        return (
            f"Run({self.path!r}): {', '.join(self.info['spaces'])} on "
            f"{self.info['dataset'].get('title', '?')}, {self.info['protocol']['name']}; "
            f"{self.info['status']}, {states or 'no trial has ended'}"
        )

    def _repr_html_(self) -> str:
        columns = ["trial", "architecture", "dev_uar", "seconds", "num_parameters"]
        best: str = self.leaderboard()[columns].head(5).to_html(formatters={"dev_uar": percent})
        return super()._repr_html_() + best


class Ensemble(_Exportable):
    """Trials that were combined, and what that is worth on test rows.

    Args:
        path: directory or URI.

    Attributes:
        info: the content of ``ensemble.json``.

    Raises:
        ArtifactError: it is no ensemble, or it is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.info = read_ensemble(self.directory)

    def metrics(self) -> pd.DataFrame:
        """Test metrics, pooled over folds.

        Returns:
            one row per ``system`` and ``metric``: ``value``, its 95 % interval ``low`` to
            ``high`` by speaker (missing where there is one speaker), ``mean`` and ``sd`` over
            folds.
        """
        return pd.DataFrame(
            {"system": system, "metric": metric, **found, **self.info["over_folds"][system][metric]}
            for system, metrics in self.info["pooled"].items()
            for metric, found in metrics.items()
        )

    def members(self) -> pd.DataFrame:
        """One row per fold and member: whose model, how much it counts, and its UAR alone;
        ``test_uar`` is missing unless the ensemble was made with ``test_values``."""
        return pd.DataFrame(
            {
                "fold": fold["fold"],
                "member": member["member"],
                "architecture": member["architecture"],
                "weight": member["weight"],
                "share": member["share"],
                "temperature": member["temperature"],
                "dev_uar": member["dev"]["uar"],
                "test_uar": member.get("test", {}).get("uar"),
            }
            for fold in self.info["folds"]
            for member in fold["members"]
        )

    def posteriors(self) -> pd.DataFrame:
        """One row per dev and test row of each fold: the columns of ``posteriors.parquet``."""
        path = self.directory / "posteriors.parquet"
        return read_posterior_table(path, self.info["classes"]).to_pandas()

    def __repr__(self) -> str:
        uar = Interval(**self.info["pooled"]["ensemble"]["uar"])
        return (
            f"Ensemble({self.path!r}): {self.info['combiner']} of "
            f"{len(self.info['parameter_order'])} trials, test UAR {uar.in_percent()}"
            + (f", look {self.info['look']}" if "look" in self.info else "")
        )

    def _repr_html_(self) -> str:
        table = self.metrics().query("metric in ('uar', 'accuracy')").set_index("system")
        shown: str = table.to_html(float_format=percent)
        return super()._repr_html_() + shown


class Bundle(_System):
    """Models and all that prediction needs, in one directory.

    Args:
        path: directory or URI.

    Attributes:
        info: data, protocol, test metrics and limits, as ``export`` described them.
        classes: K names.

    Raises:
        ArtifactError: it is no bundle, or it is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        system = read_bundle(self.directory)
        self.info = system.description
        self.classes = system.classes

    def metrics(self) -> pd.DataFrame:
        """Test metrics, of a refitted bundle its cross-validated twin's: one row per ``metric``
        with ``value, low, high``."""
        return pd.DataFrame(
            {"metric": name, **found} for name, found in self.info["metrics"].items()
        )

    def __repr__(self) -> str:
        part = "dev" if "sealed" in self.info else "test"
        measured = f"{part} UAR {with_interval(self.info['metrics']['uar'])}"
        if "refit" in self.info:
            measured = f"not tested; its cross-validated twin: {measured}"
        return f"Bundle({self.path!r}): {self.info['title']}, {measured}"


@checked_arguments
def combine(
    runs: Run | str | Path | Sequence[Run | str | Path],
    out: str | Path,
    *,
    combiner: str = "product",
    temperature: bool = False,
    objective: str = "uar",
    seed: int = 0,
    test_values: bool = False,
) -> Ensemble:
    """Combine the posteriors of every finished trial; nothing is trained again.

    Args:
        runs: one, or several on one dataset, with the same folds and classes.
        out: directory or URI to write to.
        combiner: greedy, product, mean, stacking, auto, single or ``syscomb:FIRST,SECOND``.
        temperature: calibrate each trial on dev rows first.
        objective: what choices on dev rows maximise: uar, accuracy or nll.
        seed: of bags.
        test_values: measure every trial alone on test rows, too, a look of its own.
    """
    several = [runs] if isinstance(runs, (Run, str, Path)) else runs
    write_ensemble(
        [run.path if isinstance(run, Run) else run for run in several],
        out,
        combiner=combiner,
        temperature=temperature,
        objective=objective,
        seed=seed,
        test_values=test_values,
    )
    return Ensemble(out)
