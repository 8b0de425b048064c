"""The README of a bundle: what the model is, on what data, how good, and what it is not for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from serplatform.artifacts.records import PluginRecord

#: metrics of the card, with their meaning
_SHOWN = {
    "uar": "UAR, mean recall over the classes",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "nll": "negative log-likelihood, nats",
    "ece": "expected calibration error",
}
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|!~])")


def plain(text: object) -> str:
    r"""Text as Markdown shows it unchanged: one line, nothing in it means anything.

    Example:
        >>> plain("a|b <script>\n# c")
        'a\\|b \\<script\\> \\# c'
    """
    line = " ".join(str(text).split())
    return _SPECIAL.sub(r"\\\1", "".join(c for c in line if c.isprintable()))


def model_card(bundle: Mapping[str, Any]) -> str:
    """The text of ``README.md``.

    Args:
        bundle: the content of ``bundle.json``.
    """
    about = bundle["description"]
    sections = [
        f"# {plain(about['title'])}\n",
        _synthetic(bundle),
        "Speech emotion recognition: a recording in, a posterior probability for each of "
        f"{len(bundle['classes'])} classes out: {', '.join(map(plain, bundle['classes']))}.\n",
        _use(),
        _plugins(bundle.get("plugins", [])),
        _data(about["data"], bundle["synthetic"]),
        _protocol(about["protocol"], about["selection"]),
        _metrics(about["metrics"]),
        _models(bundle, about),
        _limits(bundle, about),
        _notes(about["notes"]),
        _made(bundle),
    ]
    return "\n".join(section for section in sections if section)


def _synthetic(bundle: Mapping[str, Any]) -> str:
    if not bundle["synthetic"]:
        return ""
    return (
        "> **Synthetic data.** This model was trained and measured on machine-made speech. Its "
        "numbers say nothing about people, and it must not be used on them.\n"
    )


def _use() -> str:
    return (
        "## Use\n\n```bash\nserplatform predict THIS_DIRECTORY recording.wav\n"
        "serplatform predict THIS_DIRECTORY long.wav --window 3 --hop 1 --format csv\n"
        "serplatform predict THIS_DIRECTORY recording.wav --reject accuracy=0.8\n```\n\n"
        "Nothing else is needed: no dataset and no network. The checksum of every file is verified "
        "when it is loaded.\n"
    )


def _plugins(records: Sequence[PluginRecord]) -> str:
    names = ", ".join(f"`{plain(record['name'])}`" for record in records)
    return names and (
        f"It uses code that is not part of serplatform: {names}. Its files are in `plugins/`; read "
        "them, and add `--trust-plugins`. Modules must be installed.\n"
    )


def _data(data: Mapping[str, Any], synthetic: bool) -> str:
    counts = data.get("counts", {})
    rows = [
        ("corpus", data.get("title")),
        ("language", data.get("language")),
        ("licence", data.get("licence")),
        ("speech", "synthetic" if synthetic else "recorded"),
        ("utterances", counts.get("utterances")),
        ("speakers", counts.get("speakers")),
        ("by class", ", ".join(f"{k} {n}" for k, n in counts.get("by_emotion", {}).items())),
        ("fingerprint", data.get("fingerprint")),
    ]
    return "## Data\n\n" + _table(("", ""), [(k, v) for k, v in rows if v not in (None, "")])


def _protocol(protocol: Mapping[str, Any], selection: str) -> str:
    independent = protocol.get("speaker_independent")
    if independent is None:
        kind = "whether speakers are shared is not recorded"
    elif independent:
        kind = "no speaker is in two parts of a fold"
    else:
        kind = "**speakers are shared between parts**: the numbers say nothing of new speakers"
    merged = {raw: name for raw, name in (protocol.get("label_map") or {}).items() if raw != name}
    lines = [
        "## Protocol\n",
        f"{plain(protocol.get('name'))}, {protocol.get('num_folds')} folds; {kind}. Each outer "
        "fold's test rows were opened once.",
        plain(selection),
    ]
    if merged:
        told = ", ".join(f"{plain(raw)} counts as {plain(name)}" for raw, name in merged.items())
        lines.append(f"Labels: {told}.")
    if protocol.get("folds_hash"):
        lines.append(f"Hash of the fold file: `{plain(protocol['folds_hash'])}`.")
    return "\n".join(lines) + "\n"


def _metrics(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, meaning in _SHOWN.items():
        found = metrics[name]
        low, high, deviation = found.get("low"), found.get("high"), found.get("sd")
        interval = "one speaker: none" if low is None else f"{low:.3f} to {high:.3f}"
        mean = f"{found['mean']:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")
        rows.append((meaning, f"{found['value']:.3f}", interval, mean))
    head = ("metric", "pooled test", "95 % interval, by speaker", "mean ± sd over folds")
    return (
        "## Test metrics\n\n"
        + _table(head, rows)
        + "\nMeasured for each fold by that fold's own models on its own test rows. A new "
        "recording gets the mean over the models of all folds; that mean was not measured, as no "
        "row of the corpus is new to all of them.\n"
    )


def _models(bundle: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    rows = [
        (m["member"], m["architecture"], f"{m['mean_share']:.3f}", str(m["folds"]))
        for m in about["members"]
    ]
    lines = "## Models\n\n" + _table(("trial", "architecture", "mean weight", "folds"), rows)
    chosen = about.get("parameters") or {}
    if chosen:
        lines += "\n" + ", ".join(f"{plain(k)} = {plain(v)}" for k, v in chosen.items()) + "\n"
    how = (
        "combined with the weights fitted on that fold's dev rows"
        if bundle["kind"] == "ensemble"
        else "one model a fold"
    )
    return lines + f"\nFor each fold: {how}. The answer is the mean over folds.\n"


def _limits(bundle: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    limits = [
        "It knows the classes above only, and answers with one of them unless `--reject` lets it "
        "say that it is not sure.",
        "Corpora hold acted or induced emotion of few speakers, in one language and one way of "
        "recording; on other speech the numbers above do not hold.",
        "A posterior is the model's confidence among its classes, not a measurement of what a "
        "person feels. Do not decide about people by it.",
        "On recordings of the corpus it was trained on, its answers are too good: most folds' "
        "models have been trained on them.",
    ]
    if bundle["synthetic"]:
        limits.insert(0, "It was trained on machine-made speech: a demonstration, nothing more.")
    return "## Limits\n\n" + "".join(f"- {limit}\n" for limit in limits)


def _notes(notes: list[str]) -> str:
    if not notes:
        return ""
    return "## Notes\n\n" + "".join(f"- {plain(note)}\n" for note in notes)


def _made(bundle: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{plain(k)} {plain(v)}" for k, v in bundle["versions"].items())
    return f"## Made\n\n{plain(bundle['made'])} with {versions}.\n"


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, ("---",) * len(head), *(tuple(map(plain, row)) for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
