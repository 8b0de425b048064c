"""Time a bidirectional LSTM step three ways: packed, padded without a mask, and ours.

    OMP_NUM_THREADS=1 python benchmarks/blstm_step.py --threads 1
    OMP_NUM_THREADS=2 python benchmarks/blstm_step.py --threads 2

Each repetition times one forward and backward step of every variant in turn, so that the
machine's ups and downs meet all of them alike; the ratio is of the medians. "padded" lets the
backward direction run through the padding: fast, and wrong for every shorter utterance.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from serplatform.models.layers.bilstm import BiLstm

#: hidden units a direction, utterances, frames
SIZES = [(64, 32, 120), (128, 32, 120), (128, 32, 370), (512, 32, 60)]
FEATURE_DIM = 23


def steps(hidden_dim: int, num_utterances: int, num_frames: int) -> dict[str, Callable[[], None]]:
    """Make one training step of each variant, over the same weights and utterances."""
    torch.manual_seed(0)
    layer = BiLstm(FEATURE_DIM, hidden_dim, num_layers=2)
    lengths = torch.randint(num_frames // 3, num_frames + 1, (num_utterances,))
    lengths[0] = num_frames
    frames = torch.randn(num_utterances, num_frames, FEATURE_DIM)
    slope = torch.randn(num_utterances, num_frames, 2 * hidden_dim)

    def packed() -> Tensor:
        sequence = nn.utils.rnn.pack_padded_sequence(
            frames, lengths, batch_first=True, enforce_sorted=False
        )
        return nn.utils.rnn.pad_packed_sequence(layer.lstm(sequence)[0], batch_first=True)[0]

    def padded() -> Tensor:
        return layer.lstm(frames)[0]

    def ours() -> Tensor:
        return layer(frames, lengths)

    def step(run: Callable[[], Tensor]) -> Callable[[], None]:
        def once() -> None:
            layer.zero_grad(set_to_none=True)
            run().backward(slope)

        return once

    return {"packed": step(packed), "padded": step(padded), "ours": step(ours)}


def main() -> None:
    """Print one line a size: medians in milliseconds and their ratios to "padded"."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--skip-packed", action="store_true", help="it is the slow one")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {platform.machine()}, {arguments.threads} thread(s)")
    for hidden_dim, num_utterances, num_frames in SIZES:
        variants = steps(hidden_dim, num_utterances, num_frames)
        if arguments.skip_packed:
            del variants["packed"]
        times: dict[str, list[float]] = {name: [] for name in variants}
        for repetition in range(arguments.repetitions + 2):
            for name, once in variants.items():
                start = time.perf_counter()
                once()
                if repetition >= 2:  # the first two warm caches up
                    times[name].append(time.perf_counter() - start)
        medians = {name: statistics.median(values) for name, values in times.items()}
        cells = "  ".join(
            f"{name} {1e3 * value:8.1f} ms (x{value / medians['padded']:.3f})"
            for name, value in medians.items()
        )
        print(f"2x{hidden_dim:<4} B={num_utterances} T={num_frames:<4} {cells}", flush=True)


if __name__ == "__main__":
    main()
