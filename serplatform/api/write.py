"""What `ensemble`, `report` and `export` write, for commands and for Python: to a path or a URI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from typing_extensions import Unpack

from serplatform.console import say
from serplatform.errors import BadInputError
from serplatform.run_directory import RunDirectory
from serplatform.storage.destination import ENSEMBLE, check_directory, check_file
from serplatform.storage.mirror import open_copy, publish, shown, target_copy
from serplatform.storage.outgoing import new_folder, written_file

if TYPE_CHECKING:
    from serplatform.artifacts.bundle import WrittenBundle
    from serplatform.ensembles.build import SealedEnsemble
    from serplatform.report.extras import Extras


class CombineOptions(TypedDict, total=False):
    """See ``ensembles.build.build_ensemble``."""

    combiner: str
    temperature: bool
    objective: str
    seed: int
    test_values: bool


class ExportOptions(TypedDict, total=False):
    """See ``prediction.export.export``."""

    trial: int | None
    with_encoder: bool
    encoder_licence: str | None
    refit: bool
    data: str | Path | None


def write_ensemble(
    runs: Sequence[str | Path], out: str | Path, **options: Unpack[CombineOptions]
) -> dict[str, Any]:
    """Combine runs; return the content of the file."""
    from serplatform.ensembles.build import build_ensemble

    check_directory(out, ENSEMBLE)
    target = target_copy(out)
    content = build_ensemble([open_copy(run) for run in runs], target, **options)
    publish(target)
    return content


def fit_if_sealed(runs: Sequence[str | Path], **options: Any) -> SealedEnsemble | None:
    """What dev rows choose of sealed runs, see ``ensembles.build.fit_sealed``; None of others."""
    from serplatform.ensembles.build import fit_sealed

    copies = [open_copy(run) for run in runs]
    if not any(RunDirectory(copy).read_run().get("sealed") for copy in copies):
        return None
    return fit_sealed(copies, **options)


def _extras(path: Path, evaluations: Sequence[str | Path], *, fairness: bool) -> Extras:
    """What was asked for beyond the page of every run."""
    from serplatform.ensembles.build import by_utterance, read_columns
    from serplatform.report.extras import Extras
    from serplatform.report.load import load_source

    genders = None
    if fairness:
        source = load_source(path)
        about = source.runs[0].info if source.runs else source.ensemble and source.ensemble.info
        dataset = about and about.get("dataset")
        table, gone = read_columns(dataset) if dataset else (None, "the dataset is not known")
        genders = by_utterance(table, "gender")
        if gone:
            say(f"The speakers' gender is not at hand: {gone}.")
    return Extras(evaluations=tuple(map(Path, evaluations)), genders=genders)


def write_report(
    source: str | Path,
    out: str | Path | None = None,
    *,
    test_values: bool = False,
    evaluations: Sequence[str | Path] = (),
    fairness: bool = False,
) -> tuple[str, int]:
    """Write the page of a run or an ensemble, ``report.html`` in it unless ``out`` says otherwise;
    return what the page is called, and its bytes.

    ``evaluations`` are files of ``evaluate``; ``fairness``: compare genders and speakers.
    """
    from serplatform.report.build import build_report

    if out is not None:
        check_file(out, what="an HTML page")
    path = open_copy(source)
    if out is None and path.is_dir():
        check_file(path / "report.html", what="an HTML page")
    with written_file(path / "report.html" if out is None else out) as target:
        extras = _extras(path, evaluations, fairness=fairness)
        page = build_report(path, target, test_values=test_values, extras=extras)
        size = page.stat().st_size
    publish(path)
    return shown(page) if out is None else str(out), size


def write_comparison(sources: Sequence[str | Path], out: str | Path) -> list[str]:
    """Write the page that compares runs and ensembles; return what it says of each pair."""
    from serplatform.report.compare import build_comparison

    check_file(out, what="an HTML page")
    paths = [open_copy(source) for source in sources]
    with written_file(out) as target:
        tests = build_comparison(paths, target)
    for path in paths:
        publish(path)
    return [f"{test.first} and {test.second}: {test.verdict}" for test in tests]


def write_paper(
    source: str | Path,
    figures: Path | None = None,
    tables: Path | None = None,
    *,
    formats: str = "svg,pdf",
    test_values: bool = False,
    evaluations: Sequence[str | Path] = (),
    fairness: bool = False,
) -> dict[str, int]:
    """Write the page's figures, its tables or both for a paper; return the files in each folder."""
    from serplatform import plugins
    from serplatform.report.data import build_report_data
    from serplatform.report.extras import with_extras
    from serplatform.report.load import load_source
    from serplatform.report.paper import paper_figures, parse_formats, write_figures, write_tables

    kinds, written = parse_formats(formats), {}
    for folder in filter(None, (figures, tables)):
        if "://" in str(folder):
            raise BadInputError(f"{folder}: give a directory of this machine")
        if folder.exists() and not folder.is_dir():
            raise BadInputError(f"{folder}: is a file; give a directory")
    path = open_copy(source)
    found, extras = load_source(path), _extras(path, evaluations, fairness=fairness)
    for run in found.runs:
        plugins.restore(run.path, run.info)
    report = build_report_data(found, test_values=test_values)
    drawn = list(paper_figures(with_extras(report, extras)))
    if figures is not None:
        figures.mkdir(parents=True, exist_ok=True)
        written[str(figures)] = write_figures(drawn, figures, kinds)
    if tables is not None:
        tables.mkdir(parents=True, exist_ok=True)
        written[str(tables)] = write_tables(drawn, tables)
    return written


def write_bundle(
    source: str | Path, out: str | Path, **options: Unpack[ExportOptions]
) -> tuple[WrittenBundle, int]:
    """Write the bundle of a run or an ensemble; return the content of its file, and its bytes."""
    from serplatform.prediction.export import export

    with new_folder(out) as folder:
        bundle = export(open_copy(source), folder, **options)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return bundle, size


def write_onnx(
    source: str | Path, out: str | Path, trial: int | None = None, data: str | Path | None = None
) -> dict[str, Any]:
    """Write the ONNX graphs of a run, an ensemble or a bundle; return the content of their file."""
    from serplatform.prediction.open import open_system

    path = open_copy(source)
    open_system(path, trial)  # what is wrong with it is said before torch is imported
    from serplatform.prediction.onnx.export import export_onnx

    with new_folder(out) as folder:
        return export_onnx(path, folder, trial=trial, data=data)
