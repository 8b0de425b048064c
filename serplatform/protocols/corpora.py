"""Protocols over several corpora in one dataset, as ``serplatform join`` makes."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import pyarrow as pa

from serplatform.artifacts.dataset import SOURCE_COLUMN
from serplatform.errors import BadInputError
from serplatform.protocols.base import PROTOCOLS, FoldPlan, SplitScheme
from serplatform.protocols.generic import with_dev_speakers
from serplatform.protocols.plan import build_plan
from serplatform.protocols.selection import column, select


@PROTOCOLS.register("corpus-loso")
class LeaveOneCorpusOut(SplitScheme):
    """Each corpus tests once; the models are trained and chosen on all others.

    ``corpus-loso:NAME`` takes the corpus from a column of the table, e.g. ``language``. The dev
    part is made of whole speakers of the training corpora, of each about the same share.
    """

    description: ClassVar[str] = "leave one corpus out, of a joined dataset"
    speaker_independent: ClassVar[bool] = True
    example_argument: ClassVar[str | None] = "session"

    def plan(self, utterances: pa.Table, *, argument: str | None, seed: int) -> FoldPlan:
        """One fold per corpus, in the order of their names; see the base class."""
        name = self.name if argument is None else f"{self.name}:{argument}"
        chosen = argument or SOURCE_COLUMN
        values = column(utterances, chosen)
        if len(set(values) - {""}) < 2:
            raise BadInputError(
                f"protocol '{name}': the table's column '{chosen}' must name at least two corpora; "
                "join datasets with `serplatform join`, or name another column with "
                f"'{self.name}:COLUMN'"
            )
        selection = select(utterances, protocol=name, seed=seed, keep=[bool(v) for v in values])
        corpora = tuple(values[row] for row in selection.rows)
        selection = dataclasses.replace(selection, corpora=corpora)
        names = sorted(set(corpora))
        tests = [np.flatnonzero(np.array(corpora) == one) for one in names]
        notes = [f"Fold {number} tests {one} alone." for number, one in enumerate(names)]
        folds = with_dev_speakers(selection, tests)
        return build_plan(selection, folds, speaker_independent=True, notes=notes)
