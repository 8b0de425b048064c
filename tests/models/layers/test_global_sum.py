"""Two worker processes against one, over the gloo backend and a file."""

import subprocess
import sys

import pytest
import torch

from serplatform.models.base import ARCHITECTURES, Criterion, InputSpec
from serplatform.models.csa import CsaConfig
from serplatform.models.layers.global_sum import counting, global_sum
from serplatform.testing.batches import random_batch

LENGTHS = (25, 3, 8, 14, 6)

build = ARCHITECTURES.get("csa").build

WORKER = """
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
lengths = tuple(int(part) for part in sys.argv[3].split(","))
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
save_file(result, f"{folder}/worker-{rank}.safetensors")
distributed.destroy_process_group()
"""


@pytest.mark.parametrize("lengths", [LENGTHS, (25,)], ids=["shared", "one worker is left over"])
def test_two_workers_equal_one(lengths, tmp_path):
    from safetensors.torch import load_file

    spec = InputSpec(feature_dim=5, num_classes=4)
    torch.manual_seed(0)
    config = CsaConfig(context_frames=8, overlap_frames=3, channels=6, gamma_init=0.5)
    model = build(config, spec).double().train()
    model(random_batch(lengths, spec, dtype=torch.float64), Criterion()).losses.mean().backward()
    text = ",".join(map(str, lengths))
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), str(rank), text])
        for rank in range(2)
    ]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    for rank in range(2):
        result = load_file(tmp_path / f"worker-{rank}.safetensors")
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(result[f"grad/{name}"], parameter.grad, rtol=0, atol=1e-10)
        for name, buffer in model.named_buffers():
            torch.testing.assert_close(result[f"buffer/{name}"], buffer, rtol=0, atol=1e-12)


def test_one_worker_sums_to_itself():
    values = torch.tensor([1.0, 2.0])
    with counting(False):
        assert global_sum(values) is values
