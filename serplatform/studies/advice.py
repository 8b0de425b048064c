"""Warnings that save people a wrong conclusion, measured from the data at hand.

Everything is measured on train and dev rows only.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from serplatform.metrics import classification_metrics
from serplatform.models.base import ARCHITECTURES
from serplatform.protocols.base import FoldPlan

#: permutations of the labels behind a statement about chance
PERMUTATIONS = 199
#: a dev UAR above it is looked at twice under a speaker-independent protocol
TOO_GOOD = 0.95

_LETTERS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CueStrength:
    """How well a simple cue tells the classes apart on dev rows.

    Attributes:
        uar: pooled over folds, each utterance as often as it is a dev row.
        chance: mean of the same with permuted labels.
        p_value: share of permutations that are at least as good, with the usual correction.
    """

    uar: float
    chance: float
    p_value: float


def cue_strength(
    utterances: pa.Table,
    plan: FoldPlan,
    fit_predict: Callable[[list[int], npt.NDArray[np.int64], list[int]], npt.NDArray[np.float64]],
    *,
    seed: int = 0,
) -> CueStrength:
    """Train a simple classifier on each fold's train rows and measure it on its dev rows.

    The permutations exchange the dev labels within folds.

    Args:
        utterances: the dataset's table.
        plan: its folds.
        fit_predict: (train rows, train labels, dev rows) to (N, K) posteriors of the dev rows.
        seed: of the permutations.
    """
    row_of = {uid: row for row, uid in enumerate(utterances["utterance_id"].to_pylist())}
    emotions = utterances["emotion"].to_pylist()
    index = {name: k for k, name in enumerate(plan.classes)}
    truths, posteriors, folds = [], [], []
    for number, fold in enumerate(plan.folds):
        train = [row_of[uid] for uid in fold.train]
        dev = [row_of[uid] for uid in fold.dev]
        labels = np.array([index[plan.label_map[emotions[row]]] for row in train])
        posteriors.append(fit_predict(train, labels, dev))
        truths.append(np.array([index[plan.label_map[emotions[row]]] for row in dev]))
        folds.append(np.full(len(dev), number))
    truth = np.concatenate(truths)
    prediction = np.concatenate(posteriors)
    fold_of = np.concatenate(folds)
    uar = classification_metrics(truth, prediction)["uar"]
    rng = np.random.default_rng(seed)
    permuted = np.empty(PERMUTATIONS)
    for i in range(PERMUTATIONS):
        order = np.lexsort((rng.random(len(truth)), fold_of))
        # rows of one fold stay together in `order`, and they are together in `truth` already
        permuted[i] = classification_metrics(truth[order], prediction)["uar"]
    better = int((permuted >= uar - 1e-12).sum())
    return CueStrength(
        uar=float(uar),
        chance=float(permuted.mean()),
        p_value=(better + 1) / (PERMUTATIONS + 1),
    )


def text_cue(utterances: pa.Table, plan: FoldPlan) -> CueStrength | None:
    """How well the words alone tell the classes: naive Bayes on word counts.

    Returns:
        None where fewer than half of the utterances have a text.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    texts = [text or "" for text in utterances["text"].to_pylist()]
    if sum(bool(text) for text in texts) < len(texts) / 2:
        return None

    def fit_predict(
        train: list[int], labels: npt.NDArray[np.int64], dev: list[int]
    ) -> npt.NDArray[np.float64]:
        counter = CountVectorizer(tokenizer=_LETTERS.findall, token_pattern=None, binary=True)
        counts = counter.fit_transform([texts[row] for row in train])
        classifier = MultinomialNB().fit(counts, labels)
        found = classifier.predict_proba(counter.transform([texts[row] for row in dev]))
        return _spread(found, classifier.classes_, len(plan.classes))

    return cue_strength(utterances, plan, fit_predict)


def recording_cue(utterances: pa.Table, plan: FoldPlan) -> CueStrength:
    """How well duration, level, silences and sampling rate alone tell the classes."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    columns = [
        np.nan_to_num(np.array(utterances[name].to_pylist(), dtype=float), nan=0.0)
        for name in ("duration", "level_db", "speech_start", "sampling_rate")
    ]
    tail = columns[0] - np.array(utterances["speech_end"].to_pylist(), dtype=float)
    table = np.column_stack([*columns, tail])

    def fit_predict(
        train: list[int], labels: npt.NDArray[np.int64], dev: list[int]
    ) -> npt.NDArray[np.float64]:
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
        classifier.fit(table[train], labels)
        return _spread(classifier.predict_proba(table[dev]), classifier.classes_, len(plan.classes))

    return cue_strength(utterances, plan, fit_predict)


def _spread(
    posteriors: npt.NDArray[np.float64], classes: Sequence[int], num_classes: int
) -> npt.NDArray[np.float64]:
    """Posteriors over the classes of a fit, laid out over all classes."""
    full = np.zeros((len(posteriors), num_classes))
    full[:, list(classes)] = posteriors
    return full


def text_warning(utterances: pa.Table, plan: FoldPlan, architectures: Sequence[str]) -> str | None:
    """A warning where text models are searched on a corpus whose words say nothing.

    Returns:
        None when no architecture reads text, or when the words do tell the classes apart.
    """
    readers = [name for name in architectures if "text" in ARCHITECTURES.get(name).inputs]
    if not readers:
        return None
    names = ", ".join(readers)
    cue = text_cue(utterances, plan)
    if cue is None:
        return (
            f"{names} read text, but most utterances have none: their text branch sees unknown "
            "words"
        )
    if cue.p_value <= 0.05 and cue.uar > cue.chance:
        return None
    return (
        f"the words carry no measurable label information here (naive Bayes on word counts: dev "
        f"UAR {cue.uar:.3f}, {cue.chance:.3f} with permuted labels, p = {cue.p_value:.2f}); "
        f"the text branch of {names} can only add noise on this corpus"
    )


def too_good_warning(
    utterances: pa.Table, plan: FoldPlan, best: Mapping[str, Any] | None, *, synthetic: bool
) -> str | None:
    """A warning where a dev result is better than the protocol lets one expect."""
    if best is None or synthetic or not plan.speaker_independent:
        return None
    uar = best.get("dev", {}).get("uar")
    if uar is None or uar < TOO_GOOD:
        return None
    cue = recording_cue(utterances, plan)
    return (
        f"dev UAR {uar:.3f} is unusually high for speakers who were not heard in training: look "
        "for recordings of one utterance in several files, speakers under two names, or a cue "
        f"in the recording (duration, level and silences alone reach dev UAR {cue.uar:.3f}, "
        f"{cue.chance:.3f} with permuted labels, p = {cue.p_value:.2f})"
    )
