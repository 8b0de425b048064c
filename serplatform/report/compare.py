"""Several runs beside each other: a row each, and tests between those with the same test rows,
which alone stand on one axis."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serplatform import plugins
from serplatform.artifacts.files import write_text
from serplatform.errors import BadInputError
from serplatform.report import charts
from serplatform.report.answer import Answer, find_answer
from serplatform.report.build import fill_template
from serplatform.report.data import ReportData, build_report_data
from serplatform.report.figures.base import Palette, Table
from serplatform.report.load import load_source
from serplatform.report.wording import duration, interval, p_value, percent, plural, points
from serplatform.statistics.holm import holm
from serplatform.statistics.intervals import Interval, metric_differences

#: difference below which a corrected p-value counts as shown
LEVEL = 0.05
_SHOWN = ("ensemble", "single", "reference")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One run or ensemble under its ``name``: what its own page is made of, and its answer."""

    name: str
    report: ReportData
    answer: Answer

    @property
    def uar(self) -> Interval | None:
        """Test UAR of what the run answers with: its ensemble, else its best single trial."""
        return self.answer.rows[0].uar if self.answer.rows else None

    @property
    def data(self) -> str:
        dataset = self.report.dataset
        return str(dataset.get("title") or dataset.get("corpus") or "unnamed")

    @property
    def budget(self) -> str:
        """What the search was given."""
        texts = []
        for run in self.report.source.runs:
            seconds, trials = run.info.get("time_budget"), run.info.get("trials")
            texts.append(
                duration(seconds) if seconds else plural(trials, "trial") if trials else "–"
            )
        return " + ".join(texts) or "–"

    @property
    def best_dev(self) -> float | None:
        """The best mean dev UAR of a trial, which may be told of sealed runs, too."""
        return max((t.objective or 0.0 for t in self.report.finished), default=None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairTest:
    """UAR of ``first`` minus that of ``second``; ``adjusted`` is Holm's p-value over all pairs.

    Without a ``difference``, ``why_not`` says why there is no test.
    """

    first: str
    second: str
    difference: Interval | None = None
    adjusted: float | None = None
    why_not: str = ""

    @property
    def verdict(self) -> str:
        if self.difference is None:
            return f"No test: {self.why_not}."
        if self.adjusted is None:
            return "No test: there is a single test speaker."
        if self.adjusted >= LEVEL:
            return "No difference is shown."
        better, worse = (self.first, self.second)[:: 1 if self.difference.value > 0 else -1]
        return f"{better} is better than {worse}."


def compare(runs: Sequence[ComparedRun]) -> list[PairTest]:
    """Every pair; p-values are those of speaker-paired jackknife tests, corrected after Holm."""
    found = []
    for a, b in itertools.combinations(runs, 2):
        why_not = why_no_test(a, b)
        difference = None if why_not else _difference(a.report, b.report)
        found.append(PairTest(first=a.name, second=b.name, difference=difference, why_not=why_not))
    known = [n for n, t in enumerate(found) if t.difference and t.difference.p_value is not None]
    values = [t.difference.p_value for t in found if t.difference]
    for n, p in zip(known, holm([v for v in values if v is not None]), strict=True):
        found[n] = dataclasses.replace(found[n], adjusted=p)
    return found


def why_no_test(a: ComparedRun, b: ComparedRun) -> str:
    """Why two runs cannot be tested against each other; empty where they can."""
    for run in (a, b):
        if run.report.sealed:
            return f"the test rows of {run.name} are sealed"
        if not run.report.systems:
            return f"{run.name} has no finished trial"
    if a.data != b.data:
        return f"other data ({a.data} and {b.data})"
    if a.report.classes != b.report.classes:
        return "other classes"
    ours, theirs = (run.report.systems[0].test for run in (a, b))
    if set(ours.utterance_ids) != set(theirs.utterance_ids):
        return "other test utterances"
    if not ours.same_rows(theirs):
        return "other folds"
    if not np.array_equal(ours.truth, theirs.truth):
        return "other labels of the same utterances"
    if not np.array_equal(ours.speaker_ids, theirs.speaker_ids):
        return "other speakers of the same utterances"
    return ""


def _difference(a: ReportData, b: ReportData) -> Interval:
    ours, theirs = a.systems[0].test, b.systems[0].test
    speakers = ours.speaker_ids.tolist()
    return metric_differences(ours.truth, ours.values, theirs.values, speakers)["uar"]


def read_runs(paths: Sequence[Path]) -> list[ComparedRun]:
    """Read what is to be compared.

    Raises:
        BadInputError: one is given twice, or is neither a run nor an ensemble.
    """
    real = [path.resolve() for path in paths]
    if twice := next((p for n, p in enumerate(paths) if real[n] in real[:n]), None):
        raise BadInputError(f"{twice}: is given twice")
    short = [path.name for path in real]
    names = short if len(set(short)) == len(short) else [str(path) for path in paths]
    runs = []
    for name, path in zip(names, paths, strict=True):
        source = load_source(path)
        for run in source.runs:
            plugins.restore(run.path, run.info)
        report = build_report_data(source)
        runs.append(ComparedRun(name=name, report=report, answer=find_answer(report)))
    return runs


def runs_table(runs: Sequence[ComparedRun]) -> Table:
    """A row a run; a sealed one has no test value."""
    header = ["run", "data", "protocol", "budget", "trained", "best dev UAR (%)"]
    rows = []
    for run in runs:
        by_system = {row.system: row.uar for row in run.answer.rows}
        texts = [
            f"{percent(uar.value)} ({interval('uar', uar)})"
            if uar
            else "sealed" * run.report.sealed
            for uar in map(by_system.get, _SHOWN)
        ]
        rows.append(
            [
                *(run.name, run.data, run.report.protocol, run.budget),
                *(str(len(run.report.finished)), percent(run.best_dev)),
                *(text or "–" for text in texts),
                percent(run.answer.chance),
            ]
        )
    systems = ["ensemble", "best single trial", "reference", "chance"]
    return Table(
        caption="UAR in percent: dev of the best trial; test with 95 % intervals over speakers",
        header=[*header, *systems],
        rows=rows,
    )


def pairs_table(tests: Sequence[PairTest]) -> Table:
    """A row a pair."""
    rows = []
    for test in tests:
        told = ["–", "–", "–"]
        if test.difference is not None:
            value, low, high = test.difference.ends()
            told[0] = points(value)
            if low is not None and high is not None:
                told[1] = f"{points(low)} to {points(high)}"
            told[2] = "–" if test.adjusted is None else p_value(test.adjusted)
        rows.append([f"{test.first} − {test.second}", *told, test.verdict])
    return Table(
        caption="Differences of test UAR in points, each run by its ensemble or best single trial",
        header=["pair", "difference", "95 % interval", "p, corrected", "what it shows"],
        rows=rows,
    )


def build_comparison(paths: Sequence[Path], out: Path) -> list[PairTest]:
    """Write the page that compares runs; return the tests between them."""
    if out.is_dir():
        raise BadInputError(f"{out}: is a directory; give the page's file, e.g. compare.html")
    runs = read_runs(paths)
    tests = compare(runs)
    groups = comparable(runs)
    page = fill_template(
        "compare.html",
        runs=runs,
        tables=[runs_table(runs), pairs_table(tests)],
        tested=sum(t.adjusted is not None for t in tests),
        synthetic=[run.name for run in runs if run.report.dataset.get("synthetic")],
        pictures=[(names(group), _picture(group, n)) for n, group in enumerate(groups)],
        not_drawn=names([run for run in runs if all(run not in group for group in groups)]),
    )
    write_text(out, page)
    return tests


def comparable(runs: Sequence[ComparedRun]) -> list[list[ComparedRun]]:
    """Runs that may stand on one axis: two or more with the same data, classes, folds and rows."""
    groups: list[list[ComparedRun]] = []
    for run in (run for run in runs if run.uar is not None):
        group = next((g for g in groups if not why_no_test(g[0], run)), None)
        if group is None:
            groups.append([run])
        else:
            group.append(run)
    return [group for group in groups if len(group) > 1]


def names(runs: Sequence[ComparedRun]) -> str:
    """What they are called."""
    return ", ".join(run.name for run in runs)


def _picture(runs: Sequence[ComparedRun], number: int) -> str:
    """Test UAR of comparable runs with its interval."""
    from markupsafe import Markup

    from serplatform.report.drawing.panel import ALONE, page_picture

    palette = Palette(architectures=tuple(run.name for run in runs))
    traces = [
        charts.interval_points(run.name, [run.uar], [n], palette.marker(run.name, 9))
        for n, run in enumerate(runs)
        if run.uar is not None
    ]
    panel = charts.panel(
        traces,
        charts.axis("test UAR (%), 95 % interval; dotted: chance"),
        charts.rows_axis([run.name for run in runs]),
        height=90 + 34 * len(runs),
        legend=False,
        shapes=[charts.vertical(100 * runs[0].answer.chance)],
    )
    svg, _ = page_picture(panel, ALONE, f"compare-{number}")
    return Markup(svg)  # noqa: S704 - Matplotlib escapes its texts
