"""The answer of a run or an ensemble: how good, against what, which trial, and what became of all.

The terminal, the page and ``--json`` tell this one story. Every value is a fraction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from serplatform.artifacts.dataset import NO_SPEAKER
from serplatform.artifacts.looks import SEALED, UNSEAL, LookCount
from serplatform.artifacts.run import dev_tests_elsewhere
from serplatform.report.data import ReportData, build_report_data
from serplatform.report.leaderboard import RankedTrial, objective_of, ranked_trials
from serplatform.report.load import ReportedRun, load_source
from serplatform.report.sources import source_sentences
from serplatform.report.speaker_needs import speaker_needs
from serplatform.report.systems import LABELS, EvaluatedSystem
from serplatform.report.wording import METRICS, interval, p_value, plural, points
from serplatform.statistics.chance import chance_uar, exceeds_chance, place_of_chance
from serplatform.statistics.intervals import Interval, metric_differences
from serplatform.storage.mirror import shown


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnswerRow:
    """A system, what it is made of, and its test metrics, pooled over folds.

    ``system`` is a key of ``report.data.LABELS``.
    """

    system: str
    label: str
    what: str
    uar: Interval
    accuracy: Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class SystemComparison:
    """UAR of one system minus another's on the same test rows, with interval and p-value.

    ``of`` and ``against`` are keys of ``report.data.LABELS``; ``speakers`` are counted.
    """

    of: str
    against: str
    difference: Interval
    speakers: int

    def __str__(self) -> str:
        names = f"{LABELS[self.of].lower()}", f"{LABELS[self.against].lower()}"
        value, low, high = self.difference.ends()
        verb = "is better than" if value > 0 else "is worse than"
        told = "no interval: a single speaker"
        p = self.difference.p_value
        if p is None or p >= 0.05:
            verb = "is not shown to differ from"
        if p is not None and low is not None and high is not None:
            told = f"95 % interval {points(low)} to {points(high)}, {p_value(p)}; over "
            told += plural(self.speakers, "speaker")
        gained = ""
        if self.against == "mean" and not verb.startswith("is better"):
            gained = " Choosing members and weights shows no gain over the plain mean."
        return (
            f"The {names[0]} {verb} the {names[1]}: {points(value)} points of UAR ({told}).{gained}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialsOfRun:
    """What became of the trials that were asked for.

    Attributes:
        run: directory or URI.
        asked: None where a time was given; then ``not_begun`` is 0.
        trained: on every fold.
        cut_off: begun, and not ended.
        by_architecture: of those that have a trial, these five by name.
        no_trial: architectures of which none has begun.
        left_out: architectures that cannot be trained on the dataset, and why.
    """

    run: str
    asked: int | None
    trained: int
    pruned: int
    failed: int
    cut_off: int
    not_begun: int
    by_architecture: dict[str, dict[str, int]]
    no_trial: tuple[str, ...]
    left_out: dict[str, str]

    def __str__(self) -> str:
        counts = {name: getattr(self, name) for name in (*_STATES, "not_begun")}
        begun = sum(counts[name] for name in _STATES)
        lead = f"{plural(begun, 'trial')} begun"
        if self.asked is not None:
            lead = f"{plural(self.asked, 'trial')} asked for"
        text = f"{lead}: {_tally(counts) or 'none has begun'}"
        if self.no_trial:
            text += (": " if self.not_begun else "; not begun: ") + ", ".join(self.no_trial)
        text += "."
        if len(self.by_architecture) > 1:
            each = [f"{name} {_tally(found)}" for name, found in self.by_architecture.items()]
            joined = "; ".join(each)
            if self.trained == begun:
                joined = joined.replace(" trained;", ",").removesuffix(" trained")
            text += f" By architecture: {joined}."
        if self.left_out:
            text += f" Not tried, cannot be trained on this dataset: {', '.join(self.left_out)}."
        return text


#: test speakers below which numbers are said to rest on few
FEW_SPEAKERS = 10
#: what notes of a fold plan say of copies, see ``protocols.selection``
_COPIES = ("are identical recordings", "share sound otherwise", "Speakers who share recordings")
_STATES = ("trained", "pruned", "failed", "cut_off")


def _tally(counts: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What is told first.

    Attributes:
        headline: ``UAR 52.4 % (45.1–60.8), chance 25.0 %``, of the first row.
        chance: UAR of guessing.
        rows: the ensemble, the best single trial, the trial that prediction and export take, the
            reference, as far as there are some.
        comparisons: between the rows.
        trials: of each run.
        sentences: what the rows mean.
        speaker_needs: what those that normalise by speaker use; empty where none does.
        leaderboard: the complete trials.
        caveats: what changes how a number may be used, a sentence each.
        look: at the test rows, which the numbers come from; None without any.
    """

    headline: str
    chance: float
    rows: tuple[AnswerRow, ...]
    comparisons: tuple[SystemComparison, ...]
    trials: tuple[TrialsOfRun, ...]
    sentences: tuple[str, ...]
    speaker_needs: str
    leaderboard: tuple[RankedTrial, ...] = dataclasses.field(repr=False)
    caveats: tuple[str, ...] = ()
    look: LookCount | None = None


def read_answer(path: Path, *, test_values: bool = False) -> Answer:
    """The answer of a run or an ensemble on disk; see ``load.load_source`` for what it raises.

    ``test_values``: with those of every trial alone.
    """
    return find_answer(build_report_data(load_source(path), test_values=test_values))


def find_answer(report: ReportData) -> Answer:
    """Put the numbers of a page into the story."""
    chance = 1 / len(report.classes)
    headline = "There is no answer yet: no trial has finished."
    if report.sealed and report.finished:
        best = max(trial.objective or 0.0 for trial in report.finished)
        headline = (
            f"{SEALED[0].upper()}{SEALED[1:]}. Best mean dev UAR {100 * best:.1f} %, chance "
            f"{100 * chance:.1f} %"
        )
    if report.systems:
        first = report.systems[0]
        chance = chance_uar(first.test.truth)
        headline = f"UAR {first.pooled['uar'].in_percent()}, chance {100 * chance:.1f} %"
    comparisons = tuple(_comparisons(report))
    sources = report.ensemble.get("per_source", []) if report.source.ensemble else []
    needs, used = speaker_needs(report), any(trial.by_speaker for trial in report.used)
    return Answer(
        headline=headline,
        chance=chance,
        rows=tuple(
            AnswerRow(
                system=m.key,
                label=m.label,
                what=m.what,
                uar=m.pooled["uar"],
                accuracy=m.pooled["accuracy"],
            )
            for m in report.measured
            if m.key != "mean"
        ),
        comparisons=comparisons,
        trials=tuple(map(_trials, report.source.runs)),
        speaker_needs=needs,
        sentences=(
            *_against_chance(report, chance),
            *map(str, comparisons),
            *_how_chosen(report),
            *source_sentences(sources),
        ),
        leaderboard=report.leaderboard,
        caveats=(
            *([f"Normalised by speaker: {needs}"] if used else []),
            *_caveats(report),
        ),
        look=report.look,
    )


def _caveats(report: ReportData) -> Iterator[str]:
    """What changes how a number may be used; it stands in notes, and beside the number too."""
    if report.plan.get("speaker_independent") is False:
        yield (
            f"Protocol {report.protocol} shares speakers between training and test: the numbers "
            "say nothing about new speakers."
        )
    if report.systems:
        named = set(report.systems[0].test.speaker_ids.tolist())
        count = len(named)
        if named == {NO_SPEAKER}:
            yield (
                "No speaker is named: all clips count as those of one speaker, so there are no "
                "intervals and no tests, and new speakers may give very different numbers."
            )
        elif count < FEW_SPEAKERS:
            speakers = plural(count, "test speaker")
            yield f"Only {speakers}: other speakers may give different numbers."
    yield from (n for n in report.plan.get("notes") or () if any(copy in n for copy in _COPIES))
    if (
        any(dev_tests_elsewhere(run.plan) for run in report.source.runs)
        and len(report.finished) > 1
    ):
        yield (
            "The mean dev value that ranks trials and guides the search includes rows that other "
            "folds use as test rows: dev values are too high, and the choice of trials is not "
            "independent of the test rows."
        )
    if report.look is not None:
        yield str(report.look)


def _comparisons(report: ReportData) -> Iterator[SystemComparison]:
    """The ensemble with the best single trial, with the plain mean and with the reference, as its
    file has them or else measured; of a run without one the best single trial with the latter."""
    if not report.systems:
        return
    speakers = len(set(report.systems[0].test.speaker_ids.tolist()))
    measured = {system.key: system for system in (*report.systems[1:], *report.others)}
    for against in ("single", "mean", "reference"):
        found = report.comparisons.get(against)
        if found is not None and (report.resamples is None or found.p_value is not None):
            yield SystemComparison(
                of="ensemble", against=against, difference=found, speakers=speakers
            )
        elif against in measured:
            yield _compare(report.systems[0], measured[against])


def _compare(ours: EvaluatedSystem, theirs: EvaluatedSystem) -> SystemComparison:
    """Two systems on the same rows, tested as an ensemble is against the best single trial."""
    speakers = ours.test.speaker_ids.tolist()
    difference = metric_differences(ours.test.truth, ours.test.values, theirs.test.values, speakers)
    return SystemComparison(
        of=ours.key,
        against=theirs.key,
        difference=difference["uar"],
        speakers=len(set(speakers)),
    )


def _against_chance(report: ReportData, chance: float) -> Iterator[str]:
    """A sentence on each system that is not shown to beat guessing."""
    for system in report.systems:
        uar = system.pooled["uar"]
        if exceeds_chance(uar, chance):
            continue
        guessing = f"{100 * chance:.1f} %, what guessing gives."
        said = f"{uar.in_percent()} UAR is not above {guessing}"
        if uar.low is not None:
            verb = place_of_chance(uar, chance)
            said = f"the 95 % interval of its UAR, {interval('uar', uar)} %, {verb} {guessing}"
        yield f"{system.label}: not shown to be better than chance; {said}"


def _how_chosen(report: ReportData) -> Iterator[str]:
    """How the rows relate: what is fair, what is optimistic, what there is not."""
    if len(report.finished) == 1:
        yield "One trial finished: there is nothing to combine."
        return
    if report.sealed:
        yield UNSEAL
    if len(report.systems) == 1 and report.systems[0].key == "single":
        yield (
            "No ensemble was built of this run; `serplatform ensemble` combines its trials without "
            "training."
        )
    if len(report.source.runs) != 1 or not report.systems:
        return
    if report.source.runs[0].info.get("nested"):
        yield (
            "Nested: each fold's trials were proposed, stopped and chosen by that fold's dev rows "
            "alone; no trial has a model of every fold: give `predict` and `export` the ensemble."
        )
        return
    metric = METRICS[objective_of(report.source.runs)].title
    given = "" if report.source.path == report.source.runs[0].path else "given the run, "
    for run, trial in ranked_trials(report.source.runs)[:1]:
        taken = (
            f"{given}`predict` and `export` use {trial.name}, the trial with the best mean dev "
            f"{metric}"
        )
        if given:
            taken = f"Given this ensemble, `predict` and `export` use all its members; {taken}"
        if any(s.key == "trial" for s in report.others):
            optimistic = (
                " Its test UAR is optimistic: its dev rows are test rows of other folds (`search "
                "--nested` avoids this). The fair estimate is what each fold chooses on its own "
                "dev rows."
            )
            yield f"{taken} over all folds.{optimistic if dev_tests_elsewhere(run.plan) else ''}"
        elif report.systems[-1].what == f"{trial.name} in every fold":
            fair = "its test UAR is a fair estimate"
            yield f"{taken}, which every fold's own dev rows choose as well: {fair}."


def _trials(run: ReportedRun) -> TrialsOfRun:
    """Count what was asked for and what became of it."""
    names = {"complete": "trained", "pruned": "pruned", "failed": "failed"}
    found: dict[str, dict[str, int]] = {}
    for architecture, state in [
        *((t.architecture, names[t.state]) for t in run.trials),
        *((name or "unknown", "cut_off") for name in run.cut_off.values()),
    ]:
        counts = found.setdefault(architecture, dict.fromkeys(_STATES, 0))
        counts[state] += 1
    whole = {state: sum(counts[state] for counts in found.values()) for state in _STATES}
    asked, left_out = run.info.get("trials"), run.info.get("left_out") or {}
    return TrialsOfRun(
        run=shown(run.path),
        asked=asked,
        **whole,
        not_begun=max(0, (asked or 0) - sum(whole.values())),
        by_architecture=found,
        no_trial=tuple(
            name
            for name in run.info.get("architectures", ())
            if name not in found and name not in left_out
        ),
        left_out=dict(left_out),
    )
