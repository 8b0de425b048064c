"""The matrix of a joined dataset: trained on which corpora, tested on which; in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from serplatform.artifacts.ensemble import SourceRow
from serplatform.statistics.intervals import Interval


def trained_on(row: SourceRow) -> str:
    """Names of the training corpora."""
    return " + ".join(row["trained_on"])


def source_sentences(rows: Sequence[SourceRow]) -> Iterator[str]:
    """One sentence for each cell of the matrix.

    Example:
        >>> found = {"value": 0.4, "low": 0.3, "high": 0.5}
        >>> list(source_sentences([{"trained_on": ["a", "b"], "tested_on": "c", "utterances": 9,
        ...     "speakers": 3, "chance": 0.25, "uar": found, "accuracy": found}]))
        ['Trained on a + b, tested on c: UAR 40.0 % (30.0–50.0), chance 25.0 % (9 utterances).']
    """
    for row in rows:
        yield (
            f"Trained on {trained_on(row)}, tested on {row['tested_on']}: UAR "
            f"{Interval(**row['uar']).in_percent()}, chance {100 * row['chance']:.1f} % "
            f"({row['utterances']} utterances)."
        )
