"""The first screen in words: what was asked, on what data, the answer, and its limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from serplatform.report.beside import Beside, find_beside, first_screen, limit, qualities, sentences
from serplatform.report.described import dataset_of, description, plan_of, protocol_name
from serplatform.report.evidence import Comparison, Evidence, System
from serplatform.report.load import Trial
from serplatform.report.wording import (
    METRICS,
    interval,
    listing,
    p_value,
    percent,
    plural,
    points,
)
from serplatform.statistics.chance import chance_uar, exceeds_chance, place_of_chance


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bar:
    """One row of the answer's picture; positions are percent of its width."""

    key: str
    label: str
    value: str
    bounds: str
    at: float
    left: float
    width: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """The verdict.

    Attributes:
        headline: one sentence.
        sentences: what stands behind it.
        bars: the systems' UAR with intervals, then results of others.
        chance_at: position of chance, percent of the width.
        low: left end of the scale, in percent UAR.
        high: right end.
    """

    headline: str
    sentences: tuple[str, ...]
    bars: tuple[Bar, ...]
    chance: str
    chance_at: float
    low: int
    high: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Narrative:
    """Everything that the first screen and the method section say."""

    title: str
    synthetic: bool
    question: str
    data: str
    answer: Answer
    facts: tuple[tuple[str, str], ...]
    limits: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    definitions: tuple[tuple[str, str, str], ...]
    provenance: tuple[tuple[str, str], ...]


def tell(evidence: Evidence) -> Narrative:
    """Put the evidence into words."""
    info, dataset, plan = description(evidence), dataset_of(evidence), plan_of(evidence)
    beside = find_beside(evidence)
    title = str(dataset.get("title") or dataset.get("corpus") or "an unnamed corpus")
    return Narrative(
        title=title,
        synthetic=bool(dataset.get("synthetic")),
        question=_question(evidence, plan, title),
        data=_data(evidence, dataset, title),
        answer=_answer(evidence, beside),
        facts=_facts(evidence, info, dataset, plan),
        limits=_limits(evidence, dataset, plan, beside),
        notes=_notes(evidence, info, plan),
        definitions=tuple((t, name, text) for name, (t, _, _, text) in METRICS.items()),
        provenance=_provenance(info, dataset),
    )


def _question(evidence: Evidence, plan: Mapping[str, Any], title: str) -> str:
    names = listing(evidence.architectures) if evidence.architectures else "its members"
    known = plan.get("speaker_independent")
    whose = ""
    if isinstance(known, bool):
        heard = "some of whom were" if not known else "who were not"
        whose = f", on speakers {heard} heard in training"
    count = plural(len(evidence.trials), "configuration")
    which = f"Which of {count} of {names}" if evidence.trials else f"How well does {names}"
    middle = ", alone or combined, best tells" if evidence.source.ensemble else " best tells"
    return (
        f"{which}{middle} {len(evidence.classes)} emotions apart "
        f"({listing(evidence.classes)}) in {title}{whose}?"
    )


def _data(evidence: Evidence, dataset: Mapping[str, Any], title: str) -> str:
    counts = dataset.get("counts") or {}
    text = title
    if counts.get("utterances"):
        text += f": {plural(int(counts['utterances']), 'utterance')}"
        if counts.get("speakers"):
            text += f" of {plural(int(counts['speakers']), 'speaker')}"
    text += "."
    if evidence.systems:
        test = evidence.systems[0].test
        unique = len(set(test.utterance_ids))
        folds = len(set(test.folds.tolist()))
        text += (
            f" Tested on {plural(unique, 'utterance')} of "
            f"{plural(len(set(test.speaker_ids)), 'speaker')} in {plural(folds, 'fold')}"
        )
        text += ", each once." if unique == len(test) else f" ({len(test):,} tests in all)."
    return text


def _answer(evidence: Evidence, beside: Beside) -> Answer:
    truth = evidence.systems[0].test.truth if evidence.systems else range(len(evidence.classes))
    chance = chance_uar(truth)
    if not evidence.systems:
        states = [t.state for t in evidence.trials]
        said = (
            f"{states.count('pruned')} were pruned and {states.count('failed')} failed"
            if states
            else "no trial was recorded"
        )
        return Answer(
            headline="There is no answer yet: no trial has finished.",
            sentences=(f"Of {plural(len(states), 'trial')}, {said}.",),
            bars=(),
            chance=percent(chance),
            chance_at=0.0,
            low=0,
            high=100,
        )
    ends = [chance]
    for system in evidence.measured:
        uar = system.pooled["uar"]
        ends += [v for v in (uar.value, uar.low, uar.high) if v is not None]
    others = first_screen(beside.results.get("uar", ()), evidence)
    ends += [result.value for result in others]
    low = max(0, 10 * int((100 * min(ends) - 2) // 10))
    high = min(100, 10 * -int(-(100 * max(ends) + 2) // 10))

    def place(value: float) -> float:
        return round(100 * (100 * value - low) / (high - low), 2)

    bars = []
    for system in evidence.measured:
        uar = system.pooled["uar"]
        left = place(uar.value if uar.low is None else uar.low)
        right = place(uar.value if uar.high is None else uar.high)
        bars.append(
            Bar(
                key=system.key,
                label=system.label,
                value=percent(uar.value),
                bounds=interval("uar", uar),
                at=place(uar.value),
                left=left,
                width=round(right - left, 2),
            )
        )
    bars += [
        Bar(
            key="reference",
            label=result.system,
            value=percent(result.value),
            bounds=qualities(result),
            at=place(result.value),
            left=place(result.value),
            width=0.0,
        )
        for result in reversed(others)
    ]
    if not exceeds_chance(evidence.systems[0].pooled["uar"], chance):
        headline = _chance(evidence.systems[0], chance)
    elif evidence.comparison is not None:
        headline = _verdict(evidence.comparison)
    else:
        headline = _alone(evidence.systems[0])
    return Answer(
        headline=headline,
        sentences=(*_behind(evidence, chance), *sentences(evidence, beside)),
        bars=tuple(bars),
        chance=percent(chance),
        chance_at=place(chance),
        low=low,
        high=high,
    )


def _alone(system: System) -> str:
    return f"{system.label}: {percent(system.pooled['uar'].value)} % UAR."


def _chance(system: System, chance: float) -> str:
    uar = system.pooled["uar"]
    said = f"{percent(uar.value)} % UAR is not above {percent(chance)} %"
    if uar.low is not None:
        verb = place_of_chance(uar, chance)
        said = f"the 95 % interval of its UAR, {interval('uar', uar)} %, {verb} {percent(chance)} %"
    return f"{system.label}: no better than chance; {said}, what guessing gives."


def _verdict(comparison: Comparison) -> str:
    difference = comparison.difference["uar"].value
    if comparison.permutation.p_value >= 0.05:
        return "The ensemble is not shown to differ from the best single trial."
    word = "better" if difference > 0 else "worse"
    return (
        f"The ensemble recognises emotions {word} than the best single trial, by "
        f"{points(abs(difference)).lstrip('+')} points of UAR."
    )


def _behind(evidence: Evidence, chance: float) -> list[str]:
    sentences = []
    if evidence.comparison is not None:
        comparison = evidence.comparison
        difference, permutation = comparison.difference["uar"], comparison.permutation
        bounds = (
            f" (95 % interval {points(difference.low)} to {points(difference.high)})"
            if difference.low is not None and difference.high is not None
            else " (no interval: a single speaker)"
        )
        sentences.append(
            f"Ensemble minus best single trial: {points(difference.value)} points of UAR{bounds}; "
            "paired permutation test over "
            f"{plural(permutation.num_clusters, permutation.clustered_by)}: "
            f"{p_value(permutation.p_value)}."
        )
        mcnemar = comparison.mcnemar
        sentences.append(
            f"The ensemble alone is right on {plural(mcnemar.only_a, 'utterance')}, the best "
            f"single trial alone on {mcnemar.only_b:,}: McNemar's exact test, "
            f"{p_value(mcnemar.p_value)} (it takes utterances as independent)."
        )
    sentences += [
        _chance(system, chance)
        for system in evidence.systems[1:]  # the headline says it of the first
        if not exceeds_chance(system.pooled["uar"], chance)
    ]
    if len(evidence.systems) == 1 and evidence.systems[0].key == "single":
        sentences.append(
            "No ensemble was built of this run; `serplatform ensemble` combines its trials without "
            "training."
        )
    return sentences


def _facts(
    evidence: Evidence,
    info: Mapping[str, Any],
    dataset: Mapping[str, Any],
    plan: Mapping[str, Any],
) -> tuple[tuple[str, str], ...]:
    facts = []
    known = plan.get("speaker_independent")
    sharing = ""
    if isinstance(known, bool):
        sharing = ", speaker-independent" if known else ", speakers shared between parts"
    folds = plan.get("folds")
    number = f", {plural(len(folds), 'fold')}" if isinstance(folds, list) else ""
    facts.append(("Protocol", f"{protocol_name(evidence)}{number}{sharing}"))
    hashed = info.get("folds_hash") or plan.get("hash") or "unknown"
    facts.append(("Fold file", f"SHA-256 {hashed}"))
    facts.append(("Classes", _merge(plan, dataset, evidence.classes)))
    facts += [(system.label, system.chosen) for system in evidence.measured]
    facts.append(
        (
            "Test rows",
            "Opened by this page and the ensemble's measurement alone; search, pruning, early "
            "stopping, choice and weights saw dev rows.",
        )
    )
    facts.append(("Metric", f"UAR. {METRICS['uar'][3]}"))
    facts.append(
        (
            "Intervals and test",
            f"95 %, {evidence.resamples:,} bootstrap resamples of whole speakers; the paired "
            "permutation test swaps the two systems' answers speaker by speaker, two-sided.",
        )
    )
    return tuple(facts)


def _merge(plan: Mapping[str, Any], dataset: Mapping[str, Any], classes: tuple[str, ...]) -> str:
    mapping = plan.get("label_map")
    mapping = mapping if isinstance(mapping, Mapping) else {}
    groups: dict[str, list[str]] = {}
    for label, name in mapping.items():
        groups.setdefault(str(name), []).append(str(label))
    merged = [
        f"{name} = {' + '.join(sorted(labels))}"
        for name, labels in groups.items()
        if labels != [name]
    ]
    counts = dataset.get("counts") or {}
    labels = counts.get("by_emotion") if isinstance(counts, Mapping) else None
    out = [str(label) for label in labels if label not in mapping] if labels and mapping else []
    text = f"{len(classes)}: {listing(classes)}. "
    text += f"Merged: {'; '.join(merged)}." if merged else "None merged."
    return text + (f" Left out: {listing(out)}." if out else "")


def _limits(
    evidence: Evidence, dataset: Mapping[str, Any], plan: Mapping[str, Any], beside: Beside
) -> tuple[tuple[str, str], ...]:
    limits = []
    if dataset.get("synthetic"):
        limits.append(
            (
                "Any result on recorded human speech",
                "this corpus is synthetic and shows only that the software runs.",
            )
        )
    if plan.get("speaker_independent") is True:
        limits.append(
            (
                "Results of random splits",
                "there the test speakers, and often their sentences, were heard in training, "
                "which raises every number.",
            )
        )
    elif plan.get("speaker_independent") is False:
        limits.append(
            (
                "Results on unknown speakers",
                "this protocol shares speakers between training and test, which raises every "
                "number on this page.",
            )
        )
    limits.append(
        (
            "Other folds or labels of the same corpus",
            "only results with the same fold-file hash were trained and tested on the same "
            "utterances and classes.",
        )
    )
    limits.append(
        (
            "“UA” and “WA” that are not defined",
            "papers give these names to different metrics; compare metric with metric, as "
            "defined under Method.",
        )
    )
    limits.append(
        (
            "Dev results, also those on this page",
            "dev rows chose epochs, trials and members, so they flatter.",
        )
    )
    speaker = [t for t in evidence.used if t.params.get("data.normalization") == "speaker"]
    if speaker:
        limits.append(
            (
                "Systems that hear each utterance alone",
                f"{len(speaker)} of the {plural(len(evidence.used), 'trial')} used here "
                f"{'normalises' if len(speaker) == 1 else 'normalise'} features by speaker, with "
                "a test speaker's other, unlabelled audio.",
            )
        )
    limits.append(limit(evidence, beside))
    return tuple(limits)


def _notes(evidence: Evidence, info: Mapping[str, Any], plan: Mapping[str, Any]) -> tuple[str, ...]:
    notes: list[str] = []
    status = info.get("status")
    if status not in (None, "complete"):
        notes.append(f"The run's status is “{status}”: it may still change.")
    for run in evidence.source.runs:
        notes += [str(n) for n in run.info.get("notes") or []]
        notes += [str(n) for n in run.plan.get("notes") or []]
        notes += _trial_notes(run.trials)
    if evidence.source.ensemble is not None:
        notes += [str(n) for n in evidence.source.ensemble.info.get("notes") or []]
    if evidence.source.missing:
        notes.append(
            f"The ensemble's run(s) {listing(evidence.source.missing)} are no longer where they "
            "were, so their trials are not shown."
        )
    return tuple(dict.fromkeys(notes))


def _trial_notes(trials: Sequence[Trial]) -> list[str]:
    """What trials say of their data, each with the architectures that it holds for."""
    said: dict[str, dict[str, None]] = {}
    for trial in trials:
        for note in trial.notes:
            said.setdefault(note, {})[trial.architecture] = None
    return [f"{', '.join(names)}: {note}" for note, names in said.items()]


def _provenance(info: Mapping[str, Any], dataset: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    rows = []
    command = info.get("command")
    if command:
        rows.append(("Command", " ".join(command) if isinstance(command, list) else str(command)))
    for label, key in (
        ("Seed", "seed"),
        ("Objective", "objective"),
        ("Sampler", "sampler"),
        ("Pruner", "pruner"),
        ("Combiner", "combiner"),
        ("Started", "started"),
        ("Ended", "ended"),
        ("Status", "status"),
    ):
        if info.get(key) is not None:
            rows.append((label, _plain(info[key])))
    if dataset.get("fingerprint"):
        rows.append(("Dataset fingerprint", str(dataset["fingerprint"])))
    for label, key in (("Software", "versions"), ("Hardware", "hardware")):
        if info.get(key):
            rows.append((label, _plain(info[key])))
    return tuple(rows)


def _plain(value: Any) -> str:
    """A JSON value as a line of text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return str(value)
