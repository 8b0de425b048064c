"""Systems of a page: what each is called, and its test metrics, measured or as recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from serplatform.artifacts.ensemble import EnsembleRecord, IntervalRecord
from serplatform.errors import ArtifactError
from serplatform.metrics import classification_metrics
from serplatform.report.load import Posteriors
from serplatform.statistics.intervals import Interval, metric_intervals

LABELS = {
    "ensemble": "Ensemble",
    "single": "Best single trial",
    "trial": "Exported trial",
    "reference": "Reference",
    "mean": "Mean of all trials",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasuredSystem:
    """A system's test metrics: ``pooled`` over all rows, with intervals, and ``by_fold``.

    Its ``key`` is one of :data:`LABELS`; ``what`` says in a few words what it is made of,
    ``chosen`` in a sentence how that was chosen.
    """

    key: str
    what: str = ""
    chosen: str
    pooled: Mapping[str, Interval]
    by_fold: Mapping[int, Mapping[str, float]]

    @property
    def label(self) -> str:
        """What the page calls it."""
        return LABELS[self.key]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluatedSystem(MeasuredSystem):
    """A system whose posteriors are at hand, ordered by fold and utterance id."""

    test: Posteriors


def measure(posteriors: Posteriors, *, key: str, chosen: str, what: str = "") -> EvaluatedSystem:
    """Measure a system on its test rows."""
    test = tested_rows(posteriors, key)
    return EvaluatedSystem(
        key=key,
        what=what,
        chosen=chosen,
        pooled=metric_intervals(test.truth, test.values, test.speaker_ids.tolist()),
        by_fold={
            fold: classification_metrics(rows.truth, rows.values)
            for fold in sorted(set(test.folds.tolist()))
            for rows in [test.where(fold=fold)]
        },
        test=test,
    )


def tested_rows(posteriors: Posteriors, key: str) -> Posteriors:
    """The test rows of a system's posteriors, by fold and utterance id."""
    test = posteriors.where(part="test").ordered()
    if not len(test):
        raise ArtifactError(f"the posteriors of the {LABELS[key].lower()} hold no test rows")
    return test


def read_interval(found: IntervalRecord) -> Interval:
    """An interval of a file."""
    ends = found["low"], found["high"]
    return Interval(value=found["value"], low=ends[0], high=ends[1], p_value=found.get("p_value"))


def read_recorded(info: EnsembleRecord) -> list[MeasuredSystem]:
    """Metrics of the ensemble, the best single trial and the mean of all, as recorded."""
    systems = (
        (
            "ensemble",
            "ensemble",
            "Members and weights of each fold were fitted on that fold's dev rows.",
        ),
        ("single", "best_single", "For each fold, the trial with the best objective on dev rows."),
        ("mean", "mean_of_all", "Equal weights for every finished trial; nothing is chosen."),
    )
    return [
        MeasuredSystem(
            key=key,
            chosen=chosen,
            pooled={k: read_interval(v) for k, v in info["pooled"][name].items()},
            by_fold={f["fold"]: f["metrics"][name]["test"] for f in info["folds"]},
        )
        for key, name, chosen in systems
        if name in info["pooled"] and all(name in f["metrics"] for f in info["folds"])
    ]
