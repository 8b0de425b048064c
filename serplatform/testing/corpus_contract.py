"""What every corpus must keep; a registered corpus gets these tests by existing.

The tests run on a miniature copy that the corpus itself declares (``examples``, ``example_texts``
and ``example_source`` of :class:`~serplatform.corpora.base.Corpus`). Use it in a test module::

    @pytest.mark.parametrize("name", CORPORA.names())
    class TestCorpora(CorpusContract):
        pass
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serplatform.corpora.audio import AUDIO_SUFFIXES
from serplatform.corpora.base import CORPORA, Corpus, Manifest, generic_protocol
from serplatform.corpora.validate import validate
from serplatform.errors import BadInputError
from serplatform.features.base import FEATURES
from serplatform.features.extract import extract_shard
from serplatform.labels import is_known, is_missing
from serplatform.protocols.base import PROTOCOLS

_SHOWN = ("title", "licence", "size", "obtain", "default_protocol")
_RENDERED = 4  # utterances of a synthetic corpus that are made


def build_miniature(corpus: type[Corpus], folder: Path) -> Path:
    """Write a corpus's miniature copy, half a second of noise per file; what ``scan`` is given."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in corpus.example_texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for number, name in enumerate(corpus.examples):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        samples = 0.1 * np.random.default_rng(number).standard_normal(8_000)
        soundfile.write(folder / name, np.clip(samples, -1.0, 1.0), 16_000)
    corpus.write_example(folder)
    return folder / corpus.example_source


class CorpusContract:
    """Tests of one corpus, whose registered ``name`` each test is given."""

    def scanned(self, name: str, folder: Path) -> tuple[Corpus, Path, Manifest]:
        """The corpus, the source of its miniature copy, and what it lists there."""
        source = build_miniature(CORPORA.get(name), folder / "miniature")
        corpus = CORPORA.get(name)()
        return corpus, source, corpus.scan(source)

    def test_it_says_what_it_is(self, name: str) -> None:
        corpus = CORPORA.get(name)
        assert corpus.name == name
        assert all(getattr(corpus, attribute) for attribute in _SHOWN)
        PROTOCOLS.get(corpus.default_protocol.partition(":")[0])
        assert all(is_known(label) for label in corpus.classes or ())
        if corpus.needs_source:
            assert len(corpus.examples) >= 2, "declare a few example paths"
            assert all(Path(path).suffix.lower() in AUDIO_SUFFIXES for path in corpus.examples)

    def test_every_example_is_an_utterance(self, name: str, tmp_path: Path) -> None:
        corpus, _, manifest = self.scanned(name, tmp_path)
        assert manifest.utterances, "nothing is listed"
        if corpus.needs_source:
            assert manifest.rejections == (), "an example is rejected"
            expected = {tmp_path / "miniature" / path for path in corpus.examples}
            assert {u.path for u in manifest.utterances} == expected, "an example is not listed"

    def test_utterances_have_unique_ids_speakers_and_known_labels(
        self, name: str, tmp_path: Path
    ) -> None:
        corpus, _, manifest = self.scanned(name, tmp_path)
        kept = validate(manifest)
        assert len(kept.utterances) == len(manifest.utterances), kept.rejections[:3]
        ids = [utterance.utterance_id for utterance in manifest.utterances]
        assert len(set(ids)) == len(ids), "an id occurs twice"
        assert all(ids), "an id is empty"
        for utterance in kept.utterances:
            where = utterance.utterance_id
            assert not is_missing(utterance.speaker_id), f"{where} has no speaker"
            assert is_known(utterance.emotion) or corpus.classes is None, utterance.emotion
            assert corpus.classes is None or utterance.emotion in corpus.classes, utterance.emotion
            assert utterance.gender in (None, "female", "male"), utterance.gender
            assert utterance.language or corpus.is_format, f"{where} has no language"
            assert all(isinstance(v, str) for v in utterance.extra.values()), (
                f"{where}: {utterance}"
            )
        assert len({u.emotion for u in kept.utterances}) >= 2, "show two emotions or more"
        assert len({u.speaker_id for u in kept.utterances}) >= 2, "show two speakers or more"

    def test_listing_twice_gives_the_same(self, name: str, tmp_path: Path) -> None:
        corpus, source, manifest = self.scanned(name, tmp_path)
        assert dataclasses.replace(corpus.scan(source)) == manifest

    def test_what_is_no_clip_is_left_out_by_name(self, name: str, tmp_path: Path) -> None:
        """A foreign recording, a hidden file of macOS, and a text between the clips."""
        corpus, source, manifest = self.scanned(name, tmp_path)
        if not corpus.needs_source or corpus.takes_any_file:
            return
        folder = (tmp_path / "miniature" / corpus.examples[0]).parent
        first = folder / Path(corpus.examples[0]).name
        (folder / f"foreign{first.suffix}").write_bytes(first.read_bytes())
        (folder / f"._{first.name}").write_bytes(b"\0\5\x16\7")
        (folder / "notes.txt").write_text("nothing", encoding="utf-8")
        again = corpus.scan(source)
        assert again.utterances == manifest.utterances
        assert {Path(r.path).name for r in again.rejections} <= {f"foreign{first.suffix}"}
        assert all(r.reason and r.utterance_id for r in again.rejections)

    def test_a_missing_and_an_empty_folder_are_refused(self, name: str, tmp_path: Path) -> None:
        corpus = CORPORA.get(name)()
        if not corpus.needs_source:
            return
        empty = tmp_path / "empty"
        empty.mkdir()
        for folder in (tmp_path / "absent", empty):
            with pytest.raises(BadInputError, match=folder.name):
                corpus.scan(folder)

    def test_the_protocol_that_it_chooses_exists(self, name: str, tmp_path: Path) -> None:
        corpus, _, manifest = self.scanned(name, tmp_path)
        chosen = corpus.choose_protocol(manifest.utterances)
        PROTOCOLS.get(chosen.partition(":")[0])
        assert chosen in (corpus.default_protocol, generic_protocol(manifest.utterances))

    def test_clips_become_features_with_nothing_left_out(self, name: str, tmp_path: Path) -> None:
        corpus, source, manifest = self.scanned(name, tmp_path)
        utterances = validate(manifest).utterances
        utterances = utterances if corpus.needs_source else utterances[:_RENDERED]
        feature = FEATURES.defaults()[0]
        shard = extract_shard(
            utterances,
            {feature: FEATURES.get(feature)()},
            corpus=corpus,
            root=corpus.root(source),
            extra_columns=sorted({key for u in utterances for key in u.extra}),
        )
        assert shard.rejections == []
        assert [row["utterance_id"] for row in shard.rows] == [u.utterance_id for u in utterances]
        assert all(len(frames) for frames in shard.frames[feature])
        assert not any(Path(row["path"]).is_absolute() for row in shard.rows)
