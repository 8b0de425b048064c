"""Time a training step of the variational RNN: ours against a plain loop of LSTM cells.

    OMP_NUM_THREADS=1 python benchmarks/vrnn_step.py --threads 1

The plain loop is what one would write from the paper: at every window one ``nn.LSTMCell`` call
for the encoder, the generator and the classifier over the whole padded batch, then the linear
layers, the sampling and the losses; "one by one" is that loop over single utterances, as the
paper's Algorithm 1 is written. All take the same weights, and one step is the forward
pass, the loss and the backward pass. Repetitions alternate; medians of the processor time are
compared, because neighbours on a shared machine change the time on the clock.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from serplatform.models.base import ARCHITECTURES, Batch, Criterion, InputSpec
from serplatform.models.vrnn import Vrnn, VrnnConfig
from serplatform.testing.batches import pick

build = ARCHITECTURES.get("vrnn").build

FEATURE_DIM = 40

#: name, configuration, utterances, windows, classes
SETTINGS = [
    ("RAVDESS", VrnnConfig(), 256, 2, 8),
    ("RAVDESS", VrnnConfig(), 256, 4, 8),
    (
        "IEMOCAP",
        VrnnConfig(
            encoder_dim=64, generator_dim=64, classifier_dim=64, latent_dim=10,
            encoder_dropout=0.8, generator_dropout=0.8, classifier_dropout=0.8,
        ),
        256, 4, 4,
    ),
    (
        "IEMOCAP",
        VrnnConfig(
            encoder_dim=64, generator_dim=64, classifier_dim=64, latent_dim=10,
            encoder_dropout=0.8, generator_dropout=0.8, classifier_dropout=0.8,
        ),
        256, 16, 4,
    ),
]  # fmt: skip


class PlainVrnn(nn.Module):
    """The paper's algorithms, window by window."""

    def __init__(self, model: Vrnn, config: VrnnConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = nn.LSTMCell(FEATURE_DIM, config.encoder_dim)
        self.generator = nn.LSTMCell(config.latent_dim, config.generator_dim)
        self.decoder = nn.LSTMCell(config.latent_dim, config.classifier_dim)
        for name in ("encoder", "generator", "decoder"):
            weights = getattr(model, name).state_dict()
            getattr(self, name).load_state_dict(
                {key.removesuffix("_l0"): value for key, value in weights.items()}
            )
        self.code, self.next_window = model.code, model.next_window
        self.classifier = model.classifier

    def forward(self, batch: Batch, criterion: Criterion) -> Tensor:
        c, windows, lengths = self.config, batch.frames, batch.lengths
        zeros = [
            torch.zeros(len(batch), size)
            for size in (c.encoder_dim, c.generator_dim, c.classifier_dim)
        ]
        encoder, generator, decoder = ((zero, zero) for zero in zeros)
        observed, last = windows[:, 0], zeros[2]
        losses = torch.zeros(len(batch))
        for t in range(windows.shape[1]):
            valid = (t < lengths).float()
            encoder = self.encoder(observed, encoder)
            hidden = nn.functional.dropout(encoder[0], c.encoder_dropout)
            mean, log_std = self.code(hidden).chunk(2, dim=1)
            latent = mean + torch.randn_like(mean) * log_std.exp()
            divergence = 0.5 * (mean**2 + (2 * log_std).exp() - 1) - log_std
            losses = losses + c.beta * valid * divergence.sum(dim=1)
            generator = self.generator(latent, generator)
            hidden = nn.functional.dropout(generator[0], c.generator_dropout)
            predicted, log_std = self.next_window(hidden).chunk(2, dim=1)
            decoder = self.decoder(latent, decoder)
            last = torch.where((t == lengths - 1).unsqueeze(1), decoder[0], last)
            if t + 1 < windows.shape[1]:
                following = windows[:, t + 1]
                error = log_std + 0.5 * ((following - predicted) / log_std.exp()) ** 2
                valid = (t + 1 < lengths).float()
                losses = losses + c.lambda_1 * valid * (error + 0.919).sum(dim=1)
                saliency = (following - predicted).abs()
                sampled = (saliency >= saliency.mean(dim=1, keepdim=True)).float()
                observed = sampled * following + (1 - sampled) * predicted
        logits = self.classifier(nn.functional.dropout(last, c.classifier_dropout))
        return losses + c.lambda_2 * criterion(logits, batch.labels)


def variants(
    config: VrnnConfig, num_utterances: int, num_windows: int, num_classes: int
) -> dict[str, Callable[[], None]]:
    """Make one training step of each variant."""
    torch.manual_seed(0)
    spec = InputSpec(feature_dim=FEATURE_DIM, num_classes=num_classes)
    ours = build(config, spec).train()
    plain = PlainVrnn(ours, config)
    whole = build(dataclasses.replace(config, attention=False), spec).train()
    lengths = torch.randint(max(1, num_windows // 2), num_windows + 1, (num_utterances,))
    lengths[0] = num_windows
    batch = Batch(
        frames=torch.randn(num_utterances, num_windows, FEATURE_DIM),
        lengths=lengths,
        labels=torch.randint(0, num_classes, (num_utterances,)),
    )
    criterion = Criterion()

    def step(model: nn.Module, losses: Callable[[], Tensor]) -> Callable[[], None]:
        def once() -> None:
            model.zero_grad(set_to_none=True)
            losses().mean().backward()

        return once

    def one_by_one() -> Tensor:
        return torch.cat([plain(pick(batch, [row]), criterion) for row in range(len(batch))])

    return {
        "one by one": step(plain, one_by_one),
        "plain": step(plain, lambda: plain(batch, criterion)),
        "ours": step(ours, lambda: ours(batch, criterion).losses),
        "without attention": step(whole, lambda: whole(batch, criterion).losses),
    }


def main() -> None:
    """Print one line a setting: medians in milliseconds, and how many times faster than plain."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {platform.machine()}, {arguments.threads} thread(s)")
    for name, config, num_utterances, num_windows, num_classes in SETTINGS:
        steps = variants(config, num_utterances, num_windows, num_classes)
        times: dict[str, list[float]] = {key: [] for key in steps}
        for repetition in range(arguments.repetitions + 2):
            for key, once in steps.items():
                start = time.process_time()
                once()
                if repetition >= 2:  # the first two warm caches up
                    times[key].append(time.process_time() - start)
        medians = {key: statistics.median(values) for key, values in times.items()}
        cells = "  ".join(
            f"{key} {1e3 * value:7.1f} ms (x{medians['plain'] / value:.2f})"
            for key, value in medians.items()
        )
        print(f"{name} sizes, B={num_utterances} T={num_windows:<3} {cells}", flush=True)


if __name__ == "__main__":
    main()
