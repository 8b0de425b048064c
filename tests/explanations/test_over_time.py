"""What was expected of an input, against loops over its elements."""

import math

import numpy as np
import pytest
import torch

from serplatform.explanations.attention import FrameGrid
from serplatform.explanations.over_time import (
    SHOWN_FRAMES,
    FrameUnits,
    GeneratedInput,
    classes_over_time,
    generated_inputs,
)
from serplatform.inputs.normalization import Normalization
from serplatform.models.base import Batch, Framewise, Generation

MEAN, STD = np.array([10.0, -3.0]), np.array([4.0, 0.5])


def normalization(kind: str) -> Normalization:
    return Normalization(kind, MEAN, STD, 0.1 * STD)


def inputs_of(batch: Batch, found: Generation, kind: str) -> list[GeneratedInput | None]:
    units = FrameUnits.of_normalized(normalization(kind))
    return list(generated_inputs(batch.frames, batch.lengths.tolist(), found, units))


def drawn(lengths: tuple[int, ...]) -> tuple[Batch, Generation]:
    rng = torch.Generator().manual_seed(0)
    steps, dim = max(lengths), len(MEAN)
    batch = Batch(
        frames=torch.randn(len(lengths), steps, dim, generator=rng, dtype=torch.float64),
        lengths=torch.tensor(lengths),
        labels=torch.zeros(len(lengths), dtype=torch.int64),
    )
    shape = (len(lengths), steps - 1, dim)
    parts = [torch.randn(shape, generator=rng, dtype=torch.float64) for _ in range(2)]
    sampled = (torch.rand(shape, generator=rng) > 0.5).double()
    return batch, Generation(*parts, sampled)


def test_errors_are_those_of_loops_over_windows_and_elements() -> None:
    lengths = (4, 1, 2)
    batch, found = drawn(lengths)
    made = inputs_of(batch, found, "train")
    assert made[1] is None
    for b in (0, 2):
        windows, dim = lengths[b] - 1, len(MEAN)
        x, item = batch.frames[b].numpy(), made[b]
        nll = 0.0
        sums = {name: np.zeros((windows, dim)) for name in ("error", "previous", "mean", "sampled")}
        for t in range(windows):
            for d in range(dim):
                s = math.exp(float(found.log_std[b, t, d]))
                error = x[t + 1, d] - float(found.predicted[b, t, d])
                nll -= math.log(
                    math.exp(-0.5 * (error / s) ** 2) / (s * math.sqrt(2 * math.pi))
                ) / (windows * dim)
                sums["error"][t, d] = error**2
                sums["previous"][t, d] = (x[t + 1, d] - x[t, d]) ** 2
                sums["mean"][t, d] = x[t + 1, d] ** 2
                sums["sampled"][t, d] = float(found.sampled[b, t, d])
        assert item.row["num_windows"] == lengths[b]
        assert item.row["nll"] == pytest.approx(nll)
        for name, table in sums.items():
            np.testing.assert_allclose(item.row[name], table.mean(axis=0))
            np.testing.assert_allclose(item.row[f"{name}_over_time"], table.mean(axis=1))


def test_a_raw_input_gives_what_the_normalised_one_gives() -> None:
    batch, found = drawn((5,))
    mean, std = torch.from_numpy(MEAN), torch.from_numpy(STD)
    raw = Batch(frames=batch.frames * std + mean, lengths=batch.lengths, labels=batch.labels)
    as_raw = Generation(found.predicted * std + mean, found.log_std + std.log(), found.sampled)
    (ours,) = inputs_of(batch, found, "train")
    (theirs,) = inputs_of(raw, as_raw, "none")
    assert ours.row.keys() == theirs.row.keys()
    for name, value in ours.row.items():
        np.testing.assert_allclose(theirs.row[name], value)
    np.testing.assert_allclose(ours.row["unit"], STD)
    np.testing.assert_allclose(theirs.deviation, ours.deviation)
    (of_speaker,) = inputs_of(batch, found, "speaker")
    assert of_speaker.row["unit"] is None


def test_behind_a_projection_units_are_of_what_it_makes_of_the_training_frames() -> None:
    batches = [drawn(lengths)[0] for lengths in ((4, 1), (3,))]
    scale, shift = torch.tensor([3.0, 0.0]), torch.tensor([5.0, 2.0])  # the second is constant
    made = [(b.frames * scale + shift, b.lengths.tolist()) for b in batches]
    units = FrameUnits.of_batches(made)
    every = np.concatenate([f[b, :n].numpy() for f, ns in made for b, n in enumerate(ns)])
    np.testing.assert_allclose(units.mean, every.mean(axis=0))
    np.testing.assert_allclose(units.std, [every[:, 0].std(), 1.0])
    assert units.own is None


def test_a_long_utterance_is_measured_whole_and_shown_in_part() -> None:
    batch, found = drawn((SHOWN_FRAMES + 9,))
    (item,) = inputs_of(batch, found, "train")
    assert len(item.row["error_over_time"]) == SHOWN_FRAMES + 8
    grid = FrameGrid(first=2, count=SHOWN_FRAMES + 9, shift=1.0, length=2.0)
    record = item.shown(3, "vrnn", grid)
    assert len(record["frames"]) == len(record["centres"]) == SHOWN_FRAMES
    assert len(record["predicted"]) == len(record["sampled"]) == SHOWN_FRAMES - 1
    assert record["centres"][:2] == [3.0, 4.0]


def test_the_share_heard_is_of_the_time_of_all_frames() -> None:
    posteriors = torch.eye(3)[torch.tensor([[0, 2, 1], [1, 0, 0]])].log()
    first = torch.arange(3).expand(2, 3)
    found = Framewise(posteriors, torch.tensor([3, 1]), torch.stack([first, first + 1], 2), True)
    grids = [FrameGrid(first=0, count=count, shift=1.0, length=2.0) for count in (3, 1)]
    (ends, classes), (end, only) = classes_over_time(found, grids)
    assert ends.tolist() == [0.5, 0.75, 1.0]  # 2, 3, 4 of 4 seconds
    assert classes.tolist() == [0, 2, 1]
    assert (end.tolist(), only.tolist()) == ([1.0], [1])
