"""Classify recordings: open a system, follow its rows, and tell what became of the others."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ConfigDict
from typing_extensions import TypedDict, Unpack

from serplatform.console import say
from serplatform.corpora.audio import MAX_DURATION
from serplatform.ensembles.rejection import parse_wish
from serplatform.errors import BadInputError
from serplatform.prediction.open import open_system
from serplatform.prediction.output import visible
from serplatform.prediction.pcm import AudioStream
from serplatform.prediction.predict import SPEAKERS, predict
from serplatform.prediction.recordings import STDIN, find_recordings, passed_over_text
from serplatform.prediction.rejection import make_rejector
from serplatform.prediction.rows import PredictedRow, PredictionTally
from serplatform.prediction.system import not_tested
from serplatform.prediction.track import HOP, WINDOW, TrackedRows
from serplatform.prediction.track_files import check_segments_file, write_segments
from serplatform.prediction.transcripts import Transcripts, WordReader
from serplatform.prediction.windows import MIN_HOP, WindowPlan
from serplatform.report.wording import plural
from serplatform.storage.mirror import open_copy

_SHOWN = 20  # refused recordings named


class PredictOptions(TypedDict, total=False):
    """How recordings are classified.

    Keys:
        window: seconds of each window; None: whole recordings.
        hop: seconds from one window to the next; None: a third of the window.
        trial: of a run; None: the best on dev.
        text: CSV table (file,text) of transcripts, for models that read words.
        speaker: what one speaker is, for models that normalise by speaker: ``folder`` (the
            default), ``file`` or ``all``.
        reject: say "not sure" where confidence is low, e.g. ``accuracy=0.8``; None: never.
        max_duration: longest recording classified without windows, in seconds; 60.
        device: ``cpu`` (the default), ``cuda`` or ``cuda:1``.
        stream: take one recording as it comes, in bounded memory, see
            :mod:`serplatform.prediction.stream`.
        pcm: format of a stream of raw samples, e.g. ``s16le:16000:1``.
        follow: wait for more at the end of a stream's file.
        track: rows for each step inside a recording, before that of the whole.
        smooth: seconds over which steps and windows are smoothed; 0, the default: not.
        segments: file for the stretches between changes of the decision; its ending says the
            format: .csv, .json, .TextGrid, .yaml (audformat), none: a folder of TextGrids.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]
    window: float | None
    hop: float | None
    trial: int | None
    text: str | Path | None
    speaker: str
    reject: str | None
    max_duration: float
    device: str
    stream: bool
    pcm: str | None
    follow: bool
    track: bool
    smooth: float
    segments: str | Path | None


def option_errors(speaker: str, max_duration: float) -> list[str]:
    """What no system can do, in sentences."""
    found = []
    if speaker not in SPEAKERS:
        found.append(f"--speaker {speaker}: must be one of {', '.join(SPEAKERS)}")
    if not max_duration > 0:
        found.append(f"--max-duration {max_duration:g}: must be more than 0 seconds")
    return found


class Classification:
    """Recordings that are being classified; read :attr:`rows`, then call :meth:`end`.

    Args:
        system: a run, an ensemble or a bundle, path or URI.
        audio: files and folders.
        listed: paths of a list.
        **options: see :class:`PredictOptions`.

    Attributes:
        rows: are made as they are read.
        tally: what has become of the recordings so far.
        rejecting: rows have an answer and a confidence.
        source: of a stream; None where recordings are classified.
    """

    def __init__(
        self,
        system: str | Path,
        audio: Sequence[str],
        listed: Sequence[str] = (),
        **options: Unpack[PredictOptions],
    ) -> None:
        speaker = options.get("speaker", "folder")
        max_duration = options.get("max_duration", MAX_DURATION)
        if errors := option_errors(speaker, max_duration):
            raise BadInputError("\n".join(errors))
        begun = time.monotonic()
        self._name = str(system)
        window, hop, plan = options.get("window"), options.get("hop"), None
        if window is not None:
            plan = WindowPlan(window=window, hop=max(window / 3, MIN_HOP) if hop is None else hop)
        elif hop is not None:
            raise BadInputError("--hop needs --window: the length of the windows, in seconds")
        pcm, follow, source = options.get("pcm"), options.get("follow", False), None
        if options.get("stream"):
            if len(audio) != 1 or options.get("text") is not None:
                raise BadInputError("--stream takes one AUDIO, a file or -, and no --text")
            if options.get("track") or options.get("smooth") or options.get("segments"):
                raise BadInputError(
                    "--stream gives the class of each window as it comes; leave --track, --smooth "
                    "and --segments, which wait for the end, out"
                )
            source = AudioStream(audio[0], pcm, follow=follow)
        elif pcm is not None or follow:
            raise BadInputError("--pcm and --follow need --stream")
        self.source = source
        reject, text = options.get("reject"), options.get("text")
        track, smooth = options.get("track", False), options.get("smooth", 0.0)
        self._segments = None if (path := options.get("segments")) is None else Path(path)
        if (smooth or self._segments is not None) and not (track or plan):
            raise BadInputError("--smooth and --segments need --track or --window")
        if not 0 <= smooth < math.inf:
            raise BadInputError(f"--smooth {smooth:g}: must be at least 0 seconds")
        if reject is not None and (track or smooth):
            raise BadInputError(
                "--reject is for whole recordings and windows as they are, whose confidence was "
                "measured; leave it, or --track and --smooth, out"
            )
        wish = None if reject is None else parse_wish(reject)
        self._passed_over: Counter[str] = Counter()
        given = audio if source is None else ()
        sources, refused = find_recordings(given, listed, self._passed_over)
        if self._segments is not None:
            check_segments_file(self._segments, len(sources))
        transcripts = None if text is None else Transcripts.read(Path(text))
        self.system = open_system(open_copy(system), options.get("trial"))
        self._rejector = None if wish is None else make_rejector(self.system, wish)
        self.rejecting = wish is not None
        from serplatform.prediction.predictor import Predictor
        from serplatform.prediction.stream import StreamClassifier

        predictor = Predictor(self.system, device=options.get("device", "cpu"))
        self.classes = predictor.classes
        lacking = ", ".join(predictor.without_steps) or (
            "" if self.system.num_models else "a system without members"
        )
        if track and plan is None and lacking:
            plan = WindowPlan(window=WINDOW, hop=HOP)
            say(
                f"Note: {lacking} gives no class inside a recording, so the track is of "
                f"sliding windows of {WINDOW:g} s every {HOP:g} s (--window and --hop change that)."
            )
        reader = None
        if predictor.vocabularies:
            reader = WordReader(
                predictor.vocabularies,
                transcripts,
                windows=plan is not None or source is not None,
                aligner=predictor.aligner,
            )
        elif transcripts is not None:
            say("Note: --text is not used: no model of this system reads words.")
        say(self.system.describe())
        if "refit" in self.system.description:
            say(f"Note: {not_tested(self.system.description)}")
        if plan is not None and plan.hop > plan.window:
            say(
                f"Note: {plan.hop - plan.window:g} s after each window are not classified, since "
                "--hop is longer than --window."
            )
        for encoder in predictor.encoders:
            say(f"Pretrained encoder {encoder}: loaded once, one pass a clip for all models.")
        if self.system.synthetic:
            say("Note: the models were trained on synthetic speech: a demonstration, nothing more.")
        if predictor.speaker_pipelines and source is None:
            kinds = {
                "folder": "the recordings of each folder are",
                "file": "each file is",
                "all": "all recordings are",
            }
            say(
                f"Note: models normalise by speaker; {kinds[speaker]} taken as one speaker's "
                "(--speaker says otherwise)."
            )
        if self._rejector is not None:
            say(f"Note: {self._rejector.describe()}.")
        self._loading = time.monotonic() - begun
        self.tally = PredictionTally(refused=refused)
        self.rows: Iterator[PredictedRow]
        self._tracked = TrackedRows(self.classes, smooth)
        if source is not None:
            classifier = StreamClassifier(
                predictor, source, plan=plan, words=reader, rejector=self._rejector
            )
            for note in classifier.notes:
                say(f"Note: {note}.")
            self.rows = classifier.rows(self.tally)
            return
        rows = predict(
            predictor,
            sources,
            self.tally,
            plan=plan,
            max_duration=max_duration,
            speaker=speaker,
            words=reader,
            rejector=self._rejector,
            track=track and plan is None,
        )
        collects = smooth or self._segments is not None
        self.rows = self._tracked.follow(rows) if collects else rows

    def check(self) -> None:
        """Refuse when nothing could be used, and say why."""
        refused = self.tally.refused
        if self.tally.recordings or (self.tally.rows and self.source is None):
            return
        if self.source is not None and refused:
            name = "standard input" if refused[0].name == STDIN else visible(refused[0].name)
            raise BadInputError(f"{name}: {refused[0].reason}")
        if not refused:
            raise BadInputError("there is no recording to classify; name files, folders or a list")
        raise BadInputError(
            "none of the recordings could be classified:",
            [f"{visible(r.name)}: {r.reason}" for r in refused[:_SHOWN]],
        )

    def end(self) -> dict[str, object]:
        """Tell what was left out and how fast it went; return what ``--json`` prints of it."""
        self.check()
        tally, rejector = self.tally, self._rejector
        if self._segments is not None:
            write_segments(self._segments, self._tracked)
            say(f"Wrote {self._segments}: {plural(len(self._tracked.segments), 'segment')}.")
        for refused in tally.refused[:_SHOWN]:
            say(f"Left out {visible(refused.name)}: {refused.reason}")
        if len(tally.refused) > _SHOWN:
            say(f"Left out {len(tally.refused) - _SHOWN} more; --json lists them all.")
        for note in tally.notes:
            say(f"Note: {note}")
        speed = tally.times_real_time
        if tally.recordings:
            say(
                f"{tally.recordings} recording(s), {tally.audio_seconds:.1f} s of audio in "
                f"{tally.seconds:.2f} s"
                + ("" if speed is None else f", {speed:.1f} × real time")
                + f"; loading took {self._loading:.2f} s"
                + (f"; not sure of {tally.not_sure}" if tally.not_sure else "")
            )
        others = passed_over_text(self._passed_over)
        if tally.refused or others:
            told = f"{tally.recordings} classified, {len(tally.refused)} left out"
            say(told + (others and f"; passed over in folders: {others}"))
        return {
            "system": self._name,
            "kind": self.system.kind,
            "models": self.system.num_models,
            "folds": len(self.system.folds),
            "classes": list(self.classes),
            "synthetic": self.system.synthetic,
            "recordings": tally.recordings,
            "rows": tally.rows,
            "reject": rejector
            and {
                "wish": str(rejector.wish),
                "threshold": rejector.chosen.threshold,
                "dev_coverage": rejector.chosen.coverage,
                "dev_accuracy": rejector.chosen.accuracy,
                "not_sure": tally.not_sure,
            },
            "passed_over": {name: n for name, n in self._passed_over.items() if n},
            "refused": [{"file": r.name, "reason": r.reason} for r in tally.refused],
            "audio_seconds": round(tally.audio_seconds, 3),
            "seconds": round(tally.seconds, 3),
            "times_real_time": speed and round(speed, 2),
            "notes": tally.notes,
        }
