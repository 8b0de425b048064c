"""An LSTM whose steps and gradients are written out, for few steps of many utterances.

For two to five steps of wide layers PyTorch's fused CPU kernel spends more on arranging weights
than on arithmetic, and it needs all inputs beforehand. Here all gates take one call, the hyperbolic
tangent is 2 sigmoid(2x) − 1 (several times faster in PyTorch, equal up to rounding), and each
weight's gradient is one product over all steps.

Shapes: T steps, B utterances, I input values, H units; gates in PyTorch's order: input, forget,
cell, output.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from serplatform.models.kernels import private
from serplatform.models.kernels.matmul import product


def tanh(values: Tensor) -> Tensor:
    """2 sigmoid(2x) − 1 in a new tensor."""
    return values.mul(2.0).sigmoid_().mul_(2.0).sub_(1.0)


class ManualLstm:
    """All steps of one LSTM, forward and then backward, without autograd.

    Weights are (4H, I) and (4H, H), ``bias`` (4H,) is the sum of both.

    Attributes:
        hidden: (T, B, H), outputs.
        slopes: (T, B, 4H), gradients of the gates' inputs, after the steps back.
    """

    def __init__(
        self,
        input_weight: Tensor,
        hidden_weight: Tensor,
        bias: Tensor,
        num_steps: int,
        num_rows: int,
    ) -> None:
        self.size = hidden_weight.shape[1]
        self.input_weight = input_weight
        self.hidden_weight = hidden_weight
        self.bias = bias
        self.hidden = bias.new_empty(num_steps, num_rows, self.size)
        self.cell = bias.new_empty(num_steps, num_rows, self.size)
        self._squashed: list[Tensor] = []  # tanh of the cell
        self._gates: list[Tensor] = []

    def step(self, t: int, projected: Tensor) -> Tensor:
        """Take step t, in order: (B, 4H) to the (B, H) output, a view of ``hidden``.

        ``projected`` is the step's input times the input weight, plus the bias; it is overwritten.
        """
        gates = projected
        if t:  # the state before the first step is zero
            gates += product(self.hidden[t - 1], self.hidden_weight)
        enters, keeps, proposes, leaves = gates.chunk(4, dim=1)
        proposes.mul_(2.0)
        gates.sigmoid_()
        proposes.mul_(2.0).sub_(1.0)
        cell = torch.mul(enters, proposes, out=self.cell[t])
        if t:
            cell.addcmul_(keeps, self.cell[t - 1])
        squashed = tanh(cell)
        self._gates.append(gates)
        self._squashed.append(squashed)
        return torch.mul(leaves, squashed, out=self.hidden[t])

    def start_backward(self) -> None:
        """Prepare for :meth:`step_back`."""
        num_steps, num_rows, size = self.hidden.shape
        self.slopes = self.hidden.new_empty(num_steps, num_rows, 4 * size)
        self._d_hidden: Tensor | None = None
        self._d_cell: Tensor | None = None

    def step_back(self, t: int, d_output: Tensor) -> Tensor:
        """Take the (B, H) gradient of step t's output back to the gates, last step first.

        ``d_output`` is overwritten; what is given is (B, 4H), a view of ``slopes``.
        """
        enters, keeps, proposes, leaves = self._gates[t].chunk(4, dim=1)
        slopes = self.slopes[t]
        d_enters, d_keeps, d_proposes, d_leaves = slopes.chunk(4, dim=1)
        if self._d_hidden is not None:
            d_output.add_(self._d_hidden)
        squashed = self._squashed[t]
        private.sigmoid_backward(d_output * squashed, leaves, grad_input=d_leaves)
        d_cell = private.tanh_backward(d_output.mul_(leaves), squashed)
        if self._d_cell is not None:
            d_cell.add_(self._d_cell)
        private.sigmoid_backward(d_cell * proposes, enters, grad_input=d_enters)
        private.tanh_backward(d_cell * enters, proposes, grad_input=d_proposes)
        if t:
            private.sigmoid_backward(d_cell * self.cell[t - 1], keeps, grad_input=d_keeps)
            self._d_cell = d_cell.mul_(keeps)
            self._d_hidden = product(slopes, self.hidden_weight.t())
        else:
            d_keeps.zero_()
        return slopes

    def weight_gradients(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of both weights and the bias over all steps of (T, B, I) inputs."""
        slopes = self.slopes.flatten(0, 1)  # (T·B, 4H)
        later = self.slopes[1:].flatten(0, 1)  # ((T-1)·B, 4H)
        before = self.hidden[:-1].flatten(0, 1)  # ((T-1)·B, H)
        return (
            weight_gradient(slopes, inputs.flatten(0, 1)),
            weight_gradient(later, before),
            slopes.sum(dim=0),
        )


def weight_gradient(slopes: Tensor, inputs: Tensor) -> Tensor:
    """(R, N) gradients of outputs and (R, K) inputs to the (N, K) gradient of the weight."""
    if not len(slopes):
        return slopes.new_zeros(slopes.shape[1], inputs.shape[1])
    return product(inputs.t(), slopes.t()).t().contiguous()


class _Lstm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, input_weight: Tensor, hidden_weight: Tensor, bias: Tensor
    ) -> Tensor:
        num_steps, num_rows, _ = inputs.shape
        lstm = ManualLstm(input_weight, hidden_weight, bias, num_steps, num_rows)
        projected = product(inputs.flatten(0, 1), input_weight, bias)
        for t, gates in enumerate(projected.view(num_steps, num_rows, -1)):
            lstm.step(t, gates)
        ctx.lstm = lstm
        ctx.save_for_backward(inputs)
        return lstm.hidden.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
        (inputs,) = ctx.saved_tensors
        lstm: ManualLstm = ctx.lstm
        lstm.start_backward()
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        for t in reversed(range(len(inputs))):
            lstm.step_back(t, gradient[t])
        d_inputs = None
        if ctx.needs_input_grad[0]:
            d_inputs = product(lstm.slopes.flatten(0, 1), lstm.input_weight.t()).view_as(inputs)
        return d_inputs, *lstm.weight_gradients(inputs)


def lstm(inputs: Tensor, input_weight: Tensor, hidden_weight: Tensor, bias: Tensor) -> Tensor:
    """Run one LSTM from left to right over a time-major batch: (T, B, I) to (T, B, H).

    Weights are (4H, I) and (4H, H), ``bias`` (4H,) is the sum of both.
    """
    outputs: Tensor = _Lstm.apply(  # type: ignore[no-untyped-call]
        inputs, input_weight, hidden_weight, bias
    )
    return outputs
