"""VRNN: a variational RNN that predicts the next window and samples what it did not expect.

Baruah and Banerjee, "Speech Emotion Recognition via Generation using an Attention-based
Variational Recurrent Neural Network", Interspeech 2022, Eqs. (2)-(5), Algorithms 1 and 2.

Shapes: B utterances, T windows, D elements of a window, Z latent values, E, G, C units of the
encoder, the generator and the classifier, K classes.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from serplatform.models import (
    Batch,
    Criterion,
    Framewise,
    Generation,
    ModelOutput,
    SerModel,
    architecture,
    setting,
)
from serplatform.models.kernels import fast_kernels_enabled
from serplatform.models.kernels.lstm import lstm
from serplatform.models.kernels.predictive_recurrence import (
    LOG_STD_BOUND,
    Recurrence,
    Weights,
    choose,
    fused,
    step_by_step,
)
from serplatform.models.layers.masks import valid_steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class VrnnConfig:
    """Settings of :class:`Vrnn`; the defaults are the paper's for RAVDESS.

    For IEMOCAP the paper takes 64 units in each LSTM, 10 latent values and dropout 0.8.
    """

    encoder_dim: int = setting(512, "LSTM units of the encoder", low=1)
    generator_dim: int = setting(256, "LSTM units of the decoder that predicts windows", low=1)
    classifier_dim: int = setting(512, "LSTM units of the decoder that classifies", low=1)
    latent_dim: int = setting(20, "latent values z a window", low=1)
    encoder_dropout: float = setting(
        0.3, "share of the encoder's outputs dropped", low=0.0, high=0.95
    )
    generator_dropout: float = setting(
        0.3, "share of the generator's outputs dropped", low=0.0, high=0.95
    )
    classifier_dropout: float = setting(
        0.1, "share of the classifier's outputs dropped", low=0.0, high=0.95
    )
    lambda_1: float = setting(1.0, "weight of the generation error", low=0.0)
    lambda_2: float = setting(50.0, "weight of the classification error", low=0.0)
    beta: float = setting(1.0, "weight of the Kullback-Leibler divergence", low=0.0)
    attention: bool = setting(
        True, "observe only the elements that were not expected; false observes every window whole"
    )
    salient: int = setting(
        0,
        "elements observed of each window, those predicted worst; 0: as many as are predicted "
        "worse than the window's mean (the paper's threshold)",
        low=0,
    )


@architecture(
    "vrnn",
    VrnnConfig,
    reference="Baruah and Banerjee, Interspeech 2022, Eqs. (2)-(5), Algorithms 1 and 2",
    # the paper does not say for how long it trains; an epoch of RAVDESS is five batches
    training={
        "optimizer": "rmsprop",
        "learning_rate": 1e-3,
        "beta_2": 0.99,
        "batch_size": 256,
        "max_epochs": 300,
        "patience": 50,
        "monitor": "accuracy",
    },
    data={"feature": "mfcc_40_window"},
    small={"encoder_dim": 24, "generator_dim": 16, "classifier_dim": 24, "latent_dim": 6},
)
class Vrnn(SerModel):
    r"""Encoder, generator and classifier LSTMs over windows, with emergent attention.

    Algorithm 2, for window t, and the choice of what is observed of window t + 1:

    .. math::

        [\mu_t; \log\sigma_t] = \varphi(\mathrm{LSTM}^{enc}(x_t)), \quad
        z_t \sim \mathcal N(\mu_t, \sigma_t^2), \quad
        [\hat X_{t+1}; \log s_{t+1}] = \varphi(\mathrm{LSTM}^{dec_1}(z_t)), \quad
        o_t = W \mathrm{LSTM}^{dec_2}(z_t) + b \\
        S_t = |X_{t+1} - \hat X_{t+1}|, \quad
        W_{t,l} = [S_{t,l} \ge \tfrac1D \sum_k S_{t,k}], \quad
        x_{t+1} = W_t \odot X_{t+1} + (1 - W_t) \odot \hat X_{t+1}

    The first window is observed whole. The class is read at the last window. The loss of an
    utterance is minus Eq. (5):

    .. math::

        -\lambda_1 \sum_t \log \mathcal N(X_{t+1}; \hat X_{t+1}, s_{t+1}^2)
        - \lambda_2 \log p(y) + \beta \sum_t D_{KL}(\mathcal N(\mu_t, \sigma_t^2), \mathcal N(0, I))

    Read so, where the text leaves it open: the first window is not generated from anything, so
    generation counts from window 2 and the generator does not run after the last window;
    "softmax(h)" has a linear layer to K values before it; φ is linear in the hidden state, as
    the text says, after the dropout that it puts on hidden layers. Gradients flow through the
    predicted elements of :math:`x_{t+1}`, not through the threshold. Of the constants of
    Algorithm 1 (β1 = .9, β2 = .99, ε = 1e-10), which RMSProp has not all, β2 is the decay of the
    mean of squares; a momentum of .9, ε and Adam, which has all, are settings that the space
    searches. So are librosa's own MFCCs, and MFCCs that are not normalised (``data``), of which
    the text names neither.

    Departs from the paper: in evaluation z is its mean, so posteriors, samplings and attention
    are the same every time; in training it is drawn from torch's generator, which the training
    seeds. Log deviations are kept within ±7, so that no variance vanishes. The paper's numbers
    of parameters (22.6M and 12.78M) do not follow from its sizes, which give
    2.56M (RAVDESS) and 0.07M (IEMOCAP).
    """

    carries: ClassVar[bool] = True

    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int,
        encoder_dim: int,
        generator_dim: int,
        classifier_dim: int,
        latent_dim: int,
        encoder_dropout: float,
        generator_dropout: float,
        classifier_dropout: float,
        lambda_1: float,
        lambda_2: float,
        beta: float,
        attention: bool,
        salient: int,
    ) -> None:
        super().__init__()
        self.encoder_dropout = encoder_dropout
        self.generator_dropout = generator_dropout
        self.lambda_1 = lambda_1
        self.lambda_2 = lambda_2
        self.beta = beta
        self.attention = attention
        self.salient = salient
        self.encoder = nn.LSTM(feature_dim, encoder_dim)
        self.code = nn.Linear(encoder_dim, 2 * latent_dim)
        self.generator = nn.LSTM(latent_dim, generator_dim)
        self.next_window = nn.Linear(generator_dim, 2 * feature_dim)
        self.decoder = nn.LSTM(latent_dim, classifier_dim)
        self.dropout = nn.Dropout(classifier_dropout)
        self.classifier = nn.Linear(classifier_dim, num_classes)

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch of windows.

        ``attention["elements"]`` is (B, T, D): 1 for elements that were sampled, 0 for those
        that were predicted, the first window all 1; ``attention["windows"]`` (B, T) is its mean
        over elements. ``statistics["sampled_share"]`` is the mean of that over windows after
        the first (1 for a single window: all of it is sampled), ``statistics["num_windows"]``
        the number of windows.
        """
        windows, recurrence, decoded = self._run(batch)
        valid = valid_steps(batch.lengths, windows.shape[0]).T  # (T, B)
        rows = torch.arange(len(batch), device=batch.lengths.device)
        last = decoded[batch.lengths - 1, rows]  # (B, C)
        logits = self.classifier(self.dropout(last))  # Algorithm 2, line 8, (B, K)
        output = ModelOutput.of(logits)
        if criterion is not None:
            classification = criterion(logits, batch.labels)  # −log p(y), (B,)
            generation = self._generation_error(windows, recurrence, valid)
            divergence = _divergence(recurrence, valid)
            output.losses = (
                self.lambda_1 * generation + self.lambda_2 * classification + self.beta * divergence
            )  # minus Eq. (5), (B,)
        self._report(output, recurrence.sampled, valid)
        return output

    def framewise(self, batch: Batch) -> Framewise:
        """The class at each window, of all windows up to it: Algorithm 1, line 6."""
        _, _, decoded = self._run(batch)
        logits = self.classifier(self.dropout(decoded)).transpose(0, 1)  # (B, T, K)
        return Framewise.of_frames(logits, batch.lengths)

    def generate(self, batch: Batch) -> Generation:
        """Windows after the first as predicted from those before: Algorithm 2, lines 5 and 6."""
        _, recurrence, _ = self._run(batch)
        found = (recurrence.predicted, self._log_std(recurrence), recurrence.sampled)
        return Generation(*(values.transpose(0, 1) for values in found))

    def _run(self, batch: Batch) -> tuple[Tensor, Recurrence, Tensor]:
        """(T, B, D) windows X, the recurrence over them, (T, B, C) outputs of the classifier."""
        windows = batch.frames.transpose(0, 1).contiguous()
        plain = windows.is_cuda or windows.requires_grad or torch.is_autocast_enabled("cpu")
        by_hand = fast_kernels_enabled() and not plain
        recurrence = self._recur(windows, by_hand)
        if by_hand:
            decoded = lstm(recurrence.latent, *_lstm_weights(self.decoder))
        else:
            decoded, _ = self.decoder(recurrence.latent)  # Algorithm 2, line 7
        return windows, recurrence, decoded

    def step(self, batch: Batch, state: Any = None) -> tuple[ModelOutput, Any]:
        """Algorithm 2 in evaluation, window by window; see the base class.

        The state is those of the encoder, the generator and the decoder, and the next window as
        it is expected.
        """
        encoder, generator, decoder, predicted = state or (None,) * 4
        for window in batch.frames.transpose(0, 1):  # X_t, (B, D)
            if predicted is not None and self.attention:
                sampled = choose(window, predicted, self.salient)
                window = torch.where(sampled, window, predicted)  # Eq. (4)
            hidden, encoder = self.encoder(window[None], encoder)
            latent = self.code(hidden).chunk(2, dim=2)[0]  # its mean, (1, B, Z)
            hidden, generator = self.generator(latent, generator)
            predicted = self.next_window(hidden[0])[:, : window.shape[1]]
            decoded, decoder = self.decoder(latent, decoder)
        logits = self.classifier(decoded[0])
        return ModelOutput.of(logits), (encoder, generator, decoder, predicted)

    def _recur(self, windows: Tensor, by_hand: bool) -> Recurrence:
        """Encoder and generator over (T, B, D) windows."""
        num_windows, num_utterances, dim = windows.shape
        noise = None
        if self.training:
            noise = windows.new_empty(num_windows, num_utterances, self.generator.input_size)
            noise.normal_()
        encoder_mask = self._mask(self.encoder_dropout, self.encoder, windows)
        generator_mask = self._mask(self.generator_dropout, self.generator, windows[1:])
        if not self.attention:
            return self._observe_all(windows, noise, encoder_mask, generator_mask)
        weights = Weights(
            *_lstm_weights(self.encoder),
            self.code.weight,
            self.code.bias,
            *_lstm_weights(self.generator),
            self.next_window.weight[:dim],
            self.next_window.bias[:dim],
        )
        run = fused if by_hand else step_by_step
        return run(windows, weights, noise, encoder_mask, generator_mask, self.salient)

    def _mask(self, dropout: float, layer: nn.LSTM, windows: Tensor) -> Tensor | None:
        """(T, B, units) factors of dropout, 0 or 1 / (1 − p); None where nothing drops."""
        if not self.training or not dropout:
            return None
        return dropout_factors((*windows.shape[:2], layer.hidden_size), dropout, windows)

    def _observe_all(
        self,
        windows: Tensor,
        noise: Tensor | None,
        encoder_mask: Tensor | None,
        generator_mask: Tensor | None,
    ) -> Recurrence:
        """Without attention nothing waits for a prediction: whole sequences at once."""
        hidden, _ = self.encoder(windows)
        if encoder_mask is not None:
            hidden = hidden * encoder_mask
        mean, log_std = self.code(hidden).chunk(2, dim=2)
        log_std = log_std.clamp(-LOG_STD_BOUND, LOG_STD_BOUND)
        latent = mean if noise is None else mean + noise * log_std.exp()
        hidden = latent.new_zeros(0, latent.shape[1], self.generator.hidden_size)
        if len(latent) > 1:
            hidden, _ = self.generator(latent[:-1])
        if generator_mask is not None:
            hidden = hidden * generator_mask
        dim = windows.shape[2]
        predicted = nn.functional.linear(
            hidden, self.next_window.weight[:dim], self.next_window.bias[:dim]
        )
        sampled = torch.ones_like(windows[1:])
        return Recurrence(mean, log_std, latent, hidden, predicted, sampled)

    def _generation_error(self, windows: Tensor, recurrence: Recurrence, valid: Tensor) -> Tensor:
        """−Σ log N(X; X̂, s²) over elements and windows after the first: (B,).

        No gradient flows into the windows themselves: a projection in front of the model would
        make them easy to predict by making them zero.
        """
        log_std = self._log_std(recurrence)
        error = (windows[1:].detach() - recurrence.predicted) * torch.exp(-log_std)
        terms = log_std + 0.5 * error.square() + 0.5 * math.log(2 * math.pi)
        return (terms.sum(dim=2) * valid[1:]).sum(dim=0)

    def _log_std(self, recurrence: Recurrence) -> Tensor:
        """(T-1, B, D), log s."""
        weight, bias = (
            part.chunk(2)[1] for part in (self.next_window.weight, self.next_window.bias)
        )
        log_std = nn.functional.linear(recurrence.generator, weight, bias)
        return log_std.clamp(-LOG_STD_BOUND, LOG_STD_BOUND)

    def _report(self, output: ModelOutput, sampled: Tensor, valid: Tensor) -> None:
        """Attention and statistics of (T-1, B, D) samplings and (T, B) valid windows."""
        elements = torch.cat([sampled.new_ones(1, *sampled.shape[1:]), sampled])
        elements = (elements * valid.unsqueeze(2)).transpose(0, 1)  # (B, T, D)
        shares = elements.mean(dim=2)  # (B, T)
        number = valid.sum(dim=0)  # (B,)
        later = shares[:, 1:].sum(dim=1) / (number - 1).clamp(min=1)
        output.attention = {"elements": elements.detach(), "windows": shares.detach()}
        output.statistics = {
            "sampled_share": torch.where(number > 1, later, 1.0).detach(),
            "num_windows": number.to(shares.dtype),
        }


def dropout_factors(shape: tuple[int, ...], dropout: float, like: Tensor) -> Tensor:
    """Draw factors that drop values: 0, or 1 / (1 − p), with the type and device of ``like``.

    Each factor uses 16 of the generator's bits, so p is met to within 1 / 65,536.

    Example:
        >>> factors = dropout_factors((100, 1000), 0.25, torch.zeros(0))
        >>> factors.unique(), round(float((factors == 0).double().mean()), 2)
        (tensor([0.0000, 1.3333]), 0.25)
    """
    count = torch.Size(shape).numel()
    drawn = torch.empty((count + 3) // 4, dtype=torch.int64, device=like.device)
    drawn.random_(-(2**63), None)  # all 64 bits
    threshold = round(dropout * 2**16) - 2**15
    kept = drawn.view(torch.int16)[:count] >= threshold
    return kept.to(like.dtype).div_(1 - dropout).view(shape)


def _lstm_weights(layer: nn.LSTM) -> tuple[Tensor, Tensor, Tensor]:
    """Input and hidden weights and the sum of both biases."""
    from_input, from_hidden, bias_ih, bias_hh = layer.all_weights[0]
    return from_input, from_hidden, bias_ih + bias_hh


def _divergence(recurrence: Recurrence, valid: Tensor) -> Tensor:
    """Σ D_KL(N(μ, σ²), N(0, I)) over windows: (B,)."""
    mean, log_std = recurrence.mean, recurrence.log_std
    terms = 0.5 * (mean.square() + torch.exp(2 * log_std) - 1) - log_std  # (T, B, Z)
    return (terms.sum(dim=2) * valid).sum(dim=0)
