"""What the models said, collected: tables of attention, samplings and embeddings, examples.

Shapes: N utterances, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from serplatform.alignment.phone_classes import PHONE_CLASSES
from serplatform.arrays import BoolArray, DoubleArray
from serplatform.artifacts.explanations import (
    CurveRecord,
    EmbeddingRecord,
    ExplainedTrial,
    GeneratedRecord,
    LabelAttentions,
    PhoneTest,
    PredictionRecord,
    TrackRecord,
)
from serplatform.artifacts.files import write_parquet
from serplatform.explanations.attention import (
    LAG,
    LEAST_AGREEMENT,
    autocorrelation,
    class_mass,
    frame_classes,
    speech_part,
    spread,
    total_variation,
)
from serplatform.explanations.attention_by_label import (
    SpokenLabels,
    measure_labels,
    relative_to_count,
    relative_to_time,
    spoken_phones,
    spoken_words,
)
from serplatform.explanations.embeddings import neighbour_purity, picture
from serplatform.explanations.model_probe import ProbeResult
from serplatform.explanations.probe_request import ProbeRequest
from serplatform.prediction.predict import step_rows
from serplatform.prediction.steps import GRID, Steps, grid_points
from serplatform.prediction.track import cut_segments
from serplatform.report.over_time import generation_error, heard_curve
from serplatform.statistics.circular_shift import circular_shift_test
from serplatform.statistics.intervals import plain_values

_KEYS = [
    ("trial", pa.int32()),
    ("architecture", pa.string()),
    ("fold", pa.int32()),
    ("utterance_id", pa.string()),
    ("speaker_id", pa.string()),
    ("truth", pa.string()),
]
_SCHEMAS = {
    "attention": pa.schema(
        [
            *_KEYS[:2],
            ("map", pa.string()),
            *_KEYS[2:],
            ("prediction", pa.string()),
            ("frames", pa.int32()),
            *((name, pa.float64()) for name in ("spread", "variation", "autocorrelation")),
            *((f"mass_{name}", pa.float64()) for name in PHONE_CLASSES),
            *((f"frames_{name}", pa.int32()) for name in PHONE_CLASSES),
        ]
    ),
    "statistics": pa.schema(
        [
            *_KEYS,
            ("num_windows", pa.int32()),
            ("sampled_share", pa.float64()),
            ("elements", pa.list_(pa.float32())),
        ]
    ),
    "generation": pa.schema(
        [
            *_KEYS,
            ("num_windows", pa.int32()),
            ("nll", pa.float64()),
            ("unit", pa.list_(pa.float64())),
            *(
                (name + over, pa.list_(pa.float64()))
                for over in ("", "_over_time")
                for name in ("error", "previous", "mean", "sampled")
            ),
        ]
    ),
    "framewise": pa.schema(
        [*_KEYS, ("ends", pa.list_(pa.float64())), ("classes", pa.list_(pa.int32()))]
    ),
    "embeddings": pa.schema(
        [
            *_KEYS,
            ("prediction", pa.string()),
            ("confidence", pa.float64()),
            ("x", pa.float64()),
            ("y", pa.float64()),
        ]
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialFindings:
    """What the models of one trial said.

    Attributes:
        tables: name of a table to its rows; columns that a row lacks are null.
        map_kinds: attention map to what it runs over.
        speech: attention map to rows with :func:`attention.speech_part` of each.
        said: attention map and tier (``word``, ``phone``) to relative attention on what is said.
        predictions: row shown whole to what is predicted there.
        curves: row shown whole to its attention maps.
        tracks: row shown whole to emotion over time, where the model says something of it.
        generated: row shown whole to its input as expected.
    """

    request: ProbeRequest
    trial: int
    architecture: str
    tables: dict[str, list[dict[str, object]]] = dataclasses.field(
        default_factory=lambda: {name: [] for name in _SCHEMAS}
    )
    map_kinds: dict[str, str] = dataclasses.field(default_factory=dict)
    speech: dict[str, list[tuple[int, DoubleArray, BoolArray]]] = dataclasses.field(
        default_factory=dict
    )
    said: dict[tuple[str, str], list[SpokenLabels]] = dataclasses.field(default_factory=dict)
    predictions: dict[int, PredictionRecord] = dataclasses.field(default_factory=dict)
    curves: dict[int, list[CurveRecord]] = dataclasses.field(default_factory=dict)
    generated: dict[int, GeneratedRecord] = dataclasses.field(default_factory=dict)
    tracks: dict[int, TrackRecord] = dataclasses.field(default_factory=dict)

    def add_maps(self, fold: int, result: ProbeResult) -> None:
        """Note one utterance's maps by phone class, and what was sampled of it."""
        request, grid = self.request, result.grid
        self.map_kinds.update({name: kind for name, (kind, _) in result.maps.items()})
        phones = request.phones.get(result.row)
        fine = grid.fine
        classes = None
        if phones and fine and request.agreement[result.row] >= LEAST_AGREEMENT:
            classes = frame_classes(phones, grid, request.notation)
        for name, (kind, share) in result.maps.items():
            self._add_labels(fold, result, name, fine=fine)
            if kind != "frames" or not fine:
                continue
            entry = {
                **self._keys(fold, result),
                "map": name,
                "prediction": self._top(result)[0],
                "frames": grid.count,
                "spread": spread(share),
                "variation": total_variation(share),
                "autocorrelation": autocorrelation(share, max(1, round(LAG / grid.shift))),
            }
            if classes is not None:
                mass, frames = class_mass(share, classes)
                entry |= {f"mass_{label}": value for label, value in mass.items()}
                entry |= {f"frames_{label}": value for label, value in frames.items()}
                speech = speech_part(share, classes)
                if speech is not None:
                    self.speech.setdefault(name, []).append((result.row, *speech))
            self.tables["attention"].append(entry)
        if "sampled_share" in result.statistics:
            self.tables["statistics"].append(
                {
                    **self._keys(fold, result),
                    "num_windows": round(result.statistics["num_windows"]),
                    "sampled_share": result.statistics["sampled_share"],
                    "elements": None if result.elements is None else result.elements.tolist(),
                }
            )
        if result.generated is not None:
            self.tables["generation"].append({**self._keys(fold, result), **result.generated.row})
        if result.over_time is not None:
            ends, classes = result.over_time
            entry = {"ends": ends, "classes": classes}
            self.tables["framewise"].append({**self._keys(fold, result), **entry})

    def describe(self, found: ExplainedTrial) -> None:
        """Add how well the input was expected, and what is right before the end."""
        if rows := self.tables["generation"]:
            found["generation"] = plain_values(generation_error(rows))
        if rows := self.tables["framewise"]:
            curve = heard_curve(rows, self.request.plan.classes)
            found["heard"] = [plain_values(point) for point in curve]

    def _add_labels(self, fold: int, result: ProbeResult, name: str, *, fine: bool) -> None:
        """Note the attention of one map on each word and phone of an utterance."""
        request, (kind, share) = self.request, result.maps[name]
        if request.agreement.get(result.row, 1.0) < LEAST_AGREEMENT:
            return
        words = spoken_words(request.words.get(result.row, ()))
        phones = spoken_phones(request.phones.get(result.row, ()), request.notation)
        found = {}
        if kind == "words" and len(words) == len(share) > 1:
            found["word"] = relative_to_count(share, words)
        elif kind == "frames" and fine:
            found = {
                "word": relative_to_time(share, result.grid, words),
                "phone": relative_to_time(share, result.grid, phones),
            }
        keys = request.keys(result.row)
        for tier, relative in found.items():
            if relative:
                self.said.setdefault((name, tier), []).append(
                    SpokenLabels(
                        fold=fold,
                        speaker_id=str(keys["speaker_id"]),
                        emotion=str(keys["truth"]),
                        relative=relative,
                    )
                )

    def labels(self, *, seed: int) -> list[LabelAttentions]:
        """Attention by word and by phone across emotions, map by map."""
        return [
            {
                "trial": self.trial,
                "architecture": self.architecture,
                "map": name,
                "tier": tier,
                "utterances": len(said),
                "labels": measure_labels(said, self.request.plan.classes, seed=seed),
            }
            for (name, tier), said in self.said.items()
        ]

    def add_example(self, result: ProbeResult, steps: Steps | None = None) -> None:
        """Note the prediction, attention curves and track of an utterance that is shown whole."""
        prediction, confidence = self._top(result)
        self.predictions[result.row] = {
            "trial": self.trial,
            "architecture": self.architecture,
            "prediction": prediction,
            "confidence": round(confidence, 6),
        }
        grid, seconds = result.grid, self.request.shown_seconds(result.row)
        if steps is not None:
            self.tracks[result.row] = self._track(steps, seconds)
        if result.generated is not None:
            shown = result.generated.shown(self.trial, self.architecture, grid)
            self.generated[result.row] = shown
        for name, (kind, share) in result.maps.items():
            starts = grid.centres
            if kind == "words":
                if result.word_frames is None:
                    continue
                starts = np.asarray((grid.first + result.word_frames) * grid.shift, np.float64)
            elif not grid.fine:
                continue
            kept = starts < seconds
            self.curves.setdefault(result.row, []).append(
                {
                    "trial": self.trial,
                    "architecture": self.architecture,
                    "map": name,
                    "kind": kind,
                    "starts": _rounded(starts[kept]),
                    "times_even": _rounded((share * len(share))[kept]),
                }
            )

    def _track(self, steps: Steps, seconds: float) -> TrackRecord:
        """Steps up to some seconds, at even points in time."""
        start = float(steps.start[0])
        points = steps.at(grid_points(start, min(float(steps.end.max()), seconds)))
        segments = cut_segments(step_rows(points, "", seconds), self.request.plan.classes)
        return {
            "trial": self.trial,
            "architecture": self.architecture,
            "start": round(start + GRID / 2, 4),
            "shift": GRID,
            "posteriors": [_rounded(values) for values in points.posteriors.T],
            "segments": [
                [s.emotion, *_rounded(np.array([s.start, s.end, s.posterior]))] for s in segments
            ],
        }

    def embed(self, results: Sequence[ProbeResult], *, seed: int) -> EmbeddingRecord | None:
        """Place test utterances of the first fold in the plane; None where there are too few."""
        if len(results) < 3:
            return None
        vectors = [result.vector for result in results if result.vector is not None]
        if len(vectors) == len(results):
            table, what = np.stack(vectors), "penultimate"
        else:
            table = np.log(np.maximum(np.stack([r.posteriors for r in results]), 1e-12))
            what = "log_posteriors"
        points, method = picture(table, seed=seed)
        classes = self.request.plan.classes
        truth = [classes.index(self.request.truth(result.row)) for result in results]
        purity, chance = neighbour_purity(table, np.array(truth))
        for result, (x, y) in zip(results, points.tolist(), strict=True):
            prediction, confidence = self._top(result)
            self.tables["embeddings"].append(
                {
                    **self._keys(0, result),
                    "prediction": prediction,
                    "confidence": confidence,
                    "x": x,
                    "y": y,
                }
            )
        return {
            "vectors": what,
            "dim": int(table.shape[1]),
            "method": method,
            "fold": 0,
            "utterances": len(results),
            "purity": purity,
            "chance": chance,
        }

    def phone_tests(self, *, seed: int) -> list[PhoneTest]:
        """Whether each map lies on vowels more than chance puts it; sentences are the groups."""
        text = self.request.dataset.utterances.column("text")
        tests: list[PhoneTest] = []
        for name, entries in self.speech.items():
            found = circular_shift_test(
                [weights for _, weights, _ in entries],
                [marked for _, _, marked in entries],
                [(text[row].as_py() or "").strip().lower() or row for row, _, _ in entries],
                seed=seed,
            )
            tests.append(
                {
                    "trial": self.trial,
                    "architecture": self.architecture,
                    "map": name,
                    "excess": found.excess,
                    "p_value": found.p_value,
                    "num_draws": found.num_draws,
                    "num_utterances": found.num_utterances,
                    "num_groups": found.num_groups,
                }
            )
        return tests

    def _keys(self, fold: int, result: ProbeResult) -> dict[str, object]:
        keys = {"trial": self.trial, "architecture": self.architecture, "fold": fold}
        return {**keys, **self.request.keys(result.row)}

    def _top(self, result: ProbeResult) -> tuple[str, float]:
        found = int(result.posteriors.argmax())
        return self.request.plan.classes[found], float(result.posteriors[found])


def _rounded(values: DoubleArray) -> list[float]:
    return [round(float(value), 4) for value in values]


def write_tables(folder: Path, findings: Sequence[TrialFindings]) -> list[str]:
    """Write the tables of all trials, rows by trial and fold; return the names of the files."""
    for name, schema in _SCHEMAS.items():
        table = pa.Table.from_pylist(
            [row for found in findings for row in found.tables[name]], schema=schema
        )
        table = table.sort_by([("trial", "ascending"), ("fold", "ascending")])
        write_parquet(folder / f"{name}.parquet", table)
    return [f"{name}.parquet" for name in _SCHEMAS]
