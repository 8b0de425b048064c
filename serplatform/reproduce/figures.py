"""What figures of the papers show, as numbers and as pictures: attention curves and embeddings.

Test rows are read here; they choose nothing but which utterances are drawn.

Shapes: N utterances, D vector dimension.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serplatform.artifacts.reproduced_table import (
    CurvePicture,
    FigureRecord,
    MeasuredMetric,
    PointPicture,
)
from serplatform.datasets.dataset import Dataset
from serplatform.explanations.attention import LEAST_AGREEMENT
from serplatform.explanations.attention_by_label import spoken_words
from serplatform.explanations.embeddings import distance_ratios, neighbour_shares, picture
from serplatform.explanations.example_utterances import shown_phones, shown_words
from serplatform.explanations.findings import TrialFindings
from serplatform.explanations.model_probe import ProbeResult, probe_model
from serplatform.explanations.probe_request import ProbeRequest, make_probe_request
from serplatform.papers.paper_table import PaperRow
from serplatform.protocols.plan import read_plan
from serplatform.report.figures.phone_attention import map_attention
from serplatform.report.speaker_intervals import mean_interval
from serplatform.reproduce.measure import AVERAGE, summarise
from serplatform.run_directory import RunDirectory
from serplatform.statistics.intervals import Interval

#: metric to the class of phones, and to the column of the attention table, that it is made of
_PHONES = {"vowels": "vowel", "consonants": "consonant", "silence": "silence"}
_COLUMNS = {"total_variation": "variation", "autocorrelation": "autocorrelation"}
DIFFERENCE = "difference"

Rows = Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbedAttention:
    """Attention of some trainings of one system on the test utterances of all their folds.

    Attributes:
        rows: of the attention table, over trials, folds, maps and utterances.
        first: findings of the first trial.
        results: what its models said of each row of the dataset, by fold and row.
    """

    request: ProbeRequest
    rows: Rows
    first: TrialFindings
    results: Mapping[tuple[int, int], ProbeResult]

    def cell(self, row: PaperRow, rows: Sequence[PaperRow], kind: str) -> _Read:
        """What is measured and drawn of one row of a figure of attention."""
        if kind == "attention_smoothness":
            return self._layers(row)
        return self._phones(row, [one for one in rows if one.drawn])

    # -- attention on phones, a row an emotion

    def _phones(self, row: PaperRow, drawn: Sequence[PaperRow]) -> _Read:
        maps = [name for name, kind in self.first.map_kinds.items() if kind == "frames"]
        own = [
            one
            for one in self.rows
            if one["map"] in maps[:1] and row.name in (AVERAGE, one["truth"])
        ]
        measured = {
            metric: found
            for metric, name in _PHONES.items()
            if (found := _summary(own, _per_frame, name)) is not None
        }
        figure: FigureRecord = {}
        if row.name == AVERAGE:
            figure["labels"] = [one for one in self.first.labels(seed=0) if one["map"] in maps[:1]]
        elif measured:
            word, chosen = self._with_a_word([one.name for one in drawn], row, row.drawn)
            figure["curves"] = [self._curve(*place, maps[:1]) for place in chosen]
            if word:
                figure["word"] = word
        return measured, figure

    def _with_a_word(
        self, names: Sequence[str], row: PaperRow, count: int
    ) -> tuple[str, list[tuple[int, int]]]:
        """The word spoken most often in all of the classes that are there, and utterances of one
        of them with it; the empty word where there is none."""
        said: dict[str, list[set[str]]] = {name: [] for name in names}
        for _, line in self._candidates():
            if (truth := self.request.truth(line)) in said:
                said[truth].append(self._words(line))
        counts = [Counter(w for words in found for w in words) for found in said.values() if found]
        shared = set.intersection(*(set(found) for found in counts)) if counts else set()
        word = min(shared, key=lambda w: (-sum(found[w] for found in counts), w), default="")
        own = [place for place in self._candidates() if self.request.truth(place[1]) == row.name]
        return word, [p for p in own if not word or word in self._words(p[1])][:count]

    def _words(self, line: int) -> set[str]:
        return {span.label for span in spoken_words(self.request.words.get(line, ()))}

    # -- layers, a row each

    def _layers(self, row: PaperRow) -> _Read:
        rows: Rows = [one for one in self.rows if one["map"] == row.name]
        if row.name == DIFFERENCE:
            rows = _differences(self.rows)
        measured = {
            metric: found
            for metric in ("total_variation", "autocorrelation", "spread")
            if (found := _summary(rows, _mean, metric)) is not None
        }
        figure: FigureRecord = {}
        if row.drawn and measured:
            lengths = self.request.dataset.utterances.column("duration").to_pylist()
            known = self._candidates()
            right = [place for place in known if self._right(place)]
            order = sorted(right or known, key=lambda place: -lengths[place[1]])
            ends = (order[0], order[-1])
            figure["curves"] = [self._curve(*place, [row.name]) for place in ends]
        return measured, figure

    # -- pictures

    def _candidates(self) -> list[tuple[int, int]]:
        """Fold and row of the utterances fit to be drawn, those answered rightly first, by id;
        where phones are known, those whose phones lie where the sound is."""
        aligned = [
            place
            for place in self.results
            if self.request.agreement.get(place[1], 0.0) >= LEAST_AGREEMENT
        ]
        names = self.request.dataset.utterance_ids
        return sorted(aligned or self.results, key=lambda p: (not self._right(p), names[p[1]], p))

    def _right(self, place: tuple[int, int]) -> bool:
        return self._top(place) == self.request.truth(place[1])

    def _top(self, place: tuple[int, int]) -> str:
        return self.request.plan.classes[int(self.results[place].posteriors.argmax())]

    def _curve(self, fold: int, line: int, maps: Sequence[str]) -> CurvePicture:
        request, result = self.request, self.results[fold, line]
        seconds = request.shown_seconds(line)
        return {
            "title": f"{request.truth(line)}: “{request.dataset.utterances['text'][line]}”",
            "utterance_id": request.dataset.utterance_ids[line],
            "truth": request.truth(line),
            "prediction": self._top((fold, line)),
            "seconds": round(seconds, 4),
            "words": shown_words(request, line),
            "phones": shown_phones(request, line),
            "curves": [
                {
                    "map": name,
                    "starts": [round(t, 4) for t in result.grid.centres.tolist() if t < seconds],
                    "times_even": [
                        round(value * len(share), 4)
                        for value, t in zip(share.tolist(), result.grid.centres, strict=True)
                        if t < seconds
                    ],
                }
                for name in maps
                for share in [result.maps[name][1]]
            ],
        }


_Read = tuple[dict[str, MeasuredMetric], FigureRecord]


def probe_attention(run: Path, dataset: Dataset, trials: Sequence[int]) -> ProbedAttention:
    """Run every fold's model of some trials of one system on its test utterances."""
    directory = RunDirectory(run)
    plan = read_plan(directory.folds_file)
    request = make_probe_request(directory, dataset, plan, {}, limit=0, seed=0)
    records = directory.records()
    found: list[TrialFindings] = []
    results: dict[tuple[int, int], ProbeResult] = {}
    for trial in trials:
        architecture = records[trial]["architecture"]
        found.append(TrialFindings(request=request, trial=trial, architecture=architecture))
        for fold, lines in request.rows.items():
            for result in probe_model(directory, dataset, plan, trial, fold, lines).results:
                found[-1].add_maps(fold, result)
                if trial == trials[0]:
                    results[fold, result.row] = result
    rows = [row for one in found for row in one.tables["attention"]]
    return ProbedAttention(request=request, rows=rows, first=found[0], results=results)


def read_embeddings(run: Path, dataset: Dataset, trials: Sequence[int]) -> _Read:
    """Measure how the vectors of some trainings of one system keep classes apart, and draw them.

    Numbers are over the test rows of all folds, the picture is of the first fold and trial.
    """
    directory = RunDirectory(run)
    plan = read_plan(directory.folds_file)
    rows: list[dict[str, Any]] = []
    figure: FigureRecord = {}
    emotions = dataset.utterances.column("emotion").to_pylist()
    for trial in trials:
        for fold, part in enumerate(plan.folds):
            lines = np.array(sorted(dataset.row_of[name] for name in part.test), dtype=np.int64)
            results = probe_model(directory, dataset, plan, trial, fold, lines).results
            given = [result.vector for result in results if result.vector is not None]
            if len(given) < max(3, len(results)):
                continue
            vectors = np.stack(given)
            truth = [plan.classes.index(plan.label_map[emotions[r.row]]) for r in results]
            labels = np.array(truth, dtype=np.int64)
            values = zip(
                results,
                neighbour_shares(vectors, labels).tolist(),
                distance_ratios(vectors, labels).tolist(),
                strict=True,
            )
            rows += [
                {
                    "trial": trial,
                    "fold": fold,
                    "speaker_id": dataset.speaker_ids[result.row],
                    "neighbours": near,
                    "distance_ratio": ratio if np.isfinite(ratio) else None,
                }
                for result, near, ratio in values
            ]
            if not figure:
                figure["points"] = _points(*picture(vectors), plan.classes, truth)
    measured = {
        metric: found
        for metric in ("neighbours", "distance_ratio")
        if (found := _summary(rows, _mean, metric)) is not None
    }
    return measured, figure


def _points(plane: Any, method: str, classes: Sequence[str], truth: Sequence[int]) -> PointPicture:
    points = [
        (round(x, 3), round(y, 3), label)
        for (x, y), label in zip(plane.tolist(), truth, strict=True)
    ]
    return {"method": method, "classes": list(classes), "points": points}


def _summary(
    rows: Rows, statistic: Callable[[Rows, str], Interval | None], metric: str
) -> MeasuredMetric | None:
    """A statistic with its interval, and its values in each trial and fold; None without rows."""
    pooled = statistic(rows, metric)
    if pooled is None:
        return None
    values: dict[int, list[float]] = {}
    for trial, fold in sorted({(row["trial"], row["fold"]) for row in rows}):
        model = [row for row in rows if (row["trial"], row["fold"]) == (trial, fold)]
        own = statistic(model, metric)
        if own is not None:
            values.setdefault(trial, []).append(own.value)
    return summarise(list(values.values()), pooled)


def _mean(rows: Rows, metric: str) -> Interval | None:
    name = _COLUMNS.get(metric, metric)
    known = [row for row in rows if row[name] is not None]
    if not known:
        return None
    return mean_interval([row[name] for row in known], [row["speaker_id"] for row in known])


def _per_frame(rows: Rows, phones: str) -> Interval | None:
    """Attention on a class of phones per frame, 1 where it is even."""
    known = [row for row in rows if row.get("mass_vowel") is not None]
    found = map_attention(known, "", None) if known else None
    if found is None:
        return None
    (own,) = (one for one in found.classes if one.phone_class == phones)
    return own.intensity


def _differences(rows: Rows) -> list[dict[str, Any]]:
    """Each utterance's second layer minus its first."""
    keys = ("trial", "fold", "utterance_id")
    first = {tuple(row[k] for k in keys): row for row in rows if row["map"] == "layer1"}
    found = []
    for row in rows:
        other = first.get(tuple(row[k] for k in keys))
        if row["map"] != "layer2" or other is None:
            continue
        gaps = {
            name: None if None in (row[name], other[name]) else row[name] - other[name]
            for name in ("variation", "autocorrelation", "spread")
        }
        found.append({**row, **gaps})
    return found
