"""Words by a local Whisper: a model that says a known sentence at known times, and refusals."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest

from serplatform.alignment import whisper
from serplatform.alignment.base import Alignment, AlignmentError, get_aligner
from serplatform.corpora.base import Utterance
from serplatform.encoders.speech_recognizer import monotone_path
from serplatform.errors import BadInputError
from tests.support.speaking_whisper import expected, noise, speaking_whisper
from tests.support.tiny_encoders import edit_json, tiny_hubert

pytest.importorskip("transformers", reason="the extra 'pretrained' is not installed")

TEXT = "kids are talking by the door"
WORDS = TEXT.split()
CLIP = noise(0.3 * (len(WORDS) + 1))


@pytest.fixture(scope="module")
def polyglot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speaking_whisper(tmp_path_factory.mktemp("w") / "tiny", TEXT)


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speaking_whisper(tmp_path_factory.mktemp("w") / "tiny.en", TEXT, languages=False)


def utterance(text: str | None = None, language: str | None = "en") -> Utterance:
    return Utterance(
        utterance_id="u", path=Path("u.wav"), speaker_id="s", emotion="sad", text=text,
        language=language,
    )  # fmt: skip


def align(model: Path, asked: Utterance, samples: np.ndarray = CLIP, name: str = "whisper"):
    aligner = get_aligner(f"{name}:{model}")
    assert aligner is not None
    aligner.check([asked])
    return aligner.align(asked, samples, 16_000)


def words(found: Alignment) -> list[tuple[str, float, float]]:
    return [(span.label, span.start, span.end) for span in found.spans]


@pytest.mark.parametrize("language", ["Polish", "pol", "pl-PL"])
def test_words_are_recognized_with_the_times_where_the_head_looks(polyglot, language):
    found = align(polyglot, utterance(language=language))
    assert words(found) == expected(WORDS)
    assert (found.source, found.notes) == ("whisper-recognized", ())


def test_a_transcript_is_aligned_and_its_noises_are_no_words(polyglot):
    found = align(polyglot, utterance(TEXT))
    assert (words(found), found.source) == (expected(WORDS), "whisper")
    marked = words(align(polyglot, utterance(TEXT.replace("by", "[laughs] by"))))
    assert [word for word, _, _ in marked] == WORDS
    assert marked[:3] == expected(WORDS[:3])


def test_recognition_may_be_asked_for_whatever_the_transcript_says(polyglot):
    found = align(polyglot, utterance("other words"), name="whisper-asr")
    assert (words(found), found.source) == (expected(WORDS), "whisper-recognized")


def test_silence_around_the_speech_belongs_to_no_word(polyglot):
    silence = np.zeros(16_000, np.float32)
    found = align(polyglot, utterance(TEXT), np.concatenate([silence, CLIP, silence]))
    assert words(found)[0][1] == pytest.approx(0.95, abs=0.06)
    assert words(found)[-1][2] < 1.0 + len(CLIP) / 16_000


def test_a_language_that_is_not_given_is_detected_and_said(polyglot, english):
    assert align(polyglot, utterance(language=None)).notes == (
        "language not given, recognized as pl",
    )
    found = align(english, utterance(language=None))
    assert (words(found), found.notes) == (expected(WORDS), (whisper.NOTE_ENGLISH,))


def test_speech_longer_than_the_window_is_recognized_in_pieces(polyglot):
    samples = noise(40)
    samples[24 * 16_000 : 24 * 16_000 + 1600] = 0.01  # the quietest place
    found = align(polyglot, utterance(), samples)
    assert whisper.NOTE_PIECES in found.notes
    assert [word for word, _, _ in words(found)] == WORDS * 2
    starts = [start for _, start, _ in words(found)]
    assert starts == sorted(starts)
    assert starts[len(WORDS)] == pytest.approx(24.05, abs=0.06)
    with pytest.raises(AlignmentError, match="speech too long for a transcript"):
        align(polyglot, utterance(TEXT), samples)


def test_what_cannot_be_believed_or_placed_is_not_aligned(polyglot, tmp_path):
    cases = [
        (polyglot, utterance("word " * 90), CLIP, "too long for the audio"),
        (polyglot, utterance("[laughs]"), CLIP, "no words in the transcript"),
        (polyglot, utterance(), np.zeros_like(CLIP), "silent audio"),
        (polyglot, utterance(language="Klingon"), CLIP, "does not know"),
        (speaking_whisper(tmp_path / "loop", "na " * 30), utterance(), noise(12), "repeats itself"),
        (speaking_whisper(tmp_path / "doubt", TEXT, doubts=True), utterance(), CLIP, "no speech"),
    ]
    for model, asked, samples, reason in cases:
        aligner = get_aligner(f"whisper:{model}")
        with pytest.raises(AlignmentError, match=reason):
            aligner.align(asked, samples, 16_000)


def test_a_corpus_in_languages_that_the_model_does_not_know_is_refused(polyglot, english):
    for model, language, message in (
        (english, "pl", "is for English, and the corpus is in: pl; give a multilingual one"),
        (polyglot, "Klingon", "knows 2 languages, and not these"),
    ):
        with pytest.raises(BadInputError, match=message):
            get_aligner(f"whisper:{model}").check([utterance(language=language)])


def no_heads(model: Path) -> None:
    edit_json(model / "generation_config.json", alignment_heads=None)


def wrong_head(model: Path) -> None:
    edit_json(model / "generation_config.json", alignment_heads=[[0, 0], [7, 1]])


def no_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()


def no_generation(model: Path) -> None:
    (model / "generation_config.json").unlink()


def no_decoder(model: Path) -> None:
    from safetensors.numpy import load_file, save_file

    file = model / "model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if ".encoder." in k}, file)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_heads, "generation_config.json: lacks alignment_heads, without which"),
        (wrong_head, "head 1 of layer 7, and the decoder has 1 layers of 1 heads"),
        (no_tokenizer, "lacks tokenizer.json, which holds its pieces of words"),
        (no_generation, "lacks generation_config.json"),
        (no_decoder, "encoder without its decoder.* give the whole Whisper"),
    ],
)
def test_a_model_that_gives_no_words_is_refused_at_once(english, tmp_path, damage, message):
    model = Path(shutil.copytree(english, tmp_path / "model"))
    damage(model)
    with pytest.raises(BadInputError, match=message):
        get_aligner(f"whisper:{model}")


def test_what_is_no_whisper_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="no such directory"):
        get_aligner(f"whisper:{tmp_path / 'gone'}")
    with pytest.raises(BadInputError, match="of type 'hubert', and only a Whisper"):
        get_aligner(f"whisper:{tiny_hubert(tmp_path / 'hubert')}")
    with pytest.raises(BadInputError, match=r"needs the directory of a model.*whisper:DIR"):
        get_aligner("whisper")
    with pytest.raises(BadInputError, match="equal has no model; leave ':x' out"):
        get_aligner("equal:x")


@pytest.mark.parametrize("seed", range(5))
def test_the_path_is_the_best_of_all_divisions(seed):
    weights = np.random.default_rng(seed).normal(size=(4, 9))

    def total(starts: tuple[int, ...]) -> float:
        edges = [0, *starts, 9]
        return sum(weights[i, a:b].sum() for i, (a, b) in enumerate(itertools.pairwise(edges)))

    best = max(itertools.combinations(range(1, 9), 3), key=total)
    assert monotone_path(weights).tolist() == [0, *best]


def test_characters_are_words_where_the_script_has_no_blanks(tmp_path):
    model = speaking_whisper(tmp_path / "zh", "我们爱你")
    found = align(model, utterance(), noise(3.0))
    assert "".join(word for word, _, _ in words(found)) == "我们爱你"
    assert all(end > start for _, start, end in words(found))
