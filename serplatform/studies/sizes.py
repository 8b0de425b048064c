"""What a trial of each architecture takes on this machine, and at which sizes it is searched.

A few training steps of each architecture are timed, at reduced sizes and at the paper's, while
other trials are trained already; what was measured is kept in the user's cache. Where a trial of
the paper's sizes takes more than a tenth of the time budget, or two hours where there is none,
reduced sizes are searched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from serplatform.artifacts.files import read_json, write_json
from serplatform.artifacts.run import SpaceKind
from serplatform.config import digest
from serplatform.console import format_duration
from serplatform.environment import hardware, versions
from serplatform.errors import ArtifactError, SerplatformError
from serplatform.models.architectures import ARCHITECTURES
from serplatform.storage.cache import cache_folder
from serplatform.studies.space import SearchSpace, first_points, paper_point
from serplatform.training.trial_config import TrialConfig, resolve

#: share of the time budget that a trial of the paper's sizes may take
SHARE = 0.1
#: seconds that it may take where there is no budget
MOST_SECONDS = 7200.0
#: in words
_SIZES: Mapping[SpaceKind, str] = {
    "paper": "at the paper's sizes",
    "reduced": "at reduced sizes",
    "encoder": "over the encoder's layers",
    "given": "in the space given",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sized:
    """An architecture whose sizes are decided.

    Attributes:
        seconds: that a trial takes at most, over all folds and epochs on one core; None: unknown.
        sentence: what a user is told.
    """

    architecture: str
    kind: SpaceKind
    space: SearchSpace
    seconds: float | None
    sentence: str


class Costs:
    """Seconds of an epoch that were measured on this machine, kept in the user's cache."""

    def __init__(self, dataset: str, folds: str) -> None:
        machine = {**hardware(), "torch": versions().get("torch")}
        self._key = [machine, dataset, folds]
        self._file: Path | None = None
        with contextlib.suppress(SerplatformError):
            self._file = cache_folder() / "epoch_seconds.json"

    def find(self, config: TrialConfig, measure: Callable[[], float]) -> float:
        """Seconds of one epoch of the first fold, measured unless they are known."""
        key = digest([*self._key, config.architecture, config.values()])
        known = self._read().get(key)
        if not isinstance(known, float):
            known = measure()
            if self._file is not None:
                with contextlib.suppress(OSError):  # it is measured again
                    self._file.parent.mkdir(parents=True, exist_ok=True)
                    write_json(self._file, {**self._read(), key: known})
        return known

    def _read(self) -> dict[str, object]:
        if self._file is None or not self._file.exists():
            return {}
        try:
            found = read_json(self._file, "measured times")
        except ArtifactError:
            return {}
        return found if isinstance(found, dict) else {}


class Sizing:
    """Decides, in the background, the sizes of architectures one after another.

    Args:
        candidates: the spaces of each architecture that is to be timed, those of reduced sizes
            first.
        epoch_seconds: seconds of one epoch of the first fold of a configuration; calls what it is
            given between two steps, which raises where nothing more is to be timed.
        num_folds: that a trial trains.
        budget: seconds, or None.
        measured: False: the paper's sizes are taken without timing, as on a GPU.
    """

    def __init__(
        self,
        candidates: Mapping[str, Mapping[SpaceKind, SearchSpace]],
        epoch_seconds: Callable[[TrialConfig, Callable[[], None]], float],
        *,
        num_folds: int,
        budget: float | None,
        measured: bool = True,
    ) -> None:
        self._candidates = dict(candidates)
        self.names = tuple(candidates)
        self._epoch_seconds = epoch_seconds
        self._num_folds = num_folds
        self._limit = MOST_SECONDS if budget is None else SHARE * budget
        self._budget = budget
        self._lock = threading.Lock()
        self._decided: list[Sized] = []
        self._stop = threading.Event()
        if not measured:
            self._decided = [self._untimed(name) for name in self._candidates]
            self._candidates = {}
        self._thread = threading.Thread(target=self._run, daemon=False)

    def start(self) -> None:
        """Begin to time."""
        self._thread.start()

    def stop(self) -> None:
        """Time nothing more. Nobody waits for the step that is being timed, of seconds perhaps,
        but the interpreter at its end, which a thread inside of torch would abort."""
        self._stop.set()

    def _check(self) -> None:
        if self._stop.is_set():
            raise InterruptedError

    def take(self) -> list[Sized]:
        """What was decided since the last call."""
        with self._lock:
            found, self._decided = self._decided, []
        return found

    def _run(self) -> None:
        for name in self._candidates:
            if self._stop.is_set():
                return
            try:
                sized = self._time(name)
            except InterruptedError:
                return
            except Exception as error:  # noqa: BLE001 - the trial itself says what is wrong
                sized = self._untimed(name, 0)
                told = f"{name}: could not be timed ({error}); searched {_SIZES[sized.kind]}"
                sized = dataclasses.replace(sized, sentence=f"{told}.")
            with self._lock:
                self._decided.append(sized)

    def _untimed(self, name: str, place: int = -1) -> Sized:
        """Of two spaces, the last is of the paper's sizes."""
        spaces = self._candidates[name]
        kind = list(spaces)[place]
        return Sized(architecture=name, kind=kind, space=spaces[kind], seconds=None, sentence="")

    def _time(self, name: str) -> Sized:
        seconds: dict[SpaceKind, float] = {}
        spaces = self._candidates[name]
        for kind, space in spaces.items():
            config = first_configuration(space)
            seconds[kind] = (
                self._epoch_seconds(config, self._check)
                * config.training.max_epochs
                * self._num_folds
            )
        kind = next(iter(spaces))
        times = ", ".join(f"{_duration(s)} {_SIZES[k]}" for k, s in seconds.items())
        told = f"{name}: a trial takes about {times}"
        if len(spaces) > 1:
            if seconds["paper"] <= max(self._limit, seconds[kind]):
                kind = "paper"
                told += ": the paper's"
            else:
                than = (
                    "two hours"
                    if self._budget is None
                    else (f"a tenth of the {format_duration(self._budget)}")
                )
                told += f": reduced, as it is more than {than} (--full insists)"
        return Sized(
            architecture=name,
            kind=kind,
            space=spaces[kind],
            seconds=seconds[kind],
            sentence=f"{told}.",
        )


def _duration(seconds: float) -> str:
    return format_duration(seconds) if seconds >= 1 else "1 s"


def first_configuration(space: SearchSpace) -> TrialConfig:
    """The configuration that is timed: the first that is tried in a space."""
    points = [*first_points(space), paper_point(space)]
    point = points[0]
    if point is None:
        point = space.walk(lambda _, parameter: parameter.probes()[0])
    return resolve(space.architecture, {**space.fixed, **point}, space.source)


def timed(architectures: Iterable[str]) -> list[str]:
    """Those whose trials take long enough to be timed: all that are not fitted in closed form."""
    return [name for name in architectures if not ARCHITECTURES.get(name).closed_form]
