"""A model's directory in the layout of Hugging Face: settings and safetensors, checked on opening.

Weights in other formats, and models that bring code of their own, are refused.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from serplatform.artifacts.files import parse_json
from serplatform.errors import BadInputError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

#: safetensors names of the number formats that weights may be stored in
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
#: what modules of transformers raise where settings do not fit together
_BUILD_ERRORS = (ValueError, TypeError, AttributeError, ArithmeticError, LookupError, RuntimeError)
#: older and newer names of the two parts of a weight-normalised convolution
_RENAMED = {".parametrizations.weight.original0": ".weight_g"}
_RENAMED[".parametrizations.weight.original1"] = ".weight_v"
#: files beside the weights that a copy needs: settings, the tokenizer, and what says where a model
#: may be used
_DOCUMENTS = (
    *("config.json", "preprocessor_config.json", "processor_config.json"),
    *("model.safetensors.index.json", "generation_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "normalizer.json"),
    *("README.md", "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE"),
)


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies and what it is called there, its number format and shape."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]


class Checkpoint:
    """Settings and weights of one model, nothing loaded but the headers.

    Attributes:
        path: the directory, absolute.
        config: of ``config.json``.
        model_type: "whisper", "wav2vec2", …, as ``config.json`` says.
        preprocessor: settings of the input, of ``preprocessor_config.json`` (or the part of
            ``processor_config.json``); empty where there is none.
        weights: the safetensors files.
        tensors: by name.

    Raises:
        BadInputError: a file is missing, damaged, of a format that is not read, or asks for code
            of the model's own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / "config.json").is_file():
            raise BadInputError(
                f"{path}: holds no config.json, so it is not a model in the layout of Hugging "
                "Face; name the directory that has config.json and model.safetensors, or an ONNX "
                "file itself"
            )
        self.config = _settings(path / "config.json")
        self.preprocessor = self._read_preprocessor()
        for settings, name in ((self.config, "config.json"), (self.preprocessor, "preprocessor")):
            if "auto_map" in settings:
                raise BadInputError(
                    f"{path}: its {name} names code of the model's own (auto_map), which is never "
                    "run; use a model of a known architecture, or export this one to ONNX"
                )
        self.model_type = str(self.config.get("model_type"))
        self.weights = self._find_weights()
        self.tensors = {name: t for file in self.weights for name, t in read_header(file).items()}

    def _read_preprocessor(self) -> dict[str, Any]:
        for name in ("preprocessor_config.json", "processor_config.json"):
            if (self.path / name).is_file():
                settings = _settings(self.path / name)
                part = settings.get("feature_extractor", settings)
                if isinstance(part, dict) and (name[:3] == "pre" or part is not settings):
                    return part
        return {}

    def _find_weights(self) -> tuple[Path, ...]:
        if (single := self.path / "model.safetensors").is_file():
            return (single,)
        index = self.path / "model.safetensors.index.json"
        if index.is_file():
            found = _settings(index).get("weight_map")
            names = {str(name) for name in found.values()} if isinstance(found, dict) else set()
            if not names or any(name != Path(name).name for name in names):
                raise BadInputError(f"{index}: names no files of weights; get the model again")
            files = tuple(self.path / name for name in sorted(names))
            for file in files:
                if not file.is_file():
                    raise BadInputError(
                        f"{file}: is missing, and {index.name} says that weights lie there; get "
                        "the model again"
                    )
            return files
        pickles = [p for p in sorted(self.path.iterdir()) if p.suffix in {".bin", ".pt", ".ckpt"}]
        if pickles:
            raise BadInputError(
                f"{pickles[0]}: weights in a pickle can run code, so they are not read; on a "
                "machine that you trust for it, convert them with transformers: "
                "AutoModel.from_pretrained(DIR).save_pretrained(OUT, safe_serialization=True)"
            )
        raise BadInputError(f"{self.path}: holds no model.safetensors; get the model again, whole")

    @property
    def files(self) -> tuple[Path, ...]:
        """What a copy needs: weights, their index, settings and documents."""
        return (*self.weights, *(p for name in _DOCUMENTS if (p := self.path / name).is_file()))

    def setting(self, name: str) -> Any:
        """A value of ``config.json`` that must be there: a positive number or a list of them."""
        value = self.config.get(name)
        values = value if isinstance(value, list) and value else [value]
        if not all(type(v) is int and v > 0 for v in values):
            raise BadInputError(
                f"{self.path / 'config.json'}: {name} must be a positive whole number (or a list "
                f"of them), and is {value!r}; get the model again"
            )
        return value

    def find_prefix(self, prefixes: Iterable[str], start: str) -> str:
        """The first prefix with which a tensor's name begins, followed by ``start``.

        Raises:
            BadInputError: there is none.
        """
        for prefix in prefixes:
            if any(name.startswith(prefix + start) for name in self.tensors):
                return prefix
        raise BadInputError(
            f"{self.weights[0]}: holds no tensor {start}…, so these are not the weights of a "
            f"{self.model_type} model as config.json says; get the model again"
        )

    def check_tensors(self, prefix: str, parts: tuple[str, ...], blocks: str, count: int) -> int:
        """Check number formats, and that each of ``count`` blocks has tensors.

        Names of the encoder's tensors begin with ``prefix`` and one of ``parts``, those of a block
        with ``prefix``, ``blocks`` and its number. Returns how many numbers the tensors hold.
        """
        starts = tuple(prefix + part for part in parts)
        own = {name: t for name, t in self.tensors.items() if name.startswith(starts)}
        for name, tensor in own.items():
            if tensor.dtype not in _FLOATS and not name.endswith("num_batches_tracked"):
                raise BadInputError(
                    f"{tensor.file}: {name} is stored as {tensor.dtype}; weights must be 16, 32 "
                    "or 64-bit floating point, so get a version that is not quantised"
                )
        for block in range(count):
            start = f"{prefix}{blocks}{block}."
            if not any(name.startswith(start) for name in own):
                raise self._missing(start + "…")
        return sum(math.prod(tensor.shape) for tensor in own.values())

    def _missing(self, name: str) -> BadInputError:
        return BadInputError(
            f"{self.weights[0].parent}: the weights have no tensor {name}, which the encoder that "
            "config.json describes needs; get the model again"
        )

    def match(
        self, build: Callable[[], torch.nn.Module], prefix: str
    ) -> tuple[torch.nn.Module, dict[str, StoredTensor]]:
        """A module without memory for its weights, and where each of them lies.

        ``prefix`` is of the names in the files.

        Raises:
            BadInputError: a tensor of the module is missing or of another shape, or the
                configuration makes no module.
        """
        import torch
        from huggingface_hub.errors import StrictDataclassError

        try:
            with torch.device("meta"):
                module = build()
        except (*_BUILD_ERRORS, StrictDataclassError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise BadInputError(
                f"{self.path / 'config.json'}: describes no {self.model_type} model ({reason}); "
                "get the model again"
            ) from None
        places = {}
        for name, value in module.state_dict().items():
            stored = next((n for n in _spellings(prefix + name) if n in self.tensors), None)
            if stored is None:
                raise self._missing(prefix + name)
            places[name] = tensor = self.tensors[stored]
            if tensor.shape != tuple(value.shape):
                raise BadInputError(
                    f"{tensor.file}: {stored} has shape {list(tensor.shape)}, and config.json asks "
                    f"for {list(value.shape)}; they are of different models, so get both again"
                )
        return module, places

    def pretrained(self, kind: str, *, unused: str = "", **options: Any) -> Any:
        """The model of one of transformers' classes, ready to use; all weights must be there.

        Args:
            kind: name of the class.
            unused: what the names of tensors begin with that may be missing.
            **options: of its ``from_pretrained``.
        """
        import torch
        import transformers
        from transformers.utils import logging

        logging.set_verbosity_error()  # its hints are on arguments that generate() sets itself
        logging.disable_progress_bar()
        try:
            model, report = getattr(transformers, kind).from_pretrained(
                self.path,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
                **options,
            )
        except (RuntimeError, ValueError, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise BadInputError(
                f"{self.path}: cannot be loaded ({reason}); get the model again"
            ) from None
        missing = sorted(
            n for n in report["missing_keys"] if not unused or not n.startswith(unused)
        )
        if missing:
            raise BadInputError(
                f"{self.path}: the weights have no tensor {missing[0]}, which the model that "
                "config.json describes needs; get the model again"
            )
        return model.eval().to(device())

    def load(self, build: Callable[[], torch.nn.Module], prefix: str) -> torch.nn.Module:
        """A module with its weights, as float32, for inference only; see :meth:`match`.

        Every weight comes from the files: nothing is filled with random numbers.
        """
        from safetensors import safe_open

        module, places = self.match(build, prefix)
        state = {}
        for file in self.weights:
            with safe_open(file, framework="pt") as opened:
                for name, tensor in places.items():
                    if tensor.file == file:
                        value = opened.get_tensor(tensor.name)
                        state[name] = value.float() if value.is_floating_point() else value
        module.load_state_dict(state, assign=True)
        return module.eval().requires_grad_(False)


def read_header(file: Path) -> dict[str, StoredTensor]:
    """Names, formats and shapes of the tensors in a safetensors file that is whole.

    Raises:
        BadInputError: it is truncated or damaged.
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size:
                raise ValueError("the header is longer than the file")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        found = {
            name: StoredTensor(file, name, str(entry["dtype"]), tuple(map(int, entry["shape"])))
            for name, entry in header.items()
        }
        end = max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, struct.error):
        raise BadInputError(
            f"{file}: is not a whole safetensors file (its header cannot be read); get it again"
        ) from None
    if 8 + length + end != size:
        raise BadInputError(
            f"{file}: has {size:,} bytes, and its header says {8 + length + end:,}: it is "
            "truncated or damaged; get it again"
        )
    return found


def need_package(package: str, what: object) -> None:
    """Raise a BadInputError where an optional package that ``what`` needs cannot be imported."""
    if importlib.util.find_spec(package) is None:
        raise BadInputError(
            f"{what}: needs the package {package}, which is not installed; "
            "pip install 'serplatform[pretrained]'"
        )
    try:
        importlib.import_module(package)
    except ImportError as error:
        reason = str(error).strip().partition("\n")[0]
        raise BadInputError(
            f"{what}: needs the package {package}, whose installation is damaged ({reason}); "
            "pip install --force-reinstall 'serplatform[pretrained]'"
        ) from None


def device() -> str:
    """Where encoders run: the first GPU, where torch has one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@contextlib.contextmanager
def exact_inference() -> Iterator[None]:
    """No gradients, and convolutions on a GPU as exact as on a CPU (not in TF32)."""
    import torch

    with (
        torch.inference_mode(),
        torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
    ):
        yield


def chosen(settings: Mapping[str, T], names: Iterable[str]) -> dict[str, T]:
    """The settings of these names that are there, in this order."""
    return {name: settings[name] for name in names if name in settings}


def _settings(file: Path) -> dict[str, Any]:
    try:
        value = parse_json(file.read_bytes(), file, "model's file")
    except OSError as error:
        raise BadInputError(f"{file}: cannot be read ({error.strerror})") from None
    if not isinstance(value, dict):
        raise BadInputError(f"{file}: must hold a JSON object; get the model again")
    return value


def _spellings(name: str) -> Iterable[str]:
    yield name
    for new, old in _RENAMED.items():
        if name.endswith(new):
            yield name.removesuffix(new) + old
