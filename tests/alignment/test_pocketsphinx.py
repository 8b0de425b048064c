"""PocketSphinx: forced alignment against known word times, refusals, independence of order."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from serplatform.alignment import pocketsphinx as ps
from serplatform.alignment.base import Alignment, AlignmentError, get_aligner
from serplatform.alignment.pocketsphinx import PocketSphinxAligner
from serplatform.alignment.tidy import is_special
from serplatform.corpora.audio import read_audio
from serplatform.corpora.base import CORPORA, Utterance
from serplatform.errors import BadInputError

pytest.importorskip("pocketsphinx", reason="the package pocketsphinx is not installed")

RATE = 16_000


def utterance(text: str | None = None, language: str | None = "en", name: str = "u") -> Utterance:
    return Utterance(
        utterance_id=name,
        path=Path(f"{name}.wav"),
        speaker_id="s",
        emotion="sad",
        text=text,
        language=language,
    )


@pytest.fixture(scope="module")
def aligner() -> PocketSphinxAligner:
    return PocketSphinxAligner()


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Utterance, npt.NDArray]]:
    """Six synthetic clips with their true word times."""
    corpus = CORPORA.get("demo")(utterances=24, speakers=4)
    manifest = corpus.scan(tmp_path_factory.mktemp("demo"))
    clips = [corpus.render(u) for u in manifest.utterances[::4]]
    return [(u, read_audio(u.path).samples) for u in clips]


def words(found: Alignment) -> list[tuple[str, float, float]]:
    return [
        (s.label, s.start, s.end)
        for s in found.spans
        if s.tier == "word" and not is_special(s.label)
    ]


def test_word_starts_are_within_100_ms_of_the_true_ones(
    aligner: PocketSphinxAligner, spoken: list[tuple[Utterance, npt.NDArray]]
) -> None:
    errors = []
    for u, samples in spoken:
        found = iter(words(aligner.align(u, samples, RATE)))
        for span in (s for s in u.spans if s.tier == "word"):
            # espeak-ng reports some pairs ("on the") as one word: pass the second one over
            start = next(start for label, start, _ in found if label == span.label.lower())
            errors.append(abs(start - span.start))
    assert len(errors) >= 20
    assert max(errors) < 0.1
    assert np.mean(np.array(errors) < 0.05) > 0.9


def test_phones_follow_each_other_within_their_words(
    aligner: PocketSphinxAligner, spoken: list[tuple[Utterance, npt.NDArray]]
) -> None:
    u, samples = spoken[0]
    found = aligner.align(u, samples, RATE)
    assert isinstance(found, Alignment)
    assert (found.source, found.notes) == ("pocketsphinx", ())
    phones = [s for s in found.spans if s.tier == "phone"]
    assert len(phones) > len(words(found))
    edges = {round(s.start, 2) for s in phones} | {round(phones[-1].end, 2)}
    assert {round(start, 2) for _, start, _ in words(found)} <= edges
    assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(phones))


def test_alignment_does_not_depend_on_what_came_before(
    spoken: list[tuple[Utterance, npt.NDArray]],
) -> None:
    together = PocketSphinxAligner()
    for u, samples in spoken[:2]:
        aligned = together.align(u, samples, RATE)
        recognized = together.align(utterance(None), samples, RATE)
    alone = PocketSphinxAligner()
    assert recognized == alone.align(utterance(None), samples, RATE)
    assert aligned == alone.align(u, samples, RATE)


def test_without_a_transcript_words_are_recognized(
    aligner: PocketSphinxAligner, spoken: list[tuple[Utterance, npt.NDArray]]
) -> None:
    samples = spoken[0][1]
    found = aligner.align(utterance(None), samples, RATE)
    assert words(found)
    assert isinstance(found, Alignment)
    assert found.source == "pocketsphinx-decoded"
    assert max(s.end for s in found.spans) <= len(samples) / RATE + 1e-6


def test_level_does_not_matter(
    aligner: PocketSphinxAligner, spoken: list[tuple[Utterance, npt.NDArray]]
) -> None:
    u, samples = spoken[0]
    assert words(aligner.align(u, samples, RATE)) == words(aligner.align(u, samples / 512, RATE))


@pytest.mark.parametrize(
    ("text", "reason", "detail"),
    [
        ("", ps.FAIL_NO_TEXT, "''"),
        ("[LAUGHTER]", ps.FAIL_NO_TEXT, "'[LAUGHTER]'"),
        ("Zażółć gęślą jaźń", ps.FAIL_UNKNOWN_ALL, "zażółć gęślą jaźń"),
        ("dogs zzyzxqq", ps.FAIL_UNKNOWN_SOME, "zzyzxqq"),
    ],
)
def test_transcripts_that_cannot_be_aligned_are_named(
    aligner: PocketSphinxAligner, text: str, reason: str, detail: str
) -> None:
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1
    with pytest.raises(AlignmentError) as failed:
        aligner.align(utterance(text), noise, RATE)
    assert failed.value.args == (reason, detail)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(RATE, np.float32), ps.FAIL_SILENT),
        (np.zeros(0, np.float32), ps.FAIL_SHORT),
        (np.ones(800, np.float32), ps.FAIL_SHORT),
    ],
)
def test_audio_that_cannot_be_aligned_is_named(
    aligner: PocketSphinxAligner, samples: npt.NDArray, reason: str
) -> None:
    with pytest.raises(AlignmentError) as failed:
        aligner.align(utterance("dogs"), samples, RATE)
    assert failed.value.reason == reason


def test_more_words_than_the_audio_holds_fail_and_the_next_clip_works(
    aligner: PocketSphinxAligner, spoken: list[tuple[Utterance, npt.NDArray]]
) -> None:
    u, samples = spoken[0]
    with pytest.raises(AlignmentError) as failed:
        aligner.align(utterance("dogs are sitting by the door " * 20), samples, RATE)
    assert failed.value.reason == ps.FAIL_FIT
    assert words(aligner.align(u, samples, RATE))


def test_a_one_word_utterance_is_aligned(
    aligner: PocketSphinxAligner, spoken: list[tuple[Utterance, npt.NDArray]]
) -> None:
    u, samples = spoken[0]
    first = next(s for s in u.spans if s.tier == "word")
    clip = samples[: round((first.end + 0.05) * RATE)]
    assert [w[0] for w in words(aligner.align(utterance(first.label), clip, RATE))] == [
        first.label.lower()
    ]


def test_possessives_of_known_words_are_pronounced(
    aligner: PocketSphinxAligner, spoken: list[tuple[Utterance, npt.NDArray]]
) -> None:
    assert PocketSphinxAligner()._decoder("align").lookup_word("quilt's") is None
    found = aligner.align(utterance("quilt's gate"), spoken[0][1], RATE)
    assert [w[0] for w in words(found)] == ["quilt's", "gate"]


def test_another_language_is_refused_with_the_alternatives(aligner: PocketSphinxAligner) -> None:
    with pytest.raises(BadInputError, match=r"this corpus is in: pl; use --align textgrid"):
        aligner.check([utterance("Dzień dobry", "pl")])
    with pytest.raises(AlignmentError) as failed:
        aligner.align(utterance("hello", "de"), np.ones(RATE, np.float32), RATE)
    assert failed.value.args == (ps.FAIL_LANGUAGE, "de")


def test_an_unnamed_language_is_judged_by_the_dictionary(aligner: PocketSphinxAligner) -> None:
    aligner.check([utterance("Dogs are sitting by the door", None)])
    with pytest.raises(
        BadInputError, match=r"only \d+ of the 6 different words .* a column 'language' \(en\)"
    ):
        aligner.check([utterance("Ile masz lat, Żono? Nie wiem", None)])
    with pytest.raises(BadInputError, match="names neither a language nor a transcript"):
        aligner.check([utterance(None, None)])


def test_a_corpus_that_is_partly_english_is_accepted(aligner: PocketSphinxAligner) -> None:
    aligner.check([utterance("hello", "en-GB"), utterance("hallo", "de")])
    aligner.check([])


def test_it_reads_no_directory(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="reads no files; leave it out"):
        get_aligner("pocketsphinx", tmp_path)


def test_other_rates_are_a_mistake_of_the_caller(aligner: PocketSphinxAligner) -> None:
    with pytest.raises(ValueError, match="16000 Hz, not 8000"):
        aligner.align(utterance("dogs"), np.ones(8000, np.float32), 8000)


@pytest.mark.skipif("SERPLATFORM_RAVDESS" not in os.environ, reason="SERPLATFORM_RAVDESS not set")
def test_real_clips_are_aligned(aligner: PocketSphinxAligner) -> None:
    manifest = CORPORA.get("ravdess")().scan(Path(os.environ["SERPLATFORM_RAVDESS"]))
    for u in manifest.utterances[:: len(manifest.utterances) // 12]:
        found = aligner.align(u, read_audio(u.path).samples, RATE)
        assert [w[0] for w in words(found)] == (u.text or "").split()
