"""Warnings that save people a wrong conclusion, measured from the data at hand.

Everything is measured on train and dev rows only.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from serplatform.metrics import classification_metrics
from serplatform.models.architectures import ARCHITECTURES
from serplatform.protocols.base import FoldPlan

#: permutations of the labels behind a statement about chance
PERMUTATIONS = 199
#: a dev UAR above it is looked at twice under a speaker-independent protocol
TOO_GOOD = 0.95

_LETTERS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CueStrength:
    """How well a simple cue predicts the classes on dev rows.

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
    inputs: npt.NDArray[Any],
    classifier: Any,
    *,
    seed: int = 0,
) -> CueStrength:
    """Train a simple classifier on each fold's train rows and measure it on its dev rows.

    The permutations exchange the dev labels within folds.

    Args:
        utterances: the dataset's table.
        plan: its folds.
        inputs: one row per utterance, as the classifier takes it.
        classifier: a classifier or pipeline of scikit-learn, not fitted.
        seed: of the permutations.
    """
    row_of = {uid: row for row, uid in enumerate(utterances["utterance_id"].to_pylist())}
    emotions = utterances["emotion"].to_pylist()
    index = {name: k for k, name in enumerate(plan.classes)}
    truths, posteriors, folds = [], [], []
    for number, fold in enumerate(plan.folds):
        train = [row_of[uid] for uid in fold.train]
        dev = [row_of[uid] for uid in fold.dev]
        classifier.fit(inputs[train], [index[plan.label_map[emotions[row]]] for row in train])
        found = np.zeros((len(dev), len(plan.classes)))  # of classes that it has not seen, 0
        found[:, list(classifier.classes_)] = classifier.predict_proba(inputs[dev])
        posteriors.append(found)
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
    """How well the words alone predict the classes: naive Bayes on word counts.

    Returns:
        None where fewer than half of the utterances have a text.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    texts = np.array([text or "" for text in utterances["text"].to_pylist()], dtype=object)
    if sum(map(bool, texts)) < len(texts) / 2:
        return None
    counter = CountVectorizer(tokenizer=_LETTERS.findall, token_pattern=None, binary=True)
    return cue_strength(utterances, plan, texts, make_pipeline(counter, MultinomialNB()))


def recording_cue(utterances: pa.Table, plan: FoldPlan) -> CueStrength:
    """How well duration, level, silences and sampling rate alone predict the classes."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    columns = [
        np.nan_to_num(np.array(utterances[name].to_pylist(), dtype=float), nan=0.0)
        for name in ("duration", "level_db", "speech_start", "sampling_rate")
    ]
    tail = columns[0] - np.array(utterances["speech_end"].to_pylist(), dtype=float)
    table = np.column_stack([*columns, tail])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    return cue_strength(utterances, plan, table, classifier)


def text_warning(utterances: pa.Table, plan: FoldPlan, architectures: Sequence[str]) -> str | None:
    """A warning where text models are searched on a corpus whose words say nothing.

    Returns:
        None when no architecture reads text, or when the words do predict the classes.
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
