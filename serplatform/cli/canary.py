"""The canaries of ``serplatform data DATA --canary``: would a leak be noticed?"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from serplatform.cli.output import say
from serplatform.errors import SerplatformError

#: share of runs without a leak that land inside the chance interval
LEVEL = 0.99


def run_canaries(
    data: Path, *, protocol: str | None = None, seed: int = 0, trials: int = 4, max_epochs: int = 3
) -> dict[str, Any]:
    """Run a small search and ensemble on permuted labels, and offer leaks that must be refused.

    Args:
        data: a prepared dataset.
        protocol: None for the corpus's own.
        seed: of the permutation, the folds and the search.
        trials: of the search.
        max_epochs: of each fold.

    Returns:
        what was checked, JSON-serialisable.

    Raises:
        SerplatformError: a check failed; every one that did is named.
    """
    from serplatform.datasets.dataset import Dataset
    from serplatform.distributed.canary import (
        permuted_copy,
        planted_speaker_is_refused,
        small_search,
    )
    from serplatform.ensembles.build import build_ensemble
    from serplatform.ensembles.canary import chance_of_ensemble, fits_that_take_test_rows
    from serplatform.ensembles.posteriors import read_library
    from serplatform.protocols.plan import make_plan

    dataset = Dataset.open(data)
    name = protocol or str(dataset.meta["default_protocol"])
    plan = make_plan(dataset.utterances, name, seed, classes=dataset.classes)
    say(f"Searching {trials} trials on permuted labels with protocol {plan.protocol} …")
    with tempfile.TemporaryDirectory(prefix="serplatform-canary-") as folder:
        permuted = permuted_copy(data, Path(folder, "data"), seed=seed)
        run = small_search(
            permuted,
            Path(folder, "run"),
            protocol=protocol,
            trials=trials,
            max_epochs=max_epochs,
            seed=seed,
            tell=say,
        )
        ensemble = Path(folder, "ensemble")
        content = build_ensemble([run.path], ensemble, seed=seed, num_resamples=200)
        chance = chance_of_ensemble(ensemble, level=LEVEL, seed=seed)
        taken = fits_that_take_test_rows(read_library([run.path]))
    values: dict[str, Any] = {
        "protocol": plan.protocol,
        "seed": seed,
        "trials": trials,
        "max_epochs": max_epochs,
        "architectures": sorted({c["architecture"] for c in content["candidates"]}),
        "combiner": content["combiner"],
        "level": LEVEL,
        "permuted_labels": {"uar": chance.as_dict(), "test_rows": content["counts"]["test_rows"]},
        "test_rows_refused": not taken,
        "planted_speaker_refused": None,
    }
    if plan.speaker_independent:
        values["planted_speaker_refused"] = planted_speaker_is_refused(plan, dataset.utterances)
    faults = canary_errors(values, taken)
    if faults:
        raise SerplatformError("\n".join([f"{data}: {len(faults)} leak check(s) failed:", *faults]))
    return values


def canary_errors(values: dict[str, Any], taken: list[str]) -> list[str]:
    """What is wrong, in sentences; empty when every check passed."""
    faults = []
    found = values["permuted_labels"]["uar"]
    if not found["low"] <= found["value"] <= found["high"]:
        where = "above" if found["value"] > found["high"] else "below"
        faults.append(
            f"permuted labels gave a pooled test UAR of {found['value']:.4f}, {where} the "
            f"{values['level']:.0%} chance interval {found['low']:.4f} to {found['high']:.4f}: "
            "something tells the models the answers (one honest run in a hundred lands outside: "
            "try another --seed before looking for a leak)"
        )
    faults += [f"{name} accepted test rows to fit on" for name in taken]
    if values["planted_speaker_refused"] is False:
        faults.append("a test speaker's utterance in the training part was not refused")
    return faults


def describe_canaries(values: dict[str, Any]) -> str:
    """What was checked, for people."""
    found = values["permuted_labels"]
    uar = found["uar"]
    planted = {
        True: "a speaker planted in two parts is refused",
        None: "speakers are shared by the protocol: no speaker was planted",
    }[values["planted_speaker_refused"]]
    return (
        f"canary       permuted labels: pooled test UAR {uar['value']:.4f}, inside the "
        f"{values['level']:.0%} chance interval {uar['low']:.4f} to {uar['high']:.4f} "
        f"({found['test_rows']} test rows; {values['trials']} trials of "
        f"{', '.join(values['architectures'])}, {values['combiner']} ensemble)\n"
        "             test rows offered to every combiner and to calibration are refused\n"
        f"             {planted}"
    )
