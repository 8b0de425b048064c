"""``serplatform ensemble RUN…``: combine what a search has trained."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serplatform.cli.answer import describe_answer
from serplatform.cli.options import AsJson, TestValues
from serplatform.cli.output import result

if TYPE_CHECKING:
    from serplatform.report.answer import Answer


def command(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Runs (paths or URIs) on one dataset with the same folds and classes.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out", metavar="ENS", help="Directory or URI to write to.", show_default=False
        ),
    ],
    combiner: Annotated[
        str,
        typer.Option(
            help="greedy, product, mean, stacking, auto, single, or syscomb:FIRST,SECOND (the best "
            "trial of each of these architectures; by default blstmatt,csa)."
        ),
    ] = "product",
    temperature: Annotated[
        bool, typer.Option("--temperature", help="Calibrate each trial on dev rows first.")
    ] = False,
    objective: Annotated[
        str, typer.Option(help="What choices on dev rows maximise: uar, accuracy or nll.")
    ] = "uar",
    seed: Annotated[int, typer.Option(help="Seed of bags.")] = 0,
    test_values: TestValues = False,
    as_json: AsJson = False,
) -> None:
    """Combine the posteriors of every finished trial; nothing is trained again.

    For each outer fold, members and weights are fitted on its dev rows; its test rows are
    combined and measured, beside the best single trial and the mean of all. Each run counts how
    often that is done: `look 2` has seen test rows before.

    Examples:

        serplatform ensemble runs/ravdess --out ensembles/ravdess

        serplatform ensemble runs/moma runs/csa --out ensembles/both --combiner product

        serplatform ensemble runs/ravdess --out ensembles/auto --combiner auto --temperature

        serplatform ensemble runs/blstmatt runs/csa --out ensembles/syscomb --combiner syscomb
    """
    from serplatform.api.write import fit_if_sealed, write_ensemble
    from serplatform.artifacts.looks import SEALED, UNSEAL
    from serplatform.report.answer import read_answer
    from serplatform.storage.destination import ENSEMBLE, check_directory
    from serplatform.storage.mirror import open_copy

    check_directory(out, ENSEMBLE)
    sealed = fit_if_sealed(
        runs, combiner=combiner, temperature=temperature, objective=objective, seed=seed
    )
    if sealed is not None:
        text = f"{SEALED[0].upper()}{SEALED[1:]}. {sealed}. Nothing is written; {UNSEAL}"
        result(text, {"ensemble": None, "sealed": dataclasses.asdict(sealed)}, as_json=as_json)
        return
    content = write_ensemble(
        runs,
        out,
        combiner=combiner,
        temperature=temperature,
        objective=objective,
        seed=seed,
        test_values=test_values,
    )
    answer = read_answer(open_copy(out), test_values=test_values)
    values = {**summarise(content, out), "answer": dataclasses.asdict(answer)}
    result(describe(content, out, answer), values, as_json=as_json)


def summarise(content: dict[str, Any], out: str) -> dict[str, Any]:
    """The parts of ``ensemble.json`` that a script wants."""
    keys = ("combiner", "objective", "classes", "counts", "over_folds", "pooled", "chance", "look")
    return {
        "ensemble": out,
        **{key: content[key] for key in (*keys, "notes")},
        **{key: found for key, found in content.items() if key.startswith("comparison")},
        "members": [
            {
                "fold": fold["fold"],
                "members": {row["member"]: row["weight"] for row in fold["members"]},
            }
            for fold in content["folds"]
        ],
    }


def describe(content: dict[str, Any], out: str, answer: Answer) -> str:
    """The result in words, the answer first."""
    counts = content["counts"]
    used = sorted(len(fold["members"]) for fold in content["folds"])
    range_used = str(used[0]) if used[0] == used[-1] else f"{used[0]} to {used[-1]}"
    lines = [
        describe_answer(answer),
        f"{content['combiner']}: {counts['candidates']} finished trials, {range_used} members a "
        f"fold, {counts['folds']} folds, {counts['test_rows']} test rows of "
        f"{counts['test_speakers']} speakers",
        *(note for note in content["notes"] if note.startswith("Left out")),
        f"Wrote {out}; next: serplatform report {out}",
    ]
    return "\n".join(lines)
