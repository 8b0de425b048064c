"""Makes the portfolio of ``serplatform search --data DATA``, and measures what it is worth.

``pool`` trains one list of configurations, the same on every dataset, over all folds: the first
points of the packaged spaces and random ones. ``choose`` orders them greedily, by what each adds to
the dev UAR of the ensemble (the product of posteriors), a mean over the corpora, and writes
``serplatform/studies/portfolio.yaml``. ``replay`` makes a portfolio without one corpus and spends a
time budget on that corpus by it, by random choice, and by TPE with pruning over the same
configurations: seconds are those that the trainings took, two at a time; the ensemble is made as
``serplatform ensemble`` makes it, of what had ended by then, members chosen by dev rows; test UAR
is printed.

    python benchmarks/portfolio.py pool DATA OUT [--part 0/2]
    python benchmarks/portfolio.py choose POOL... --out serplatform/studies/portfolio.yaml
    python benchmarks/portfolio.py replay POOL... --out benchmarks/results/portfolio.json
"""

from __future__ import annotations

import argparse
import dataclasses
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serplatform.datasets.dataset import Dataset
from serplatform.models.base import ARCHITECTURES
from serplatform.run_directory import RunDirectory
from serplatform.seeding import derive_seed
from serplatform.studies.feature_choice import FEATURE, for_dataset, roles
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import create_run
from serplatform.studies.space import (
    SearchSpace,
    complete_point,
    load_space,
    packaged_spaces,
    paper_point,
    points_inside,
)
from serplatform.training.trial import TrialTask, TrialTraining
from serplatform.training.trial_config import paper_values

PROTOCOL = "speaker-kfold:4"
#: random configurations of an architecture: of what is fitted in closed form, of small networks,
#: and of others
CLOSED_FORM, SMALL, OTHERS = 24, 8, 3
SMALL_NETWORKS = ("functionals_mlp", "attn_pool")
#: parts that a feature of vectors, or of frames, can play
OF_VECTORS = ("middle", "around", "whole", "both", "functionals", "frames")
OF_FRAMES = ("middle_frames", "whole_frames")
NO_TEXT = {"attn_fusion", "can", "fgcme", "lstm_attn_text", "mha", "utt_concat"}


@dataclasses.dataclass(frozen=True)
class Configuration:
    """One candidate: a packaged space and a point of it, features by their part."""

    space: str
    values: dict[str, Any]


def configurations() -> list[Configuration]:
    """The candidates, whatever dataset they are trained on."""
    found: list[Configuration] = []
    for name in packaged_spaces():
        space = load_space(name)
        architecture = ARCHITECTURES.get(space.architecture)
        closed = architecture.closed_form
        wanted = closed or name.endswith(("-small", "-pretrained"))
        if not wanted or space.architecture in NO_TEXT or architecture.encoder is not None:
            continue
        query = space.parameters[FEATURE].query if FEATURE in space.parameters else None
        parts = None if query is None else OF_VECTORS if closed else OF_FRAMES
        if parts is not None and not (query and query.joined) and not closed:
            parts = OF_FRAMES[:1]
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        count = CLOSED_FORM if closed else SMALL if space.architecture in SMALL_NETWORKS else OTHERS
        first = [dict(point) for point in space.try_first] or [paper_point(space) or {}]
        drawn = [space.sample(rng) for _ in range(count)]
        for place, point in enumerate([*first, *drawn]):
            values = dict(point)
            if parts is not None:
                values[FEATURE] = parts[place % len(parts)]
            found.append(Configuration(name, values))
    return found


def resolved(entry: Configuration, dataset: Dataset) -> tuple[SearchSpace, dict[str, Any]] | None:
    """The space on a dataset and the whole point; None where it has no such feature."""
    held, space = roles(dataset), load_space(entry.space)
    values = dict(entry.values)
    if FEATURE in values and FEATURE in space.parameters and space.parameters[FEATURE].query:
        if values[FEATURE] not in held:
            return None
        values[FEATURE] = held[values[FEATURE]]
    concrete = for_dataset(space, dataset)
    (point,) = points_inside(concrete, [values])
    if point is None:
        point = complete_point(concrete, values, paper_values(concrete.architecture))
    return concrete, {**concrete.fixed, **point}


def pool(data: str, out: str, part: str, skip: Sequence[str]) -> None:
    """Train every candidate that a dataset has the features for, without Ray."""
    dataset = Dataset.open(data)
    share, shares = map(int, part.split("/"))
    directory = RunDirectory(out)
    if not directory.run_file.exists():
        request = SearchRequest(
            architectures=("lda",), dataset=data, protocol=PROTOCOL, reference=False
        )
        create_run(Path(out), request, ["benchmarks/portfolio.py", "pool"])
    for number, entry in enumerate(configurations()):
        if number % shares != share or directory.record_file(number).exists():
            continue
        if entry.space in skip:
            continue
        found = resolved(entry, dataset)
        if found is None:
            continue
        space, values = found
        task = TrialTask(
            number=number,
            architecture=space.architecture,
            values=values,
            run=out,
            dataset=data,
            seed=derive_seed(0, "pool", number),
        )
        training = TrialTraining(task)
        try:
            while not training.finished:
                training.step()
        except Exception as error:  # noqa: BLE001 - e.g. a part of words without alignment
            print(number, entry.space, "failed:", error, flush=True)
            continue
        record = directory.read_record(directory.record_file(number))
        print(number, entry.space, round(record["dev"]["uar"], 3), record["seconds"], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("pool")
    command.add_argument("data")
    command.add_argument("out")
    command.add_argument("--part", default="0/1", help="every N-th candidate, from K on: K/N")
    command.add_argument("--skip", default="", help="spaces to leave for later, with commas")
    given = parser.parse_args()
    if given.command == "pool":
        pool(given.data, given.out, given.part, given.skip.split(","))


if __name__ == "__main__":
    main()
