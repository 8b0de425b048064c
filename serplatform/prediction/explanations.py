"""Explain a run: attention against phones, sampled shares, embeddings, and some utterances whole.

For the best trial of each architecture, the models of each outer fold are asked about that
fold's test utterances. What they say is written to ``RUN/explanations/``, from where the report
draws it without a model:

- ``attention.parquet``: each attention map of each utterance: shares of attention and frames by
  phone class, and how evenly it is spread.
- ``statistics.parquet``: what models that choose their observations sampled.
- ``embeddings.parquet``: test utterances of one fold in the plane.
- ``utterances.json``: some utterances with spectrogram, audio, words, phones, curves.
- ``explanations.json``: what was explained, tests, and the checksums of the other files. It is
  written last: files that it does not vouch for are not read.

Shapes: N utterances, K classes.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from serplatform import plugins
from serplatform.alignment.phone_classes import phone_class
from serplatform.artifacts.dataset import DatasetDescription
from serplatform.artifacts.files import SCHEMA_VERSION, file_sha256, write_json
from serplatform.artifacts.trial import TrialRecord
from serplatform.datasets.dataset import Dataset
from serplatform.errors import ArtifactError
from serplatform.prediction.attention import (
    LEAST_AGREEMENT,
    LONGEST_FRAME,
    class_mass,
    frame_classes,
    speech_part,
    spread,
)
from serplatform.prediction.embeddings import neighbour_purity, picture
from serplatform.prediction.explanation_tables import write_tables
from serplatform.prediction.featured import Curve, featured_utterance, frame_curve, word_curve
from serplatform.prediction.model_probe import Answer, latency, probe
from serplatform.prediction.question import (
    Question,
    choose_trials,
    find_utterances,
    make_question,
    merit,
    open_dataset,
    ranked_rows,
)
from serplatform.protocols.plan import plan_hash, read_plan
from serplatform.run_directory import RunDirectory
from serplatform.statistics.circular_shift import circular_shift_test

FOLDER = "explanations"
#: test utterances that are asked about, unless the user says otherwise
LIMIT = 600
#: confident errors that are listed
LISTED_ERRORS = 20
#: largest difference between a posterior on record and the same computed again
POSTERIOR_TOLERANCE = 0.01


@dataclasses.dataclass
class _Findings:
    """What the trials said, collected."""

    trials: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    tests: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    attention: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    statistics: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    embeddings: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    predictions: dict[int, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    curves: dict[int, list[Curve]] = dataclasses.field(default_factory=dict)

    def in_order(self) -> None:
        """Sort everything by trial, in whatever order they were asked."""
        for entries in (self.trials, self.tests, self.attention, self.statistics, self.embeddings):
            entries.sort(key=lambda entry: (entry["trial"], entry.get("fold", 0)))
        for found in self.predictions.values():
            found.sort(key=lambda entry: entry["trial"])
        for curves in self.curves.values():
            curves.sort(key=lambda curve: curve.trial)


def may_embed(meta: DatasetDescription) -> bool:
    """Whether a corpus may be passed on without conditions, so that a page may carry its sound.

    Args:
        meta: the content of ``dataset.json``.

    Example:
        >>> may_embed({"licence": "CC BY-NC-SA 4.0"}), may_embed({"synthetic": True})
        (False, True)
    """
    return bool(meta.get("synthetic")) or str(meta.get("licence") or "").startswith("CC0")


def explain_run(
    run: Path,
    *,
    utterances: Sequence[str] | None = None,
    most: int = 4,
    hits: int = 0,
    trials: Sequence[int] | None = None,
    dataset: str | Path | None = None,
    limit: int = LIMIT,
    audio: bool | None = True,
    seed: int = 0,
    budget: float | None = None,
) -> dict[str, Any]:
    """Explain some trials of a run, and write what was found into it.

    Args:
        run: the directory.
        utterances: ids to show whole; None: the most confident errors on test rows of the
            best of the trials, then its most confident right answers.
        most: how many are shown where ``utterances`` is None; right answers fill up where the
            errors are fewer.
        hits: most confident right answers shown beside these.
        trials: their numbers; None: the best finished trial of each architecture by mean dev
            UAR.
        dataset: where the dataset lies now, if it has moved.
        limit: test utterances that are asked about, drawn evenly from the folds; 0: all.
        audio: put the sound of the utterances shown into the file; None: only where the
            corpus may be passed on without conditions, see :func:`may_embed`.
        seed: of the draws.
        budget: seconds after which no further trial or fold is begun; the best trial goes
            first, and is asked about one fold at least. None: no limit.

    Returns:
        what ``explanations.json`` holds, JSON-serialisable.

    Raises:
        BadInputError: an utterance or trial is not of the run.
        ArtifactError: the dataset is not the run's, or a file is missing or damaged.
    """
    begun = time.monotonic()
    directory = RunDirectory(run)
    description = directory.read_run()
    plugins.restore(directory.path, description.get("plugins", []))
    opened = open_dataset(directory, description, dataset)
    plan = read_plan(directory.folds_file)
    chosen = choose_trials(directory, trials)
    best = max(chosen, key=lambda record: merit(record))
    ranked = ranked_rows(directory, int(best["trial"]), plan.classes)
    if utterances is None:
        right = [entry for entry in ranked[most:] if entry["prediction"] == entry["truth"]]
        picked = [*ranked[:most], *right[:hits]]
        featured = {entry["utterance_id"]: entry["fold"] for entry in picked}
    else:
        featured = find_utterances(plan, opened, utterances)
    question = make_question(directory, opened, plan, featured, limit=limit, seed=seed)
    findings = _Findings()
    deadline = None if budget is None else begun + budget
    left_out = []
    for record in sorted(chosen, key=merit, reverse=True):
        if findings.trials and deadline is not None and time.monotonic() > deadline:
            left_out.append(int(record["trial"]))
            continue
        _explain_trial(question, record, findings, seed=seed, deadline=deadline)
    findings.in_order()
    with_audio = may_embed(opened.meta) if audio is None else audio
    shown = [
        featured_utterance(
            opened,
            row,
            fold=fold,
            truth=question.truth(row),
            predictions=findings.predictions.get(row, []),
            curves=findings.curves.get(row, []),
            spans=[*question.words.get(row, []), *question.phones.get(row, [])],
            notation=question.notation,
            agreement=question.agreement.get(row),
            with_audio=with_audio,
        )
        for row, fold in question.featured.items()
        if row in findings.predictions
    ]
    folder = directory.path / FOLDER
    write_tables(
        folder,
        attention=findings.attention,
        statistics=findings.statistics,
        embeddings=findings.embeddings,
    )
    write_json(folder / "utterances.json", {"schema_version": SCHEMA_VERSION, "utterances": shown})
    errors = [entry for entry in ranked if entry["prediction"] != entry["truth"]]
    most_folds = max(trial["folds"] for trial in findings.trials)
    asked = sum(len(question.rows[fold]) for fold in question.order()[:most_folds])
    summary: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "dataset_fingerprint": opened.fingerprint,
        "folds_hash": plan_hash(plan),
        "classes": list(plan.classes),
        "trials": findings.trials,
        "out_of_time": sorted(left_out),
        "asked": asked,
        "test_utterances": sum(len(fold.test) for fold in plan.folds),
        "phones": _describe_phones(opened, question),
        "phone_tests": findings.tests,
        "ranked_by": int(best["trial"]),
        "confident_errors": errors[:LISTED_ERRORS],
        "shown": [item["utterance_id"] for item in shown],
        "chosen_by": "confidence" if utterances is None else "user",
        "audio": sum(item["audio"] is not None for item in shown),
        "audio_left_out": audio is None and not with_audio,
        "licence": opened.meta.get("licence"),
        "seed": seed,
        "seconds": round(time.monotonic() - begun, 2),
    }
    names = ("attention.parquet", "statistics.parquet", "embeddings.parquet", "utterances.json")
    summary["files"] = {name: file_sha256(folder / name) for name in names}
    write_json(folder / "explanations.json", summary)
    return summary


# -- what the models say


def _explain_trial(
    question: Question,
    record: TrialRecord,
    findings: _Findings,
    *,
    seed: int,
    deadline: float | None,
) -> None:
    trial, architecture = int(record["trial"]), str(record["architecture"])
    recorded = _recorded_posteriors(question.run, trial, question.plan.classes)
    collected: dict[str, list[tuple[int, Any, Any]]] = {}
    kinds: dict[str, str] = {}
    pictured: list[Answer] = []
    difference = 0.0
    taken: tuple[float, float] | None = None
    folds = 0
    for fold in question.rows if deadline is None else question.order():
        if folds and deadline is not None and time.monotonic() > deadline:
            break
        folds += 1
        drawn = question.rows[fold]
        own = [row for row, where in question.featured.items() if where == fold]
        extra = question.picture_rows if fold == 0 else np.zeros(0, dtype=np.int64)
        asked = np.unique(np.concatenate([drawn, extra, np.array(own, dtype=np.int64)]))
        if not len(asked):
            continue
        probed = probe(question.run, question.dataset, question.plan, trial, fold, asked)
        answers = probed.answers
        if taken is None:
            taken = latency(probed)
        difference = max(difference, _difference(question, recorded, fold, answers))
        if difference > POSTERIOR_TOLERANCE:
            raise ArtifactError(
                f"{question.run.model_directory(trial, fold)}: its posteriors differ from those "
                f"on record by {difference:.3f}; the model, the dataset or the software is not "
                "what trained it: train the trial again"
            )
        in_sample, in_picture = set(drawn.tolist()), set(extra.tolist())
        for answer in answers:
            if answer.row in in_sample:
                kinds |= {name: kind for name, (kind, _) in answer.maps.items()}
                _collect(question, trial, architecture, fold, answer, findings, collected)
            if answer.row in in_picture:
                pictured.append(answer)
            if question.featured.get(answer.row) == fold:
                _collect_featured(question, trial, architecture, answer, findings)
    for name, entries in collected.items():
        text = question.dataset.utterances.column("text")
        groups = [(text[row].as_py() or "").strip().lower() or row for row, _, _ in entries]
        test = circular_shift_test(
            [weights for _, weights, _ in entries],
            [marked for _, _, marked in entries],
            groups,
            seed=seed,
        )
        findings.tests.append(
            {"trial": trial, "architecture": architecture, "map": name, **dataclasses.asdict(test)}
        )
    findings.trials.append(
        {
            "trial": trial,
            "architecture": architecture,
            "folds": folds,
            "dev_uar": float(record["dev"]["uar"]),
            "num_parameters": record.get("num_parameters"),
            "latency_seconds": None if taken is None else taken[0],
            "latency_utterance_seconds": None if taken is None else round(taken[1], 3),
            "maps": kinds,
            "posterior_difference": difference,
            "embedding": _embed(question, trial, architecture, pictured, findings, seed=seed),
        }
    )


def _recorded_posteriors(
    run: RunDirectory, trial: int, classes: Sequence[str]
) -> dict[tuple[int, str], npt.NDArray[np.float64]]:
    table = run.read_posteriors(trial)
    table = table.filter(pc.equal(table.column("part"), "test"))
    values = np.stack([table.column(f"p_{name}").to_numpy() for name in classes], axis=1)
    keys = zip(
        table.column("fold").to_pylist(), table.column("utterance_id").to_pylist(), strict=True
    )
    return dict(zip(keys, values, strict=True))


def _difference(
    question: Question,
    recorded: Mapping[tuple[int, str], npt.NDArray[np.float64]],
    fold: int,
    answers: Sequence[Answer],
) -> float:
    """Largest difference of a posterior from the one on record."""
    ids = question.dataset.utterance_ids
    found = [
        float(np.abs(answer.posteriors - recorded[fold, ids[answer.row]]).max())
        for answer in answers
        if (fold, ids[answer.row]) in recorded
    ]
    return max(found, default=0.0)


def _collect(
    question: Question,
    trial: int,
    architecture: str,
    fold: int,
    answer: Answer,
    findings: _Findings,
    collected: dict[str, list[tuple[int, Any, Any]]],
) -> None:
    """Note one utterance's maps by phone class, and what was sampled of it."""
    keys = {"trial": trial, "architecture": architecture, "fold": fold, **question.keys(answer.row)}
    prediction = question.plan.classes[int(answer.posteriors.argmax())]
    phones = question.phones.get(answer.row)
    fine = answer.grid.length <= LONGEST_FRAME
    classes = None
    if phones and fine and question.agreement[answer.row] >= LEAST_AGREEMENT:
        classes = frame_classes(phones, answer.grid, question.notation)
    for name, (kind, share) in answer.maps.items():
        if kind != "frames" or not fine:
            continue
        entry = {
            **keys,
            "map": name,
            "prediction": prediction,
            "frames": answer.grid.count,
            "spread": spread(share),
        }
        if classes is not None:
            found = class_mass(share, classes)
            entry |= {f"mass_{label}": value for label, value in found.mass.items()}
            entry |= {f"frames_{label}": value for label, value in found.frames.items()}
            speech = speech_part(share, classes)
            if speech is not None:
                collected.setdefault(name, []).append((answer.row, *speech))
        findings.attention.append(entry)
    if "sampled_share" in answer.statistics:
        findings.statistics.append(
            {
                **keys,
                "num_windows": round(answer.statistics["num_windows"]),
                "sampled_share": answer.statistics["sampled_share"],
                "elements": None if answer.elements is None else answer.elements.tolist(),
            }
        )


def _collect_featured(
    question: Question, trial: int, architecture: str, answer: Answer, findings: _Findings
) -> None:
    """Note the prediction and the curves of an utterance that is shown whole."""
    found = int(answer.posteriors.argmax())
    findings.predictions.setdefault(answer.row, []).append(
        {
            "trial": trial,
            "architecture": architecture,
            "prediction": question.plan.classes[found],
            "confidence": round(float(answer.posteriors[found]), 6),
        }
    )
    curves = findings.curves.setdefault(answer.row, [])
    for name, (kind, share) in answer.maps.items():
        if kind == "frames" and answer.grid.length <= LONGEST_FRAME:
            curves.append(frame_curve(trial, architecture, name, share, answer.grid))
        elif kind == "words" and answer.word_frames is not None:
            curves.append(
                word_curve(trial, architecture, name, share, answer.word_frames, answer.grid)
            )


def _embed(
    question: Question,
    trial: int,
    architecture: str,
    answers: Sequence[Answer],
    findings: _Findings,
    *,
    seed: int,
) -> dict[str, Any] | None:
    """Place the first fold's test utterances in the plane; None where there are too few."""
    if len(answers) < 3:
        return None
    vectors = [answer.vector for answer in answers]
    own = [vector for vector in vectors if vector is not None]
    if len(own) == len(vectors):
        table, what = np.stack(own), "penultimate"
    else:
        table = np.log(np.maximum(np.stack([a.posteriors for a in answers]), 1e-12))
        what = "log_posteriors"
    points, method = picture(table, seed=seed)
    classes = question.plan.classes
    truths = [question.truth(answer.row) for answer in answers]
    purity, chance = neighbour_purity(table, np.array([classes.index(t) for t in truths]))
    for answer, (x, y) in zip(answers, points.tolist(), strict=True):
        found = int(answer.posteriors.argmax())
        findings.embeddings.append(
            {
                "trial": trial,
                "architecture": architecture,
                "fold": 0,
                **question.keys(answer.row),
                "prediction": classes[found],
                "confidence": float(answer.posteriors[found]),
                "x": x,
                "y": y,
            }
        )
    return {
        "vectors": what,
        "dim": int(table.shape[1]),
        "method": method,
        "fold": 0,
        "utterances": len(answers),
        "purity": purity,
        "chance": chance,
    }


# -- what is written


def _describe_phones(dataset: Dataset, question: Question) -> dict[str, Any] | None:
    """The alignment behind the phone classes; None without phones."""
    if not question.phones:
        return None
    labels = Counter(span.label for found in question.phones.values() for span in found)
    unsorted = [label for label in labels if phone_class(label, question.notation) == "other"]
    return {
        "notation": question.notation,
        "utterances": len(question.phones),
        "least_agreement": LEAST_AGREEMENT,
        "misaligned": sum(found < LEAST_AGREEMENT for found in question.agreement.values()),
        "sources": dict(dataset.meta.get("alignment") or {}),
        "other": sorted(unsorted),
    }
