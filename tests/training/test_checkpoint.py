from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from serplatform.artifacts.files import read_json
from serplatform.errors import ArtifactError
from serplatform.training import checkpoint
from serplatform.training.checkpoint import (
    flatten_optimizer,
    read_state,
    restore_optimizer,
    write_state,
)

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3), "c": torch.zeros(0)}


def tensor_file(directory):
    (file,) = directory.glob("state-*.safetensors")
    return file


def test_state_is_read_as_written(tmp_path):
    write_state(tmp_path / "state", TENSORS, {"epoch": 3, "rate": 0.1})
    tensors, values = read_state(tmp_path / "state")
    assert values == {"epoch": 3, "rate": 0.1}
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor)
        assert tensors[name].dtype == tensor.dtype


def test_new_state_replaces_the_old_one(tmp_path):
    write_state(tmp_path, TENSORS, {"epoch": 1})
    write_state(tmp_path, {"a": torch.ones(2)}, {"epoch": 2})
    tensors, values = read_state(tmp_path)
    assert values == {"epoch": 2}
    assert tensors["a"].tolist() == [1.0, 1.0]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("failing", ["write_bytes", "write_json"])
def test_interrupted_writing_leaves_the_previous_state(tmp_path, monkeypatch, failing):
    write_state(tmp_path, TENSORS, {"epoch": 1})

    def die(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(checkpoint, failing, die)
        with pytest.raises(KeyboardInterrupt):
            write_state(tmp_path, {"a": torch.ones(2)}, {"epoch": 2})
    tensors, values = read_state(tmp_path)
    assert values == {"epoch": 1}
    assert torch.equal(tensors["a"], TENSORS["a"])
    write_state(tmp_path, {"a": torch.ones(2)}, {"epoch": 3})  # and clears up what was left
    assert len(list(tmp_path.iterdir())) == 2


def test_tied_and_strided_tensors_are_kept(tmp_path):
    weight = torch.arange(4.0).view(2, 2)
    write_state(tmp_path, {"x": weight, "y": weight, "z": weight.t(), "row": weight[1]}, {})
    tensors, _ = read_state(tmp_path)
    assert torch.equal(tensors["y"], weight)
    assert torch.equal(tensors["z"], weight.t())
    assert tensors["row"].tolist() == [2.0, 3.0]


def test_truncated_tensors_are_noticed(tmp_path):
    write_state(tmp_path, TENSORS, {})
    file = tensor_file(tmp_path)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=rf"{file.name}.*truncated or altered"):
        read_state(tmp_path)


def test_flipped_bit_is_noticed(tmp_path):
    write_state(tmp_path, TENSORS, {})
    file = tensor_file(tmp_path)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{file.name}.*truncated or altered"):
        read_state(tmp_path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"state\.json: no such training state"):
        read_state(tmp_path)
    write_state(tmp_path, TENSORS, {})
    file = tensor_file(tmp_path)
    file.unlink()
    with pytest.raises(ArtifactError, match=rf"{file.name}.*cannot be read"):
        read_state(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "schema version 99, this program reads 1"),
        ({"tensors": {}}, "lacks tensors.file; lacks tensors.sha256"),
        ({"tensors": None}, "tensors is null where an object belongs"),
    ],
)
def test_foreign_description_is_refused(tmp_path, change, message):
    write_state(tmp_path, TENSORS, {})
    file = tmp_path / "state.json"
    file.write_text(json.dumps(read_json(file) | change))
    with pytest.raises(ArtifactError, match=message):
        read_state(tmp_path)


def test_content_that_is_not_safetensors_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="x: not a readable safetensors file"):
        checkpoint.unpack_tensors(b"\x08\0\0\0\0\0\0\0{broken}", tmp_path / "x")


@pytest.mark.parametrize("rule", ["Adam", "AdamW", "RMSprop", "SGD"])
def test_optimiser_continues_bit_for_bit(rule):
    def make():
        model = nn.Linear(3, 2)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(0.5)
        extra = {"momentum": 0.9} if rule == "SGD" else {}
        return model, getattr(torch.optim, rule)(model.parameters(), lr=0.1, **extra)

    def steps(model, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            model(torch.arange(6.0).view(2, 3)).square().sum().backward()
            optimizer.step()

    model, optimizer = make()
    steps(model, optimizer, 3)
    other, resumed = make()
    other.load_state_dict(model.state_dict())
    names = {p: n for n, p in model.named_parameters()}
    tensors = flatten_optimizer(optimizer, names)
    assert any(name.startswith("weight/") for name in tensors)
    restore_optimizer(resumed, {p: n for n, p in other.named_parameters()}, tensors)
    steps(model, optimizer, 3)
    steps(other, resumed, 3)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
