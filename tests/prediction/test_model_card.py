"""The hub reads a card's header, and its lines of Python work."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serplatform.artifacts.files import read_json
from serplatform.prediction.card_header import card_header
from serplatform.prediction.export import export

hub = pytest.importorskip("huggingface_hub")


@pytest.fixture(scope="module")
def bundle(audio_run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("card") / "bundle"
    export(audio_run.run, folder)
    return folder


def test_the_hub_reads_the_header(bundle: Path) -> None:
    data = hub.ModelCard.load(bundle / "README.md").data
    content = read_json(bundle / "bundle.json")
    assert (data.library_name, data.pipeline_tag) == ("serplatform", "audio-classification")
    assert "speech-emotion-recognition" in data.tags
    measured = {found.metric_type: found.metric_value for found in data.eval_results}
    metrics = content["description"]["metrics"]
    assert measured["recall"] == pytest.approx(metrics["uar"]["value"], abs=1e-4)
    assert measured.keys() == {"recall", "accuracy", "f1"}
    assert data.model_name == content["description"]["title"]
    assert "license" not in data.to_dict()  # "yours": it is not known


@pytest.mark.parametrize("kind", ["sealed", "refit", "synthetic"])
def test_what_was_not_measured_is_left_out(bundle: Path, kind: str) -> None:
    content = read_json(bundle / "bundle.json")
    if kind == "synthetic":
        content["synthetic"] = True
    else:
        content["description"][kind] = {}
    assert "model-index" not in card_header(content)


def test_the_licence_of_the_data_has_the_name_of_the_hub(bundle: Path) -> None:
    content = read_json(bundle / "bundle.json")
    content["description"]["data"]["licence"] = "CC BY-NC-SA 4.0"
    content["description"]["data"]["language"] = "de, en"
    data = hub.ModelCard(card_header(content) + "\n# A model\n").data
    assert (data.license, data.language) == ("cc-by-nc-sa-4.0", ["de", "en"])
    content["description"]["data"]["licence"] = "ours: ask\n--- evil: [1"
    card = hub.ModelCard(card_header(content) + "\n# A model\n")
    assert (card.data.license, card.data.license_name) == ("other", "ours: ask --- evil: [1")


def test_its_lines_of_python_work(bundle: Path, audio_run, tmp_path: Path) -> None:
    here = Path(shutil.copytree(bundle, tmp_path / "b"))
    shutil.copy(next(audio_run.audio.rglob("*.wav")), here / "recording.wav")
    (lines,) = re.findall(r"```python\n(.*?)```", (here / "README.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", lines], cwd=here, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "recording.wav" in done.stdout
