"""What a combiner is: fitted on dev posteriors of one fold, applied to any posteriors.

Shapes: M members, N utterances, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.combiner import CombinerParameters, PoolParameters
from serplatform.artifacts.records import checked
from serplatform.ensembles.dev_selection import OBJECTIVES
from serplatform.errors import BadInputError, LeakError, unknown_name
from serplatform.registry import Registry


@dataclasses.dataclass(frozen=True)
class PosteriorSet:
    """Aligned posteriors of several members on the same utterances of one fold and part.

    Attributes:
        part: ``"dev"`` or ``"test"``.
        utterance_ids: N, in the order of the rows.
        speaker_ids: N.
        truth: (N,) class indices.
        posteriors: (M, N, K), rows sum to 1.
        members: M names, all different.
        classes: K names.
        architectures: M, one of each member; none where they are not known.
    """

    part: str
    utterance_ids: tuple[str, ...]
    speaker_ids: tuple[str, ...]
    truth: IntArray
    posteriors: DoubleArray
    members: tuple[str, ...]
    classes: tuple[str, ...]
    architectures: tuple[str, ...] = ()

    def take_rows(self, rows: npt.NDArray[Any]) -> PosteriorSet:
        """The set of some utterances, by position."""
        return dataclasses.replace(
            self,
            utterance_ids=tuple(self.utterance_ids[i] for i in rows),
            speaker_ids=tuple(self.speaker_ids[i] for i in rows),
            truth=self.truth[rows],
            posteriors=self.posteriors[:, rows],
        )

    def take_members(self, positions: npt.NDArray[Any]) -> PosteriorSet:
        """The set of some members, by position."""
        return dataclasses.replace(
            self,
            posteriors=self.posteriors[positions],
            members=tuple(self.members[i] for i in positions),
            architectures=self.architectures and tuple(self.architectures[i] for i in positions),
        )

    def member_order(self) -> IntArray:
        """(M,) positions of the members sorted by name: fits visit them in this order, so that
        the order in which members were listed changes nothing."""
        return np.argsort(np.asarray(self.members, dtype=str), kind="stable").astype(np.int64)


class Combiner:
    r"""Combine members' posteriors; one file of ``ensemble/`` each.

    As it stands it is the linear opinion pool, :math:`p(k) = \sum_m w_m p_m(k)` (Stone, "The
    Opinion Pool", Annals of Mathematical Statistics 32(4), 1961), with equal weights. A child
    sets ``self._weights`` in :meth:`_fit`, or overrides :meth:`combine`, or both; one that keeps
    more than weights names it in ``kept``, or overrides :meth:`_state` and :meth:`_restore`.

    Args:
        objective: what choices on dev rows maximise, a name of ``dev_selection.OBJECTIVES``.
        seed: of whatever a combiner draws at random.

    Raises:
        BadInputError: the objective is unknown.
    """

    name: ClassVar[str]
    #: what :meth:`from_parameters` needs, a ``TypedDict`` that :func:`records.checked` takes
    parameters_kind: ClassVar[type[CombinerParameters]] = PoolParameters
    #: place among the choices of ``auto``, which takes the first of equals: simple ones have
    #: low numbers. None: ``auto`` does not try it.
    auto_rank: ClassVar[int | None] = None
    #: attributes of plain values that :meth:`parameters` holds besides the weights
    kept: ClassVar[tuple[str, ...]] = ()

    _weights: DoubleArray | None = None

    def __init__(self, *, objective: str = "uar", seed: int = 0) -> None:
        if objective not in OBJECTIVES:
            raise BadInputError(unknown_name("ensemble objective", objective, OBJECTIVES))
        self.objective = objective
        self.seed = seed

    @classmethod
    def with_argument(cls, argument: str) -> Callable[..., Combiner]:
        """What makes the combiner of ``NAME:ARGUMENT``; by default there is none.

        Raises:
            BadInputError: it takes no argument, or not this one.
        """
        raise BadInputError(f"combiner '{cls.name}' takes no argument, and was given '{argument}'")

    def fit(self, dev: PosteriorSet) -> None:
        """Fit on dev posteriors.

        Raises:
            LeakError: the rows are not dev rows.
            ValueError: there is no row or member, shapes do not fit, or a name is used twice.
        """
        if dev.part != "dev":
            raise LeakError(
                f"combiner '{self.name}' was offered {dev.part} rows to fit on; "
                "members, weights and temperatures are fitted on dev rows only"
            )
        shape = (len(dev.members), len(dev.utterance_ids), len(dev.classes))
        if dev.posteriors.shape != shape or dev.truth.shape != shape[1:2] or 0 in shape:
            raise ValueError(
                f"posteriors {dev.posteriors.shape} and truth {dev.truth.shape} of {shape[0]} "
                f"members, {shape[1]} utterances and {shape[2]} classes"
            )
        if len(set(dev.members)) < len(dev.members):
            raise ValueError("two members have one name")
        self._weights = np.full(shape[0], 1.0 / shape[0])
        self._fit(dev)

    def _fit(self, dev: PosteriorSet) -> None:
        """Choose the weights and whatever else; by default they stay equal."""

    def combine(self, posteriors: DoubleArray) -> DoubleArray:
        """(M, N, K) posteriors in the order of the fit to (N, K) posteriors; rows sum to 1."""
        used = self.used()
        pooled = np.tensordot(self.weights()[used], posteriors[used], axes=1)  # (N, K)
        return np.asarray(pooled / pooled.sum(axis=1, keepdims=True), dtype=np.float64)

    def weights(self) -> DoubleArray:
        """(M,) non-negative weights of the members; 0 for a member that is not used.

        All are 0 where dev rows speak against every member: the answer then is 1/K for each class.

        Raises:
            RuntimeError: it was not fitted.
        """
        if self._weights is None:
            raise RuntimeError(f"combiner '{self.name}' was not fitted")
        return self._weights

    def used(self) -> IntArray:
        """Positions of the members with a weight above 0."""
        return np.flatnonzero(self.weights())

    def shares(self) -> DoubleArray:
        """(M,) weights divided by their sum; all 0 where no member is used."""
        weights = self.weights()
        return weights / (weights.sum() or 1.0)

    def fits(self, num_members: int, num_classes: int) -> bool:
        """Whether posteriors of so many members and classes can be combined."""
        return len(self.weights()) == num_members

    def parameters(self) -> dict[str, object]:
        """Everything that :meth:`combine` uses, JSON-serialisable, to be written and reread."""
        return {"combiner": self.name, "weights": self.weights().tolist(), **self._state()}

    def _state(self) -> dict[str, object]:
        """What :meth:`parameters` holds besides the weights."""
        return {name: getattr(self, name) for name in self.kept}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, object]) -> Combiner:
        """The combiner that :meth:`parameters` came from, ready to combine."""
        combiner = cls(objective=str(parameters.get("objective", "uar")))
        combiner._restore(parameters)
        return combiner

    def _restore(self, parameters: Mapping[str, object]) -> None:
        """Take over what :meth:`parameters` said."""
        self._weights = np.asarray(parameters["weights"], dtype=np.float64)
        for name in self.kept:  # an earlier version may have written fewer
            setattr(self, name, parameters.get(name, getattr(self, name)))


COMBINERS: Registry[type[Combiner]] = Registry("combiner", "serplatform.ensembles")


def find_combiner(text: str) -> Callable[..., Combiner]:
    """What makes the combiner of ``NAME`` or ``NAME:ARGUMENT``, given objective and seed.

    Raises:
        BadInputError: no such combiner, or its argument is wrong.
    """
    name, colon, argument = text.partition(":")
    kind = COMBINERS.get(name)
    return kind.with_argument(argument) if colon else kind


def combiner_from_parameters(parameters: Mapping[str, object], where: str = "ensemble") -> Combiner:
    """Rebuild a fitted combiner; ``parameters["combiner"]`` says which it is.

    Args:
        parameters: of :meth:`Combiner.parameters`, read back.
        where: names their place in messages.

    Raises:
        BadInputError: no such combiner.
        ArtifactError: the parameters are damaged.
    """
    kind = COMBINERS.get(str(parameters.get("combiner"))[:80])
    what, remedy = "combiner", "combine again with `serplatform ensemble`"
    return kind.from_parameters(
        checked(kind.parameters_kind, dict(parameters), where, what, remedy)
    )
