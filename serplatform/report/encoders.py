"""Encoders behind the numbers of a page, and whether test rows were in their training data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from serplatform.artifacts.model import ModelDescription, encoder_specs
from serplatform.artifacts.records import read_record
from serplatform.errors import SerplatformError
from serplatform.papers.known_encoders import about_training_data, trained_on
from serplatform.report.data import ReportData
from serplatform.report.load import ReportTrial
from serplatform.report.wording import listing
from serplatform.run_directory import RunDirectory
from serplatform.storage.mirror import ensure

_FAMILY = re.compile("pretrained(-text)?:")


def used_encoders(trials: Iterable[ReportTrial]) -> list[Mapping[str, object]]:
    """The specification of each encoder that the trials' models read, or its name alone.

    The name alone is left where a model is no longer there.
    """
    found: dict[object, Mapping[str, object]] = {}
    for trial in trials:
        file = (
            RunDirectory(trial.run_path).model_directory(trial.number, trial.fold or 0)
            / "config.json"
        )
        try:
            model = read_record(ModelDescription, ensure(file), "model description")
        except SerplatformError:
            parts = str(trial.params.get("data.feature", "")).split("+")
            parts.append(str(trial.params.get("data.word_vectors")))
            names = [p.partition(":")[2].rpartition("@")[0] for p in parts if _FAMILY.match(p)]
            found |= {name: {"name": name} for name in names}
        else:
            found |= {(s["name"], s["sha256"]): s for s in encoder_specs(model)}
    return list(found.values())


def training_data_facts(report: ReportData) -> list[tuple[str, str]]:
    """Whether the test rows were in the training data of each encoder, as far as is known."""
    corpus = str(report.dataset.get("corpus"))
    return [
        ("Training data of a pretrained encoder", about_training_data(encoder, corpus))
        for encoder in used_encoders(report.used)
    ]


def training_data_warning(report: ReportData) -> list[str]:
    """A sentence for the first screen where an encoder's training data name this corpus."""
    corpus = str(report.dataset.get("corpus"))
    found = [str(e["name"]) for e in used_encoders(report.used) if trained_on(e, corpus)]
    if not found:
        return []
    return [
        f"The training data of the pretrained encoder {listing(found)} name this corpus, so its "
        "test rows may not be new to it, and the numbers may be too good."
    ]
