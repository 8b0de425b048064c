"""What a combiner is: fitted on dev posteriors of one fold, applied to any posteriors.

Shapes: M members, N utterances, K classes.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from serplatform.errors import LeakError
from serplatform.registry import Registry

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class PosteriorSet:
    """Aligned posteriors of several members on the same utterances of one fold and part.

    Attributes:
        part: ``"dev"`` or ``"test"``.
        utterance_ids: N, in the order of the rows.
        speaker_ids: N.
        truth: (N,) class indices.
        posteriors: (M, N, K), rows sum to 1.
        members: M names.
        classes: K names.
    """

    part: str
    utterance_ids: tuple[str, ...]
    speaker_ids: tuple[str, ...]
    truth: IntArray
    posteriors: FloatArray
    members: tuple[str, ...]
    classes: tuple[str, ...]


class Combiner(ABC):
    """Combine members' posteriors; one file of ``ensemble/`` each."""

    name: ClassVar[str]

    def fit(self, dev: PosteriorSet) -> None:
        """Fit on dev posteriors.

        Raises:
            LeakError: the rows are not dev rows.
        """
        if dev.part != "dev":
            raise LeakError(
                f"combiner '{self.name}' was offered {dev.part} rows to fit on; "
                "members, weights and temperatures are fitted on dev rows only"
            )
        self._fit(dev)

    @abstractmethod
    def _fit(self, dev: PosteriorSet) -> None: ...

    @abstractmethod
    def combine(self, posteriors: FloatArray) -> FloatArray:
        """(M, N, K) posteriors in the order of the fit to (N, K) posteriors; rows sum to 1."""

    @abstractmethod
    def weights(self) -> FloatArray:
        """(M,) non-negative weights of the members; 0 for a member that is not used."""

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """Everything that :meth:`combine` uses, JSON-serialisable, to be written and reread."""


COMBINERS: Registry[type[Combiner]] = Registry("combiner", "serplatform.ensemble")
