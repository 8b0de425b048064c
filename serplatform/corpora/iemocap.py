"""IEMOCAP: Interactive Emotional Dyadic Motion Capture database, in the layout of its release.

``SessionN/dialog/EmoEvaluation/<dialog>.txt`` holds the consensus labels (only the top level:
its sub-folders hold single raters), ``dialog/transcriptions`` the texts,
``sentences/wav/<dialog>`` the audio and ``sentences/ForcedAlignment/<dialog>`` word spans.

The speaker is the session and the first letter of the *last* field of the utterance id: the
prefix of ``Ses01F_impro01_M003`` says who wore the motion-capture markers, and session 1's
man is speaking.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from serplatform.corpora.base import CORPORA, Corpus, Manifest, RejectedUtterance, Utterance
from serplatform.corpora.validate import generic_protocol
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

    name = "iemocap"
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

    def scan(self, source: Path) -> Manifest:
        """List the labelled utterances; see the base class.

        Raises:
            BadInputError: the directory is missing or holds no session, or a session lacks
                its labels or its audio; every such folder is named.
        """
        sessions = _sessions(source)
        faults = [
            f"{session / part}: no such directory"
            for session in sessions
            for part in ("dialog/EmoEvaluation", "sentences/wav")
            if not (session / part).is_dir()
        ]
        if faults:
            raise BadInputError(
                f"{source}: is not complete; unpack the release again ({len(faults)} fault(s)):",
                faults,
            )
        found = _Found()
        for session in sessions:
            _scan_session(session, found)
        if not found.utterances and not found.rejections:
            raise BadInputError(
                f"{source}: the EmoEvaluation files hold no line such as "
                "'[6.2901 - 8.2357]<TAB>Ses01F_impro01_F000<TAB>neu<TAB>[2.5, 2.5, 2.5]'"
            )
        return Manifest(
            utterances=tuple(found.utterances),
            rejections=tuple(found.rejections),
            notes=tuple(found.notes(len(sessions))),
        )

    def choose_protocol(self, utterances: Sequence[Utterance]) -> str:
        """The five sessions where three or more are there."""
        sessions = {u.session for u in utterances}
        return self.default_protocol if len(sessions) >= 3 else generic_protocol(utterances)


class _Found:
    """What the scan has seen so far."""

    def __init__(self) -> None:
        self.utterances: list[Utterance] = []
        self.rejections: list[RejectedUtterance] = []
        self.seen: set[str] = set()
        self.labels: Counter[str] = Counter()
        self.unaligned: list[str] = []
        self.untranscribed: list[str] = []
        self.resource_forks = 0
        self.latin1_files = 0

    def reject(self, utterance_id: str, path: Path, reason: str) -> None:
        self.rejections.append(
            RejectedUtterance(utterance_id=utterance_id, path=str(path), reason=reason)
        )

    def notes(self, num_sessions: int) -> list[str]:
        notes = []
        total = sum(self.labels.values())
        listed = ", ".join(f"{label} {count}" for label, count in self.labels.most_common())
        notes.append(f"{total} labelled utterances: {listed}")
        if total != _LABELLED:
            notes.append(
                f"the complete release has {_LABELLED} labelled utterances in 5 sessions, "
                f"{num_sessions} session(s) are here"
            )
        if self.labels[_NO_MAJORITY]:
            notes.append(
                f"{self.labels[_NO_MAJORITY]} utterances without majority label (xxx) are left out"
            )
        if self.unaligned:
            notes.append(
                f"{len(self.unaligned)} labelled utterances have no forced alignment (.wdseg): "
                + _some(self.unaligned)
            )
        if self.untranscribed:
            notes.append(
                f"{len(self.untranscribed)} utterances have no transcript: "
                + _some(self.untranscribed)
            )
        if self.latin1_files:
            notes.append(f"{self.latin1_files} file(s) are not UTF-8 and were read as Latin-1")
        if self.resource_forks:
            notes.append(
                f"{self.resource_forks} '._' files of macOS are not audio and were ignored"
            )
        return notes


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


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


def _visible(folder: Path, pattern: str, found: _Found) -> list[Path]:
    """Files of a folder in order; ``._`` files of macOS are counted and left out."""
    paths = sorted(folder.glob(pattern)) if folder.is_dir() else []
    hidden = [p for p in paths if p.name.startswith("._")]
    found.resource_forks += len(hidden)
    return [p for p in paths if not p.name.startswith(".")]


def _lines(path: Path, found: _Found) -> list[str]:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        found.latin1_files += 1
        return content.decode("latin-1").splitlines()


def _scan_session(session: Path, found: _Found) -> None:
    texts: dict[str, str] = {}
    for path in _visible(session / "dialog" / "transcriptions", "*.txt", found):
        texts.update(_transcripts(_lines(path, found)))
    wav = session / "sentences" / "wav"
    audio = {p.stem: p for d in sorted(wav.iterdir()) for p in _visible(d, "*.wav", found)}
    aligned_root = session / "sentences" / "ForcedAlignment"
    aligned = {
        p.stem
        for d in (sorted(aligned_root.iterdir()) if aligned_root.is_dir() else ())
        for p in _visible(d, "*.wdseg", found)
    }
    labelled: set[str] = set()
    for path in _visible(session / "dialog" / "EmoEvaluation", "*.txt", found):
        for number, line in enumerate(_lines(path, found), start=1):
            if not line.startswith("["):
                continue  # the title, a rater's line (whose ratings may be empty) or blank
            match = _HEAD.fullmatch(line)
            if match is None:
                found.reject(f"{path.stem}:{number}", path, f"line {number} is not a label line")
                continue
            labelled.add(match["id"])
            _add(match, path.stem, audio, texts, aligned if aligned_root.is_dir() else None, found)
    for name in sorted(audio.keys() - labelled):
        found.reject(name, audio[name], "audio without a label in EmoEvaluation")


def _transcripts(lines: Sequence[str]) -> dict[str, str]:
    """Texts by utterance id: ``Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.``

    Example:
        >>> _transcripts(["Ses01F_impro01_F000 [006.2-008.2]: At 5:30.", "F: [BREATHING]"])
        {'Ses01F_impro01_F000': 'At 5:30.'}
    """
    texts: dict[str, str] = {}
    for line in lines:
        head, colon, text = line.partition(":")
        name = head.split()[0] if head.split() else ""
        if line.startswith("Ses") and "XX" not in name and colon and text.strip():
            texts[name] = text.strip()
    return texts


def _add(
    match: re.Match[str],
    dialog: str,
    audio: dict[str, Path],
    texts: dict[str, str],
    aligned: set[str] | None,
    found: _Found,
) -> None:
    name, label = match["id"], match["label"].lower()
    expected = Path("sentences") / "wav" / dialog / f"{name}.wav"
    parts = _UTTERANCE.fullmatch(name)
    if parts is None:
        found.reject(name, expected, "not an utterance id of IEMOCAP")
        return
    if name in found.seen:
        found.reject(name, expected, "labelled twice; the first label is kept")
        return
    found.seen.add(name)
    found.labels[label] += 1
    if aligned is not None and name not in aligned:
        found.unaligned.append(name)
    if label == _NO_MAJORITY:
        found.reject(name, audio.get(name, expected), "the raters had no majority label (xxx)")
    elif label not in _EMOTIONS:
        found.reject(name, audio.get(name, expected), f"unknown label '{label}'")
    elif name not in audio:
        found.reject(name, expected, "no audio file")
    else:
        if name not in texts:
            found.untranscribed.append(name)
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
        found.utterances.append(
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
