"""Warnings that save people a wrong conclusion, measured from the data at hand.

Everything is measured on train and dev rows only.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from serplatform.artifacts.trial import TrialRecord
from serplatform.console import percent
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import words_of, words_to_read
from serplatform.inputs.timed_words import TimedWords
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


def text_cue(utterances: pa.Table, plan: FoldPlan, words: TimedWords) -> CueStrength:
    """How well the words alone predict the classes: naive Bayes on word counts."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    texts = np.array([" ".join(words.text(row)) for row in range(len(words))], dtype=object)
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


def readers_of_text(architectures: Iterable[str]) -> list[str]:
    """Those of the architectures that read the words that were spoken."""
    return [name for name in architectures if "text" in ARCHITECTURES.get(name).inputs]


def lacking_text(dataset: Dataset, architectures: Iterable[str]) -> dict[str, str]:
    """Architectures that read text, with why they are left out: most utterances have none."""
    readers = readers_of_text(architectures)
    missing = words_of(dataset).counts["wordless"] if readers else 0
    if missing <= len(dataset) / 2:
        return {}
    return dict.fromkeys(readers, f"{missing} of {len(dataset)} utterances have no text")


def text_warning(dataset: Dataset, plan: FoldPlan, architectures: Sequence[str]) -> str | None:
    """A warning where text models are searched on a corpus whose words say nothing.

    Returns:
        None when no architecture reads text, or when the words do predict the classes.

    Raises:
        BadInputError: there is no word that they could be trained on.
    """
    readers = readers_of_text(architectures)
    if not readers:
        return None
    names = ", ".join(readers)
    words = words_to_read(dataset, names)
    if why := lacking_text(dataset, readers):
        return f"{why[readers[0]]}: of these, the text branch of {names} sees one unknown word each"
    cue = text_cue(dataset.utterances, plan, words)
    if cue.p_value <= 0.05 and cue.uar > cue.chance:
        return None
    return (
        f"the words carry no measurable label information here (naive Bayes on word counts: dev "
        f"UAR {percent(cue.uar)}, {percent(cue.chance)} with permuted labels, "
        f"p = {cue.p_value:.2f}); the text branch of {names} can only add noise on this corpus"
    )


def too_good_warning(
    utterances: pa.Table, plan: FoldPlan, best: TrialRecord | None, *, synthetic: bool
) -> str | None:
    """A warning where a dev result is better than the protocol lets one expect."""
    if best is None or synthetic or not plan.speaker_independent:
        return None
    uar = best.get("dev", {}).get("uar")
    if uar is None or uar < TOO_GOOD:
        return None
    cue = recording_cue(utterances, plan)
    return (
        f"dev UAR {percent(uar)} is unusually high for speakers who are not in the training data: "
        "look for recordings of one utterance in several files, speakers under two names, or a cue "
        f"in the recording (duration, level and silences alone reach dev UAR "
        f"{percent(cue.uar)}, {percent(cue.chance)} with permuted labels, p = {cue.p_value:.2f}); "
        "'serplatform data DATA --canary' names test clips with a near copy among training clips"
    )
