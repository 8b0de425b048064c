"""``serplatform predict``: emotions of new recordings."""

from __future__ import annotations

import functools
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serplatform.cli.options import AsJson
from serplatform.cli.output import JSON, encodable, result, say
from serplatform.errors import BadInputError, unknown_name

if TYPE_CHECKING:
    from serplatform.prediction.predict import PredictionTally
    from serplatform.prediction.recordings import RecordingFile, UnusableRecording
    from serplatform.prediction.windows import WindowPlan

_SHOWN = 20  # refused recordings named on stderr


def command(
    system: Annotated[
        str,
        typer.Argument(
            metavar="RUN|ENS|BUNDLE",
            help="What `search`, `train`, `ensemble` or `export` wrote, path or URI.",
            show_default=False,
        ),
    ],
    audio: Annotated[
        list[str],
        typer.Argument(
            metavar="AUDIO...",
            help="Files, folders, or `-` for a list of paths on standard input.",
            show_default=False,
        ),
    ],
    window: Annotated[
        float | None,
        typer.Option(help="Classify windows of this many seconds, and the whole by their mean."),
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(help="Seconds from one window to the next; default: a third of the window."),
    ] = None,
    output_format: Annotated[str, typer.Option("--format", help="table, csv or jsonl.")] = "table",
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write there (path or URI) instead of to the terminal."),
    ] = None,
    trial: Annotated[
        int | None, typer.Option(help="Trial of a run; default: the best on dev.")
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV table (file,text) of transcripts, for models that read words; without it "
            "English words are recognized.",
        ),
    ] = None,
    speaker: Annotated[
        str,
        typer.Option(
            help="What one speaker is, for models that normalise by speaker: each folder's "
            "recordings, each file, or all."
        ),
    ] = "folder",
    reject: Annotated[
        str | None,
        typer.Option(
            metavar="WISH",
            help="Say `not sure` where confidence is low: accuracy=0.8 answers only as often as "
            "80 % of the answers are right on dev rows, coverage=0.5 answers the surer half.",
        ),
    ] = None,
    max_duration: Annotated[
        float, typer.Option(help="Longest recording classified without windows, in seconds.")
    ] = 60.0,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Classify new recordings: a posterior for each class, named.

    A run answers with the mean over the fold models of its best trial (by dev); an ensemble
    combines, for each fold, its members' models with that fold's weights, and takes the mean
    over folds; a bundle is either. Audio is prepared as in training. In folders every file is
    tried, except hidden ones and those named like tables, texts or pictures, which are counted.
    Recordings that cannot be used are named with the reason, and the others go on; the exit
    code is 2 only when none could be used.

    Examples:

        serplatform predict runs/ravdess a.wav b.flac

        serplatform predict ensembles/ravdess recordings/ --format csv --out emotions.csv

        serplatform predict bundles/ravdess meeting.wav --window 3 --hop 1

        serplatform predict runs/ravdess recordings/ --reject accuracy=0.8

        find calls -name '*.wav' | serplatform predict bundles/ravdess - --format jsonl
    """
    from serplatform.artifacts.files import atomic_path
    from serplatform.ensemble.rejection import parse_wish
    from serplatform.prediction.open import open_system
    from serplatform.prediction.output import FORMATS, row_values
    from serplatform.prediction.predict import SPEAKERS, PredictionTally, predict
    from serplatform.prediction.predictor import Predictor
    from serplatform.prediction.rejection import make_rejector
    from serplatform.prediction.transcripts import Transcripts, WordReader
    from serplatform.storage.destination import check_file
    from serplatform.storage.mirror import open_copy
    from serplatform.storage.outgoing import written_file

    faults = []
    if output_format not in FORMATS:
        faults.append("--format: " + unknown_name("format", output_format, FORMATS))
    if speaker not in SPEAKERS:
        faults.append(f"--speaker {speaker}: must be one of {', '.join(SPEAKERS)}")
    if not max_duration > 0:
        faults.append(f"--max-duration {max_duration:g}: must be more than 0 seconds")
    if faults:
        raise BadInputError("\n".join(faults))
    if out is not None:
        check_file(out)
    plan = _plan(window, hop)
    wish = None if reject is None else parse_wish(reject)
    begun = time.monotonic()
    sources, refused, passed_over = _sources(audio)
    transcripts = None if text is None else Transcripts.read(text)
    opened = open_system(open_copy(system), trial)
    rejector = None if wish is None else make_rejector(opened, wish)
    predictor = Predictor(opened, device=device)
    reader = None
    if predictor.vocabularies:
        reader = WordReader(predictor.vocabularies, transcripts, windows=plan is not None)
    elif transcripts is not None:
        say("Note: --text is not used: no model of this system reads words.")
    say(opened.describe())
    if opened.synthetic:
        say("Note: the models were trained on synthetic speech: a demonstration, nothing more.")
    if predictor.speaker_pipelines:
        whose = {"folder": "each folder's recordings", "file": "each file", "all": "all audio"}
        say(f"Note: models normalise by speaker; {whose[speaker]} is taken as one (--speaker).")
    if rejector is not None:
        say(f"Note: {rejector.describe()}.")
    loading = time.monotonic() - begun

    tally = PredictionTally(refused=refused)
    rows = predict(
        predictor,
        sources,
        tally,
        plan=plan,
        max_duration=max_duration,
        speaker=speaker,
        words=reader,
        rejector=rejector,
    )
    lines = functools.partial(FORMATS[output_format], rejecting=rejector is not None)
    values: list[dict[str, Any]] | None = None
    if out is not None:
        with (
            written_file(out) as target,
            atomic_path(target) as temporary,
            temporary.open("w", encoding="utf-8") as stream,
        ):
            for line in lines(rows, predictor.classes):
                stream.write(line)
            _check(tally)
    elif as_json:
        values = [row_values(row, predictor.classes) for row in rows]
    else:
        errors = JSON if output_format == "jsonl" else "backslashreplace"
        for line in lines(rows, predictor.classes):  # as rows are made
            sys.stdout.write(encodable(line, errors))
        sys.stdout.flush()
    _check(tally)
    _report(tally, loading, passed_over)
    summary = {
        "system": system,
        "kind": opened.kind,
        "models": opened.num_models,
        "folds": len(opened.folds),
        "classes": list(predictor.classes),
        "synthetic": opened.synthetic,
        "recordings": tally.recordings,
        "rows": tally.rows,
        "reject": None
        if rejector is None
        else {
            "wish": str(rejector.wish),
            "threshold": rejector.chosen.threshold,
            "dev_coverage": rejector.chosen.coverage,
            "dev_accuracy": rejector.chosen.accuracy,
            "not_sure": tally.not_sure,
        },
        "passed_over": {name: n for name, n in passed_over.items() if n},
        "refused": [{"file": r.name, "reason": r.reason} for r in tally.refused],
        "audio_seconds": round(tally.audio_seconds, 3),
        "seconds": round(tally.seconds, 3),
        "times_real_time": tally.times_real_time and round(tally.times_real_time, 2),
        "notes": tally.notes,
        "out": out,
        "predictions": values,
    }
    if as_json:
        result(f"{tally.recordings} recording(s) classified.", summary, as_json=True)
    elif out is not None:
        say(f"Wrote {out}: {tally.rows} rows of {tally.recordings} recording(s).")


def _plan(window: float | None, hop: float | None) -> WindowPlan | None:
    from serplatform.prediction.windows import WindowPlan

    if window is None:
        if hop is not None:
            raise BadInputError("--hop needs --window: the length of the windows, in seconds")
        return None
    return WindowPlan(window=window, hop=window / 3 if hop is None else hop)


def _sources(audio: list[str]) -> tuple[list[RecordingFile], list[UnusableRecording], Counter[str]]:
    """Recordings, what is refused, and what was passed over in folders."""
    from serplatform.prediction.recordings import STDIN, find_recordings, listed_paths

    listed = listed_paths(sys.stdin.buffer.read()) if STDIN in audio else []
    if STDIN in audio and not listed:
        say("Note: the list of paths on standard input is empty.")
    passed_over: Counter[str] = Counter()
    sources, refused = find_recordings(audio, listed, passed_over)
    return sources, refused, passed_over


def _report(tally: PredictionTally, loading: float, passed_over: Counter[str]) -> None:
    """Say what was left out and how fast it went."""
    from serplatform.prediction.output import visible
    from serplatform.prediction.recordings import passed_over_text

    for refused in tally.refused[:_SHOWN]:
        say(f"Left out {visible(refused.name)}: {refused.reason}")
    if len(tally.refused) > _SHOWN:
        say(f"Left out {len(tally.refused) - _SHOWN} more; --json lists them all.")
    for note in tally.notes:
        say(f"Note: {note}")
    if tally.recordings:
        speed = tally.times_real_time
        told = "" if speed is None else f", {speed:.1f} × real time"
        say(
            f"{tally.recordings} recording(s), {tally.audio_seconds:.1f} s of audio in "
            f"{tally.seconds:.2f} s{told}; loading took {loading:.2f} s"
            + (f"; not sure of {tally.not_sure}" if tally.not_sure else "")
        )
    others = passed_over_text(passed_over)
    if tally.refused or others:
        told = f"{tally.recordings} classified, {len(tally.refused)} left out"
        say(told + (others and f"; passed over in folders: {others}"))


def _check(tally: PredictionTally) -> None:
    """Refuse when nothing could be used.

    Raises:
        BadInputError: it lists the reasons.
    """
    if tally.recordings or tally.rows:
        return
    from serplatform.prediction.output import visible

    if not tally.refused:
        raise BadInputError("there is no recording to classify; name files, folders or a list")
    raise BadInputError(
        f"none of the {len(tally.refused)} recording(s) could be classified:",
        [f"{visible(r.name)}: {r.reason}" for r in tally.refused[:_SHOWN]],
    )
