"""The step-by-step part of the attention-based variational RNN, with its gradient by hand.

What step t + 1 observes depends on what step t predicted, so encoder and generator cannot run over
whole sequences. ``fused`` runs both in one pass with as few operations as there can be, and
collects the weights' gradients over all steps; ``step_by_step`` is the same by autograd.

Shapes: T windows, B utterances, D elements of a window, Z latent values, E encoder units, G
generator units.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from serplatform.models.kernels.lstm import ManualLstm, weight_gradient
from serplatform.models.kernels.matmul import product

#: log deviations are kept within ± this, so that no variance vanishes or overflows
LOG_STD_BOUND = 7.0


class Recurrence(NamedTuple):
    """What the recurrence gives.

    Attributes:
        mean: (T, B, Z), of z.
        log_std: (T, B, Z), of z.
        latent: (T, B, Z), z.
        generator: (T-1, B, G), generator outputs after dropout.
        predicted: (T-1, B, D), means of the next windows.
        sampled: (T-1, B, D), 1 where the next window was sampled, 0 where it was predicted.
    """

    mean: Tensor
    log_std: Tensor
    latent: Tensor
    generator: Tensor
    predicted: Tensor
    sampled: Tensor


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weights of the recurrence; biases of an LSTM are already summed.

    Attributes:
        encoder_input, encoder_hidden, encoder_bias: (4E, D), (4E, E), (4E,).
        code_weight, code_bias: (2Z, E), (2Z,), to mean and log deviation of z.
        generator_input, generator_hidden, generator_bias: (4G, Z), (4G, G), (4G,).
        next_weight, next_bias: (D, G), (D,), to the mean of the next window.
    """

    encoder_input: Tensor
    encoder_hidden: Tensor
    encoder_bias: Tensor
    code_weight: Tensor
    code_bias: Tensor
    generator_input: Tensor
    generator_hidden: Tensor
    generator_bias: Tensor
    next_weight: Tensor
    next_bias: Tensor


def choose(window: Tensor, predicted: Tensor, salient: int = 0) -> Tensor:
    """Eqs. (2)-(3): which of (B, D) elements of the next window to sample, bool.

    The threshold is at most the largest saliency, so that rounding of the mean cannot leave
    a window without a sampled element. With ``salient`` it is no threshold: so many elements of
    the largest saliency, all where there are no more.
    """
    saliency = (window - predicted).abs()  # Eq. (2)
    if salient:
        largest = saliency.topk(min(salient, saliency.shape[1]), dim=1).indices
        return torch.zeros_like(saliency, dtype=torch.bool).scatter_(1, largest, True)
    threshold = torch.minimum(saliency.mean(dim=1), saliency.amax(dim=1))
    return saliency >= threshold.unsqueeze(1)  # Eq. (3)


def step_by_step(
    windows: Tensor,
    weights: Weights,
    noise: Tensor | None = None,
    encoder_mask: Tensor | None = None,
    generator_mask: Tensor | None = None,
    salient: int = 0,
) -> Recurrence:
    """Run the recurrence by autograd over (T, B, D) windows, one step after another.

    ``noise`` (T, B, Z) is standard normal; None takes z at its mean. The masks, (T, B, E) and
    (T-1, B, G), are factors of dropout of the encoder's and the generator's outputs, or None.
    ``salient`` is that of :func:`choose`.
    """
    w = weights
    num_windows, num_utterances, _ = windows.shape
    code_state = [windows.new_zeros(num_utterances, w.encoder_hidden.shape[1])] * 2
    next_state = [windows.new_zeros(num_utterances, w.generator_hidden.shape[1])] * 2
    encoder_zero, generator_zero = (
        torch.zeros_like(bias) for bias in (w.encoder_bias, w.generator_bias)
    )
    codes, nexts = [], []
    observed = windows[0]
    for t in range(num_windows):
        code_state = list(
            torch.lstm_cell(
                observed, code_state, w.encoder_input, w.encoder_hidden, w.encoder_bias,
                encoder_zero,
            )
        )  # fmt: skip
        hidden = code_state[0] if encoder_mask is None else code_state[0] * encoder_mask[t]
        mean, log_std = nn.functional.linear(hidden, w.code_weight, w.code_bias).chunk(2, 1)
        log_std = log_std.clamp(-LOG_STD_BOUND, LOG_STD_BOUND)
        latent = mean if noise is None else mean + noise[t] * log_std.exp()
        codes.append((mean, log_std, latent))
        if t + 1 == num_windows:
            break
        next_state = list(
            torch.lstm_cell(
                latent, next_state, w.generator_input, w.generator_hidden, w.generator_bias,
                generator_zero,
            )
        )  # fmt: skip
        output = next_state[0] if generator_mask is None else next_state[0] * generator_mask[t]
        predicted = nn.functional.linear(output, w.next_weight, w.next_bias)
        sampled = choose(windows[t + 1], predicted.detach(), salient)
        observed = torch.where(sampled, windows[t + 1], predicted)  # Eq. (4)
        nexts.append((output, predicted, sampled.to(windows.dtype)))
    stacked = [torch.stack(part) for part in zip(*codes, strict=True)]
    if nexts:
        stacked += [torch.stack(part) for part in zip(*nexts, strict=True)]
    else:
        outputs = windows.new_zeros(0, num_utterances, w.generator_hidden.shape[1])
        stacked += [outputs, windows[1:], windows[1:]]
    return Recurrence(*stacked)


def fused(
    windows: Tensor,
    weights: Weights,
    noise: Tensor | None = None,
    encoder_mask: Tensor | None = None,
    generator_mask: Tensor | None = None,
    salient: int = 0,
) -> Recurrence:
    """Run the recurrence and its gradient by hand; see :func:`step_by_step`.

    No gradient is computed for the windows, the noise and the masks.
    """
    parts = _Fused.apply(  # type: ignore[no-untyped-call]
        windows, noise, encoder_mask, generator_mask, salient, *vars(weights).values()
    )
    return Recurrence(*parts)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        windows: Tensor,
        noise: Tensor | None,
        encoder_mask: Tensor | None,
        generator_mask: Tensor | None,
        salient: int,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        w = Weights(*tensors)
        num_windows, rows, dim = windows.shape
        latent_dim = w.generator_input.shape[1]
        encoder = ManualLstm(w.encoder_input, w.encoder_hidden, w.encoder_bias, num_windows, rows)
        generator = ManualLstm(
            w.generator_input, w.generator_hidden, w.generator_bias, num_windows - 1, rows
        )
        code = windows.new_empty(num_windows, rows, 2 * latent_dim)
        latent = windows.new_empty(num_windows, rows, latent_dim)
        predicted = windows.new_empty(num_windows - 1, rows, dim)
        sampled = torch.empty_like(predicted)
        observed = torch.empty_like(windows)
        observed[0] = windows[0]
        outputs = generator.hidden
        if generator_mask is not None:
            outputs = torch.empty_like(generator.hidden)
        for t in range(num_windows):
            hidden = encoder.step(t, product(observed[t], w.encoder_input, w.encoder_bias))
            if encoder_mask is not None:
                hidden = hidden * encoder_mask[t]
            code[t] = product(hidden, w.code_weight, w.code_bias)
            mean, log_std = code[t].chunk(2, dim=1)
            log_std.clamp_(-LOG_STD_BOUND, LOG_STD_BOUND)
            if noise is None:
                latent[t] = mean
            else:
                torch.addcmul(mean, noise[t], log_std.exp(), out=latent[t])
            if t + 1 == num_windows:
                break
            projected = product(latent[t], w.generator_input, w.generator_bias)
            hidden = generator.step(t, projected)
            if generator_mask is not None:
                hidden = torch.mul(hidden, generator_mask[t], out=outputs[t])
            predicted[t] = product(hidden, w.next_weight, w.next_bias)
            sampled[t] = choose(windows[t + 1], predicted[t], salient)
            torch.mul(sampled[t], windows[t + 1], out=observed[t + 1])
            observed[t + 1].addcmul_(1 - sampled[t], predicted[t])  # Eq. (4)
        ctx.lstms = (encoder, generator)
        ctx.weights = w
        ctx.masks = (encoder_mask, generator_mask)
        ctx.values = (noise, code, latent, observed, outputs, sampled)
        ctx.mark_non_differentiable(sampled)
        mean, log_std = code.chunk(2, dim=2)
        return mean.clone(), log_std.clone(), latent, outputs.clone(), predicted, sampled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        d_mean, d_log_std, d_latent, d_outputs, d_predicted, _ = gradients
        encoder, generator = ctx.lstms
        w: Weights = ctx.weights
        encoder_mask, generator_mask = ctx.masks
        noise, code, latent, observed, outputs, sampled = ctx.values
        log_std = code.chunk(2, dim=2)[1]
        num_windows, _, latent_dim = latent.shape
        encoder.start_backward()
        generator.start_backward()
        # of the deviation by its logarithm, and of the bounded logarithm by the unbounded one
        by_logarithm = None if noise is None else noise * log_std.exp()  # (T, B, Z)
        inside = log_std.abs() < LOG_STD_BOUND
        d_code = torch.empty_like(code)
        d_next = torch.empty_like(d_predicted)
        slopes: Tensor | None = None  # of the encoder's gates in step t + 1
        for t in reversed(range(num_windows)):
            d_z = d_latent[t]
            if slopes is not None:  # step t + 1 observed what step t predicted
                d_observed = product(slopes, w.encoder_input.t())
                torch.addcmul(d_predicted[t], d_observed, 1 - sampled[t], out=d_next[t])
                d_hidden = product(d_next[t], w.next_weight.t()).add_(d_outputs[t])
                if generator_mask is not None:
                    d_hidden.mul_(generator_mask[t])
                d_z = d_z + product(generator.step_back(t, d_hidden), w.generator_input.t())
            torch.add(d_mean[t], d_z, out=d_code[t, :, :latent_dim])
            slope = d_log_std[t]
            if by_logarithm is not None:
                slope = torch.addcmul(slope, d_z, by_logarithm[t])
            torch.mul(slope, inside[t], out=d_code[t, :, latent_dim:])
            d_hidden = product(d_code[t], w.code_weight.t())
            if encoder_mask is not None:
                d_hidden.mul_(encoder_mask[t])
            slopes = encoder.step_back(t, d_hidden)
        hidden = encoder.hidden if encoder_mask is None else encoder.hidden * encoder_mask
        return (
            *(None, None, None, None, None),
            *encoder.weight_gradients(observed),
            weight_gradient(d_code.flatten(0, 1), hidden.flatten(0, 1)),
            d_code.sum(dim=(0, 1)),
            *generator.weight_gradients(latent[:-1]),
            weight_gradient(d_next.flatten(0, 1), outputs.flatten(0, 1)),
            d_next.sum(dim=(0, 1)),
        )
