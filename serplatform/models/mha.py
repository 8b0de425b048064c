"""MHA: audio asks the text, the answer asks the audio, and so on for several hops.

Yoon, Byun, Dey and Jung, "Speech Emotion Recognition Using Multi-hop Attention Mechanism",
ICASSP 2019; the baseline "MHA" of Table 1 in Li, Ding, Wu and Liu, "Learning Fine-Grained Cross
Modality Excitement for Speech Emotion Recognition", 2020, and "Yoon et al." of Table 2 in Lee et
al., Interspeech 2020.

Shapes: B utterances, T frames, L words, D feature dimension, E values of a word vector, H hidden
units a direction, K classes.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor, nn

from serplatform.models import ModelOutput, architecture, setting
from serplatform.models.layers.bilstm import BlstmConfig
from serplatform.models.layers.pooling import dot_attention, last_outputs
from serplatform.models.layers.text_audio import Encoded, TextAudioModel
from serplatform.models.layers.words import WordEmbedding, WordVectorsConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class MhaConfig(BlstmConfig, WordVectorsConfig):
    """Settings of :class:`Mha`; two hops are the best of its paper."""

    num_hops: int = setting(
        2, "attentions, in turn to the text and to the audio; MHA-1, MHA-2, MHA-3", low=1, high=8
    )
    vectors: Literal["last_two", "all"] = setting(
        "last_two", "what is classified: each modality's latest vector (Yoon et al.), or v_0 to v_M"
    )


@architecture(
    "mha",
    MhaConfig,
    reference="Yoon et al., ICASSP 2019 (MHA-2); Li et al., 2020 (FG-CME), Table 1 (MHA)",
    training={"learning_rate": 5e-4},
    data={"feature": "log_mel_40"},
    inputs=frozenset({"audio", "text"}),
    small={"embedding_dim": 12, "hidden_dim": 16},
)
class Mha(TextAudioModel):
    r"""Two BLSTMs; hops of dot attention between them; their vectors; linear classifier.

    With the audio encoder's last outputs as v_0 and h(m) the text's outputs for odd m, the
    audio's for even m:

    .. math::

        a^{(m)}_t = \mathrm{softmax}_t(v_{m-1}^\top h^{(m)}_t), \qquad
        v_m = \sum_t a^{(m)}_t h^{(m)}_t, \qquad
        o = W_c [v_{M-1}; v_M] + b_c

    So the classifier has the latest vector of either modality: M = 1 is the paper's MHA-1, 2 its
    MHA-2, 3 its MHA-3. With ``vectors: all`` it has [v_0; …; v_M], as in the program of Li et al.,
    whose two hops make 6H values. That a hop's vector takes the place of its modality's earlier one
    is how the authors' later system does it (Yoon et al., "Attentive Modality Hopping Mechanism for
    Speech Emotion Recognition", ICASSP 2020, and its code); it is not yet compared with the printed
    equations of 2019, whose numbers are therefore not given. Departs from the paper: LSTM cells, as
    Li et al. and Lee et al. compare with, and no prosodic features beside the audio's last outputs.
    Sizes and dropout are those that Lee et al. (Interspeech 2020) give their bidirectional LSTMs,
    in which they compare with this system. An utterance without words is one unknown word, so that
    the first hop gives that word's output.
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        embedding: WordEmbedding,
        num_classes: int,
        hidden_dim: int,
        num_layers: int,
        num_hops: int,
        vectors: Literal["last_two", "all"],
        dropout: float,
    ) -> None:
        super().__init__(feature_dim, embedding, hidden_dim, num_layers, dropout)
        self.num_hops = num_hops
        self.classified = 2 if vectors == "last_two" else num_hops + 1
        self.classifier = nn.Linear(self.classified * 2 * hidden_dim, num_classes)

    def classify(self, encoded: Encoded) -> ModelOutput:
        """Hop between the modalities of encoded utterances.

        ``attention["hop1_words"]``, (B, L), ``attention["hop2_frames"]``, (B, T), … each sum
        to 1.
        """
        words, frames = (encoded.text, encoded.valid_words), (encoded.audio, encoded.valid)
        vectors = [last_outputs(encoded.audio, encoded.lengths)]  # v_0, (B, 2H)
        maps: dict[str, Tensor] = {}
        for hop in range(1, self.num_hops + 1):
            name, asked = ("words", words) if hop % 2 else ("frames", frames)
            vector, weights = dot_attention(vectors[-1], *asked)
            vectors.append(vector)
            maps[f"hop{hop}_{name}"] = weights
        logits = self.classifier(
            self.dropout(torch.cat(vectors[-self.classified :], dim=1))
        )  # (B, K)
        return ModelOutput.of(logits, **maps)
