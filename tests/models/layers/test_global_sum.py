"""Two worker processes against one, over the gloo backend and a file."""

import json
import subprocess
import sys

import pytest
import torch

from serplatform.models.base import ARCHITECTURES, Criterion, InputSpec
from serplatform.models.csa import CsaConfig
from serplatform.models.layers.global_sum import counting, global_sum
from serplatform.testing.batches import random_batch

#: lengths of a batch that two workers share, and of one at which a worker is left over
BATCHES = ((25, 3, 8, 14, 6), (25,))

build = ARCHITECTURES.get("csa").build

WORKER = """
import json
import sys
import torch
from torch import distributed
from safetensors.torch import save_file
from serplatform.models.base import Criterion, InputSpec
from serplatform.models.csa import CsaConfig
from serplatform.models.base import ARCHITECTURES
from serplatform.models.layers.global_sum import counting
from serplatform.testing.batches import pick, random_batch

build = ARCHITECTURES.get("csa").build

folder, rank = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(1)
distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
)
spec = InputSpec(feature_dim=5, num_classes=4)
for number, lengths in enumerate(json.loads(sys.argv[3])):
    batch = random_batch(lengths, spec, dtype=torch.float64)
    torch.manual_seed(0)
    config = CsaConfig(context_frames=8, overlap_frames=3, channels=6, gamma_init=0.5)
    model = build(config, spec).double().train()
    own = list(range(len(lengths)))[rank::2]
    with counting(bool(own)):
        losses = model(pick(batch, own or [0]), Criterion()).losses
    (losses.sum() * bool(own) / len(batch)).backward()
    for parameter in model.parameters():
        distributed.all_reduce(parameter.grad)
    result = {f"grad/{name}": p.grad for name, p in model.named_parameters()}
    result |= {f"buffer/{name}": b for name, b in model.named_buffers()}
    save_file(result, f"{folder}/batch-{number}-worker-{rank}.safetensors")
distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two workers found, each its own share of every batch."""
    folder = tmp_path_factory.mktemp("workers")
    words = [sys.executable, "-c", WORKER, str(folder)]
    workers = [subprocess.Popen([*words, str(rank), json.dumps(BATCHES)]) for rank in range(2)]
    assert [worker.wait(timeout=240) for worker in workers] == [0, 0]
    return folder


@pytest.mark.parametrize("number", [0, 1], ids=["shared", "one worker is left over"])
def test_two_workers_equal_one(number, folder):
    from safetensors.torch import load_file

    spec = InputSpec(feature_dim=5, num_classes=4)
    torch.manual_seed(0)
    config = CsaConfig(context_frames=8, overlap_frames=3, channels=6, gamma_init=0.5)
    model = build(config, spec).double().train()
    batch = random_batch(BATCHES[number], spec, dtype=torch.float64)
    model(batch, Criterion()).losses.mean().backward()
    for rank in range(2):
        result = load_file(folder / f"batch-{number}-worker-{rank}.safetensors")
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(result[f"grad/{name}"], parameter.grad, rtol=0, atol=1e-10)
        for name, buffer in model.named_buffers():
            torch.testing.assert_close(result[f"buffer/{name}"], buffer, rtol=0, atol=1e-12)


def test_one_worker_sums_to_itself():
    values = torch.tensor([1.0, 2.0])
    with counting(False):
        assert global_sum(values) is values
