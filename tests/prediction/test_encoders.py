"""An encoder packed into a bundle is found there, of every kind, also beside one of its name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from serplatform.artifacts.model import encoder_specs
from serplatform.encoders import open as open_module
from serplatform.encoders.open import find_encoder, look_in, open_encoder
from serplatform.prediction.encoders import bundle_encoder, find_licence

for package in ("transformers", "onnx", "onnxruntime"):
    pytest.importorskip(package)
from tests.support.tiny_encoders import tiny_onnx, tiny_wav2vec2  # noqa: E402


@pytest.fixture(autouse=True)
def nothing_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(open_module, "_bundled", [])


def test_encoders_of_one_name_and_onnx_files_with_weights_beside_them(tmp_path, monkeypatch):
    given = tmp_path / "given"
    for number in (0, 1):
        tiny_wav2vec2(given / str(number) / "same", seed=number)
    tiny_onnx(given / "net.onnx", external=True)
    opened = [open_encoder(str(given / place)) for place in ("0/same", "1/same", "net.onnx")]
    monkeypatch.setenv(open_module.FOLDERS_VARIABLE, f"{given}/0:{given}/1:{given}")
    bundle, places = tmp_path / "bundle", []
    for encoder in opened:
        described, files = bundle_encoder(
            encoder.spec(), bundle, corpus="csv", pack=True, licence="MIT"
        )
        places.append(described["directory"])
        assert described["bytes"] == sum((bundle / file).stat().st_size for file in files)
    assert places == ["encoders/same", f"encoders/same-{opened[1].sha256[:8]}", "encoders/net"]
    shutil.rmtree(given)
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.delenv(open_module.FOLDERS_VARIABLE)
    for place in places:
        look_in(bundle / place)
    for encoder in opened:
        found = find_encoder(encoder.name, encoder.sha256)
        assert found.spec() == encoder.spec()
        assert bundle in found.path.parents


def test_a_licence_known_by_name_says_so():
    spec = {"name": "whisper-base", "kind": "whisper", "num_layers": 6}
    assert find_licence(spec, None) == "MIT, as known by its name"
    assert find_licence({**spec, "num_layers": 2}, None) is None
    assert find_licence({"name": "wavlm-large", "kind": "wavlm", "num_layers": 24}, None) is None


def test_encoders_are_found_wherever_a_description_names_them():
    sha256 = "ab" * 32
    one = {"name": "w", "sha256": sha256, "kind": "whisper"}
    description = {
        "preprocessing": {"spec": {"parts": {"a": {"encoder": one}, "b": {"encoder": one}}}},
        "model": {"encoder": f"tuned@sha256:{sha256}", "other": {"encoder": "/a/place"}},
        "lists": [{"encoder": {"name": "text", "sha256": "c"}}],
        "words": [
            {"aligner": {"kind": "whisper-asr", "model": name, "sha256": sha256}}
            for name in ("w", "speaker")
        ],
    }
    assert encoder_specs(description) == [
        one,
        {"name": "tuned", "sha256": sha256},
        {"name": "text", "sha256": "c"},
        {"kind": "whisper", "name": "speaker", "sha256": sha256},
    ]
