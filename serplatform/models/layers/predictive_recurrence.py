"""The step-by-step part of the attention-based variational RNN, with its gradient by hand.

What step t + 1 observes depends on what step t predicted, so the encoder and the generator
cannot run over whole sequences. This function runs the two of them in one pass with as few
operations as there can be, and collects the weights' gradients over all steps in one product
each. ``step_by_step`` is the same by autograd, one step after another.

Shapes: T windows, B utterances, D elements of a window, Z latent values, E encoder units, G
generator units.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from serplatform.models.layers.matmul import product

#: log deviations are kept within ± this, so that no variance vanishes or overflows
LOG_DEVIATION_BOUND = 7.0


class Recurrence(NamedTuple):
    """What the recurrence gives.

    Attributes:
        mean: (T, B, Z), of z.
        log_deviation: (T, B, Z), of z.
        latent: (T, B, Z), z.
        generator: (T-1, B, G), generator outputs after dropout.
        predicted: (T-1, B, D), means of the next windows.
        sampled: (T-1, B, D), 1 where the next window was sampled, 0 where it was predicted.
    """

    mean: Tensor
    log_deviation: Tensor
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


def choose(window: Tensor, predicted: Tensor) -> Tensor:
    """Eqs. (2)-(3): which elements of the next window to sample.

    The threshold is at most the largest saliency, so that rounding of the mean cannot leave
    a window without a sampled element.

    Args:
        window: (B, D), the next window.
        predicted: (B, D).

    Returns:
        (B, D), bool.
    """
    saliency = (window - predicted).abs()  # Eq. (2)
    threshold = torch.minimum(saliency.mean(dim=1), saliency.amax(dim=1))
    return saliency >= threshold.unsqueeze(1)  # Eq. (3)


def step_by_step(
    windows: Tensor,
    weights: Weights,
    noise: Tensor | None = None,
    encoder_mask: Tensor | None = None,
    generator_mask: Tensor | None = None,
) -> Recurrence:
    """Run the recurrence by autograd, one step after another.

    Args:
        windows: (T, B, D).
        weights: of both LSTMs and their outputs.
        noise: (T, B, Z), standard normal; ``None`` takes z at its mean.
        encoder_mask: (T, B, E), factors of the encoder's outputs (dropout), or None.
        generator_mask: (T-1, B, G), factors of the generator's outputs, or None.
    """
    w = weights
    num_windows, num_utterances, _ = windows.shape
    code_state = [windows.new_zeros(num_utterances, w.encoder_hidden.shape[1])] * 2
    next_state = [windows.new_zeros(num_utterances, w.generator_hidden.shape[1])] * 2
    encoder_zero, generator_zero = (
        torch.zeros_like(bias) for bias in (w.encoder_bias, w.generator_bias)
    )
    parts: list[list[Tensor]] = [[] for _ in Recurrence._fields]
    observed = windows[0]
    for t in range(num_windows):
        code_state = list(
            torch.lstm_cell(
                observed, code_state, w.encoder_input, w.encoder_hidden, w.encoder_bias,
                encoder_zero,
            )
        )  # fmt: skip
        hidden = code_state[0] if encoder_mask is None else code_state[0] * encoder_mask[t]
        mean, log_deviation = nn.functional.linear(hidden, w.code_weight, w.code_bias).chunk(2, 1)
        log_deviation = log_deviation.clamp(-LOG_DEVIATION_BOUND, LOG_DEVIATION_BOUND)
        latent = mean if noise is None else mean + noise[t] * log_deviation.exp()
        for part, value in zip(parts, (mean, log_deviation, latent), strict=False):
            part.append(value)
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
        sampled = choose(windows[t + 1], predicted.detach())
        observed = torch.where(sampled, windows[t + 1], predicted)  # Eq. (4)
        for part, value in zip(parts[3:], (output, predicted, sampled), strict=True):
            part.append(value)
    sizes = (w.generator_hidden.shape[1], windows.shape[2], windows.shape[2])
    stacked = [torch.stack(part) for part in parts[:3]]
    for part, size in zip(parts[3:], sizes, strict=True):
        stacked.append(torch.stack(part) if part else windows.new_zeros(0, num_utterances, size))
    stacked[5] = stacked[5].to(windows.dtype)
    return Recurrence(*stacked)


def fused(
    windows: Tensor,
    weights: Weights,
    noise: Tensor | None = None,
    encoder_mask: Tensor | None = None,
    generator_mask: Tensor | None = None,
) -> Recurrence:
    """Run the recurrence and its gradient by hand; see :func:`step_by_step`.

    No gradient is computed for the windows, the noise and the masks.
    """
    parts = _Fused.apply(  # type: ignore[no-untyped-call]
        windows, noise, encoder_mask, generator_mask, *vars(weights).values()
    )
    return Recurrence(*parts)


class _Cell:
    """All steps of one LSTM over inputs that become known one after another.

    Args:
        input_weight: (4H, I).
        hidden_weight: (4H, H).
        bias: (4H,).
        num_steps: T.
        num_rows: B.
    """

    def __init__(
        self, input_weight: Tensor, hidden_weight: Tensor, bias: Tensor, num_steps: int, rows: int
    ) -> None:
        size = hidden_weight.shape[1]
        self.size = size
        self.input_weight = input_weight
        self.hidden_weight = hidden_weight
        self.bias = bias
        self.inputs = bias.new_empty(num_steps, rows, input_weight.shape[1])
        self.hidden = bias.new_empty(num_steps, rows, size)
        self.cell = bias.new_empty(num_steps, rows, size)
        self.squashed = bias.new_empty(num_steps, rows, size)  # tanh of the cell
        self.gates = [bias] * num_steps

    def step(self, t: int) -> Tensor:
        """Advance to step t, the input of which has been written to ``inputs[t]``."""
        size = self.size
        gates = product(self.inputs[t], self.input_weight, self.bias)
        if t:  # the state before the first step is zero
            gates += product(self.hidden[t - 1], self.hidden_weight)
        gates[:, : 2 * size].sigmoid_()
        gates[:, 2 * size : 3 * size].tanh_()
        gates[:, 3 * size :].sigmoid_()
        enters, keeps, proposes, leaves = gates.chunk(4, dim=1)
        cell = torch.mul(enters, proposes, out=self.cell[t])
        if t:
            cell.addcmul_(keeps, self.cell[t - 1])
        torch.tanh(cell, out=self.squashed[t])
        self.gates[t] = gates
        return torch.mul(leaves, self.squashed[t], out=self.hidden[t])

    def start_backward(self) -> None:
        """Prepare for :meth:`step_back`."""
        num_steps, rows, size = self.hidden.shape
        self.slopes = self.hidden.new_empty(num_steps, rows, 4 * size)  # of the gates' inputs
        self.d_hidden: Tensor | None = None
        self.d_cell: Tensor | None = None

    def step_back(self, t: int, d_output: Tensor, *, needs_input: bool) -> Tensor | None:
        """Take the gradient of step t's output; return that of its input if it is needed.

        Steps come in falling order. ``d_output`` (B, H) is overwritten.
        """
        aten = torch.ops.aten
        enters, keeps, proposes, leaves = self.gates[t].chunk(4, dim=1)
        d_enters, d_keeps, d_proposes, d_leaves = self.slopes[t].chunk(4, dim=1)
        if self.d_hidden is not None:
            d_output = d_output.add_(self.d_hidden)
        squashed = self.squashed[t]
        aten.sigmoid_backward(d_output * squashed, leaves, grad_input=d_leaves)
        d_cell = aten.tanh_backward(d_output.mul_(leaves), squashed)
        if self.d_cell is not None:
            d_cell.add_(self.d_cell)
        aten.sigmoid_backward(d_cell * proposes, enters, grad_input=d_enters)
        aten.tanh_backward(d_cell * enters, proposes, grad_input=d_proposes)
        if not t:
            d_keeps.zero_()
            if not needs_input:
                return None
            return product(self.slopes[0], self.input_weight.t())
        aten.sigmoid_backward(d_cell * self.cell[t - 1], keeps, grad_input=d_keeps)
        self.d_cell = d_cell.mul_(keeps)
        self.d_hidden = product(self.slopes[t], self.hidden_weight.t())
        return product(self.slopes[t], self.input_weight.t())

    def weight_gradients(self) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of the input weight, the hidden weight and the bias, over all steps."""
        slopes = self.slopes.flatten(0, 1)  # (T·B, 4H)
        inputs = self.inputs.flatten(0, 1)  # (T·B, I)
        later = self.slopes[1:].flatten(0, 1)  # ((T-1)·B, 4H)
        before = self.hidden[:-1].flatten(0, 1)  # ((T-1)·B, H)
        hidden = (
            product(later.t(), before.t())
            if len(later)
            else slopes.new_zeros(slopes.shape[1], self.size)
        )
        return product(slopes.t(), inputs.t()), hidden, slopes.sum(dim=0)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        windows: Tensor,
        noise: Tensor | None,
        encoder_mask: Tensor | None,
        generator_mask: Tensor | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        w = Weights(*tensors)
        num_windows, rows, dim = windows.shape
        latent_dim = w.generator_input.shape[1]
        encoder = _Cell(w.encoder_input, w.encoder_hidden, w.encoder_bias, num_windows, rows)
        generator = _Cell(
            w.generator_input, w.generator_hidden, w.generator_bias, num_windows - 1, rows
        )
        code = windows.new_empty(num_windows, rows, 2 * latent_dim)
        mean, log_deviation = code.chunk(2, dim=2)
        latent = windows.new_empty(num_windows, rows, latent_dim)
        predicted = windows.new_empty(num_windows - 1, rows, dim)
        sampled = torch.empty_like(predicted, dtype=torch.bool)
        outputs = generator.hidden
        if generator_mask is not None:
            outputs = torch.empty_like(generator.hidden)
        encoder.inputs[0] = windows[0]
        for t in range(num_windows):
            hidden = encoder.step(t)
            if encoder_mask is not None:
                hidden = hidden * encoder_mask[t]
            code[t] = product(hidden, w.code_weight, w.code_bias)
            log_deviation[t].clamp_(-LOG_DEVIATION_BOUND, LOG_DEVIATION_BOUND)
            if noise is None:
                latent[t] = mean[t]
            else:
                torch.exp(log_deviation[t], out=latent[t])
                latent[t].mul_(noise[t]).add_(mean[t])
            if t + 1 == num_windows:
                break
            generator.inputs[t] = latent[t]
            hidden = generator.step(t)
            if generator_mask is not None:
                hidden = torch.mul(hidden, generator_mask[t], out=outputs[t])
            predicted[t] = product(hidden, w.next_weight, w.next_bias)
            sampled[t] = choose(windows[t + 1], predicted[t])
            encoder.inputs[t + 1] = torch.where(sampled[t], windows[t + 1], predicted[t])  # Eq. (4)
        ctx.cells = (encoder, generator)
        ctx.weights = w
        ctx.masks = (encoder_mask, generator_mask)
        ctx.noise = noise
        ctx.values = (mean, log_deviation, outputs, sampled)
        result = sampled.to(windows.dtype)
        ctx.mark_non_differentiable(result)
        return mean.clone(), log_deviation.clone(), latent, outputs.clone(), predicted, result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        d_mean, d_log_deviation, d_latent, d_outputs, d_predicted, _ = gradients
        encoder, generator = ctx.cells
        w: Weights = ctx.weights
        encoder_mask, generator_mask = ctx.masks
        mean, log_deviation, outputs, sampled = ctx.values
        num_windows, rows, latent_dim = mean.shape
        encoder.start_backward()
        generator.start_backward()
        d_code = mean.new_empty(num_windows, rows, 2 * latent_dim)
        d_next = torch.empty_like(d_predicted)
        d_observed: Tensor | None = None  # of the input of the encoder's step t + 1
        for t in reversed(range(num_windows)):
            d_z = d_latent[t]
            if t + 1 < num_windows:
                assert d_observed is not None  # noqa: S101 - for the type checker
                torch.add(d_predicted[t], d_observed * ~sampled[t], out=d_next[t])
                d_hidden = product(d_next[t], w.next_weight.t()).add_(d_outputs[t])
                if generator_mask is not None:
                    d_hidden.mul_(generator_mask[t])
                d_input = generator.step_back(t, d_hidden, needs_input=True)
                d_z = d_z + d_input
            torch.add(d_mean[t], d_z, out=d_code[t, :, :latent_dim])
            slope = d_log_deviation[t]
            if ctx.noise is not None:
                slope = slope + d_z * ctx.noise[t] * log_deviation[t].exp()
            inside = log_deviation[t].abs() < LOG_DEVIATION_BOUND
            torch.mul(slope, inside, out=d_code[t, :, latent_dim:])
            d_hidden = product(d_code[t], w.code_weight.t())
            if encoder_mask is not None:
                d_hidden.mul_(encoder_mask[t])
            d_observed = encoder.step_back(t, d_hidden, needs_input=False)
        hidden = encoder.hidden if encoder_mask is None else encoder.hidden * encoder_mask
        code_weight = product(d_code.flatten(0, 1).t(), hidden.flatten(0, 1).t())
        if num_windows > 1:
            of_generator = generator.weight_gradients()
            next_weight = product(d_next.flatten(0, 1).t(), outputs.flatten(0, 1).t())
        else:
            of_generator = (
                torch.zeros_like(w.generator_input),
                torch.zeros_like(w.generator_hidden),
                torch.zeros_like(w.generator_bias),
            )
            next_weight = torch.zeros_like(w.next_weight)
        return (
            None,
            None,
            None,
            None,
            *encoder.weight_gradients(),
            code_weight,
            d_code.sum(dim=(0, 1)),
            *of_generator,
            next_weight,
            d_next.sum(dim=(0, 1)),
        )
