"""``serplatform prepare``: a corpus in, an Arrow dataset out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serplatform import stopping
from serplatform.cli.options import Address, AsJson, parse_map
from serplatform.cli.output import result
from serplatform.console import format_duration, say
from serplatform.corpora.base import READ_AS
from serplatform.errors import BadInputError
from serplatform.features.names import split_features, split_speed

if TYPE_CHECKING:
    from serplatform.distributed.prepare import PrepareSummary

_REASONS = 8  # shown of why utterances were left out


def command(
    corpus: Annotated[
        str,
        typer.Argument(
            metavar="CORPUS",
            help="A name that `serplatform corpora` lists; left out, SOURCE alone is looked at.",
        ),
    ],
    source: Annotated[
        Path | None,
        typer.Argument(metavar="SOURCE", help="Its directory or table; none for `demo`."),
    ] = None,
    *,
    out: Annotated[
        str,
        typer.Option(
            metavar="DATA", help="The dataset: a new or empty directory, or a URI (s3://…)."
        ),
    ],
    features: Annotated[
        list[str] | None,
        typer.Option(
            help="Features, separated by commas; default: those registered as defaults. Layers of "
            "a frozen encoder: `pretrained:DIRECTORY_OR_ID@LAYERS`, with `:pooled` their mean and "
            "deviation."
        ),
    ] = None,
    speeds: Annotated[
        list[str] | None,
        typer.Option(
            help="Store the features of the clips at these speeds too, such as `0.9,1.1`, to train "
            "on with `--set data.speeds=true`."
        ),
    ] = None,
    align: Annotated[
        str,
        typer.Option(
            help="Where word and phone times come from: `wdseg`, `textgrid`, `pocketsphinx`, "
            "`equal`, `whisper:DIR`, `whisper-asr:DIR`; with `none`, the corpus's own."
        ),
    ] = "none",
    alignments: Annotated[
        Path | None, typer.Option(help="Directory of the alignment files, for `--align`.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Most tasks at a time; default: all CPUs.")
    ] = None,
    label_map: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="LABEL=EMOTION, the label as the corpus writes it; `LABEL=` leaves it out, "
            "`LABEL=LABEL` keeps it a class of its own. May be repeated.",
        ),
    ] = None,
    name: Annotated[
        str,
        typer.Option(metavar="TITLE", help="What your corpus is called; default: as its source."),
    ] = "",
    language: Annotated[
        str, typer.Option(metavar="CODE", help="Language that is spoken, such as `pl`.")
    ] = "",
    licence: Annotated[
        str, typer.Option(metavar="LICENCE", help="Licence of the recordings, such as `CC BY 4.0`.")
    ] = "",
    speaker_from: Annotated[
        str,
        typer.Option(
            metavar="PATTERN",
            help="folders: regular expression that finds the speaker in each path or file name, "
            "such as `^(s[0-9]+)_` or `rec/([a-z]+)/`.",
        ),
    ] = "",
    speakers_differ: Annotated[
        bool,
        typer.Option(
            "--speakers-differ",
            help="Speakers whose names differ only in case or zeros are different people.",
        ),
    ] = False,
    max_duration: Annotated[
        float, typer.Option(min=0, help="Longest utterance, in seconds; 0: no limit.")
    ] = 60.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a dataset that was made otherwise.")
    ] = False,
    allow_outside: Annotated[
        bool,
        typer.Option("--allow-outside", help="Accept paths of a table that leave its directory."),
    ] = False,
    utterances: Annotated[int | None, typer.Option(help="demo: how many clips.")] = None,
    speakers: Annotated[int | None, typer.Option(help="demo: how many voices.")] = None,
    seed: Annotated[int | None, typer.Option(help="demo: of the voices and moods.")] = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Check a corpus, extract its features and write a dataset.

    Every utterance is either in the dataset or in its `rejected.csv` with a reason. A call that
    was stopped goes on where it was when it is given again.

    Examples:

        serplatform prepare demo --out data/demo

        serplatform prepare my/recordings --out data/mine --name "My corpus" --language pl

        serplatform prepare ravdess data/RAVDESS --out data/ravdess

        serplatform prepare csv my/index.csv --out data/mine --features log_mel_23,mfcc_40

        serplatform prepare csv my/index.csv --out data/mine --features pretrained:models/whisper@3

        serplatform prepare demo --out data/large --utterances 20000 --speakers 40
    """
    from serplatform.corpora.guess import corpus_and_source

    corpus, source, guessed = corpus_and_source(corpus, source)
    if guessed is not None and source is not None:
        say(guessed.sentence(source))
    from serplatform.api.display import show_progress
    from serplatform.corpora.about import About
    from serplatform.distributed.prepare import prepare

    given = {"utterances": utterances, "speakers": speakers, "seed": seed}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if allow_outside:
        options["allow_outside"] = True
    if speaker_from:
        options["speaker_from"] = speaker_from
    chosen = [name for part in features or [] for name in split_features(part) if name]
    if features and not chosen:
        raise BadInputError("--features is empty; leave it out for the built-in ones")
    stopping.on_stop(
        f"Stopped; what is whole is kept. Give the same command again:\n  {stopping.command()}"
    )
    with show_progress() as progress:
        summary = prepare(
            corpus,
            source,
            out,
            features=chosen or None,
            speeds=_parse_speeds(speeds or []),
            align=align,
            alignments=alignments,
            workers=workers,
            options=options,
            label_map=parse_map(label_map or []),
            speakers_differ=speakers_differ,
            max_duration=max_duration or None,
            overwrite=overwrite,
            described=About(title=name, language=language, licence=licence),
            address=address,
            progress=progress,
        )
    result(describe(summary), summary.to_json(), as_json=as_json)


def describe(summary: PrepareSummary) -> str:
    """What was prepared, for people."""
    from serplatform.artifacts.dataset import NO_SPEAKER
    from serplatform.report.wording import plural

    meta = summary.meta
    counts = meta["counts"]
    named = set(counts.get("by_speaker", ())) != {NO_SPEAKER}
    speakers = plural(counts["speakers"], "speaker") if named else "speakers who are not named"
    synthetic = ", synthetic speech" if meta["synthetic"] else ""
    copies = {n: s for n in meta["features"] for plain, s in [split_speed(n)] if plain != n}
    speeds = [f"{speed:g}" for speed in sorted(set(copies.values()))]
    lines = [
        f"{summary.address}: {meta['title']}{synthetic}",
        f"  {counts['utterances']} utterances of {speakers}, "
        f"{format_duration(counts['seconds'])} of speech; {counts['rejected']} left out of "
        f"{counts.get('listed', counts['utterances'] + counts['rejected'])}",
        "  " + ", ".join(f"{name} {counts['by_emotion'][name]}" for name in meta["classes"]),
        f"  features {', '.join(name for name in meta['features'] if name not in copies)}",
        *([f"  at speeds {', '.join(speeds)} too: {len(copies)} further features"] * bool(copies)),
        f"  default protocol {meta['default_protocol']}; fingerprint {meta['fingerprint'][:12]}",
    ]
    reasons = list(counts["by_reason"].items())
    lines += [f"  left out: {number} × {reason}" for reason, number in reasons[:_REASONS]]
    if len(reasons) > _REASONS:
        rest = sum(number for _, number in reasons[_REASONS:])
        lines.append(f"  left out: {rest} × {len(reasons) - _REASONS} further reason(s)")
    if reasons:
        lines.append(f"  each is listed in {summary.address}/rejected.csv")
    notes = meta["notes"]
    lines += [f"  {note}" if note.startswith(READ_AS) else f"  note: {note}" for note in notes]
    if summary.reused:
        lines.append("The dataset was there already, whole and of the same request: nothing done.")
    else:
        if summary.added_to:
            lines.append(f"  added to {', '.join(summary.added_to)}, which were there already")
        kept = f", {summary.shards_reused} shards of an earlier call" * bool(summary.shards_reused)
        lines.append(f"Prepared in {summary.seconds:.1f} s{kept}.")
    return "\n".join(lines)


def _parse_speeds(given: Sequence[str]) -> list[float]:
    texts = [text for part in given for text in part.split(",") if text.strip()]
    try:
        return [float(text) for text in texts]
    except ValueError:
        raise BadInputError(
            f"--speeds {','.join(given)}: must be numbers with commas between, as in 0.9,1.1"
        ) from None
