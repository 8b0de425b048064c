"""One recording at a time to what ``predict --json`` says of it, within a time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from serplatform.errors import BadInputError
from serplatform.prediction.open import open_system
from serplatform.prediction.output import row_values
from serplatform.prediction.predict import predict
from serplatform.prediction.predictor import Predictor
from serplatform.prediction.recordings import RecordingFile
from serplatform.prediction.rows import PredictionTally
from serplatform.prediction.windows import WindowPlan
from serplatform.serving.settings import ServiceSettings
from serplatform.storage.mirror import open_copy


class OutOfTimeError(Exception):
    """A request took longer than it may."""


class RecordingClassifier:
    """A loaded system; one thread uses it at a time."""

    def __init__(self, settings: ServiceSettings) -> None:
        torch.set_num_threads(1)  # copies share a machine
        self._settings = settings
        self.system = open_system(open_copy(settings.system), settings.trial)
        self._predictor = Predictor(self.system, device=settings.device)

    def about(self) -> dict[str, Any]:
        """What is served, and its limits."""
        settings, system = self._settings, self.system
        return {
            "title": system.title,
            "description": system.describe(),
            "kind": system.kind,
            "classes": list(system.classes),
            "synthetic": system.synthetic,
            "limits": {
                "max_mb": settings.max_mb,
                "max_seconds": settings.max_seconds,
                "timeout_seconds": settings.timeout,
                "max_waiting": settings.max_waiting,
            },
        }

    def classify(
        self, path: Path, name: str, plan: WindowPlan | None, deadline: float
    ) -> dict[str, Any]:
        """Rows of one recording, a speaker of its own, as ``predict --speaker file --json`` has
        them.

        Args:
            path: of its file.
            name: that it has in the answer.
            plan: of windows; None: the whole.
            deadline: of ``time.monotonic()``.

        Raises:
            BadInputError: it cannot be classified; the message names it and the reason.
            OutOfTimeError: the deadline has passed.
        """
        tally, rows = PredictionTally(), []
        limit = self._settings.max_seconds
        _check(deadline)
        for row in predict(
            self._predictor,
            [RecordingFile(path=path, name=name)],
            tally,
            plan=plan,
            max_duration=limit,
            speaker="file",
        ):
            _check(deadline)
            if row.end > limit:
                raise BadInputError(
                    f"{name}: is longer than the {limit:g} seconds that this service takes "
                    "(--max-seconds); cut it"
                )
            rows.append(row_values(row, self.system.classes))
        if tally.refused:
            raise BadInputError(f"{name}: {tally.refused[0].reason}")
        return {
            "classes": list(self.system.classes),
            "predictions": rows,
            "notes": tally.notes,
            "audio_seconds": round(tally.audio_seconds, 3),
        }


def _check(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise OutOfTimeError
