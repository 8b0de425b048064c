"""One worker of a distributed training; started by test_data_parallel.py.

python distributed_worker.py RANK WORLD INIT_FILE DATASET CASES_JSON OUT

A case is {"architecture", "values", "epochs"} and perhaps its "name", else the architecture;
its results go to OUT/<name>/<rank>.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

import numpy as np
import torch

from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.protocols.plan import make_plan
from serplatform.training.loop import FoldTrainer
from serplatform.training.trial_config import resolve


def main(rank, world, init_file, dataset_path, cases, out):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{init_file}", rank=int(rank), world_size=int(world)
    )
    dataset = Dataset.open(dataset_path)
    plan = make_plan(dataset.utterances, "speaker-kfold:3", 0)
    for case in json.loads(cases):
        config = resolve(case["architecture"], case["values"], "test")
        data = FoldData(dataset, plan, 0, config.data)
        trainer = FoldTrainer(config, data, seed=0, distributed=True)
        reports = [trainer.run_epoch() for _ in range(case["epochs"])]
        directory = Path(out) / case.get("name", case["architecture"]) / rank
        trainer.save_state(directory)
        np.save(directory / "test.npy", trainer.posteriors("test"))
        (directory / "reports.json").write_text(
            json.dumps([[r.train_loss, r.dev["nll"], r.padded_share] for r in reports])
        )
        del trainer, data
    gc.collect()  # what still holds the group must be gone before it is taken down
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
