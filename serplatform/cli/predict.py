"""``serplatform predict``: emotions of new recordings."""

from __future__ import annotations

import contextlib
import functools
import sys
from pathlib import Path, PurePath
from typing import Annotated, Any

import typer

from serplatform import stopping
from serplatform.cli.options import AsJson
from serplatform.cli.output import JSON, encodable, result
from serplatform.console import say
from serplatform.errors import BadInputError, unknown_name


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
            help="Files, folders, or `-` for a list of paths on standard input; with --stream one "
            "file, or `-` for samples on standard input.",
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
    track: Annotated[
        bool,
        typer.Option(
            "--track",
            help="Emotion over time: a row for each chunk (csa), word (can, fgcme) or frame inside "
            "a recording, then the whole; by sliding windows where a model has none.",
        ),
    ] = False,
    smooth: Annotated[
        float, typer.Option(help="Average steps or windows over this many seconds around each.")
    ] = 0.0,
    segments: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write where the emotion changes: .csv, .json, .TextGrid (Praat), .yaml "
            "(audformat), or a folder for a TextGrid a recording.",
        ),
    ] = None,
    output_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="table, csv, jsonl, or another program's: audformat (with --out FILE.yaml), "
            "emobox, nkululeko.  \\[default: by the ending of --out, else table]",
            show_default=False,
        ),
    ] = None,
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
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Take audio as it comes, without end: a line a window at once, in bounded memory. "
            "A VRNN carries its state from window to window; others take sliding windows "
            "(--window 3 --hop 1). Ctrl-C ends it with the line of the whole.",
        ),
    ] = False,
    pcm: Annotated[
        str | None,
        typer.Option(
            metavar="KIND:HZ:CHANNELS",
            help="Raw samples of a stream, under ffmpeg's names; s16le:16000:1 on standard input. "
            "A WAV header says it better.",
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for more at the end of a stream's file.")
    ] = False,
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

        serplatform predict runs/csa call.wav --track --smooth 0.5 --segments call.TextGrid

        serplatform predict runs/ravdess recordings/ --reject accuracy=0.8

        find calls -name '*.wav' | serplatform predict bundles/ravdess - --format jsonl

        arecord -f S16_LE -r 16000 -t raw | serplatform predict runs/vrnn - --stream
    """
    from serplatform.api.classify import Classification, option_errors
    from serplatform.artifacts.files import atomic_path
    from serplatform.prediction.formats.base import ROW_FORMATS
    from serplatform.prediction.output import FORMATS, row_values
    from serplatform.prediction.recordings import STDIN, listed_paths
    from serplatform.storage.destination import check_file
    from serplatform.storage.outgoing import written_file

    if output_format is None:
        ending = PurePath(out or "").suffix.lower().removeprefix(".")
        output_format = ending if ending in FORMATS else "table"
    if output_format not in ROW_FORMATS.names():
        wrong = "--format: " + unknown_name("format", output_format, ROW_FORMATS.names())
        raise BadInputError("\n".join([wrong, *option_errors(speaker, max_duration)]))
    lines = functools.partial(ROW_FORMATS.get(output_format), out=out)
    if output_format == "audformat":
        lines([], [])  # what is wrong with --out is said before any work
    if stream and (as_json or out is not None):
        raise BadInputError(
            "--stream prints lines as they come, and --json and --out end with a whole: leave them "
            "out, and send the lines to a file with > FILE"
        )
    if out is not None:
        check_file(out)
    listed = listed_paths(sys.stdin.buffer.read()) if STDIN in audio and not stream else []
    if STDIN in audio and not (listed or stream):
        say("Note: the list of paths on standard input is empty.")
    found = Classification(
        system,
        audio,
        listed,
        window=window,
        hop=hop,
        trial=trial,
        text=text,
        speaker=speaker,
        reject=reject,
        max_duration=max_duration,
        device=device,
        stream=stream,
        pcm=pcm,
        follow=follow,
        track=track,
        smooth=smooth,
        segments=segments,
    )
    lines = functools.partial(lines, rejecting=found.rejecting)
    values: list[dict[str, Any]] | None = None
    stop = None if found.source is None else found.source.stop
    with contextlib.nullcontext() if stop is None else stopping.politely(stop, "at this window"):
        if out is not None:
            with (
                written_file(out) as target,
                atomic_path(target) as temporary,
                temporary.open("w", encoding="utf-8") as file,
            ):
                for line in lines(found.rows, found.classes):
                    file.write(line)
                found.check()
        elif as_json:
            values = [row_values(row, found.classes) for row in found.rows]
        else:
            errors = JSON if output_format in ("jsonl", "emobox") else "backslashreplace"
            for line in lines(found.rows, found.classes):  # as rows are made
                sys.stdout.write(encodable(line, errors))
                if stream:
                    sys.stdout.flush()
            sys.stdout.flush()
        summary = {**found.end(), "out": out, "predictions": values}
    if as_json:
        result(f"{found.tally.recordings} recording(s) classified.", summary, as_json=True)
    elif out is not None:
        say(f"Wrote {out}: {found.tally.rows} rows of {found.tally.recordings} recording(s).")
