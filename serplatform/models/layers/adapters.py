r"""Low-rank adapters on the linear layers of a pretrained encoder, whose own weights stay.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, Eq. (3), through peft:

.. math:: h = W_0 x + \frac{\alpha}{r} B A x

A is drawn at random and B is zero, so that training begins at the pretrained encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from serplatform.errors import BadInputError

#: peft's name of the one adapter of a layer
_NAME = "default"


def add_adapters(
    encoder: nn.Module,
    blocks: nn.ModuleList,
    *,
    targets: Sequence[str],
    rank: int,
    alpha: float,
    dropout: float,
) -> None:
    """Put adapters on linear layers of some of an encoder's blocks, in place.

    What is trained afterwards are the adapters' A and B alone. The encoder's own weights become
    buffers that no ``state_dict`` holds.

    Args:
        encoder: whose forward pass uses ``blocks``.
        blocks: its transformer blocks.
        targets: last names of the linear layers, e.g. ``q_proj``.
        rank: r.
        alpha: of the scale alpha / r.
        dropout: share of an adapter's inputs that is dropped in training (of the values of A where
            the encoder reads a layer's weights and not its outputs, as WavLM's attention does).

    Raises:
        BadInputError: peft is not installed, or the blocks lack one of ``targets``.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import Linear as LoraLinear
    except ImportError:
        raise BadInputError(
            "fine-tuning an encoder needs the package peft, which is not installed; install "
            "serplatform[pretrained]"
        ) from None
    inside = {id(module) for module in blocks.modules() if isinstance(module, nn.Linear)}
    linear = [name for name, module in encoder.named_modules() if id(module) in inside]
    last = [name.rpartition(".")[2] for name in linear]
    missing = [name for name in targets if name not in last]
    if missing or not targets:
        raise BadInputError(
            f"model.target_modules: the encoder's blocks have no linear layer "
            f"'{', '.join(missing)}'; they have {', '.join(dict.fromkeys(last))}"
        )
    chosen = [name for name, short in zip(linear, last, strict=True) if short in targets]
    inject_adapter_in_model(
        LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=chosen),
        encoder,
        adapter_name=_NAME,
    )
    for module in encoder.modules():
        if type(module).__name__ == "WavLMAttention":
            for layer in module.children():
                if isinstance(layer, LoraLinear):
                    _adapt_weight(layer)
    _freeze(encoder)


def train_adapters(encoder: nn.Module, mode: bool) -> None:
    """Adapters' dropout acts in training; the encoder's own, its masks and skipped layers never."""
    encoder.eval()
    for name, module in encoder.named_modules():
        if "lora_dropout" in name.split("."):
            module.train(mode)


def _adapt_weight(layer: Any) -> None:
    """Let the weight that others read of a layer be the adapted one: W + alpha / r · B A.

    WavLM's attention passes the weights of its projections to a function of torch and never calls
    the projections, so that adapters on their outputs would do nothing.
    """

    def weight(self: Any) -> Tensor:
        down = self.lora_dropout[_NAME](self.lora_A[_NAME].weight)
        change: Tensor = self.lora_B[_NAME].weight @ down
        adapted: Tensor = self.base_layer.weight + self.scaling[_NAME] * change
        return adapted

    kind = type(layer)
    layer.__class__ = type(kind.__name__, (kind,), {"weight": property(weight)})


def _freeze(encoder: nn.Module) -> None:
    """Make everything but the adapters a buffer that moves with the module and is not saved."""
    for module in encoder.modules():
        kept = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, value in kept:
            if not value.requires_grad:
                delattr(module, name)
                module.register_buffer(name, value.detach(), persistent=False)
