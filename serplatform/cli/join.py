"""``serplatform join DATA DATA… --out DATA``: several datasets as one."""

from __future__ import annotations

from typing import Annotated

import typer

from serplatform.cli.options import AsJson, parse_map
from serplatform.cli.output import result


def command(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA...", help="Prepared datasets, paths or URIs.", show_default=False
        ),
    ],
    out: Annotated[
        str,
        typer.Option(metavar="DATA", help="Directory of the joined dataset.", show_default=False),
    ],
    label_map: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="LABEL=EMOTION",
            help="Rename a label in all datasets; nothing after = leaves it out. May be repeated.",
        ),
    ] = None,
    speakers_differ: Annotated[
        bool,
        typer.Option(
            "--speakers-differ",
            help="Speakers of one name are different people, also where corpora are the same.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Join datasets: their common labels and features, without a copy of the features.

    What is left out, and why, stands in rejected.csv. `search` on the result leaves one corpus out
    at a time (`corpus-loso`), or uses any protocol of speakers.

    Examples:

        serplatform join data/ravdess data/emodb --out data/both --map calm=neutral

        serplatform search --data data/both --protocol corpus-loso

        serplatform search --data data/ravdess --data data/emodb
    """
    from serplatform.datasets.dataset import Dataset
    from serplatform.datasets.join import joined

    names = parse_map(label_map or [])
    dataset = Dataset.open(joined(data, out, label_map=names, speakers_differ=speakers_differ))
    counts = dataset.meta["counts"]
    lines = [
        f"{out}: {counts['utterances']} utterances of {counts['speakers']} speakers, "
        f"{counts['rejected']} left out (rejected.csv)",
        f"labels {', '.join(f'{name} {n}' for name, n in counts['by_emotion'].items())}",
        f"features {', '.join(dataset.feature_names)}",
        *(f"note: {note}" for note in dataset.meta["notes"]),
    ]
    values = {
        "path": out,
        "classes": list(dataset.classes),
        "counts": dict(counts),
        "features": list(dataset.feature_names),
        "notes": dataset.meta["notes"],
        "fingerprint": dataset.fingerprint,
    }
    result("\n".join(lines), values, as_json=as_json)
