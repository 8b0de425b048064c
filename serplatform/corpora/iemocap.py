"""IEMOCAP: Interactive Emotional Dyadic Motion Capture database, in the layout of its release.

``SessionN/dialog/EmoEvaluation/<dialog>.txt`` holds the consensus labels (its sub-folders hold
single raters), ``dialog/transcriptions`` the texts, ``sentences/wav/<dialog>`` the audio and
``sentences/ForcedAlignment/<dialog>`` word spans. The speaker is the session and the first letter
of the *last* field of the utterance id: the prefix of ``Ses01F_impro01_M003`` says who wore the
motion-capture markers, and session 1's man is speaking.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from serplatform.corpora.base import (
    CORPORA,
    Corpus,
    Manifest,
    RejectedUtterance,
    Utterance,
    first_of,
)
from serplatform.corpora.place import Place
from serplatform.corpora.text_encoding import decode_text
from serplatform.errors import BadInputError

_UTTERANCE = re.compile(r"Ses(0[1-5])[FM]_(impro0[1-8][ab]?|script0[1-3]_[1-3]b?)_([FM])\d{3}")
_HEAD = re.compile(
    r"\[(?P<start>\d+(?:\.\d+)?)\s*-\s*(?P<end>\d+(?:\.\d+)?)\]\t(?P<id>\S+)\t(?P<label>\S+)"
    r"(?:\t\[(?P<dimensions>[^\]]*)\])?\s*"
)
_EMOTIONS = {
    "ang": "angry",
    "hap": "happy",
    "sad": "sad",
    "neu": "neutral",
    "fru": "frustrated",
    "exc": "excited",
    "fea": "fearful",
    "sur": "surprised",
    "dis": "disgust",
    "oth": "other",
}
_NO_MAJORITY = "xxx"
_DIMENSIONS = ("valence", "arousal", "dominance")
_GENDERS = {"F": "female", "M": "male"}
#: labelled utterances of the complete release, without majority included
_LABELLED = 10_039
_MOST_NAMED = 5


@CORPORA.register("iemocap")
class Iemocap(Corpus):
    """Busso et al., Language Resources and Evaluation 42, 2008. Licensed: the user supplies it.

    Every label is kept apart (``excited`` is not ``happy``; protocols merge them). Utterances
    on which the raters had no majority (``xxx``) are left out, with that reason.
    """

    title = "IEMOCAP"
    language = "en"
    licence = "own licence, for research, on request"
    size = "10,039 labelled utterances, 5 sessions of 2 speakers, 12 h, 12 GB"
    obtain = "https://sail.usc.edu/iemocap (request form)"
    default_protocol = "iem4-session-5fold"
    examples = (
        "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav",
        "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M000.wav",
    )
    example_texts: ClassVar[Mapping[str, str]] = {
        "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt": "% [START - END] TURN EMOTION\n\n"
        "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]\n"
        "[8.5000 - 9.5000]\tSes01F_impro01_M000\texc\t[4.0000, 4.0000, 3.5000]\n",
    }

    @classmethod
    def recognise(cls, place: Place) -> str:
        """By its folders of consensus labels."""
        pattern = re.compile(r"(.*/)?Session[1-5]/dialog/EmoEvaluation/Ses0[^/]*\.txt")
        found = sum(pattern.fullmatch(str(file)) is not None for file in place.files)
        return f"{found} files Session…/dialog/EmoEvaluation/*.txt are in it" if found else ""

    def scan(self, source: Path) -> Manifest:
        sessions = _sessions(source)
        errors = [
            f"{session / part}: no such directory"
            for session in sessions
            for part in ("dialog/EmoEvaluation", "sentences/wav")
            if not (session / part).is_dir()
        ]
        if errors:
            raise BadInputError(
                f"{source}: is not complete; unpack the release again ({len(errors)} error(s)):",
                errors,
            )
        release = _Release(sessions)
        if not release.utterances and not release.rejections:
            raise BadInputError(
                f"{source}: the EmoEvaluation files hold no line such as "
                "'[6.2901 - 8.2357]<TAB>Ses01F_impro01_F000<TAB>neu<TAB>[2.5, 2.5, 2.5]'"
            )
        return Manifest(
            utterances=tuple(release.utterances),
            rejections=tuple(release.rejections),
            notes=tuple(release.notes(len(sessions))),
        )

    def suits_default(self, utterances: Sequence[Utterance]) -> bool:
        """Where three or more of the five sessions are there."""
        return len({u.session for u in utterances}) >= 3


class _Release:
    """What the sessions hold."""

    def __init__(self, sessions: Sequence[Path]) -> None:
        self.utterances: list[Utterance] = []
        self.rejections: list[RejectedUtterance] = []
        self.seen: set[str] = set()
        self.labels: Counter[str] = Counter()
        self.unaligned: list[str] = []
        self.resource_forks = 0
        self.not_utf8 = 0
        for session in sessions:
            self._scan(session)

    def notes(self, num_sessions: int) -> list[str]:
        """Sentences on labels, and on what is missing or odd."""
        total = sum(self.labels.values())
        listed = ", ".join(f"{label} {count}" for label, count in self.labels.most_common())
        without = self.labels[_NO_MAJORITY]
        untranscribed = [u.utterance_id for u in self.utterances if u.text is None]
        said = {
            f"{total} labelled utterances: {listed}": True,
            f"the complete release has {_LABELLED} labelled utterances in 5 sessions, "
            f"{num_sessions} session(s) are here": total != _LABELLED,
            f"{without} utterances without majority label (xxx) are left out": without,
            f"{len(self.unaligned)} labelled utterances have no forced alignment (.wdseg): "
            + first_of(self.unaligned, _MOST_NAMED): self.unaligned,
            f"{len(untranscribed)} utterances have no transcript: "
            + first_of(untranscribed, _MOST_NAMED): untranscribed,
            f"{self.not_utf8} file(s) are not UTF-8 and were read as Windows-1252": self.not_utf8,
            f"{self.resource_forks} '._' files of macOS are not audio and were "
            "ignored": self.resource_forks,
        }
        return [note for note, holds in said.items() if holds]

    def _scan(self, session: Path) -> None:
        texts: dict[str, str] = {}
        for path in self._visible(session / "dialog" / "transcriptions", "*.txt"):
            texts.update(_transcripts(self._lines(path)))
        audio = {p.stem: p for p in self._visible(session / "sentences" / "wav", "*/*.wav")}
        aligned_root = session / "sentences" / "ForcedAlignment"
        aligned = {p.stem for p in self._visible(aligned_root, "*/*.wdseg")}
        labelled: set[str] = set()
        for path in self._visible(session / "dialog" / "EmoEvaluation", "*.txt"):
            for number, line in enumerate(self._lines(path), start=1):
                if not line.startswith("["):
                    continue  # the title, a rater's line (whose ratings may be empty) or blank
                match = _HEAD.fullmatch(line)
                if match is None:
                    self._reject(
                        f"{path.stem}:{number}", path, f"line {number} is not a label line"
                    )
                    continue
                labelled.add(match["id"])
                self._add(
                    match, path.stem, audio, texts, aligned if aligned_root.is_dir() else None
                )
        for name in sorted(audio.keys() - labelled):
            self._reject(name, audio[name], "audio without a label in EmoEvaluation")

    def _visible(self, folder: Path, pattern: str) -> list[Path]:
        """Files below a folder in order; ``._`` files of macOS are counted and left out."""
        paths = sorted(folder.glob(pattern))
        self.resource_forks += sum(path.name.startswith("._") for path in paths)
        return [path for path in paths if not path.name.startswith(".")]

    def _lines(self, path: Path) -> list[str]:
        text, encoding = decode_text(path.read_bytes())
        self.not_utf8 += not encoding.startswith("utf")
        return text.splitlines()

    def _reject(self, utterance_id: str, path: Path, reason: str) -> None:
        self.rejections.append(RejectedUtterance(utterance_id, str(path), reason))

    def _add(
        self,
        match: re.Match[str],
        dialog: str,
        audio: Mapping[str, Path],
        texts: Mapping[str, str],
        aligned: set[str] | None,
    ) -> None:
        """Take one label line; ``aligned`` is None where the release has no forced alignment."""
        name, label = match["id"], match["label"].lower()
        expected = Path("sentences") / "wav" / dialog / f"{name}.wav"
        parts = _UTTERANCE.fullmatch(name)
        if parts is None:
            self._reject(name, expected, "not an utterance id of IEMOCAP")
            return
        if name in self.seen:
            self._reject(name, expected, "labelled twice; the first label is kept")
            return
        self.seen.add(name)
        self.labels[label] += 1
        if aligned is not None and name not in aligned:
            self.unaligned.append(name)
        if label == _NO_MAJORITY:
            reason = "the raters had no majority label (xxx)"
        else:
            reason = "no audio file" if label in _EMOTIONS else f"unknown label '{label}'"
        if label not in _EMOTIONS or name not in audio:
            self._reject(name, audio.get(name, expected), reason)
            return
        session, scene, letter = parts.groups()
        extra = {
            "dialog": dialog,
            "scenario": "improvised" if scene.startswith("impro") else "scripted",
            "dialog_start": match["start"],
            "dialog_end": match["end"],
        }
        if aligned is not None:
            extra["forced_alignment"] = "yes" if name in aligned else "no"
        values = [value.strip() for value in (match["dimensions"] or "").split(",")]
        extra.update({k: v for k, v in zip(_DIMENSIONS, values, strict=False) if v})
        self.utterances.append(
            Utterance(
                utterance_id=name,
                path=audio[name],
                speaker_id=f"Ses{session}{letter}",
                emotion=_EMOTIONS[label],
                gender=_GENDERS[letter],
                session=str(int(session)),
                text=texts.get(name),
                language="en",
                extra=extra,
            )
        )


def _sessions(source: Path) -> list[Path]:
    if not source.is_dir():
        raise BadInputError(
            f"{source}: no such directory; give the one that holds IEMOCAP's Session1 to Session5"
        )
    for root in (source, *sorted(p for p in source.iterdir() if p.is_dir())):
        sessions = [p for n in range(1, 6) if (p := root / f"Session{n}").is_dir()]
        if sessions:
            return sessions
    raise BadInputError(
        f"{source}: holds no folder Session1 to Session5; give the unpacked IEMOCAP release"
    )


def _transcripts(lines: Sequence[str]) -> dict[str, str]:
    """Texts by utterance id: ``Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.``"""
    texts: dict[str, str] = {}
    for line in lines:
        head, colon, text = line.partition(":")
        name = head.split()[0] if head.split() else ""
        if line.startswith("Ses") and "XX" not in name and colon and text.strip():
            texts[name] = text.strip()
    return texts
