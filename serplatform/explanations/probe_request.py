"""What a run's models are probed with: trials, test utterances, their words and phones."""

from __future__ import annotations

import dataclasses
import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from serplatform.alignment.phone_classes import Notation, phone_notation
from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.dataset import has_been
from serplatform.artifacts.explanations import RankedUtterance
from serplatform.artifacts.posteriors import rows_of_part
from serplatform.artifacts.run import RunDescription
from serplatform.artifacts.trial import TrialRecord
from serplatform.corpora.base import Span
from serplatform.datasets.dataset import Dataset
from serplatform.errors import ArtifactError, BadInputError
from serplatform.explanations.attention import alignment_agreement
from serplatform.protocols.base import FoldPlan
from serplatform.run_directory import RunDirectory
from serplatform.storage.location import parse

#: test utterances of one fold in the picture of embeddings, at most
PICTURE_LIMIT = 300
#: an utterance is shown up to here, in seconds
SHOWN_SECONDS = 20.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeRequest:
    """What the models of every trial are probed with.

    Attributes:
        run: its directory.
        dataset: the one that the run was trained on.
        plan: the run's folds.
        rows: for each fold the test rows that are probed, ascending.
        examples: row shown whole to the fold it is shown in, in the order of the page.
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
    examples: Mapping[int, int]
    picture_rows: IntArray
    phones: Mapping[int, list[Span]]
    words: Mapping[int, list[Span]]
    agreement: Mapping[int, float]
    notation: Notation

    def order(self) -> list[int]:
        """Folds in the order they are probed: those with an utterance that is shown whole first."""
        wanted = set(self.examples.values())
        return sorted(self.rows, key=lambda fold: (fold not in wanted, fold))

    def truth(self, row: int) -> str:
        """Class of an utterance."""
        return self.plan.label_map[self.dataset.utterances.column("emotion")[row].as_py()]

    def shown_seconds(self, row: int) -> float:
        """How much of an utterance is shown."""
        return min(float(self.dataset.utterances.column("duration")[row].as_py()), SHOWN_SECONDS)

    def keys(self, row: int) -> dict[str, object]:
        """What tables say of an utterance."""
        return {
            "utterance_id": self.dataset.utterance_ids[row],
            "speaker_id": self.dataset.speaker_ids[row],
            "truth": self.truth(row),
        }


def open_dataset(
    directory: RunDirectory, description: RunDescription, moved: str | Path | None
) -> Dataset:
    """The dataset that a run was trained on, where it lies now; another one is an error."""
    path = moved or description["dataset"]["path"]
    place = parse(path)
    if isinstance(place, Path) and not place.is_dir():
        raise ArtifactError(
            f"{path}: the dataset of {directory} is not there any more; say where it lies "
            "now with --data"
        )
    opened = Dataset.open(path)
    expected = description["dataset"]["fingerprint"]
    if not has_been(opened.meta, expected):
        raise ArtifactError(
            f"{path}: the dataset is not the one that {directory} was trained on "
            f"(fingerprint {opened.fingerprint[:12]}, run {expected[:12]}); give the original "
            "with --data"
        )
    return opened


def merit(record: TrialRecord) -> tuple[float, int]:
    """By which trials are ranked: mean dev UAR, then the lower number."""
    return float(record["dev"]["uar"]), -int(record["trial"])


def choose_trials(directory: RunDirectory, numbers: Sequence[int] | None) -> list[TrialRecord]:
    """Records of the trials to explain: as asked for, or the best of each architecture (and fold,
    where a trial is of one)."""
    records = directory.records()
    complete = {
        n: r for n, r in records.items() if r["state"] == "complete" and r.get("dev", {}).get("uar")
    }
    if numbers is not None:
        errors = [
            f"trial {n}: {'is ' + records[n]['state'] if n in records else 'no such trial'}"
            for n in numbers
            if n not in complete
        ]
        if errors or not numbers:
            raise BadInputError(
                f"{directory.path}: only finished trials can be explained "
                f"({', '.join(map(str, sorted(complete))) or 'there are none'})",
                errors,
            )
        return [complete[n] for n in dict.fromkeys(numbers)]
    if not complete:
        raise BadInputError(f"{directory.path}: no trial has finished, so there is no model to ask")
    ordered = sorted(complete.values(), key=merit)
    best = {(record["architecture"], record.get("fold")): record for record in ordered}
    return sorted(best.values(), key=lambda record: record["trial"])


def recorded_posteriors(
    directory: RunDirectory, trial: int, classes: Sequence[str]
) -> tuple[pa.Table, DoubleArray]:
    """Test rows of a trial's posterior table, N of them, and their (N, K) posteriors."""
    table, _, values = rows_of_part(directory.read_posteriors(trial), "test", classes)
    return table, values


def ranked_rows(
    table: pa.Table, posteriors: DoubleArray, classes: Sequence[str]
) -> list[RankedUtterance]:
    """:func:`recorded_posteriors` in words: errors, then hits, the most confident first."""
    found = posteriors.argmax(axis=1)
    rows: list[RankedUtterance] = [
        {
            "utterance_id": row["utterance_id"],
            "speaker_id": row["speaker_id"],
            "fold": row["fold"],
            "truth": row["truth"],
            "prediction": classes[found[n]],
            "confidence": round(float(posteriors[n, found[n]]), 6),
        }
        for n, row in enumerate(table.to_pylist())
    ]
    rows.sort(key=lambda r: (r["prediction"] == r["truth"], -r["confidence"], r["utterance_id"]))
    return rows


def find_utterances(plan: FoldPlan, dataset: Dataset, utterances: Sequence[str]) -> dict[str, int]:
    """Utterance id to the first fold that tests it; an error names the nearest of those unknown."""
    tested: dict[str, int] = {}
    for number in range(len(plan.folds) - 1, -1, -1):
        tested.update(dict.fromkeys(plan.folds[number].test, number))
    errors = []
    for name in (name for name in dict.fromkeys(utterances) if name not in tested):
        known = name in dataset.row_of
        near = difflib.get_close_matches(name, tested, n=1)
        errors.append(
            f"'{name}': {'is tested in no fold' if known else 'no such utterance'}"
            + (f"; did you mean '{near[0]}'?" if near and not known else "")
        )
    if errors:
        raise BadInputError(
            f"{dataset.path}: these cannot be explained; `serplatform explain RUN` without "
            "utterances lists some:",
            errors[:20],
        )
    return {name: tested[name] for name in dict.fromkeys(utterances)}


def make_probe_request(
    directory: RunDirectory,
    dataset: Dataset,
    plan: FoldPlan,
    examples: Mapping[str, int],
    *,
    limit: int,
    seed: int,
) -> ProbeRequest:
    """Draw the rows to probe, and read their words and phones."""
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
    shown = {dataset.row_of[name]: fold for name, fold in examples.items()}
    wanted = {*shown, *(row for part in rows.values() for row in part.tolist())}
    words, phones = (_spans(dataset, wanted, tier) for tier in ("word", "phone"))
    notation = phone_notation(Counter(s.label for found in phones.values() for s in found))
    bounds = [dataset.utterances.column(n).to_numpy() for n in ("speech_start", "speech_end")]
    return ProbeRequest(
        run=directory,
        dataset=dataset,
        plan=plan,
        rows=rows,
        examples=shown,
        picture_rows=picture_rows,
        phones=phones,
        words=words,
        agreement={
            row: alignment_agreement(
                found, notation, (float(bounds[0][row]), float(bounds[1][row]))
            )
            for row, found in phones.items()
        },
        notation=notation,
    )


def _spans(dataset: Dataset, rows: set[int], tier: str) -> dict[int, list[Span]]:
    """Words or phones of the rows that have some, in order of time."""
    table = dataset.alignment
    names = pa.array([dataset.utterance_ids[row] for row in sorted(rows)], pa.string())
    wanted = pc.is_in(table.column("utterance_id"), value_set=names)
    table = table.filter(pc.and_(wanted, pc.equal(table.column("tier"), tier)))
    found: dict[int, list[Span]] = {}
    for entry in table.select(["utterance_id", "tier", "label", "start", "end"]).to_pylist():
        row = dataset.row_of[entry.pop("utterance_id")]
        found.setdefault(row, []).append(Span(**entry))
    for spans in found.values():
        spans.sort(key=lambda span: (span.start, span.end))
    return found
