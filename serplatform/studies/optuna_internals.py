"""Our sampler and journal: all that relies on what Optuna does not offer as its public interface.

Tried with Optuna 5.0. ``tests/studies/test_optuna_internals.py`` checks that each private name
used here still exists with the signature that is expected.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import get_lock_file
from optuna.storages.journal._storage import JournalOperation
from optuna.study import Study
from optuna.trial import FrozenTrial

from serplatform.arrays import DoubleArray


class StudySampler(TPESampler):
    """Optuna's TPE for one study, faster, and with a share of trials drawn at random.

    For every suggestion, Optuna translates every parameter of every trial into numbers again,
    which is the larger part of what a suggestion costs after some hundred trials. A finished
    trial does not change any more, so its numbers are kept. The suggestions are the same, to the
    last bit.

    With pruning, TPE learns mostly from trials that were stopped early and can settle on a region
    that only begins well; the share of random trials keeps that from lasting. Falkner, Klein and
    Hutter, "BOHB: Robust and Efficient Hyperparameter Optimization at Scale", ICML 2018, section
    3.2, do the same with a third, which also bounds how much worse than random a search can be.
    In ``benchmarks/search_efficiency.py`` it made no clear difference on average over seeds; what
    it is for is the search that would otherwise not get away from where it settled.

    Args:
        random_every: of so many trials, the last is drawn at random; 0: none.
        **options: of ``optuna.samplers.TPESampler``.
    """

    def __init__(self, *, random_every: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self._random_every = random_every
        # by names of parameters: of each finished trial its numbers, None where it lacks one
        self._known: dict[tuple[str, ...], dict[int, DoubleArray | None]] = {}

    def _is_random(self, trial: FrozenTrial) -> bool:
        every = self._random_every
        return every > 0 and trial.number % every == every - 1

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values that are drawn together; none of a random trial."""
        if self._is_random(trial):
            return {}
        return super().sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The value of one parameter that was not drawn with others."""
        if self._is_random(trial):
            return self._random_sampler.sample_independent(
                study, trial, param_name, param_distribution
            )
        return super().sample_independent(study, trial, param_name, param_distribution)

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: Study
    ) -> dict[str, Any]:
        names = tuple(search_space)
        known = self._known.setdefault(names, {})
        rows: list[DoubleArray] = []
        for trial in trials:
            if trial.number in known:
                row = known[trial.number]
            else:
                params = self._get_params(trial, study)
                row = None
                if search_space.keys() <= params.keys():
                    row = np.array(
                        [d.to_internal_repr(params[name]) for name, d in search_space.items()],
                        dtype=np.float64,
                    )
                if trial.state.is_finished():
                    known[trial.number] = row
            if row is not None:
                rows.append(row)
        columns = np.array(rows, dtype=np.float64).reshape(len(rows), len(names)).T
        return {
            name: np.ascontiguousarray(column) for name, column in zip(names, columns, strict=True)
        }


#: lines of the journal that a later one makes durable
_UNHURRIED = frozenset(
    {
        int(JournalOperation.SET_TRIAL_PARAM),
        int(JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE),
        int(JournalOperation.SET_TRIAL_SYSTEM_ATTR),
    }
)


class StudyJournal(JournalFileBackend):
    """Optuna's journal file, flushed to disk once per step of a trial's life.

    Optuna's own file backend waits for the disk after every line: once for every parameter of
    every trial. Here it waits for the lines that something depends on, which makes every line
    before them durable as well: a trial's creation, its attributes (written after its parameters,
    before it is handed out) and its end. What may be lost, and only if the machine itself goes
    down, is what a trial reported while it trained; its own saved state holds that too.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append whole lines, and wait for the disk where one of them is needed."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with get_lock_file(self._lock), open(self._file_path, "ab") as stream:
            stream.write(lines.encode("utf-8"))
            stream.flush()
            if not all(log["op_code"] in _UNHURRIED for log in logs):
                os.fsync(stream.fileno())
