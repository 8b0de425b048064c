"""``serplatform data``: what a dataset holds, and whether its files are whole."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serplatform.cli.options import AsJson
from serplatform.cli.output import result
from serplatform.console import format_duration, percent, say
from serplatform.errors import BadInputError, SerplatformError

if TYPE_CHECKING:
    from serplatform.datasets.dataset import Dataset

_SPEAKERS = 12  # listed one by one up to this many
_CANARY_TRIALS, _CANARY_EPOCHS = 4, 3
_PAIRS = 3  # near copies named
CANARY_LEVEL = 0.99  # share of runs without a leak that land inside the chance interval


def command(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A prepared dataset, path or URI.")],
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="Show the folds of this protocol; may be repeated."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Verify every checksum; exit code 1 on a fault.")
    ] = False,
    canary: Annotated[
        bool,
        typer.Option(
            "--canary",
            help="Search and combine on permuted labels, which must give chance, and look for near "
            "copies of test clips among training clips; exit code 1 on a fault. Minutes.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the canary's permutation and search.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show what a dataset holds: labels, speakers, durations, features, folds.

    Examples:

        serplatform data data/ravdess

        serplatform data data/ravdess --check

        serplatform data data/ravdess --protocol loso --protocol random-kfold:5

        serplatform data data/ravdess --canary
    """
    from serplatform.datasets.dataset import Dataset

    dataset = Dataset.open(data)
    if check and (errors := dataset.check()):
        head = f"{data}: {len(errors)} file(s) are not as they were written:"
        raise SerplatformError("\n".join([head, *errors]))
    values = summarize(dataset)
    values["checked"] = check
    values["protocols"] = [
        _folds(dataset, name, given=bool(protocol))
        for name in protocol or [values["default_protocol"]]
    ]
    text = describe(values)
    if canary:
        values["canary"] = run_canaries(dataset, protocol[0] if protocol else None, seed)
        text += "\n" + describe_canaries(values["canary"])
    result(text, values, as_json=as_json)


def summarize(dataset: Dataset) -> dict[str, Any]:
    """Counts, durations and features of a dataset."""
    import numpy as np

    table = dataset.utterances
    durations = np.array(table["duration"].to_pylist())
    rates = Counter(table["sampling_rate"].to_pylist())
    genders = Counter(gender or "not given" for gender in table["gender"].to_pylist())
    counts = dataset.meta["counts"]
    return {
        "path": dataset.address,
        "corpus": dataset.meta["corpus"],
        "title": dataset.meta["title"],
        "language": dataset.meta.get("language") or None,
        "licence": dataset.meta.get("licence") or None,
        "synthetic": dataset.synthetic,
        "utterances": len(dataset),
        "rejected": counts["rejected"],
        "by_emotion": dataset.class_counts(),
        "by_speaker": counts["by_speaker"],
        "by_gender": dict(sorted(genders.items())),
        "by_sampling_rate": {str(rate): number for rate, number in sorted(rates.items())},
        "seconds": {
            "total": round(float(durations.sum()), 3),
            "min": round(float(durations.min()), 3),
            "median": round(float(np.median(durations)), 3),
            "max": round(float(durations.max()), 3),
        },
        "features": {
            name: {
                "dim": info.dim,
                "frame_shift": info.frame_shift,
                "unit": info.unit,
                "frames": int(dataset.num_frames(name).sum()),
                **({"speeds": list(speeds)} if (speeds := dataset.speeds(name)) else {}),
            }
            for name in dataset.feature_names
            for info in [dataset.feature_info(name)]
        },
        "alignment": dataset.meta.get("alignment", {}),
        "default_protocol": dataset.meta.get("default_protocol", ""),
        "notes": dataset.meta.get("notes", []),
        "fingerprint": dataset.fingerprint,
    }


def _folds(dataset: Dataset, name: str, *, given: bool) -> dict[str, Any]:
    """Sizes of the parts of each fold; why not, when the default protocol does not fit."""
    from serplatform.protocols.plan import make_plan

    try:
        plan = make_plan(dataset.utterances, name, 0, classes=dataset.classes)
    except BadInputError as error:
        if given:
            raise
        return {"protocol": name, "fault": str(error), "folds": []}
    speaker_of = dict(
        zip(dataset.utterance_ids, dataset.utterances["speaker_id"].to_pylist(), strict=True)
    )
    return {
        "protocol": plan.protocol,
        "speaker_independent": plan.speaker_independent,
        "classes": list(plan.classes),
        "notes": list(plan.notes),
        "folds": [
            {
                part: {
                    "utterances": len(getattr(fold, part)),
                    "speakers": len({speaker_of[name] for name in getattr(fold, part)}),
                }
                for part in ("train", "dev", "test")
            }
            for fold in plan.folds
        ],
    }


def describe(values: dict[str, Any]) -> str:
    """A dataset's summary, for people."""
    from serplatform.artifacts.dataset import NO_SPEAKER

    seconds = values["seconds"]
    speakers = values["by_speaker"]
    synthetic = ", synthetic speech" if values["synthetic"] else ""
    lines = [
        f"{values['path']}: {values['title']}{synthetic}",
        f"language     {values['language'] or 'not given'}; "
        f"licence {values['licence'] or 'not given'}",
        f"fingerprint  {values['fingerprint']}" + ("  (checked)" if values["checked"] else ""),
        f"utterances   {values['utterances']}; {values['rejected']} left out (rejected.csv)",
        f"duration     {format_duration(seconds['total'])}; one lasts {seconds['min']:.2f} to "
        f"{seconds['max']:.2f} s, median {seconds['median']:.2f} s",
        "emotion      " + _listed(values["by_emotion"]),
        "gender       " + _listed(values["by_gender"]),
    ]
    if set(speakers) == {NO_SPEAKER}:
        lines.append("speaker      not named")
    elif len(speakers) <= _SPEAKERS:
        lines.append("speaker      " + _listed(speakers))
    else:
        low, high = min(speakers.values()), max(speakers.values())
        each = f"{low} utterances" if low == high else f"{low} to {high} utterances"
        lines.append(f"speaker      {len(speakers)}, each with {each}")
    rates = {f"{rate} Hz": number for rate, number in values["by_sampling_rate"].items()}
    lines.append("rate         " + _listed(rates))
    for name, feature in values["features"].items():
        each = f"every {feature['frame_shift']:g} s, {feature['frames']} frames"
        if feature["frames"] == values["utterances"]:
            each = "once an utterance"
        lines.append(f"feature      {name}: {feature['dim']} values {each}; {feature['unit']}")
        if speeds := feature.get("speeds"):
            lines[-1] += f"; at speeds {', '.join(f'{speed:g}' for speed in speeds)} too"
    aligned = values["alignment"]
    without = values["utterances"] - sum(aligned.values())
    lines.append(
        "word times   "
        + (_listed(aligned) if aligned else "none")
        + (f"; {without} utterances have none (see unaligned.csv)" if aligned and without else "")
    )
    for plan in values["protocols"]:
        lines += _describe_plan(plan)
    lines += [f"note: {note}" for note in values["notes"]]
    return "\n".join(lines)


def _describe_plan(plan: dict[str, Any]) -> list[str]:
    if "fault" in plan:
        return [f"protocol     {plan['protocol']} cannot be used: {plan['fault']}"]
    kind = "no speaker in two parts" if plan["speaker_independent"] else "speakers are shared"
    lines = [f"protocol     {plan['protocol']} ({kind}; utterances/speakers)"]
    for number, fold in enumerate(plan["folds"]):
        parts = ", ".join(
            f"{part} {sizes['utterances']}/{sizes['speakers']}" for part, sizes in fold.items()
        )
        lines.append(f"    fold {number}: {parts}")
    return lines + [f"    note: {note}" for note in plan["notes"]]


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items())


def run_canaries(dataset: Dataset, protocol: str | None, seed: int) -> dict[str, Any]:
    """Look for near copies, run a small search and ensemble on permuted labels, and offer leaks
    that must be refused; the error names every check that failed."""
    import dataclasses

    from serplatform.datasets.neighbours import neighbours
    from serplatform.distributed.canary import (
        BY_HEART,
        permuted_copy,
        planted_speaker_is_refused,
        quick_architecture,
        small_search,
    )
    from serplatform.ensembles.build import build_ensemble
    from serplatform.ensembles.canary import chance_of_ensemble, fits_that_take_test_rows
    from serplatform.ensembles.posteriors import read_library
    from serplatform.protocols.plan import make_plan
    from serplatform.protocols.selection import recording_groups

    name = protocol or str(dataset.meta["default_protocol"])
    plan = make_plan(dataset.utterances, name, seed, classes=dataset.classes)
    # a synthetic corpus copies nothing, and its voices are alike as no two takes of a person are
    near = None if dataset.synthetic else neighbours(dataset, plan)
    groups = map(str, recording_groups(dataset.utterances).tolist())
    say(f"Two searches of {_CANARY_TRIALS} trials on permuted labels with {plan.protocol} …")
    with tempfile.TemporaryDirectory(prefix="serplatform-canary-") as folder:
        permuted = permuted_copy(dataset.path, Path(folder, "data"), seed=seed)
        searched = {BY_HEART: None, quick_architecture(dataset): _CANARY_EPOCHS}
        runs = [
            small_search(
                permuted,
                Path(folder, architecture),
                architecture,
                protocol=protocol,
                trials=_CANARY_TRIALS,
                max_epochs=epochs,
                seed=seed,
                tell=say,
            ).path
            for architecture, epochs in searched.items()
        ]
        ensemble = Path(folder, "ensemble")
        content = build_ensemble(runs, ensemble, seed=seed)
        chance = chance_of_ensemble(
            ensemble,
            dict(zip(dataset.utterance_ids, groups, strict=True)),
            level=CANARY_LEVEL,
            seed=seed,
        )
        taken = fits_that_take_test_rows(read_library(runs))
    planted = plan.speaker_independent and planted_speaker_is_refused(plan, dataset.utterances)
    values: dict[str, Any] = {
        "protocol": plan.protocol,
        "seed": seed,
        "trials": _CANARY_TRIALS,
        "max_epochs": _CANARY_EPOCHS,
        "architectures": sorted({c["architecture"] for c in content["candidates"]}),
        "combiner": content["combiner"],
        "level": CANARY_LEVEL,
        "permuted_labels": {"uar": chance.as_dict(), "test_rows": content["counts"]["test_rows"]},
        "neighbours": None if near is None else {**dataclasses.asdict(near), "leaks": near.leaks},
        "test_rows_refused": not taken,
        "planted_speaker_refused": planted if plan.speaker_independent else None,
    }
    if errors := canary_errors(values, taken):
        failed = f"{dataset.path}: {len(errors)} leak check(s) failed:"
        raise SerplatformError("\n".join([failed, *errors]))
    return values


def canary_errors(values: dict[str, Any], taken: list[str]) -> list[str]:
    """What is wrong, in sentences; empty when every check passed."""
    errors = []
    found = values["permuted_labels"]["uar"]
    value, low, high = (percent(found[key]) for key in ("value", "low", "high"))
    if not found["low"] <= found["value"] <= found["high"]:
        where = "above" if found["value"] > found["high"] else "below"
        errors.append(
            f"permuted labels gave a pooled test UAR of {value}, {where} the "
            f"{100 * values['level']:.0f} % chance interval {low} to {high}: "
            "something tells the models the answers (one honest run in a hundred lands outside: "
            "try another --seed before looking for a leak)"
        )
    if (near := values["neighbours"]) and near["leaks"]:
        pairs = "; ".join(f"{one} ~ {other}" for one, other in near["near_copies"][:_PAIRS])
        errors.append(
            f"{_near(near)}: "
            f"{pairs or 'no pair is near enough to be named'}. Listen to them; give "
            "copies one parent_id in the table, or leave one of them out"
        )
    errors += [f"{name} accepted test rows to fit on" for name in taken]
    if values["planted_speaker_refused"] is False:
        errors.append("a test speaker's utterance in the training part was not refused")
    return errors


def _near(near: dict[str, Any]) -> str:
    """What the nearest training clips tell, in one sentence."""
    count, tested = len(near["near_copies"]), near["test_clips"]
    return (
        f"{count} of {tested} test clips ({percent(count / tested)}) have a near copy in the "
        f"training part; the label of the nearest training clip gives UAR {percent(near['uar'])}, "
        f"that of the nearest of another speaker {percent(near['uar_other'])} ({near['feature']})"
    )


def describe_canaries(values: dict[str, Any]) -> str:
    """The canaries in words."""
    found = values["permuted_labels"]
    uar, low, high = (percent(found["uar"][key]) for key in ("value", "low", "high"))
    near = "not compared: the corpus is synthetic, or has no log_mel feature"
    if values["neighbours"]:
        near = _near(values["neighbours"])
    planted = {
        True: "a speaker planted in two parts is refused",
        None: "speakers are shared by the protocol: no speaker was planted",
    }[values["planted_speaker_refused"]]
    return (
        f"canary       permuted labels: pooled test UAR {uar}, inside the "
        f"{100 * values['level']:.0f} % chance interval {low} to {high} "
        f"({found['test_rows']} test rows; {values['trials']} trials each of "
        f"{', '.join(values['architectures'])}, {values['combiner']} ensemble)\n"
        f"             nearest clips: {near}\n"
        "             test rows offered to every combiner and to calibration are refused\n"
        f"             {planted}"
    )
