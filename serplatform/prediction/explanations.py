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
import difflib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from serplatform.alignment.phone_classes import PHONE_CLASSES, Notation, phone_class, phone_notation
from serplatform.artifacts import SCHEMA_VERSION, file_sha256, write_json, write_parquet
from serplatform.corpora.base import Span
from serplatform.datasets.dataset import Dataset
from serplatform.errors import ArtifactError, BadInputError
from serplatform.prediction.attention import (
    LEAST_AGREEMENT,
    LONGEST_FRAME,
    alignment_agreement,
    class_mass,
    frame_classes,
    speech_part,
    spread,
)
from serplatform.prediction.embeddings import neighbour_purity, picture
from serplatform.prediction.featured import Curve, featured_utterance, frame_curve, word_curve
from serplatform.prediction.model_probe import Answer, latency, probe
from serplatform.protocols.base import FoldPlan
from serplatform.protocols.plan import plan_hash, read_plan
from serplatform.run_directory import RunDirectory
from serplatform.statistics.circular_shift import circular_shift_test

IntArray = npt.NDArray[np.int64]

FOLDER = "explanations"
#: test utterances that are asked about, unless the user says otherwise
LIMIT = 600
#: test utterances of one fold in the picture of embeddings, at most
PICTURE_LIMIT = 300
#: confident errors that are listed
LISTED_ERRORS = 20
#: largest difference between a posterior on record and the same computed again
POSTERIOR_TOLERANCE = 0.01

_ATTENTION_SCHEMA = pa.schema(
    [
        ("trial", pa.int32()),
        ("architecture", pa.string()),
        ("map", pa.string()),
        ("fold", pa.int32()),
        ("utterance_id", pa.string()),
        ("speaker_id", pa.string()),
        ("truth", pa.string()),
        ("prediction", pa.string()),
        ("frames", pa.int32()),
        ("spread", pa.float64()),
        *((f"mass_{name}", pa.float64()) for name in PHONE_CLASSES),
        *((f"frames_{name}", pa.int32()) for name in PHONE_CLASSES),
    ]
)
_STATISTICS_SCHEMA = pa.schema(
    [
        ("trial", pa.int32()),
        ("architecture", pa.string()),
        ("fold", pa.int32()),
        ("utterance_id", pa.string()),
        ("speaker_id", pa.string()),
        ("truth", pa.string()),
        ("num_windows", pa.int32()),
        ("sampled_share", pa.float64()),
        ("elements", pa.list_(pa.float32())),
    ]
)
_EMBEDDINGS_SCHEMA = pa.schema(
    [
        ("trial", pa.int32()),
        ("architecture", pa.string()),
        ("fold", pa.int32()),
        ("utterance_id", pa.string()),
        ("speaker_id", pa.string()),
        ("truth", pa.string()),
        ("prediction", pa.string()),
        ("confidence", pa.float64()),
        ("x", pa.float64()),
        ("y", pa.float64()),
    ]
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Setting:
    """What every trial is asked with.

    Attributes:
        run: its directory.
        dataset: the one that the run was trained on.
        plan: the run's folds.
        rows: for each fold the test rows that are asked about, ascending.
        featured: row to the fold that it is shown in, in the order of the page.
        picture_rows: test rows of the first fold that the embedding picture shows.
        phones: row to its phones, for rows that have some.
        words: row to its words.
        agreement: row to how far its phones lie where its sound is.
        notation: of the phones.
    """

    run: RunDirectory
    dataset: Dataset
    plan: FoldPlan
    rows: Mapping[int, IntArray]
    featured: Mapping[int, int]
    picture_rows: IntArray
    phones: Mapping[int, list[Span]]
    words: Mapping[int, list[Span]]
    agreement: Mapping[int, float]
    notation: Notation

    def truth(self, row: int) -> str:
        return self.plan.label_map[self.dataset.utterances.column("emotion")[row].as_py()]

    def keys(self, row: int) -> dict[str, Any]:
        return {
            "utterance_id": self.dataset.utterance_ids[row],
            "speaker_id": self.dataset.speaker_ids[row],
            "truth": self.truth(row),
        }


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


def explain_run(
    run: Path,
    *,
    utterances: Sequence[str] | None = None,
    most: int = 4,
    trials: Sequence[int] | None = None,
    dataset: Path | None = None,
    limit: int = LIMIT,
    audio: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """Explain some trials of a run, and write what was found into it.

    Args:
        run: the directory.
        utterances: ids to show whole; None: the most confident errors on test rows of the
            best of the trials, then its most confident right answers.
        most: how many are shown where ``utterances`` is None.
        trials: their numbers; None: the best finished trial of each architecture by mean dev
            UAR.
        dataset: where the dataset lies now, if it has moved.
        limit: test utterances that are asked about, drawn evenly from the folds; 0: all.
        audio: put the sound of the utterances shown into the file.
        seed: of the draws.

    Returns:
        what ``explanations.json`` holds, JSON-serialisable.

    Raises:
        BadInputError: an utterance or trial is not of the run.
        ArtifactError: the dataset is not the run's, or a file is missing or damaged.
    """
    begun = time.monotonic()
    directory = RunDirectory(run)
    description = directory.read_run()
    opened = _open_dataset(directory, description, dataset)
    plan = read_plan(directory.folds_file)
    chosen = _choose_trials(directory, trials)
    best = max(chosen, key=lambda record: _merit(record))
    ranked = _ranked(directory, int(best["trial"]), plan.classes)
    if utterances is None:
        featured = {entry["utterance_id"]: entry["fold"] for entry in ranked[:most]}
    else:
        featured = _find_utterances(plan, opened, utterances)
    setting = _prepare(directory, opened, plan, featured, limit=limit, seed=seed)
    findings = _Findings()
    for record in chosen:
        _explain_trial(setting, record, findings, seed=seed)
    shown = [
        featured_utterance(
            opened,
            row,
            fold=fold,
            truth=setting.truth(row),
            predictions=findings.predictions.get(row, []),
            curves=findings.curves.get(row, []),
            spans=[*setting.words.get(row, []), *setting.phones.get(row, [])],
            notation=setting.notation,
            agreement=setting.agreement.get(row),
            with_audio=audio,
        )
        for row, fold in setting.featured.items()
    ]
    folder = directory.path / FOLDER
    _write_tables(folder, findings)
    write_json(folder / "utterances.json", {"schema_version": SCHEMA_VERSION, "utterances": shown})
    errors = [entry for entry in ranked if entry["prediction"] != entry["truth"]]
    asked = int(sum(len(rows) for rows in setting.rows.values()))
    summary: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "dataset_fingerprint": opened.fingerprint,
        "folds_hash": plan_hash(plan),
        "classes": list(plan.classes),
        "trials": findings.trials,
        "asked": asked,
        "test_utterances": sum(len(fold.test) for fold in plan.folds),
        "phones": _describe_phones(opened, setting),
        "phone_tests": findings.tests,
        "ranked_by": int(best["trial"]),
        "confident_errors": errors[:LISTED_ERRORS],
        "shown": [item["utterance_id"] for item in shown],
        "chosen_by": "confidence" if utterances is None else "user",
        "audio": sum(item["audio"] is not None for item in shown),
        "licence": opened.meta.get("licence"),
        "seed": seed,
        "seconds": round(time.monotonic() - begun, 2),
    }
    names = ("attention.parquet", "statistics.parquet", "embeddings.parquet", "utterances.json")
    summary["files"] = {name: file_sha256(folder / name) for name in names}
    write_json(folder / "explanations.json", summary)
    return summary


# -- what is asked


def _open_dataset(
    directory: RunDirectory, description: Mapping[str, Any], moved: Path | None
) -> Dataset:
    path = moved or Path(description["dataset"]["path"])
    if not path.is_dir():
        raise ArtifactError(
            f"{path}: the dataset of {directory.path} is not there any more; say where it lies "
            "now with --data"
        )
    opened = Dataset.open(path)
    expected = str(description["dataset"]["fingerprint"])
    if opened.fingerprint != expected:
        raise ArtifactError(
            f"{path}: the dataset is not the one that {directory.path} was trained on "
            f"(fingerprint {opened.fingerprint[:12]}, run {expected[:12]}); give the original "
            "with --data"
        )
    return opened


def _merit(record: Mapping[str, Any]) -> tuple[float, int]:
    return float(record["dev"]["uar"]), -int(record["trial"])


def _choose_trials(directory: RunDirectory, numbers: Sequence[int] | None) -> list[dict[str, Any]]:
    """Records of the trials to explain: as asked for, or the best of each architecture."""
    records = directory.records()
    complete = {
        n: r for n, r in records.items() if r["state"] == "complete" and r.get("dev", {}).get("uar")
    }
    if numbers is not None:
        faults = [
            f"trial {n}: {'is ' + records[n]['state'] if n in records else 'no such trial'}"
            for n in numbers
            if n not in complete
        ]
        if faults or not numbers:
            raise BadInputError(
                f"{directory.path}: only finished trials can be explained "
                f"({', '.join(map(str, sorted(complete))) or 'there are none'})",
                faults,
            )
        return [complete[n] for n in dict.fromkeys(numbers)]
    if not complete:
        raise BadInputError(f"{directory.path}: no trial has finished, so there is no model to ask")
    best: dict[str, dict[str, Any]] = {}
    for record in complete.values():
        name = str(record["architecture"])
        if name not in best or _merit(record) > _merit(best[name]):
            best[name] = record
    return sorted(best.values(), key=lambda record: int(record["trial"]))


def _ranked(directory: RunDirectory, trial: int, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Test rows of a trial: its errors, then its right answers, the most confident first."""
    table = directory.read_posteriors(trial)
    table = table.filter(pc.equal(table.column("part"), "test"))
    values = np.stack([table.column(f"p_{name}").to_numpy() for name in classes], axis=1)
    rows = []
    for place, (utterance, speaker, fold, truth) in enumerate(
        zip(
            *(table.column(n).to_pylist() for n in ("utterance_id", "speaker_id", "fold", "truth")),
            strict=True,
        )
    ):
        found = int(values[place].argmax())
        rows.append(
            {
                "utterance_id": utterance,
                "speaker_id": speaker,
                "fold": int(fold),
                "truth": truth,
                "prediction": classes[found],
                "confidence": round(float(values[place, found]), 6),
            }
        )
    rows.sort(key=lambda r: (r["prediction"] == r["truth"], -r["confidence"], r["utterance_id"]))
    return rows


def _find_utterances(plan: FoldPlan, dataset: Dataset, utterances: Sequence[str]) -> dict[str, int]:
    """Utterance id to the first fold that tests it.

    Raises:
        BadInputError: some are in no test part; each with the nearest that is.
    """
    tested: dict[str, int] = {}
    for number in range(len(plan.folds) - 1, -1, -1):
        tested.update(dict.fromkeys(plan.folds[number].test, number))
    faults = []
    for name in dict.fromkeys(utterances):
        if name in tested:
            continue
        known = name in dataset.row_of
        near = difflib.get_close_matches(name, tested, n=1)
        faults.append(
            f"'{name}': {'is tested in no fold' if known else 'no such utterance'}"
            + (f"; did you mean '{near[0]}'?" if near and not known else "")
        )
    if faults:
        raise BadInputError(
            f"{dataset.path}: these cannot be explained; `serplatform explain RUN` without "
            "utterances lists some:",
            faults[:20],
        )
    return {name: tested[name] for name in dict.fromkeys(utterances)}


def _prepare(
    directory: RunDirectory,
    dataset: Dataset,
    plan: FoldPlan,
    featured: Mapping[str, int],
    *,
    limit: int,
    seed: int,
) -> _Setting:
    """Draw the rows that are asked about, and read their words and phones."""
    rng = np.random.default_rng(seed)
    share = -(-limit // len(plan.folds))
    rows: dict[int, IntArray] = {}
    picture_rows = np.zeros(0, dtype=np.int64)
    for number, fold in enumerate(plan.folds):
        every = np.array([dataset.row_of[name] for name in fold.test], dtype=np.int64)
        drawn = rng.permutation(every)
        if number == 0:
            picture_rows = np.sort(drawn[:PICTURE_LIMIT])
        rows[number] = np.sort(drawn[:share] if limit else drawn)
    shown = {dataset.row_of[name]: fold for name, fold in featured.items()}
    wanted = {*shown, *(row for part in rows.values() for row in part.tolist())}
    spans = _spans(dataset, wanted)
    phones = {row: [s for s in found if s.tier == "phone"] for row, found in spans.items()}
    words = {row: [s for s in found if s.tier == "word"] for row, found in spans.items()}
    phones = {row: found for row, found in phones.items() if found}
    notation = phone_notation(Counter(s.label for found in phones.values() for s in found))
    bounds = [dataset.utterances.column(n).to_numpy() for n in ("speech_start", "speech_end")]
    return _Setting(
        run=directory,
        dataset=dataset,
        plan=plan,
        rows=rows,
        featured=shown,
        picture_rows=picture_rows,
        phones=phones,
        words={row: found for row, found in words.items() if found},
        agreement={
            row: alignment_agreement(
                found, notation, (float(bounds[0][row]), float(bounds[1][row]))
            )
            for row, found in phones.items()
        },
        notation=notation,
    )


def _spans(dataset: Dataset, rows: set[int]) -> dict[int, list[Span]]:
    """Words and phones of some rows, in order of time."""
    table = dataset.alignment
    names = pa.array([dataset.utterance_ids[row] for row in sorted(rows)], pa.string())
    table = table.filter(pc.is_in(table.column("utterance_id"), value_set=names))
    found: dict[int, list[Span]] = {}
    for entry in table.select(["utterance_id", "tier", "label", "start", "end"]).to_pylist():
        row = dataset.row_of[entry.pop("utterance_id")]
        found.setdefault(row, []).append(Span(**entry))
    for spans in found.values():
        spans.sort(key=lambda span: (span.tier, span.start, span.end))
    return found


# -- what the models say


def _explain_trial(
    setting: _Setting, record: Mapping[str, Any], findings: _Findings, *, seed: int
) -> None:
    trial, architecture = int(record["trial"]), str(record["architecture"])
    recorded = _recorded_posteriors(setting.run, trial, setting.plan.classes)
    collected: dict[str, list[tuple[int, Any, Any]]] = {}
    kinds: dict[str, str] = {}
    pictured: list[Answer] = []
    difference = 0.0
    taken: tuple[float, float] | None = None
    for fold, drawn in setting.rows.items():
        own = [row for row, where in setting.featured.items() if where == fold]
        extra = setting.picture_rows if fold == 0 else np.zeros(0, dtype=np.int64)
        asked = np.unique(np.concatenate([drawn, extra, np.array(own, dtype=np.int64)]))
        if not len(asked):
            continue
        probed = probe(setting.run, setting.dataset, setting.plan, trial, fold, asked)
        answers = probed.answers
        if taken is None:
            taken = latency(probed)
        difference = max(difference, _difference(setting, recorded, fold, answers))
        if difference > POSTERIOR_TOLERANCE:
            raise ArtifactError(
                f"{setting.run.model_directory(trial, fold)}: its posteriors differ from those "
                f"on record by {difference:.3f}; the model, the dataset or the software is not "
                "what trained it: train the trial again"
            )
        in_sample, in_picture = set(drawn.tolist()), set(extra.tolist())
        for answer in answers:
            if answer.row in in_sample:
                kinds |= {name: kind for name, (kind, _) in answer.maps.items()}
                _collect(setting, trial, architecture, fold, answer, findings, collected)
            if answer.row in in_picture:
                pictured.append(answer)
            if setting.featured.get(answer.row) == fold:
                _collect_featured(setting, trial, architecture, answer, findings)
    for name, entries in collected.items():
        text = setting.dataset.utterances.column("text")
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
            "dev_uar": float(record["dev"]["uar"]),
            "num_parameters": record.get("num_parameters"),
            "latency_seconds": None if taken is None else taken[0],
            "latency_utterance_seconds": None if taken is None else round(taken[1], 3),
            "maps": kinds,
            "posterior_difference": difference,
            "embedding": _embed(setting, trial, architecture, pictured, findings, seed=seed),
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
    setting: _Setting,
    recorded: Mapping[tuple[int, str], npt.NDArray[np.float64]],
    fold: int,
    answers: Sequence[Answer],
) -> float:
    """Largest difference of a posterior from the one on record."""
    ids = setting.dataset.utterance_ids
    found = [
        float(np.abs(answer.posteriors - recorded[fold, ids[answer.row]]).max())
        for answer in answers
        if (fold, ids[answer.row]) in recorded
    ]
    return max(found, default=0.0)


def _collect(
    setting: _Setting,
    trial: int,
    architecture: str,
    fold: int,
    answer: Answer,
    findings: _Findings,
    collected: dict[str, list[tuple[int, Any, Any]]],
) -> None:
    """Note one utterance's maps by phone class, and what was sampled of it."""
    keys = {"trial": trial, "architecture": architecture, "fold": fold, **setting.keys(answer.row)}
    prediction = setting.plan.classes[int(answer.posteriors.argmax())]
    phones = setting.phones.get(answer.row)
    fine = answer.grid.length <= LONGEST_FRAME
    classes = None
    if phones and fine and setting.agreement[answer.row] >= LEAST_AGREEMENT:
        classes = frame_classes(phones, answer.grid, setting.notation)
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
    setting: _Setting, trial: int, architecture: str, answer: Answer, findings: _Findings
) -> None:
    """Note the prediction and the curves of an utterance that is shown whole."""
    found = int(answer.posteriors.argmax())
    findings.predictions.setdefault(answer.row, []).append(
        {
            "trial": trial,
            "architecture": architecture,
            "prediction": setting.plan.classes[found],
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
    setting: _Setting,
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
    classes = setting.plan.classes
    truths = [setting.truth(answer.row) for answer in answers]
    purity, chance = neighbour_purity(table, np.array([classes.index(t) for t in truths]))
    for answer, (x, y) in zip(answers, points.tolist(), strict=True):
        found = int(answer.posteriors.argmax())
        findings.embeddings.append(
            {
                "trial": trial,
                "architecture": architecture,
                "fold": 0,
                **setting.keys(answer.row),
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


def _describe_phones(dataset: Dataset, setting: _Setting) -> dict[str, Any] | None:
    """The alignment behind the phone classes; None without phones."""
    if not setting.phones:
        return None
    labels = Counter(span.label for found in setting.phones.values() for span in found)
    unsorted = [label for label in labels if phone_class(label, setting.notation) == "other"]
    return {
        "notation": setting.notation,
        "utterances": len(setting.phones),
        "least_agreement": LEAST_AGREEMENT,
        "misaligned": sum(found < LEAST_AGREEMENT for found in setting.agreement.values()),
        "sources": dict(dataset.meta.get("alignment") or {}),
        "other": sorted(unsorted),
    }


def _write_tables(folder: Path, findings: _Findings) -> None:
    for name, entries, schema in (
        ("attention", findings.attention, _ATTENTION_SCHEMA),
        ("statistics", findings.statistics, _STATISTICS_SCHEMA),
        ("embeddings", findings.embeddings, _EMBEDDINGS_SCHEMA),
    ):
        write_parquet(folder / f"{name}.parquet", pa.Table.from_pylist(entries, schema=schema))
