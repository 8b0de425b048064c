"""``serplatform ensemble RUN…``: combine what a search has trained."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from serplatform.cli.options import AsJson
from serplatform.cli.output import result


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
        str, typer.Option(help="greedy, product, mean, stacking, auto or single.")
    ] = "product",
    temperature: Annotated[
        bool, typer.Option("--temperature", help="Calibrate each trial on dev rows first.")
    ] = False,
    objective: Annotated[
        str, typer.Option(help="What choices on dev rows maximise: uar, accuracy or nll.")
    ] = "uar",
    seed: Annotated[int, typer.Option(help="Seed of bags, resamples and permutations.")] = 0,
    resamples: Annotated[
        int, typer.Option(min=1, help="Bootstrap resamples of speakers behind each interval.")
    ] = 2000,
    as_json: AsJson = False,
) -> None:
    """Combine the posteriors of every finished trial; nothing is trained again.

    For each outer fold, members and weights are fitted on its dev rows; its test rows are
    combined and measured once, beside the best single trial and the mean of all.

    Examples:

        serplatform ensemble runs/ravdess --out ensembles/ravdess

        serplatform ensemble runs/moma runs/csa --out ensembles/both --combiner product

        serplatform ensemble runs/ravdess --out ensembles/auto --combiner auto --temperature
    """
    from serplatform.api.write import write_ensemble

    content = write_ensemble(
        runs,
        out,
        combiner=combiner,
        temperature=temperature,
        objective=objective,
        seed=seed,
        resamples=resamples,
    )
    result(describe(content, out), summarise(content, out), as_json=as_json)


def summarise(content: dict[str, Any], out: str) -> dict[str, Any]:
    """The parts of ``ensemble.json`` that a script wants."""
    keys = ("combiner", "objective", "classes", "counts", "over_folds", "pooled", "chance", "notes")
    comparison = content["comparison"]
    return {
        "ensemble": out,
        **{key: content[key] for key in keys},
        "comparison": {key: comparison[key] for key in ("difference", "permutation", "mcnemar")},
        "members": [
            {
                "fold": fold["fold"],
                "members": {row["member"]: row["weight"] for row in fold["members"]},
            }
            for fold in content["folds"]
        ],
    }


def describe(content: dict[str, Any], out: str) -> str:
    """The result in words."""
    from serplatform.ensembles.evaluation import no_better_than_chance

    counts = content["counts"]
    used = sorted(len(fold["members"]) for fold in content["folds"])
    range_used = str(used[0]) if used[0] == used[-1] else f"{used[0]} to {used[-1]}"
    lines = [
        *filter(None, [no_better_than_chance(content)]),
        f"{content['combiner']}: {counts['candidates']} finished trials, {range_used} members a "
        f"fold, {counts['folds']} folds, {counts['test_rows']} test rows of "
        f"{counts['test_speakers']} speakers",
        f"{'pooled test, 95 % by speaker':<30}{'UAR':>22}{'accuracy':>24}",
    ]
    for name, metrics in content["pooled"].items():
        cells = [_interval(metrics[key]) for key in ("uar", "accuracy")]
        lines.append(f"{name.replace('_', ' '):<30}{cells[0]:>22}{cells[1]:>24}")
    difference = content["comparison"]["difference"]["uar"]
    permutation = content["comparison"]["permutation"]["uar"]
    mcnemar = content["comparison"]["mcnemar"]
    lines.append(
        f"Ensemble − best single: UAR {_interval(difference, signed=True)}, permutation by "
        f"speaker {_p_value(permutation['p_value'])}, McNemar {_p_value(mcnemar['p_value'])}"
    )
    lines += [note for note in content["notes"] if note.startswith("Left out")]
    lines.append(f"Wrote {out}; next: serplatform report {out}")
    return "\n".join(lines)


def _interval(found: dict[str, Any], *, signed: bool = False) -> str:
    style = "+.3f" if signed else ".3f"
    if found["low"] is None:
        return format(found["value"], style)
    return f"{found['value']:{style}} [{found['low']:{style}}, {found['high']:{style}}]"


def _p_value(p_value: float) -> str:
    return f"p = {p_value:.4f}" if p_value >= 1e-4 else "p < 0.0001"
