r"""Z-scores of frames: over the training rows, within a speaker, or within an utterance.

Speaker normalization takes all rows of a speaker, or new audio's, without looking at a label. Few
clips, or clips of one emotion, give statistics that are worse than none; ``speaker_shrunk`` trusts
those of n clips as far as training speakers show that one can,

.. math:: \hat\mu_s = \frac{n \mu_s + \kappa \mu}{n + \kappa}, \qquad
          \hat\sigma_s^2 = \frac{n \sigma_s^2 + \nu \sigma_w^2}{n + \nu}

with κ the variance of clips within a speaker over that of speakers (Efron and Morris, "Data
analysis using Stein's estimator and its generalizations", JASA 1975), σ²_w the mean variance within
a speaker, and ν = :data:`VARIANCE_CLIPS`. A training row takes the statistics of clips of its
speaker that were drawn, so that a model knows statistics of few clips. The constants were chosen on
half of the speakers of two corpora; ``benchmarks/speaker_statistics.py`` measures on the others.

Shapes: N utterances, T frames, D values a frame. Values are in the feature's own units.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from serplatform.arrays import DoubleArray, FloatArray, IntArray
from serplatform.artifacts.model import WITHIN_SPEAKER, Preprocessing
from serplatform.inputs.clips import Clips, Moments, Step
from serplatform.inputs.config import DataConfig

#: A speaker's or utterance's standard deviation is never taken below this share of the training
#: frames' in the same dimension: a constant stretch must not blow up.
STD_FLOOR = 0.05
#: clips that the variance within training speakers counts for, beside a speaker's own
VARIANCE_CLIPS = 10
#: least clips that a training row's statistics are drawn from, and draws a training speaker
FEWEST_DRAWN, DRAWS = 5, 16


@dataclasses.dataclass(frozen=True, eq=False)
class Shrinkage:
    """What training says of a speaker of whom little is known.

    Attributes:
        clips: (D,) κ, clips that the training mean counts for.
        variance: (D,) σ²_w, mean variance within a training speaker.
        drawn: training rows whose statistics are of drawn clips; none for new audio.
    """

    clips: DoubleArray
    variance: DoubleArray
    drawn: IntArray = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @classmethod
    def fit(cls, clips: Clips, train_rows: IntArray) -> Shrinkage:
        """Variances are of means of clips (one-way random effects, unbiased)."""
        moments = clips.moments()
        found = [np.intersect1d(rows, train_rows) for rows in clips.source.speakers]
        own = [rows for rows in found if len(rows)]
        pooled = Moments.stack([moments.pool(rows) for rows in own])
        spare = np.maximum(pooled.count - 1, 1)[:, None]
        size = np.array([len(rows) for rows in own])
        squares = sum(len(rows) * moments.mean[rows].var(axis=0) for rows in own)
        within = squares / max(int((size - 1).sum()), 1)
        means = np.stack([moments.mean[rows].mean(axis=0) for rows in own])
        spread = means.var(axis=0) * len(own) / max(len(own) - 1, 1)
        between = spread - within * (1 / size).mean()
        least = np.maximum(1e-3 * within, 1e-15)  # speakers that do not differ: κ = 1000
        variance = (pooled.scatter / spare).mean(axis=0)
        return cls(within / np.maximum(between, least), variance, train_rows)

    def __call__(self, moments: Moments, mean: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """Means and standard deviations of groups of clips, (N, D) each."""
        count = moments.clips[:, None]
        shrunk = (count * moments.mean + self.clips * mean) / (count + self.clips)
        variance = count * np.square(moments.std) + VARIANCE_CLIPS * self.variance
        return shrunk, np.sqrt(variance / (count + VARIANCE_CLIPS))

    def draws(self, speakers: Sequence[IntArray]) -> Iterator[tuple[IntArray, IntArray]]:
        """Training rows, and the clips of their speaker that they are normalized by."""
        for number, everything in enumerate(speakers):
            rng = np.random.default_rng(number)
            rows = np.intersect1d(everything, self.drawn)
            least, parts = min(FEWEST_DRAWN, len(rows)), min(DRAWS, len(rows))
            for part in np.array_split(rng.permutation(rows), parts) if parts else ():
                count = round(np.exp(rng.uniform(np.log(least), np.log(len(rows)))))
                yield part, rng.choice(rows, count, replace=False)


@dataclasses.dataclass(frozen=True, eq=False)
class Normalization(Step):
    """Subtract a mean, divide by a standard deviation.

    Attributes:
        kind: whose: ``train``, ``speaker``, ``utterance`` or ``none``.
        mean: (D,) of the training frames.
        std: (D,) of the training frames, 1 where they are constant.
        floor: (D,) least standard deviation of a speaker or an utterance.
        shrinkage: of ``speaker_shrunk``.
    """

    kind: str
    mean: DoubleArray
    std: DoubleArray
    floor: DoubleArray
    shrinkage: Shrinkage | None = None

    @classmethod
    def fit(cls, config: DataConfig, clips: Clips, train_rows: IntArray) -> Normalization:
        pooled = clips.moments().pool(train_rows)
        mean, std = pooled.mean[0], pooled.std[0]
        constant = std <= 1e-6 * np.maximum(np.abs(mean), 1e-6)  # up to rounding
        std = np.where(constant, 1.0, std)
        kind, shrinkage = config.normalization, None
        if kind == "speaker_shrunk":
            shrinkage = Shrinkage.fit(clips, train_rows)
        return cls(kind, mean, std, STD_FLOOR * std, shrinkage)

    @classmethod
    def load(cls, stored: Preprocessing) -> Normalization:
        mean, std, floor = map(
            np.array, (stored["mean"], stored["deviation"], stored["deviation_floor"])
        )
        shrinkage = None
        if "prior_clips" in stored:
            clips, variance = np.array(stored["prior_clips"]), np.array(stored["prior_variance"])
            shrinkage = Shrinkage(clips, variance)
        return cls(stored["normalization"], mean, std, floor, shrinkage)

    def describe(self) -> dict[str, object]:
        prior: dict[str, object] = {}
        if self.shrinkage is not None:
            prior["prior_clips"] = self.shrinkage.clips.tolist()
            prior["prior_variance"] = self.shrinkage.variance.tolist()
        return prior | {
            "normalization": self.kind,
            "mean": self.mean.tolist(),
            "deviation": self.std.tolist(),
            "deviation_floor": self.floor.tolist(),
        }

    def apply(self, clips: Clips) -> Clips:
        if self.kind == "none":
            return clips
        mean, std, groups = self.mean[None], self.std[None], None
        if self.kind != "train":
            moments, group = self.statistics(clips)
            mean, std, groups = moments.mean, moments.std, group.tolist()
            if self.shrinkage is not None:
                mean, std = self.shrinkage(moments, self.mean)
            std = np.maximum(std, self.floor)
        shift, scale = list(mean.astype(np.float32)), list((1.0 / std).astype(np.float32))

        def standardize(frames: FloatArray, row: int, key: int | None) -> FloatArray:
            number = 0 if groups is None else groups[row]  # which mean the row takes
            values = frames - shift[number]
            values *= scale[number]
            return values

        return clips.changed(standardize, self)

    def statistics(self, clips: Clips) -> tuple[Moments, IntArray]:
        """Moments of each speaker or utterance, and (N,) which of them each row takes."""
        group = np.zeros(len(clips.first), dtype=np.int64)
        if self.kind == "utterance":
            return clips.moments(), np.arange(len(group))
        source = clips.source
        for number, rows in enumerate(source.speakers):
            group[rows] = number
        if self.shrinkage is not None:
            for number, (rows, _) in enumerate(self.shrinkage.draws(source.speakers)):
                group[rows] = len(source.speakers) + number
        known = source.known_speaker.get(clips.identity)
        return self.speaker_moments(clips) if known is None else known, group

    def speaker_moments(self, clips: Clips) -> Moments:
        """Moments of each of the source's speakers, then of clips drawn of training speakers."""
        moments, speakers = clips.moments(), clips.source.speakers
        groups = list(speakers)
        if self.shrinkage is not None:
            groups += [chosen for _, chosen in self.shrinkage.draws(speakers)]
        return Moments.stack([moments.pool(rows) for rows in groups])

    @property
    def notes(self) -> tuple[str, ...]:
        if self.kind not in WITHIN_SPEAKER:
            return ()
        note = (
            "Speaker normalization: frames are standardized within each speaker, test speakers "
            "included, over their own unlabelled utterances"
        )
        if self.shrinkage is None:
            return (f"{note}.",)
        return (f"{note}, shrunk to the training rows' by the number of utterances.",)
