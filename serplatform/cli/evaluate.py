"""``serplatform evaluate RUN|ENS|BUNDLE --data OTHER``: a trained system on another dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from serplatform.cli.options import AsJson, parse_map
from serplatform.cli.output import result
from serplatform.console import say


def command(
    system: Annotated[
        str,
        typer.Argument(
            metavar="RUN|ENS|BUNDLE",
            help="What `search`, `train`, `ensemble` or `export` wrote, path or URI.",
            show_default=False,
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="The dataset to evaluate on, path or URI. Features that it lacks are computed "
            "from its audio.",
            show_default=False,
        ),
    ],
    label_map: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="THEIRS=OURS",
            help="A label of the data and the class of the system that it is; nothing after = "
            "leaves it out. May be repeated. Labels are matched by name otherwise.",
        ),
    ] = None,
    classes: Annotated[
        str,
        typer.Option(
            help="Which reading is the main one where the data lacks classes of the system: `all` "
            "(an answer that the data lacks is wrong) or `shared` (posteriors restricted to the "
            "classes of the data). Both are shown."
        ),
    ] = "all",
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.json",
            help="Write the numbers there, path or URI, and the posteriors beside it as .parquet.",
        ),
    ] = None,
    trial: Annotated[
        int | None, typer.Option(help="Trial of a run; default: the best on dev.")
    ] = None,
    trained_on: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Where the data that the system was trained on lies now; needed for a bundle.",
        ),
    ] = None,
    unchecked: Annotated[
        bool,
        typer.Option(
            "--unchecked",
            help="Go on although the training data is gone, so that rows it may share cannot be "
            "found; the result says so.",
        ),
    ] = False,
    speakers_differ: Annotated[
        bool,
        typer.Option(
            "--speakers-differ",
            help="Speakers of one name in both datasets are different people.",
        ),
    ] = False,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness",
            help="Measure again under noise, in a telephone band, through codecs, at other gains "
            "and in reverberation; features are computed from the changed audio each time.",
        ),
    ] = False,
    conditions: Annotated[
        str | None,
        typer.Option(help="Only these: `noise,band,codec,gain,reverb`, separated by commas."),
    ] = None,
    fairness: Annotated[
        bool,
        typer.Option(
            "--fairness",
            help="Recall of each class by gender and speaker, and the largest gap with a "
            "permutation test.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of noise, babble and reverberation.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Evaluate a trained system on another dataset.

    Labels are matched by name. Recordings that training has seen, found by digest and by sound,
    and other recordings of its speakers are left out and counted. Shown are metrics with 95 %
    intervals over speakers, chance, recall by class, confusion, and results by gender and speaker.

    Examples:

        serplatform evaluate runs/ravdess --data data/emodb

        serplatform evaluate ensembles/ravdess --data data/mine --map calm=neutral --map joy=

        serplatform evaluate bundles/ravdess --data data/mine --trained-on data/ravdess

        serplatform evaluate runs/ravdess --data data/emodb --classes shared --out emodb.json

        serplatform evaluate runs/ravdess --data data/emodb --conditions noise,codec
    """
    from serplatform.evaluation.evaluate import EvaluationRequest
    from serplatform.evaluation.output import text
    from serplatform.evaluation.record import write_evaluation

    request = EvaluationRequest(
        system=system,
        data=data,
        label_map=parse_map(label_map or []),
        reading=classes,
        trial=trial,
        trained_on=trained_on,
        unchecked=unchecked,
        speakers_differ=speakers_differ,
        device=device,
        conditions=tuple(conditions.split(",")) if conditions else () if robustness else None,
        seed=seed,
        fairness=fairness,
    )
    found, values = write_evaluation(request, out)
    if out is not None:
        say(f"Wrote {out}, and {values['posteriors']}: {len(found.rows)} rows.")
    result(text(found), values, as_json=as_json)
