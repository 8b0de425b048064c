"""``serplatform explain RUN UTTERANCE…``: what the models attend to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from serplatform.cli.options import AsJson
from serplatform.cli.output import result
from serplatform.console import percent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serplatform.artifacts.ensemble import IntervalRecord
    from serplatform.artifacts.explanations import ExplainedTrial, ExplanationsRecord

_LISTED = 10  # confident errors printed


def command(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="What `search` wrote, path or URI.", show_default=False),
    ],
    utterances: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="UTTERANCE...",
            help="Ids of test utterances; without any, the most confident errors and hits.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FILE.html",
            help="The page, path or URI; report.html in RUN by default.",
        ),
    ] = None,
    trial: Annotated[
        list[int] | None,
        typer.Option(
            "--trial", help="A trial to explain; repeatable. Default: each architecture's best."
        ),
    ] = None,
    most: Annotated[
        int, typer.Option(min=0, max=50, help="Errors shown where no utterance is named.")
    ] = 4,
    hits: Annotated[int, typer.Option(min=0, max=50, help="Right answers shown next to them.")] = 2,
    limit: Annotated[
        int, typer.Option(min=0, help="Test utterances that the models are run on; 0: all.")
    ] = 600,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="Where the run's dataset lies now, if it has moved: path or URI."
        ),
    ] = None,
    audio: Annotated[
        bool | None,
        typer.Option(
            "--audio/--no-audio",
            help="Put the sound into the page; default: only where the corpus may be passed on "
            "without conditions.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of draws and permutations.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show attention against words and phones, and put it on the run's page.

    The models of each fold are run on its test utterances: attention on vowels, consonants
    and silence with intervals and a permutation test, what vrnn samples by emotion, how well it
    predicts its input, what it recognises before the end (a look at the test rows), embeddings,
    and some utterances whole, with spectrogram and sound. Phones need a dataset prepared with
    an alignment (`--align`). The files are in RUN/explanations.

    Examples:

        serplatform explain runs/ravdess

        serplatform explain runs/ravdess 03-01-05-02-01-01-12 03-01-04-02-02-01-12

        serplatform explain runs/ravdess --trial 7 --limit 0 --out attention.html --audio
    """
    from serplatform.run_directory import RunDirectory
    from serplatform.storage.destination import check_file
    from serplatform.storage.mirror import open_copy, publish, shown
    from serplatform.storage.outgoing import written_file

    if out is not None:
        check_file(out, what="an HTML page")
    path = open_copy(run)
    if path.is_dir():  # where the answers are kept, and the page unless it is put elsewhere
        check_file(path / "report.html", what="an HTML page")
    RunDirectory(path).read_run()  # is one, before what takes seconds is imported
    from serplatform.explanations.explain_run import explain_run
    from serplatform.explanations.speaker_statistics import measure_speaker_statistics
    from serplatform.report.build import build_report

    summary = explain_run(
        path,
        utterances=utterances or None,
        most=most,
        hits=hits,
        trials=trial or None,
        dataset=data,
        limit=limit,
        audio=audio,
        seed=seed,
    )
    measure_speaker_statistics(path, dataset=data, seed=seed)
    with written_file(path / "report.html" if out is None else out) as target:
        build_report(path, target)
    publish(path)
    page = shown(path / "report.html") if out is None else out
    values = {"run": run, "explanations": shown(path / "explanations"), "report": page}
    result(describe(summary, page), values | summary, as_json=as_json)


def describe(summary: ExplanationsRecord, page: str) -> str:
    """The result in words."""
    from serplatform.artifacts.trial import layer_weights_text

    trials = {t["trial"]: f"{t['architecture']} #{t['trial']}" for t in summary["trials"]}
    lines = [
        f"Ran {', '.join(trials.values())} on {summary['asked']} of "
        f"{summary['test_utterances']} test utterances."
    ]
    for trial in summary["trials"]:
        if "layer_weights" in trial:
            lines.append(f"{trials[trial['trial']]}: {layer_weights_text(trial['layer_weights'])}")
        lines += [f"{trials[trial['trial']]}: {text}" for text in _over_time(trial)]
    for test in summary["phone_tests"]:
        lines.append(
            f"{trials[test['trial']]} {test['map']}: attention on vowels "
            f"{100 * test['excess']:+.2f} points beyond their share of speech "
            f"(p = {test['p_value']:.4f}, {test['num_utterances']} utterances, "
            f"{test['num_groups']} sentences)"
        )
    phones = summary["phones"]
    if summary["phone_tests"] and phones is not None and phones["misaligned"]:
        lines.append(
            f"{phones['misaligned']} utterances left out there: their phones lie "
            "elsewhere than their sound."
        )
    if not phones:
        lines.append("No phones: the dataset has no alignment; prepare it with --align.")
    errors = summary["confident_errors"]
    if errors:
        lines.append(f"Most confident errors of {trials[summary['ranked_by']]} on test rows:")
        width = max(len(entry["utterance_id"]) for entry in errors[:_LISTED])
        for entry in errors[:_LISTED]:
            lines.append(
                f"  {entry['utterance_id']:<{width}}  {entry['truth']} taken for "
                f"{entry['prediction']} ({100 * entry['confidence']:.0f} %)"
            )
    if summary["audio_left_out"]:
        lines.append(
            f"Sound is left out: the recordings' licence is {summary['licence'] or 'unknown'}; "
            "--audio puts it into the page."
        )
    lines.append(f"Shown: {', '.join(summary['shown']) or 'none'}")
    lines.append(f"Wrote {page}; see its section “Explained”.")
    return "\n".join(lines)


def _over_time(trial: ExplainedTrial) -> Iterator[str]:
    """How well a trial predicts its input, and what it recognises before the end."""
    if "generation" in trial:
        found = trial["generation"]
        yield (
            f"squared error of predicted windows {_ratio(found['to_previous'])} times that of the "
            f"window before, {_ratio(found['to_mean'])} times that of the training mean "
            f"({found['windows']} windows; 1: no better)"
        )
    if "heard" in trial:
        uar = {round(100 * p["share"]): percent(p["uar"]["value"]) for p in trial["heard"]}
        yield (
            f"test UAR {uar[50]} when half of each utterance is heard, {uar[75]} at three "
            f"quarters, {uar[100]} at the end"
        )


def _ratio(found: IntervalRecord) -> str:
    """A value with its ends."""
    if found["low"] is None or found["high"] is None:
        return f"{found['value']:.2f}"
    return f"{found['value']:.2f} ({found['low']:.2f}–{found['high']:.2f})"
