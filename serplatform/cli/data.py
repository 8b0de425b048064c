"""``serplatform data``: what a dataset holds, and whether its files are whole."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serplatform.cli.options import AsJson
from serplatform.cli.output import format_duration, result
from serplatform.errors import BadInputError, SerplatformError

if TYPE_CHECKING:
    from serplatform.datasets.dataset import Dataset

_SPEAKERS = 12  # listed one by one up to this many


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
            help="Search and combine on permuted labels, which must give chance; exit code 1 if "
            "not. Minutes.",
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
    from serplatform.cli.canary import describe_canaries, run_canaries
    from serplatform.datasets.dataset import Dataset

    dataset = Dataset.open(data)
    if check:
        faults = dataset.check()
        if faults:
            raise SerplatformError(
                "\n".join([f"{data}: {len(faults)} file(s) are not as they were written:", *faults])
            )
    values = summarize(dataset)
    values["checked"] = check
    values["protocols"] = [
        _folds(dataset, name, given=bool(protocol))
        for name in protocol or [values["default_protocol"]]
    ]
    text = describe(values)
    if canary:
        chosen = protocol[0] if protocol else None
        values["canary"] = run_canaries(dataset.path, protocol=chosen, seed=seed)
        text += "\n" + describe_canaries(values["canary"])
    result(text, values, as_json=as_json)


def summarize(dataset: Dataset) -> dict[str, Any]:
    """Counts, durations and features of a dataset."""
    import numpy as np

    table = dataset.utterances
    durations = table["duration"].to_numpy()
    rates = Counter(table["sampling_rate"].to_pylist())
    genders = Counter(gender or "not given" for gender in table["gender"].to_pylist())
    counts = dataset.meta["counts"]
    return {
        "path": dataset.address,
        "corpus": dataset.meta["corpus"],
        "title": dataset.meta["title"],
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
    seconds = values["seconds"]
    speakers = values["by_speaker"]
    synthetic = ", synthetic speech" if values["synthetic"] else ""
    lines = [
        f"{values['path']}: {values['title']}{synthetic}",
        f"fingerprint  {values['fingerprint']}" + ("  (checked)" if values["checked"] else ""),
        f"utterances   {values['utterances']}; {values['rejected']} left out (rejected.csv)",
        f"duration     {format_duration(seconds['total'])}; one lasts {seconds['min']:.2f} to "
        f"{seconds['max']:.2f} s, median {seconds['median']:.2f} s",
        "emotion      " + _listed(values["by_emotion"]),
        "gender       " + _listed(values["by_gender"]),
    ]
    if len(speakers) <= _SPEAKERS:
        lines.append("speaker      " + _listed(speakers))
    else:
        low, high = min(speakers.values()), max(speakers.values())
        each = f"{low} utterances" if low == high else f"{low} to {high} utterances"
        lines.append(f"speaker      {len(speakers)}, each with {each}")
    lines.append(
        "rate         " + _listed({f"{r} Hz": n for r, n in values["by_sampling_rate"].items()})
    )
    for name, feature in values["features"].items():
        lines.append(
            f"feature      {name}: {feature['dim']} values {_how_often(feature, values)}; "
            f"{feature['unit']}"
        )
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


def _how_often(feature: dict[str, Any], values: dict[str, Any]) -> str:
    """Frames of a feature, in words."""
    if feature["frames"] == values["utterances"]:
        return "once an utterance"
    return f"every {feature['frame_shift']:g} s, {feature['frames']} frames"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items())
