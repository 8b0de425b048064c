"""Explain a run: attention against phones, sampled shares, embeddings, and some utterances whole.

The best trial of each architecture is run on the test utterances of each outer fold; what its
models say is written to ``RUN/explanations/``, from where the report draws it without a model:

- ``attention.parquet``: shares of attention and frames by phone class for each map and utterance.
- ``statistics.parquet``: what models that choose their observations sampled.
- ``generation.parquet``: how far the input lay from what models that predict it expected.
- ``framewise.parquet``: the class at each step, of models that have one of what is heard so far.
- ``embeddings.parquet``: test utterances of one fold in the plane.
- ``utterances.json``: some utterances with spectrogram, audio, words, phones, curves.
- ``explanations.json``, written last: what was explained, tests, checksums of the other files.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serplatform import plugins
from serplatform.alignment.phone_classes import phone_class
from serplatform.arrays import DoubleArray
from serplatform.artifacts.dataset import DatasetDescription
from serplatform.artifacts.explanations import ExplainedTrial, ExplanationsRecord, PhonesRecord
from serplatform.artifacts.files import SCHEMA_VERSION, file_sha256, write_json
from serplatform.artifacts.looks import digest_of
from serplatform.artifacts.trial import TrialRecord
from serplatform.datasets.dataset import Dataset
from serplatform.errors import ArtifactError
from serplatform.explanations.attention import LEAST_AGREEMENT
from serplatform.explanations.example_utterances import example_utterance
from serplatform.explanations.findings import TrialFindings, write_tables
from serplatform.explanations.model_probe import (
    ProbeResult,
    example_steps,
    latency,
    probe_model,
)
from serplatform.explanations.probe_request import (
    ProbeRequest,
    choose_trials,
    find_utterances,
    make_probe_request,
    merit,
    open_dataset,
    ranked_rows,
    recorded_posteriors,
)
from serplatform.protocols.plan import plan_hash, read_plan
from serplatform.run_directory import RunDirectory
from serplatform.training.seal import refuse_sealed

FOLDER = "explanations"
#: test utterances that are probed, unless the user says otherwise
LIMIT = 600
#: confident errors that are listed
LISTED_ERRORS = 20
#: largest difference between a posterior on record and the same computed again
POSTERIOR_TOLERANCE = 0.01


def may_embed(meta: DatasetDescription) -> bool:
    """Whether a corpus may be passed on without conditions, so that a page may carry its sound.

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
    look: bool = True,
) -> ExplanationsRecord:
    """Explain some trials of a run, and write what was found into it.

    Args:
        run: the directory.
        utterances: ids to show whole; None: the most confident errors on test rows of the
            best of the trials, then its most confident right answers.
        most: how many are shown where ``utterances`` is None; right answers fill up where the
            errors are fewer.
        hits: most confident right answers shown next to these.
        trials: their numbers; None: the best finished trial of each architecture by mean dev
            UAR.
        dataset: where the dataset lies now, if it has moved.
        limit: test utterances that are probed, drawn evenly from the folds; 0: all.
        audio: put the sound of the utterances shown into the file; None: only where the
            corpus may be passed on without conditions, see :func:`may_embed`.
        seed: of the draws.
        budget: seconds after which no further trial or fold is begun; the best trial goes
            first, and is probed on one fold at least. None: no limit.
        look: what is right before the end is measured on test rows, and counted as a look at
            them; False: only of trials whose test rows have been looked at.

    Returns:
        what ``explanations.json`` holds.

    Raises:
        BadInputError: an utterance or trial is not of the run.
        ArtifactError: the dataset is not the run's, or a file is missing or damaged.
    """
    begun = time.monotonic()
    directory = RunDirectory(run)
    refuse_sealed(directory, "an explanation")
    description = directory.read_run()
    plugins.restore(directory.path, description)
    opened = open_dataset(directory, description, dataset)
    plan = read_plan(directory.folds_file)
    chosen = choose_trials(directory, trials)
    best = max(chosen, key=merit)
    ranked = ranked_rows(*recorded_posteriors(directory, best["trial"], plan.classes), plan.classes)
    if utterances is None:
        right = [entry for entry in ranked[most:] if entry["prediction"] == entry["truth"]]
        picked = [*ranked[:most], *right[:hits]]
        examples = {entry["utterance_id"]: entry["fold"] for entry in picked}
    else:
        examples = find_utterances(plan, opened, utterances)
    request = make_probe_request(directory, opened, plan, examples, limit=limit, seed=seed)
    explained: list[tuple[ExplainedTrial, TrialFindings]] = []
    deadline = None if budget is None else begun + budget
    left_out = []
    for record in sorted(chosen, key=merit, reverse=True):
        if explained and deadline is not None and time.monotonic() > deadline:
            left_out.append(record["trial"])
            continue
        explained.append(_explain_trial(request, record, seed=seed, deadline=deadline, look=look))
    explained.sort(key=lambda found: found[0]["trial"])
    findings = [found for _, found in explained]
    with_audio = may_embed(opened.meta) if audio is None else audio
    shown = [
        example_utterance(
            request,
            row,
            predictions=predictions,
            curves=[curve for found in findings for curve in found.curves.get(row, [])],
            tracks=[found.tracks[row] for found in findings if row in found.tracks],
            with_audio=with_audio,
        )
        | {"generated": [f.generated[row] for f in findings if row in f.generated]}
        for row in request.examples
        if (predictions := [f.predictions[row] for f in findings if row in f.predictions])
    ]
    folder = directory.path / FOLDER
    names = [*write_tables(folder, findings), "utterances.json"]
    write_json(folder / "utterances.json", {"schema_version": SCHEMA_VERSION, "utterances": shown})
    most_folds = max(trial["folds"] for trial, _ in explained)
    summary: ExplanationsRecord = {
        "schema_version": SCHEMA_VERSION,
        "dataset_fingerprint": description["dataset"]["fingerprint"],
        "folds_hash": plan_hash(plan),
        "classes": list(plan.classes),
        "trials": [trial for trial, _ in explained],
        "out_of_time": sorted(left_out),
        "asked": sum(len(request.rows[fold]) for fold in request.order()[:most_folds]),
        "test_utterances": sum(len(fold.test) for fold in plan.folds),
        "phones": _describe_phones(opened, request),
        "phone_tests": [test for found in findings for test in found.phone_tests(seed=seed)],
        "ranked_by": best["trial"],
        "confident_errors": [e for e in ranked if e["prediction"] != e["truth"]][:LISTED_ERRORS],
        "shown": [item["utterance_id"] for item in shown],
        "chosen_by": "confidence" if utterances is None else "user",
        "audio": sum(item["audio"] is not None for item in shown),
        "audio_left_out": audio is None and not with_audio,
        "licence": opened.meta.get("licence"),
        "seed": seed,
        "seconds": round(time.monotonic() - begun, 2),
        "files": {name: file_sha256(folder / name) for name in names},
    }
    write_json(folder / "explanations.json", summary)
    return summary


def _explain_trial(
    request: ProbeRequest, record: TrialRecord, *, seed: int, deadline: float | None, look: bool
) -> tuple[ExplainedTrial, TrialFindings]:
    """Probe the models of one trial, fold by fold."""
    trial = record["trial"]
    findings = TrialFindings(request=request, trial=trial, architecture=record["architecture"])
    recorded = _recorded(request, trial)
    pictured: list[ProbeResult] = []
    difference = 0.0
    taken: tuple[float, float] | None = None
    folds = 0
    for fold in request.rows if deadline is None else request.order():
        if record.get("fold", fold) != fold:
            continue
        if folds and deadline is not None and time.monotonic() > deadline:
            break
        folds += 1
        drawn = request.rows[fold]
        own = [row for row, where in request.examples.items() if where == fold]
        extra = request.picture_rows if fold == 0 else np.zeros(0, dtype=np.int64)
        rows = np.unique(np.concatenate([drawn, extra, np.array(own, dtype=np.int64)]))
        if not len(rows):
            continue
        probed = probe_model(request.run, request.dataset, request.plan, trial, fold, rows)
        if taken is None:
            taken = latency(probed)
        for result in probed.results:
            known = recorded.get((fold, request.dataset.utterance_ids[result.row]))
            if known is not None:
                difference = max(difference, float(np.abs(result.posteriors - known).max()))
        if difference > POSTERIOR_TOLERANCE:
            raise ArtifactError(
                f"{request.run.model_directory(trial, fold)}: its posteriors differ from those "
                f"on record by {difference:.3f}; the model, the dataset or the software is not "
                "what trained it: train the trial again"
            )
        in_sample, in_picture = set(drawn.tolist()), set(extra.tolist())
        for result in probed.results:
            if result.row in in_sample:
                findings.add_maps(fold, result)
            if result.row in in_picture:
                pictured.append(result)
            if request.examples.get(result.row) == fold:
                findings.add_example(result, example_steps(probed, result))
    described: ExplainedTrial = {
        "trial": trial,
        "architecture": record["architecture"],
        "folds": folds,
        "dev_uar": record["dev"]["uar"],
        "num_parameters": record.get("num_parameters"),
        "latency_seconds": None if taken is None else taken[0],
        "latency_utterance_seconds": None if taken is None else round(taken[1], 3),
        "maps": findings.map_kinds,
        "posterior_difference": difference,
        "embedding": findings.embed(pictured, seed=seed),
    }
    if findings.tables["framewise"]:
        file = request.run.posteriors_file(trial)
        digest = digest_of([record.get("posteriors_sha256") or file_sha256(file)])
        if look or any(digest in one["measured"].values() for one in request.run.looks()):
            request.run.look({"over time": digest}, combiner="single", seed=seed)
        else:
            findings.tables["framewise"].clear()
    findings.describe(described)
    if "layer_weights" in record:
        described["layer_weights"] = record["layer_weights"]
    return described, findings


def _recorded(request: ProbeRequest, trial: int) -> dict[tuple[int, str], DoubleArray]:
    """Fold and utterance id to the posteriors on record."""
    table, values = recorded_posteriors(request.run, trial, request.plan.classes)
    keys = (table.column(name).to_pylist() for name in ("fold", "utterance_id"))
    return dict(zip(zip(*keys, strict=True), values, strict=True))


def _describe_phones(dataset: Dataset, request: ProbeRequest) -> PhonesRecord | None:
    """The alignment behind the phone classes; None without phones."""
    if not request.phones:
        return None
    labels = {span.label for found in request.phones.values() for span in found}
    return {
        "notation": request.notation,
        "utterances": len(request.phones),
        "least_agreement": LEAST_AGREEMENT,
        "misaligned": sum(found < LEAST_AGREEMENT for found in request.agreement.values()),
        "sources": dict(dataset.meta.get("alignment") or {}),
        "other": sorted(x for x in labels if phone_class(x, request.notation) == "other"),
    }
