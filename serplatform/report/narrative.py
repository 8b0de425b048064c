"""The first screen in words: what was asked, on what data, the answer, and its limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from serplatform.artifacts.trial import layer_weights_text
from serplatform.report.answer import Answer, find_answer
from serplatform.report.data import ReportData
from serplatform.report.encoders import training_data_facts, training_data_warning
from serplatform.report.load import ReportTrial
from serplatform.report.published_baselines import (
    PublishedBaselines,
    find_baselines,
    first_screen,
    limit,
    qualities,
    sentences,
)
from serplatform.report.wording import METRICS, interval, listing, percent, plural
from serplatform.statistics.intervals import Interval

#: architectures that the question names
MOST_NAMES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bar:
    """One row of the answer's picture; positions are percent of its width."""

    key: str
    label: str
    what: str
    value: str
    bounds: str
    at: float
    left: float
    width: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """The headline, the sentences behind it, and the bars: our systems, then results of others.

    ``cautions`` are to be read before the number is used, ``grave`` ones are shown unfolded.
    ``chance_at`` is in percent of the picture's width, ``low`` and ``high`` in percent UAR.
    """

    headline: str
    sentences: tuple[str, ...]
    cautions: tuple[str, ...]
    grave: bool
    chance: str
    bars: tuple[Bar, ...] = ()
    chance_at: float = 0.0
    low: int = 0
    high: int = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Narrative:
    """What the first screen and the method section say."""

    title: str
    synthetic: bool
    question: str
    asked: tuple[tuple[str, str], ...]
    verdict: Verdict
    facts: tuple[tuple[str, str], ...]
    limits: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    definitions: tuple[tuple[str, str, str], ...]
    provenance: tuple[tuple[str, str], ...]


def build_narrative(report: ReportData) -> Narrative:
    """Put the numbers into words."""
    dataset = report.dataset
    baselines, answer = find_baselines(report), find_answer(report)
    title = str(dataset.get("title") or dataset.get("corpus") or "an unnamed corpus")
    return Narrative(
        title=title,
        synthetic=bool(dataset.get("synthetic")),
        question=_question(report, title),
        asked=_asked(report, answer, title),
        verdict=_verdict(report, answer, baselines),
        facts=_facts(report),
        limits=_limits(report, baselines),
        notes=_notes(report),
        definitions=tuple((m.title, name, m.definition) for name, m in METRICS.items()),
        provenance=_provenance(report),
    )


def _question(report: ReportData, title: str) -> str:
    names = listing(report.architectures) or "its members"
    if len(report.architectures) > MOST_NAMES:  # they stand with what became of their trials
        names = f"{len(report.architectures)} architectures"
    whose = {
        True: " of speakers who are not in the training data",
        False: " of speakers some of whom are in the training data",
        None: "",
    }[report.plan.get("speaker_independent")]
    alone = ", alone and combined" if report.source.ensemble else ""
    count = len(report.trials)
    trained = f" {plural(count, 'configuration')} of {names}{alone}." if count else ""
    return (
        f"How well are {len(report.classes)} emotions ({listing(report.classes)}) recognised in "
        f"the speech{whose}?{trained}"
    )


def _asked(report: ReportData, answer: Answer, title: str) -> tuple[tuple[str, str], ...]:
    """What was asked for, and what was done."""
    several = len(answer.trials) > 1
    return (
        ("Data", _data(report, title)),
        ("Protocol", _protocol(report)),
        *(
            (f"Trials of {trials.run}" if several else "Trials", str(trials))
            for trials in answer.trials
        ),
        ("Chosen on", "Dev rows: search, pruning, early stopping, members and weights."),
    )


def _data(report: ReportData, title: str) -> str:
    counts = report.dataset.get("counts") or {}
    text = title
    if counts.get("utterances"):
        text += f": {plural(counts['utterances'], 'utterance')}"
        if counts.get("speakers"):
            text += f" of {plural(counts['speakers'], 'speaker')}"
    text += "."
    if report.systems:
        test = report.systems[0].test
        unique = len(set(test.utterance_ids))
        text += (
            f" Tested on {plural(unique, 'utterance')} of "
            f"{plural(len(set(test.speaker_ids)), 'speaker')} in "
            f"{plural(len(set(test.folds.tolist())), 'fold')}"
        )
        text += ", each once." if unique == len(test) else f" ({len(test):,} tests in all)."
    return text


def _verdict(report: ReportData, answer: Answer, baselines: PublishedBaselines) -> Verdict:
    warning = training_data_warning(report)
    told = Verdict(
        headline=answer.headline,
        sentences=(*answer.sentences, *sentences(report, baselines)),
        cautions=(*warning, *answer.caveats),
        grave=bool(warning) or report.plan.get("speaker_independent") is False,
        chance=percent(answer.chance),
    )
    if not report.systems:
        return told
    chance = answer.chance
    others = first_screen(baselines.results.get("uar", ()), report)
    rows = [(r.system, r.label, r.what, r.uar, interval("uar", r.uar)) for r in answer.rows]
    rows += [
        ("other", r.system, qualities(r), Interval(value=r.value, low=None, high=None), "")
        for r in reversed(others)
    ]
    ends = [chance, *(v for *_, uar, _ in rows for v in uar.ends() if v is not None)]
    low = max(0, 10 * int((100 * min(ends) - 2) // 10))
    high = min(100, 10 * -int(-(100 * max(ends) + 2) // 10))

    def place(value: float) -> float:
        return round(100 * (100 * value - low) / (high - low), 2)

    bars = []
    for key, label, what, uar, bounds in rows:
        at = place(uar.value)
        left, right = (at if end is None else place(end) for end in (uar.low, uar.high))
        bars.append(
            Bar(
                key=key,
                label=label,
                what=what,
                value=percent(uar.value),
                bounds=bounds,
                at=at,
                left=left,
                width=round(right - left, 2),
            )
        )
    return dataclasses.replace(told, bars=tuple(bars), chance_at=place(chance), low=low, high=high)


def _protocol(report: ReportData) -> str:
    plan = report.plan
    known = plan.get("speaker_independent")
    sharing = ""
    if known is not None:
        sharing = ", speaker-independent" if known else ", speakers shared between parts"
    number = f", {plural(len(plan['folds']), 'fold')}" if "folds" in plan else ""
    return f"{report.protocol}{number}{sharing}."


def _facts(report: ReportData) -> tuple[tuple[str, str], ...]:
    hashed = report.description.get("folds_hash") or report.plan.get("hash") or "unknown"
    return (
        ("Fold file", f"SHA-256 {hashed}"),
        ("Classes", _classes(report)),
        *((system.label, system.chosen) for system in report.measured),
        (
            "Test rows",
            f"{report.look or 'Not opened.'} Search, pruning, early stopping, choice and weights "
            "saw dev rows.",
        ),
        *training_data_facts(report),
        ("Metric", f"UAR. {METRICS['uar'].definition}"),
        (
            "Intervals and test",
            "95 %, over speakers: what is left without each of them in turn (jackknife), Student's "
            "t, on the logit scale for shares. The p-value of a difference is of the same test, "
            "two-sided."
            + (
                f" The ensemble's file is older: its intervals are percentiles of "
                f"{report.resamples:,} resamples of speakers, which are too narrow."
                if report.resamples
                else ""
            ),
        ),
    )


def _classes(report: ReportData) -> str:
    """The classes, and what became of the corpus's other labels."""
    mapping: Mapping[str, str] = report.plan.get("label_map") or {}
    groups: dict[str, list[str]] = {}
    for label, name in mapping.items():
        groups.setdefault(name, []).append(label)
    merged = [
        f"{name} = {' + '.join(sorted(labels))}"
        for name, labels in groups.items()
        if labels != [name]
    ]
    labels = (report.dataset.get("counts") or {}).get("by_emotion") or {}
    out = [label for label in labels if label not in mapping] if mapping else []
    text = f"{len(report.classes)}: {listing(report.classes)}. "
    text += f"Merged: {'; '.join(merged)}." if merged else "No classes were merged."
    return text + (f" Left out: {listing(out)}." if out else "")


def _limits(report: ReportData, baselines: PublishedBaselines) -> tuple[tuple[str, str], ...]:
    independent = report.plan.get("speaker_independent")
    by_speaker = [t for t in report.used if t.by_speaker]
    found = [
        (
            report.dataset.get("synthetic"),
            "Any result on recorded human speech",
            "this corpus is synthetic and shows only that the software runs.",
        ),
        (
            independent is True,
            "Results of random splits",
            "there, test speakers and often their sentences are in the training data, too, which "
            "raises every number.",
        ),
        (
            independent is False,
            "Results on unknown speakers",
            "this protocol shares speakers between training and test, which raises every "
            "number on this page.",
        ),
        (
            True,
            "Other folds or labels of the same corpus",
            "only results with the same fold-file hash were trained and tested on the same "
            "utterances and classes.",
        ),
        (
            True,
            "“UA” and “WA” that are not defined",
            "papers give these names to different metrics; compare metric with metric, as "
            "defined under Method.",
        ),
        (
            True,
            "Dev results, also those on this page",
            "epochs, trials and members were chosen on dev rows, so dev values are too high.",
        ),
        (
            by_speaker,
            "Systems that see each utterance alone",
            f"{len(by_speaker)} of the {plural(len(report.used), 'trial')} used here "
            f"{'normalises' if len(by_speaker) == 1 else 'normalise'} features by speaker, with "
            "a test speaker's other, unlabelled audio; see the cautions beside the answer.",
        ),
    ]
    return (
        *((what, why) for holds, what, why in found if holds),
        limit(report, baselines),
    )


def _notes(report: ReportData) -> tuple[str, ...]:
    notes: list[str] = []
    status = report.description.get("status")
    if status not in (None, "complete"):
        notes.append(f"The run's status is “{status}”: it may still change.")
    for run in report.source.runs:
        notes += [*run.info.get("notes", ()), *run.plan.get("notes", ())]
        notes += _trial_notes(run.trials)
    notes += [
        f"{trial.architecture} #{trial.number}: "
        f"{layer_weights_text(trial.record['layer_weights'])}."
        for trial in report.used
        if "layer_weights" in trial.record
    ]
    if report.source.ensemble is not None:
        notes += report.source.ensemble.info.get("notes", ())
    if report.source.missing:
        notes.append(
            f"The ensemble's run(s) {listing(report.source.missing)} are no longer where they "
            "were, so their trials are not shown."
        )
    return tuple(dict.fromkeys(notes))


def _trial_notes(trials: Sequence[ReportTrial]) -> list[str]:
    """What trials say of their data, each with the architectures that it holds for."""
    said: dict[str, dict[str, None]] = {}
    for trial in trials:
        for note in trial.record.get("notes", ()):
            said.setdefault(note, {})[trial.architecture] = None
    return [f"{', '.join(names)}: {note}" for note, names in said.items()]


def _provenance(report: ReportData) -> tuple[tuple[str, str], ...]:
    info: Mapping[str, Any] = report.description
    plain = ("seed", "objective", "sampler", "pruner", "combiner", "started", "ended", "status")
    rows = {
        "Command": " ".join(info.get("command") or ()) or None,
        **{key.capitalize(): info.get(key) for key in plain},
        "Dataset fingerprint": report.dataset.get("fingerprint"),
        "Software": info.get("versions") or None,
        "Hardware": info.get("hardware") or None,
    }
    return tuple((label, _plain(value)) for label, value in rows.items() if value is not None)


def _plain(value: Any) -> str:
    """A JSON value as a line of text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return str(value)
