"""A run explained from its models: what is asked, what is refused, and what is written."""

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from serplatform.artifacts.dataset import ALIGNMENT_SCHEMA
from serplatform.artifacts.files import read_json, write_json, write_parquet
from serplatform.datasets.dataset import Dataset
from serplatform.errors import ArtifactError, BadInputError
from serplatform.explanations.explain_run import explain_run, may_embed
from serplatform.run_directory import RunDirectory
from tests.support.audio_run import AudioRun, make_audio_run

_TINY = {"training.max_epochs": 1, "training.batch_size": 16}
TRIALS = (
    ("moma", {**_TINY, "model.hidden_dim": 4, "model.num_layers": 1, "model.attention_dim": 4}),
    (
        "blstmatt",
        {
            **_TINY,
            "model.hidden_dim": 4,
            "model.num_layers": 1,
            "data.trim": True,
            "data.normalization": "speaker",
        },
    ),
    ("csa", {**_TINY, "model.channels": 4}),
    (
        "vrnn",
        {
            **_TINY,
            **{f"model.{n}_dim": 4 for n in ("encoder", "generator", "classifier", "latent")},
        },
    ),
)

#: trial and attention map; vrnn reads short frames here, so that its windows lie over phones too
MAPS = {(0, "layer1"), (0, "layer2"), (1, "layer1"), (2, "chunks"), (3, "windows")}


def align(dataset: Path) -> None:
    """Give every utterance words and phones: silence, K, AA, T, silence in parts of 1/5."""
    table = pq.read_table(dataset / "utterances.parquet")
    rows = []
    for name, duration in zip(
        *(table.column(c).to_pylist() for c in ("utterance_id", "duration")), strict=True
    ):
        step = duration / 5
        rows.append((name, "word", "cat", step, 4 * step))
        rows += [
            (name, "phone", label, place * step, (place + 1) * step)
            for place, label in enumerate(("SIL", "K", "AA1", "T", "SIL"))
        ]
    columns = zip(*rows, strict=True)
    arrays = [*(list(column) for column in columns), ["by hand"] * len(rows)]
    write_parquet(
        dataset / "alignment.parquet",
        pa.table(dict(zip(ALIGNMENT_SCHEMA.names, arrays, strict=True)), schema=ALIGNMENT_SCHEMA),
    )


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> tuple[AudioRun, dict[str, Any]]:
    made = make_audio_run(tmp_path_factory.mktemp("explained"), trials=TRIALS)
    align(made.dataset)
    return made, explain_run(made.run)


@pytest.fixture
def copied(explained: tuple[AudioRun, Any], tmp_path: Path) -> Path:
    """A run that a test may damage."""
    shutil.copytree(explained[0].run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "explanations")
    return tmp_path / "run"


def table(made: AudioRun, name: str) -> list[dict[str, Any]]:
    return pq.read_table(made.run / "explanations" / f"{name}.parquet").to_pylist()


def test_every_architecture_is_asked_about_every_test_utterance(explained) -> None:
    made, summary = explained
    assert [t["architecture"] for t in summary["trials"]] == ["moma", "blstmatt", "csa", "vrnn"]
    assert summary["asked"] == summary["test_utterances"] == 24
    rows = table(made, "attention")
    asked = {(r["trial"], r["map"]) for r in rows}
    assert asked == MAPS
    for key in asked:
        ids = [r["utterance_id"] for r in rows if (r["trial"], r["map"]) == key]
        assert sorted(ids) == sorted(Dataset.open(made.dataset).utterance_ids)


def test_models_answer_as_they_did_in_training(explained) -> None:
    # also the trial with trimmed frames, normalized by speaker
    assert max(t["posterior_difference"] for t in explained[1]["trials"]) < 1e-6


def test_attention_and_frames_are_divided_without_remainder(explained) -> None:
    made, _ = explained
    for row in table(made, "attention"):
        kinds = ("vowel", "consonant", "silence", "other")
        assert sum(row[f"mass_{kind}"] for kind in kinds) == pytest.approx(1.0)
        assert sum(row[f"frames_{kind}"] for kind in kinds) == row["frames"]
        assert row["frames_other"] == 0
        assert 0 < row["spread"] <= 1 + 1e-9
        # a fifth each: one of vowels, two of consonants; a frame more or less at each edge
        if row["trial"] == 0:
            assert row["frames_vowel"] == pytest.approx(row["frames"] / 5, abs=1.6)
            assert row["frames_consonant"] == pytest.approx(2 * row["frames"] / 5, abs=2.6)


def test_the_phone_test_is_of_the_same_numbers(explained) -> None:
    made, summary = explained
    rows = table(made, "attention")
    assert {(t["trial"], t["map"]) for t in summary["phone_tests"]} == {
        (r["trial"], r["map"]) for r in rows
    }
    for test in summary["phone_tests"]:
        own = [r for r in rows if (r["trial"], r["map"]) == (test["trial"], test["map"])]
        excess = [
            r["mass_vowel"] / (r["mass_vowel"] + r["mass_consonant"])
            - r["frames_vowel"] / (r["frames_vowel"] + r["frames_consonant"])
            for r in own
        ]
        assert test["excess"] == pytest.approx(np.mean(excess), abs=1e-12)
        assert test["num_groups"] == 3  # sentences
        assert 0 < test["p_value"] <= 1


def test_errors_come_first_and_the_surest_of_them_first(explained) -> None:
    made, summary = explained
    best = max(summary["trials"], key=lambda t: (t["dev_uar"], -t["trial"]))
    assert summary["ranked_by"] == best["trial"]
    listed = summary["confident_errors"]
    assert all(entry["prediction"] != entry["truth"] for entry in listed)
    confidence = [entry["confidence"] for entry in listed]
    assert confidence == sorted(confidence, reverse=True)
    assert summary["shown"] == [entry["utterance_id"] for entry in listed[:4]]
    rows = RunDirectory(made.run).read_posteriors(best["trial"]).to_pylist()
    (row,) = (
        r for r in rows if (r["part"], r["utterance_id"]) == ("test", listed[0]["utterance_id"])
    )
    values = {name: row[f"p_{name}"] for name in summary["classes"]}
    assert listed[0]["prediction"] == max(values, key=values.get)
    assert confidence[0] == pytest.approx(max(values.values()), abs=1e-6)


def test_an_utterance_carries_its_sound_words_phones_and_curves(explained) -> None:
    made, summary = explained
    shown = read_json(made.run / "explanations" / "utterances.json")["utterances"]
    item = shown[0]
    dataset = Dataset.open(made.dataset)
    path = dataset.utterances.column("path")[dataset.row_of[item["utterance_id"]]].as_py()
    there, rate = soundfile.read(made.audio / path, dtype="int16")
    here, found_rate = soundfile.read(
        io.BytesIO(base64.b64decode(item["audio"]["base64"])), dtype="int16"
    )
    assert rate == found_rate == 16_000
    np.testing.assert_array_equal(here, there)
    assert [w[0] for w in item["words"]] == ["cat"]
    assert [(p[0], p[3]) for p in item["phones"]] == [
        ("K", "consonant"),
        ("AA1", "vowel"),
        ("T", "consonant"),
    ]
    picture = item["spectrogram"]
    cells = base64.b64decode(picture["values"])
    assert len(cells) == picture["bands"] * picture["frames"]
    assert max(cells) == 255
    curves = {(c["trial"], c["map"]): c for c in item["curves"]}
    assert set(curves) == MAPS
    whole = curves[0, "layer1"]
    assert np.mean(whole["times_even"]) == pytest.approx(1.0, abs=1e-3)
    assert whole["starts"][:2] == [0.0125, 0.0225]
    assert curves[1, "layer1"]["starts"][0] > 0.02  # trimmed
    tracks = {track["trial"]: track for track in item["tracks"]}
    assert list(tracks) == [0, 1, 2, 3]  # moma, blstmatt, csa, vrnn
    assert tracks[0]["start"] == 0.025
    assert tracks[1]["start"] > 0.045  # trimmed
    for track in tracks.values():
        np.testing.assert_allclose(np.sum(track["posteriors"], axis=0), 1.0, atol=1e-3)
        assert track["segments"][-1][2] <= item["shown"]
    assert item["predictions"][2]["prediction"] in {s[0] for s in tracks[2]["segments"]}
    assert [p["architecture"] for p in item["predictions"]] == [
        t["architecture"] for t in summary["trials"]
    ]


def test_the_sampled_share_is_the_mean_of_the_elements(explained) -> None:
    rows = table(explained[0], "statistics")
    assert len(rows) == 24
    assert {r["trial"] for r in rows} == {3}
    for row in rows:
        assert len(row["elements"]) == 23
        assert np.mean(row["elements"]) == pytest.approx(row["sampled_share"], abs=1e-6)
        assert 0 < row["sampled_share"] < 1
        assert row["num_windows"] > 1


def test_the_last_class_is_the_one_on_record_and_the_curve_ends_at_its_uar(explained) -> None:
    made, summary = explained
    classes = summary["classes"]
    recorded = {
        row["utterance_id"]: max(classes, key=lambda name: row[f"p_{name}"])
        for row in RunDirectory(made.run).read_posteriors(3).to_pylist()
        if row["part"] == "test"
    }
    rows = table(made, "framewise")
    assert {r["trial"] for r in rows} == {3}
    assert {r["utterance_id"]: classes[r["classes"][-1]] for r in rows} == recorded
    for row in rows:
        assert row["ends"] == sorted(row["ends"])
        assert row["ends"][-1] == pytest.approx(1.0)
    right = {name: [] for name in classes}
    for row in rows:
        right[row["truth"]].append(recorded[row["utterance_id"]] == row["truth"])
    (trial,) = (t for t in summary["trials"] if t["trial"] == 3)
    last = trial["heard"][-1]
    assert (last["share"], last["answered"]) == (1.0, 1.0)
    assert last["uar"]["value"] == pytest.approx(np.mean([np.mean(r) for r in right.values()]))


def test_what_is_right_before_the_end_is_a_look_at_test_rows(copied: Path) -> None:
    run = RunDirectory(copied)
    shutil.rmtree(run.looks_directory)

    def explain(*, look: bool) -> bool:
        (trial,) = explain_run(copied, trials=[3], limit=6, audio=False, look=look)["trials"]
        return "heard" in trial

    assert not explain(look=False)
    assert run.looks() == []
    assert explain(look=True)
    assert [list(one["measured"]) for one in run.looks()] == [["over time"]]
    assert explain(look=False)  # it has been looked at
    assert explain(look=True)
    assert len(run.looks()) == 1


def test_what_vrnn_expected_is_measured_on_every_utterance_and_shown_of_some(explained) -> None:
    made, summary = explained
    rows = {r["utterance_id"]: r for r in table(made, "generation")}
    sampled = {r["utterance_id"]: r for r in table(made, "statistics")}
    assert rows.keys() == sampled.keys()
    for name, row in rows.items():
        assert row["num_windows"] == sampled[name]["num_windows"]
        np.testing.assert_allclose(row["sampled"], sampled[name]["elements"], atol=1e-6)
        assert np.mean(row["error"]) == pytest.approx(np.mean(row["error_over_time"]))
    (trial,) = (t for t in summary["trials"] if t["trial"] == 3)
    assert all("generation" not in t for t in summary["trials"] if t["trial"] != 3)
    windows = sum(r["num_windows"] - 1 for r in rows.values())
    assert trial["generation"]["windows"] == windows
    sums = {
        n: sum((r["num_windows"] - 1) * np.mean(r[n]) for r in rows.values())
        for n in ("error", "previous")
    }
    ratio = trial["generation"]["to_previous"]["value"]
    assert ratio == pytest.approx(sums["error"] / sums["previous"])
    shown = read_json(made.run / "explanations" / "utterances.json")["utterances"]
    for item in shown:
        (record,) = item["generated"]
        count = len(record["frames"])
        assert 1 < count <= rows[item["utterance_id"]]["num_windows"]
        error = np.square(np.array(record["frames"])[1:] - np.array(record["predicted"]))
        stored = rows[item["utterance_id"]]["error_over_time"][: count - 1]
        np.testing.assert_allclose(error.mean(axis=1), stored, atol=0.01)


def test_behind_a_projection_a_vrnn_expects_what_the_projection_makes(tmp_path: Path) -> None:
    pooled = {"pooling": "time", "pooling_layout": "sequence", "pooling_segments": 5}
    values = {f"data.{name}": value for name, value in pooled.items()} | {"data.projection": 6}
    made = make_audio_run(tmp_path, trials=[("vrnn", {**TRIALS[3][1], **values})])
    (trial,) = explain_run(made.run)["trials"]
    longest = max(Dataset.open(made.dataset).utterances["duration"].to_pylist())
    assert 0 < trial["latency_utterance_seconds"] <= longest
    for item in read_json(made.run / "explanations" / "utterances.json")["utterances"]:
        (record,) = item["generated"]
        assert len(record["centres"]) == 5
        assert max(record["centres"]) < longest
    rows = table(made, "generation")
    assert {r["utterance_id"] for r in rows} == {
        r["utterance_id"] for r in table(made, "statistics") if r["num_windows"] > 1
    }
    assert {len(r["error"]) for r in rows} == {6}
    assert all(r["unit"] is None for r in rows)
    # in standard deviations of the training frames the mean is about 1 off
    assert 0.5 < np.mean([np.mean(r["mean"]) for r in rows]) < 2
    assert trial["generation"]["utterances"] == len(rows)


def test_embeddings_are_of_one_fold(explained) -> None:
    made, summary = explained
    rows = table(made, "embeddings")
    assert {r["fold"] for r in rows} == {0}
    kinds = {t["architecture"]: t["embedding"]["vectors"] for t in summary["trials"]}
    # csa classifies chunks, so no vector stands for an utterance
    assert kinds == {
        "moma": "penultimate",
        "blstmatt": "penultimate",
        "csa": "log_posteriors",
        "vrnn": "penultimate",
    }
    assert {t["embedding"]["dim"] for t in summary["trials"]} == {8, 3, 4}


def test_named_utterances_are_shown_and_limits_kept(explained, tmp_path: Path) -> None:
    made, _ = explained
    run = tmp_path / "run"
    shutil.copytree(made.run, run)
    ids = Dataset.open(made.dataset).utterance_ids
    found = explain_run(run, utterances=[ids[3], ids[20]], trials=[2], limit=6, audio=False)
    assert found["shown"] == [ids[3], ids[20]]
    assert found["chosen_by"] == "user"
    assert found["audio"] == 0
    assert found["asked"] == 6
    assert [t["trial"] for t in found["trials"]] == [2]
    shown = read_json(run / "explanations" / "utterances.json")["utterances"]
    assert all(item["audio"] is None and item["spectrogram"] for item in shown)


def test_unknown_utterances_are_all_named_with_the_nearest(explained) -> None:
    made, _ = explained
    near = Dataset.open(made.dataset).utterance_ids[0]
    with pytest.raises(BadInputError, match="no such utterance") as caught:
        explain_run(made.run, utterances=[near + "x", "nothing like it"])
    assert len(caught.value.faults) == 2
    assert f"did you mean '{near}'?" in caught.value.faults[0]


def test_only_finished_trials_are_explained(explained) -> None:
    with pytest.raises(BadInputError, match=r"trial 9: no such trial"):
        explain_run(explained[0].run, trials=[0, 9])


def test_another_dataset_is_refused(explained, copied: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(explained[0].dataset, other)
    meta = read_json(other / "dataset.json")
    write_json(other / "dataset.json", meta | {"fingerprint": "0" * 64})
    with pytest.raises(ArtifactError, match=r"is not the one that .* was trained on"):
        explain_run(copied, dataset=other)
    with pytest.raises(ArtifactError, match="not there any more; say where it lies"):
        explain_run(copied, dataset=tmp_path / "gone")
    assert not (copied / "explanations").exists()


def test_models_that_answer_otherwise_than_on_record_are_refused(copied: Path) -> None:
    directory = RunDirectory(copied)
    first, second = (directory.model_directory(0, fold) for fold in (0, 1))
    shutil.rmtree(first)
    shutil.copytree(second, first)  # a whole model, of the other fold
    with pytest.raises(ArtifactError, match="differ from those on record"):
        explain_run(copied, trials=[0])


def test_missing_sound_is_said_and_the_stored_feature_drawn(explained, tmp_path: Path) -> None:
    made, _ = explained
    run, dataset = tmp_path / "run", tmp_path / "data"
    shutil.copytree(made.run, run)
    shutil.copytree(made.dataset, dataset)
    meta = read_json(dataset / "dataset.json")
    meta["request"]["root"] = str(tmp_path / "nowhere")
    write_json(dataset / "dataset.json", meta)
    found = explain_run(run, dataset=dataset, trials=[0], most=1)
    (item,) = read_json(run / "explanations" / "utterances.json")["utterances"]
    assert found["audio"] == 0
    assert item["audio"] is None
    assert item["audio_fault"].endswith("no such file")
    assert item["spectrogram"]["bands"] == 23


def test_phones_that_lie_elsewhere_than_the_sound_are_left_out(explained, tmp_path: Path) -> None:
    made, _ = explained
    run, dataset = tmp_path / "run", tmp_path / "data"
    shutil.copytree(made.run, run)
    shutil.copytree(made.dataset, dataset)
    table = pq.read_table(dataset / "alignment.parquet")
    lost = Dataset.open(dataset).utterance_ids[5]
    rows = table.to_pylist()
    for entry in rows:
        if entry["utterance_id"] == lost and entry["tier"] == "phone":
            entry["start"], entry["end"] = entry["start"] / 10, entry["end"] / 10
    write_parquet(
        dataset / "alignment.parquet", pa.Table.from_pylist(rows, schema=ALIGNMENT_SCHEMA)
    )
    found = explain_run(run, dataset=dataset, trials=[0], utterances=[lost])
    assert found["phones"]["misaligned"] == 1
    assert {test["num_utterances"] for test in found["phone_tests"]} == {23}
    (item,) = read_json(run / "explanations" / "utterances.json")["utterances"]
    assert item["misaligned"] is True
    kept = pq.read_table(run / "explanations" / "attention.parquet").to_pylist()
    assert {r["utterance_id"] for r in kept if r["mass_vowel"] is None} == {lost}


def test_a_corpus_without_phones_has_no_phone_tests(explained, tmp_path: Path) -> None:
    made, _ = explained
    run, dataset = tmp_path / "run", tmp_path / "data"
    shutil.copytree(made.run, run)
    shutil.copytree(made.dataset, dataset)
    write_parquet(dataset / "alignment.parquet", ALIGNMENT_SCHEMA.empty_table())
    found = explain_run(run, dataset=dataset, trials=[0])
    assert found["phones"] is None
    assert found["phone_tests"] == []
    rows = pq.read_table(run / "explanations" / "attention.parquet").to_pylist()
    assert {r["mass_vowel"] for r in rows} == {None}
    assert all(r["spread"] > 0 for r in rows)


def test_right_answers_stand_beside_the_errors(explained, copied: Path) -> None:
    summary = explain_run(copied, most=1, hits=2, limit=6, audio=False)
    rows = {
        row["utterance_id"]: row
        for row in RunDirectory(copied).read_posteriors(summary["ranked_by"]).to_pylist()
        if row["part"] == "test"
    }
    right = []
    for name in summary["shown"]:
        values = {c: rows[name][f"p_{c}"] for c in summary["classes"]}
        right.append(max(values, key=values.get) == rows[name]["truth"])
    assert right == [False, True, True]


def test_a_spent_budget_asks_the_best_trial_about_one_fold(explained, copied: Path) -> None:
    summary = explain_run(copied, most=2, audio=False, budget=0.0)
    (trial,) = summary["trials"]
    assert trial["trial"] == summary["ranked_by"]
    assert trial["folds"] == 1
    every = {t["trial"] for t in explained[1]["trials"]}
    assert set(summary["out_of_time"]) == every - {trial["trial"]}
    shown = read_json(copied / "explanations" / "utterances.json")["utterances"]
    assert 1 <= len(shown) <= 2
    assert all(item["predictions"] for item in shown)


def test_time_enough_changes_nothing(explained, copied: Path) -> None:
    made, summary = explained
    again = explain_run(copied, budget=600.0)
    assert again["out_of_time"] == []
    for key in ("asked", "shown", "confident_errors"):
        assert again[key] == summary[key]
    for name in ("attention", "statistics", "embeddings"):
        ours = pq.read_table(copied / "explanations" / f"{name}.parquet").to_pylist()
        order = lambda r: (r["trial"], r["fold"], r["utterance_id"], str(r.get("map")))  # noqa: E731
        assert len(ours) == len(table(made, name))
        for one, other in zip(
            sorted(ours, key=order), sorted(table(made, name), key=order), strict=True
        ):
            assert one["utterance_id"] == other["utterance_id"]


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"synthetic": True, "licence": "none needed"}, True),
        ({"synthetic": False, "licence": "CC0 1.0"}, True),
        ({"synthetic": False, "licence": "CC BY-NC-SA 4.0"}, False),
        ({"synthetic": False, "licence": "own licence, for research, on request"}, False),
        ({}, False),
    ],
)
def test_sound_is_passed_on_without_asking_only_where_nothing_is_asked(meta, expected) -> None:
    assert may_embed(meta) is expected


def test_attention_by_phone_agrees_with_that_by_class(explained) -> None:
    made, summary = explained
    record = read_json(made.run / "explanations" / "attention_by_label.json")
    assert "attention_by_label.csv" in summary["files"]
    assert {(m["trial"], m["map"], m["tier"]) for m in record["maps"]} == {
        (*key, "phone")
        for key in MAPS  # a single word, "cat", says nothing
    }
    rows = table(made, "attention")
    for found in record["maps"]:
        vowels = {x["label"]: x for x in found["labels"]}["AA"]  # the only one
        for emotion, mean in vowels["emotions"].items():
            own = [
                r["mass_vowel"]
                / (r["mass_vowel"] + r["mass_consonant"])
                * (r["frames_vowel"] + r["frames_consonant"])
                / r["frames_vowel"]
                for r in rows
                if (r["trial"], r["map"], r["truth"]) == (found["trial"], found["map"], emotion)
            ]
            assert mean["value"] == pytest.approx(np.mean(own), abs=1e-6)
            assert mean["utterances"] == len(own)
        assert set(vowels["emotions"]) == set(summary["classes"])
