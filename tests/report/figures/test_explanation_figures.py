"""What the figures of explained runs compute, and what they refuse."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from serplatform.artifacts.explanations import CurveRecord
from serplatform.artifacts.files import read_json, write_json
from serplatform.errors import ArtifactError
from serplatform.report.build import render
from serplatform.report.data import Need, NoDataError, ReportData, build_report_data
from serplatform.report.explanations import find_explanations
from serplatform.report.figures.attention_on_speech import (
    AttentionOnSpeechFigure,
    ShownCurve,
    read_utterance,
    tracks,
    trial_colours,
    visible_trials,
)
from serplatform.report.figures.base import FIGURES, Palette
from serplatform.report.figures.costs import LatencyTradeoff
from serplatform.report.figures.embeddings import EmbeddingsFigure
from serplatform.report.figures.generation import (
    ClassOverTime,
    GeneratedInputFigure,
    GenerationErrorFigure,
)
from serplatform.report.figures.phone_attention import PhoneAttentionFigure, map_attention
from serplatform.report.figures.sampling import AttentionSimilarityFigure, SampledShareFigure
from serplatform.report.load import load_source
from serplatform.report.sampling import Sampling, cosine_similarity
from tests.support.explained_run import add_explanations

NAMES = [name for name in FIGURES.names() if Need.EXPLANATIONS in FIGURES.get(name).needs]


@pytest.fixture(scope="module")
def folder(on_disk: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("explained") / "run"
    shutil.copytree(on_disk.run, run)
    add_explanations(run)
    return run


@pytest.fixture
def found(folder: Path) -> ReportData:
    return build_report_data(load_source(folder))


@pytest.fixture
def changed(folder: Path, tmp_path: Path) -> Callable[..., ReportData]:
    """ReportData of a run after a change to its explanations.json."""

    def change(**values: Any) -> ReportData:
        run = tmp_path / "run"
        shutil.copytree(folder, run)
        path = run / "explanations" / "explanations.json"
        write_json(path, read_json(path) | values)
        return build_report_data(load_source(run))

    return change


def test_without_explanations_every_figure_says_how_to_make_them(
    on_disk: Any, palette: Palette
) -> None:
    assert len(NAMES) == 9
    bare = build_report_data(load_source(on_disk.run))
    for name in NAMES:
        with pytest.raises(NoDataError, match="serplatform explain RUN"):
            FIGURES.get(name)().make(bare, palette)


# -- attention by phone class


def row(speaker: str, *, vowel: float, consonant: float, frames: tuple[int, int, int]) -> dict:
    return {
        "architecture": "moma",
        "map": "layer1",
        "speaker_id": speaker,
        "frames": sum(frames),
        "spread": 0.5,
        "mass_vowel": vowel,
        "mass_consonant": consonant,
        "mass_silence": 1 - vowel - consonant,
        "frames_vowel": frames[0],
        "frames_consonant": frames[1],
        "frames_silence": frames[2],
    }


def test_intensity_ratio_and_excess_worked_by_hand() -> None:
    rows = [
        row("a", vowel=0.6, consonant=0.2, frames=(40, 40, 20)),
        row("b", vowel=0.5, consonant=0.3, frames=(20, 60, 20)),
    ]
    found = map_attention(rows, "moma #1", {"p_value": 0.02, "num_groups": 2})
    vowel, consonant, silence = found.classes
    assert (vowel.mass, vowel.time) == pytest.approx((0.55, 0.3))
    assert vowel.intensity.value == pytest.approx(0.55 / 0.3)
    assert consonant.intensity.value == pytest.approx(0.25 / 0.5)
    assert silence.intensity.value == pytest.approx(0.2 / 0.2)
    assert found.ratio.value == pytest.approx((0.55 / 0.3) / (0.25 / 0.5))
    # within speech: 0.75 of attention on half of it, 0.625 on a quarter of it
    assert found.excess.value == pytest.approx((0.25 + 0.375) / 2)
    # two speakers: the interval of the mean ends at the speakers' own values
    assert (found.excess.low, found.excess.high) == pytest.approx(
        (0.3125 - 12.7062 * 0.0625, 0.3125 + 12.7062 * 0.0625), abs=1e-5
    )
    assert (found.p_value, found.num_groups, found.speakers) == (0.02, 2, 2)


def test_one_speaker_has_no_interval_and_too_little_silence_no_intensity() -> None:
    found = map_attention([row("a", vowel=0.6, consonant=0.4, frames=(50, 50, 0))], "t", None)
    assert (found.ratio.low, found.ratio.high) == (None, None)
    assert found.classes[2].intensity is None
    assert found.p_value is None
    silent = [row("a", vowel=0.0, consonant=0.0, frames=(50, 50, 0))]
    assert map_attention(silent, "t", None) is None


def test_layers_are_compared_on_the_same_utterances(found: ReportData) -> None:
    data = PhoneAttentionFigure().compute(found)
    assert [(m.map, m.utterances) for m in data.maps][:2] == [
        ("layer1", data.maps[0].utterances),
        ("layer2", data.maps[0].utterances),
    ]
    first, second, other = data.maps
    assert first.ratio.value == pytest.approx(2.0, rel=0.01)
    assert second.ratio.value == pytest.approx(1.0, rel=0.01)
    assert other.ratio.value == pytest.approx(0.5, rel=0.01)
    ((trial, gap),) = data.smoothing
    assert trial == first.trial
    assert gap.value == pytest.approx(0.4, abs=0.005)
    assert gap.low < gap.value < gap.high


def test_the_summary_names_the_largest_effect_with_its_interval(
    found: ReportData, palette: Palette
) -> None:
    figure = PhoneAttentionFigure()
    text = figure.draw(figure.compute(found), palette).summary
    assert "1 prefers vowels, 1 prefers consonants, 1 neither" in text
    assert "p < .001" in text
    assert "40.0 points more of the frames" in text


def test_utterances_whose_alignment_failed_are_named_and_counted(
    found: ReportData, palette: Palette
) -> None:
    figure = PhoneAttentionFigure()
    note = figure.draw(figure.compute(found), palette).note
    assert note.startswith("Alignment: pocketsphinx-forced. Left out: 3 utterances whose phones")
    shown = AttentionOnSpeechFigure()
    data = shown.compute(found)
    assert [item.record["misaligned"] for item in data.utterances] == [True, False]
    first = data.utterances[0].record["utterance_id"]
    assert f"The alignment of {first} is not to be trusted" in shown.draw(data, palette).note


# -- what vrnn samples


def test_sampled_shares_leave_single_windows_out(found: ReportData) -> None:
    data = SampledShareFigure().compute(found)
    shares = {r.emotion: r for r in data}
    for place, name in enumerate(found.classes):
        assert shares[name].share.value == pytest.approx(0.5 + 0.1 * place)
    number = len(json.loads((found.source.path / "folds.json").read_text())["folds"][0]["test"])
    singles = number // 5
    assert shares["all"].single_windows == singles
    assert shares["all"].utterances == number - singles


def test_the_first_window_counts_where_it_is_asked_to(found: ReportData) -> None:
    (whole,) = (r for r in SampledShareFigure().compute(found) if r.emotion == "all")
    table = pq.read_table(found.source.path / "explanations" / "statistics.parquet").to_pylist()
    expected = [(1 + (r["num_windows"] - 1) * r["sampled_share"]) / r["num_windows"] for r in table]
    assert whole.with_first == pytest.approx(np.mean(expected))
    assert whole.with_first > whole.share.value


def test_similarity_is_the_cosine_of_the_means(found: ReportData) -> None:
    (item,) = AttentionSimilarityFigure().compute(found)
    np.testing.assert_allclose(np.diag(item.similarity), 1.0)
    np.testing.assert_array_equal(item.similarity, item.similarity.T)
    vectors = np.array([[0.7, 0.5, 0.5, 0.5], [0.6, 0.8, 0.6, 0.6]])  # by the fixture's rule
    cosine = vectors[0] @ vectors[1] / np.prod(np.linalg.norm(vectors, axis=1))
    assert item.similarity[0, 1] == pytest.approx(cosine)
    assert item.pairs()[0][0] == pytest.approx(item.similarity.min())


def test_means_are_over_windows_not_utterances() -> None:
    sampling = Sampling(
        trial=np.zeros(3, np.int64),
        fold=np.zeros(3, np.int64),
        truth=np.array(["happy", "happy", "sad"], dtype=object),
        speaker_ids=np.array(["s", "s", "s"], dtype=object),
        windows=np.array([4, 2, 2]),  # three choices, one, one
        share=np.zeros(3),
        elements=np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]),
    )
    found = sampling.similarity(("happy", "calm", "sad"))
    assert found[0, 2] == pytest.approx(0.75 / np.hypot(0.75, 0.25))
    assert np.isnan(found[1]).all()


def test_cosines_of_zero_and_opposite_vectors() -> None:
    found = cosine_similarity(np.array([[0.0, 0.0], [1.0, 0.0], [-2.0, 0.0]]))
    np.testing.assert_allclose(found, [[0, 0, 0], [0, 1, 1], [0, 1, 1]])


# -- what vrnn expects, and when it knows


def test_errors_over_trivial_ones_by_emotion(found: ReportData, palette: Palette) -> None:
    (item,) = GenerationErrorFigure().compute(found)
    assert [*item.emotions] == [*found.classes, "all"]
    for error in item.emotions.values():
        assert error.to_previous.value == pytest.approx(0.5)
        assert error.to_mean.value == pytest.approx(1.25)
    assert [e.place for e in item.windows] == [2, 3]
    assert [e.rmse for e in item.elements] == pytest.approx([item.elements[0].rmse] * 4)
    drawing = GenerationErrorFigure().draw((item,), palette)
    assert "0.50 times that of the window before (0.50–0.50)" in drawing.summary
    assert "the training mean is the better prediction" in drawing.summary


def test_the_prediction_is_drawn_with_its_deviation_and_what_was_sampled(
    found: ReportData, palette: Palette
) -> None:
    data = GeneratedInputFigure().compute(found)
    assert len(data) == 2
    maps, last = GeneratedInputFigure().draw(data, palette).panels[:2]
    true, predicted, observed = (trace["z"] for trace in maps.data)
    assert true[3] == [3.0, 1.0]  # an element over time
    assert predicted[3] == [None, -1.0]
    assert [row[1] for row in observed] == [0.0, 0.0, 0.0, 1.0]
    band, _, _, sampled = last.data
    assert band["y"] == [1.0, 1.5, 2.5, 1.0, -3.0, 0.5, 0.5, 0.0]
    assert (sampled["x"], sampled["y"]) == ([4], [1.0])


def test_the_class_before_the_end(found: ReportData, palette: Palette) -> None:
    (item,) = ClassOverTime().compute(found)
    points = {point.share: point for point in item.points}
    assert points[0.5].answered == points[0.5].uar.value == 0
    assert points[0.6].answered == 1
    assert 0 < points[0.6].uar.value < 1
    assert points[1.0].uar.value == 1
    assert "when 100 % of each is heard" in ClassOverTime().draw((item,), palette).summary


def test_explanations_of_an_earlier_version_lack_only_these_figures(
    folder: Path, changed: Callable[..., ReportData]
) -> None:
    files = read_json(folder / "explanations" / "explanations.json")["files"]
    for name in ("generation.parquet", "framewise.parquet"):
        del files[name]
    old = changed(files=files)
    for figure in (GenerationErrorFigure, ClassOverTime):
        with pytest.raises(NoDataError, match="no trial"):
            figure().compute(old)
    assert SampledShareFigure().compute(old)


# -- embeddings, latency


def test_every_utterance_of_the_fold_is_in_the_picture(found: ReportData, palette: Palette) -> None:
    data = EmbeddingsFigure().compute(found)
    number = len(json.loads((found.source.path / "folds.json").read_text())["folds"][0]["test"])
    assert [len(p.points) for p in data.pictures] == [number, number]
    drawing = EmbeddingsFigure().draw(data, palette)
    panel = drawing.panels[0]
    symbols = [s for trace in panel.data for s in trace["marker"]["symbol"]]
    wrong = sum(p.truth != p.prediction for p in data.pictures[0].points)
    assert sum(s.endswith("-open") for s in symbols) == wrong > 0
    assert "3.0 are of its class on average" in drawing.summary  # 5 · 0.6


def test_slower_and_worse_trials_are_beaten(found: ReportData) -> None:
    data = LatencyTradeoff().compute(found)
    assert [t.cost for t in data] == pytest.approx([1.0, 2.0])
    assert data[0].undominated
    assert data[1].undominated == (data[1].dev_uar > data[0].dev_uar)


# -- attention on speech


def curve(trial: str, architecture: str, largest: float) -> ShownCurve:
    record = CurveRecord(
        trial=1,
        architecture=architecture,
        map="layer1",
        kind="frames",
        starts=[0.0, 0.01],
        times_even=[largest, 2 - largest],
    )
    return ShownCurve(trial=trial, record=record)


def test_the_papers_models_are_drawn_first_unless_their_attention_is_even() -> None:
    curves = [curve("csa #1", "csa", 1.5), curve("moma #2", "moma", 1.2)]
    assert visible_trials(curves) == ["moma #2"]
    flat = [*curves[:1], curve("moma #2", "moma", 1.01), curve("can #3", "can", 1.9)]
    assert visible_trials(flat) == ["moma #2", "can #3", "csa #1"]


def test_no_two_trials_share_a_colour_while_there_are_some(palette: Palette) -> None:
    curves = [curve(f"other{i} #{i}", f"other{i}", 1.5) for i in range(8)]
    colours = trial_colours(curves, palette)
    assert len(set(colours.values())) == 8


def test_sound_words_and_phones_reach_the_panel(found: ReportData, palette: Palette) -> None:
    figure = AttentionOnSpeechFigure()
    data = figure.compute(found)
    assert len(data.utterances) == 2
    assert data.utterances[0].spectrogram.shape == (16, 68)
    panel = figure.draw(data, palette).panels[0]
    assert panel.audio.startswith("data:audio/flac;base64,")
    texts = [t for trace in panel.data if trace.get("mode") == "text" for t in trace["text"]]
    assert texts == ["open", "door", "OW1", "P", "AH0", "N", "D", "AO1", "R"]
    filled = [s for s in panel.layout["shapes"] if s.get("fillcolor") == "@series-2"]
    assert len(filled) == 3  # the vowels


def test_tracks_that_an_utterance_lacks_leave_no_hole(found: ReportData, palette: Palette) -> None:
    figure = AttentionOnSpeechFigure()
    data = figure.compute(found)
    item = data.utterances[0]
    domains, pixels = tracks(item)
    assert list(domains) == ["yaxis3", "yaxis", "yaxis2"]
    assert domains["yaxis3"][0] == 0.0
    assert domains["yaxis2"][1] == 1.0
    record: Any = item.record | {"words": [], "phones": []}
    bare = dataclasses.replace(item, record=record, curves=())
    assert tracks(bare) == ({"yaxis": [0.0, 1.0]}, 190)
    assert pixels > 400
    drawing = figure.draw(dataclasses.replace(data, utterances=(bare,)), palette)
    assert "yaxis2" not in drawing.panels[0].layout
    assert "No model that was explained has attention" in drawing.summary
    assert "Attention curves" not in [table.caption for table in drawing.tables]


def test_emotion_over_time_lies_above_all_else(found: ReportData, palette: Palette) -> None:
    figure = AttentionOnSpeechFigure()
    data = figure.compute(found)
    (explained,) = find_explanations(found)
    track = {
        "architecture": "csa",
        "start": 0.1,
        "shift": 0.05,
        "posteriors": [[0.5, 0.2], *[[0.1, 0.2]] * (len(found.classes) - 1)],
        "segments": [["sad", 0.0, 0.7, 0.8]],
    }
    ranked = explained.info["ranked_by"]
    entry: Any = dict(data.utterances[0].record)
    entry["tracks"] = [track | {"trial": ranked + 1}, track | {"trial": ranked}]
    item = read_utterance(explained, entry)
    assert [one.record["trial"] for one in item.tracks] == [ranked, ranked + 1]
    drawing = figure.draw(dataclasses.replace(data, utterances=(item,)), palette)
    domains, _ = tracks(item)
    assert domains["yaxis4"][1] == 1.0
    layout = drawing.panels[0].layout
    assert layout["yaxis4"]["ticktext"] == [name[:9] for name in found.classes]
    (picture,) = (trace for trace in drawing.panels[0].data if trace.get("yaxis") == "y4")
    assert (picture["x0"], picture["dx"], picture["zmax"]) == (0.1, 0.05, 1)
    (table,) = (table for table in drawing.tables if table.caption.startswith("Emotion over time"))
    assert [row[3:] for row in table.rows] == [["sad", 0.0, 0.7, 0.8]] * 2
    assert "nobody labelled" in drawing.note
    assert "nobody labelled" not in figure.draw(data, palette).note


# -- what does not belong together


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"dataset_fingerprint": "other"}, "made with another dataset"),
        ({"folds_hash": "other"}, "made with another folds"),
        ({"classes": ["a"]}, "made with another classes"),
        ({"schema_version": 99}, "schema version 99"),
    ],
)
def test_explanations_of_something_else_are_not_drawn(changed, values, match) -> None:
    other = changed(**values)
    for name in NAMES:
        with pytest.raises(ArtifactError, match=match):
            FIGURES.get(name)().compute(other)


def test_explanations_of_an_older_program_do_not_stop_the_page(changed, tmp_path: Path) -> None:
    report_data = changed()
    path = tmp_path / "run" / "explanations" / "explanations.json"
    info = read_json(path)
    for key in ("trials", "phones", "confident_errors"):
        del info[key]
    write_json(path, info)
    for name in NAMES:
        with pytest.raises(ArtifactError, match=r"lacks trials; .*; run `serplatform explain`"):
            FIGURES.get(name)().compute(report_data)
    assert "is damaged: lacks trials" in render(report_data)


def test_half_written_explanations_are_not_drawn(changed, tmp_path: Path) -> None:
    report_data = changed()
    path = tmp_path / "run" / "explanations" / "attention.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match="is not what explanations"):
        PhoneAttentionFigure().compute(report_data)
    EmbeddingsFigure().compute(report_data)  # another file, and whole
    (tmp_path / "run" / "explanations" / "explanations.json").write_text("{")
    with pytest.raises(ArtifactError, match="is damaged"):
        EmbeddingsFigure().compute(report_data)


def test_without_phones_the_reader_is_told_of_alignment(folder: Path, tmp_path: Path) -> None:
    from serplatform.artifacts.files import file_sha256, write_parquet

    run = tmp_path / "run"
    shutil.copytree(folder, run)
    path = run / "explanations" / "attention.parquet"
    table = pq.read_table(path)
    write_parquet(path, table.slice(0, 0))
    info = read_json(run / "explanations" / "explanations.json") | {"phones": None}
    info["files"]["attention.parquet"] = file_sha256(path)
    write_json(run / "explanations" / "explanations.json", info)
    with pytest.raises(NoDataError, match="--align"):
        PhoneAttentionFigure().compute(build_report_data(load_source(run)))


def test_hostile_names_stay_text(on_disk: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(on_disk.run, run)
    hostile = '</script><img src=x onerror=alert(1)>"'
    add_explanations(run, sentence=hostile)
    path = run / "explanations" / "utterances.json"
    shown = read_json(path)
    for item in shown["utterances"]:
        item["utterance_id"] = item["words"][0][0] = item["phones"][0][0] = hostile
        item["audio_fault"] = hostile
    write_json(path, shown)
    from serplatform.artifacts.files import file_sha256

    info = read_json(run / "explanations" / "explanations.json") | {"licence": hostile}
    info["confident_errors"][0]["utterance_id"] = hostile
    info["files"]["utterances.json"] = file_sha256(path)
    write_json(run / "explanations" / "explanations.json", info)
    page = render(build_report_data(load_source(run)))
    assert "attention_on_speech" in page
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    assert page.count("<audio ") == 2
