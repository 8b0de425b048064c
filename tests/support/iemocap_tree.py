"""Trees in IEMOCAP's exact layout: a small one with every trap, and an index of full size."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

TITLE = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"

#: labelled utterances of each session
SESSION_TOTALS = (1819, 1811, 2136, 2103, 2170)
#: label → utterances of sessions 1 to 5
BY_SESSION = {
    "neu": (384, 362, 320, 258, 384),
    "hap": (135, 117, 135, 65, 143),
    "exc": (143, 210, 151, 238, 299),
    "ang": (229, 137, 240, 327, 170),
    "sad": (194, 197, 305, 143, 245),
}
#: label → utterances in all sessions, where the sessions are not published
OVERALL = {"xxx": 2507, "fru": 1849, "sur": 107, "fea": 40, "oth": 3, "dis": 2}
SCENES = [f"impro0{n}" for n in range(1, 9)] + [
    "script01_1", "script01_2", "script01_3", "script02_1", "script02_2", "script03_1",
    "script03_2",
]  # fmt: skip
#: two utterances without forced alignment, and the labels that they get here
UNALIGNED = {"Ses03F_impro07_M030": "exc", "Ses03M_impro03_M001": "xxx"}


def head(utterance: str, label: str, start: float = 6.2901, end: float = 8.2357) -> str:
    """A block of EmoEvaluation: head line and rater lines, one with an empty rating."""
    return (
        f"[{start:.4f} - {end:.4f}]\t{utterance}\t{label}\t[2.5000, 2.5000, 0.5000]\n"
        "C-E2:\tNeutral;\t()\nC-E3:\tNeutral; Sadness;\t(not sure)\n"
        "A-E3:\tval 3; act 2; dom  2;\t()\nA-F1:\tval 3; act 2; dom  ;\t()\n\n"
    )


def wdseg(words: list[tuple[int, int, str]]) -> str:
    """The text of a ``.wdseg`` file."""
    rows = "".join(f"{a:5d} {b:5d} {-1000 * (b - a):10d} {word}\n" for a, b, word in words)
    return f"\tSFrm  EFrm    SegAScr Word\n{rows}Total score:     -568189\n"


def put(path: Path, content: str | bytes) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def small_tree(root: Path) -> Path:
    """Session 1 with one dialog and its traps."""
    session = root / "Session1"
    dialog = "Ses01F_impro01"
    blocks = (
        head(f"{dialog}_F000", "neu")
        + head(f"{dialog}_M003", "exc", 10.0, 12.5)
        + head(f"{dialog}_F001", "xxx", 13.0, 14.0)
        + head(f"{dialog}_M004", "fru", 15.0, 16.0)
        + head(f"{dialog}_F002", "foo", 17.0, 18.0)
        + head(f"{dialog}_MXX0", "neu", 19.0, 20.0)
        + head(f"{dialog}_F000", "sad")
        + "[1.0 - oops]\tbroken\n"
    )
    evaluation = session / "dialog" / "EmoEvaluation"
    put(evaluation / f"{dialog}.txt", TITLE + blocks)
    put(evaluation / f"._{dialog}.txt", b"\0\5\x16\7")
    put(evaluation / "Categorical" / f"{dialog}_e2_cat.txt", head(f"{dialog}_F000", "sad"))
    text = (
        f"{dialog}_F000 [006.2901-008.2357]: Excuse me.\n"
        f"{dialog}_M003 [010.0000-012.5000]: At 5:30, déjà vu.\n"
        f"{dialog}_MXX0 [019.0000-020.0000]: Never.\n"
        "F: [BREATHING]\n"
    )
    put(session / "dialog" / "transcriptions" / f"{dialog}.txt", text.encode("latin-1"))
    wav = session / "sentences" / "wav" / dialog
    for name in ("F000", "M003", "F001", "F009"):
        put(wav / f"{dialog}_{name}.wav", b"\1" * 100)
    put(wav / f"._{dialog}_F000.wav", b"\0")
    rows = [(0, 46, "<s>"), (47, 86, "EXCUSE"), (87, 140, "ME(2)"), (141, 193, "</s>")]
    aligned = session / "sentences" / "ForcedAlignment" / dialog
    put(aligned / f"{dialog}_F000.wdseg", wdseg(rows))
    return root


def full_labels() -> dict[str, str]:
    """Label of each of the 10,039 utterance ids."""
    rows: dict[int, list[str]] = {session: [] for session in range(1, 6)}
    for label, counts in BY_SESSION.items():
        for session, count in enumerate(counts, start=1):
            rows[session] += [label] * count
    rest = [label for label, count in OVERALL.items() for _ in range(count)]
    for session, total in enumerate(SESSION_TOTALS, start=1):
        missing = total - len(rows[session])
        rows[session] += rest[:missing]
        rest = rest[missing:]
    assert not rest
    labels = dict(UNALIGNED)
    taken: dict[tuple[str, str], int] = defaultdict(int)
    shares = {"exc": (663, 1041), "xxx": (1, 2), "fru": (1, 2)}
    seen: dict[str, int] = defaultdict(int)
    improvised_dialogs = [s for s in SCENES if s.startswith("impro")]
    scripted_dialogs = [s for s in SCENES if s.startswith("script")]
    pending = list(UNALIGNED.values())
    for session, session_labels in rows.items():
        for number, label in enumerate(session_labels):
            # 2,280 of the 4,490 utterances of four classes are improvised, 663 of 1,041 excited
            group = "four" if label in ("neu", "hap", "ang", "sad") else label
            over, under = shares.get(group, (2280, 4490) if group == "four" else (1, 2))
            improvised = (seen[group] + 1) * over // under > seen[group] * over // under
            seen[group] += 1
            if session == 3 and improvised and label in pending:
                pending.remove(label)  # its place is taken by an id of UNALIGNED
                continue
            scenes = improvised_dialogs if improvised else scripted_dialogs
            dialog = f"Ses0{session}{'FM'[number % 2]}_{scenes[number // 2 % len(scenes)]}"
            if session == 5 and dialog == "Ses05M_script01_1" and number % 4 == 1:
                dialog += "b"
            letter = "FM"[number // 32 % 2]
            while True:
                name = f"{dialog}_{letter}{taken[dialog, letter]:03d}"
                taken[dialog, letter] += 1
                if name not in labels:
                    break
            labels[name] = label
    return labels


def full_tree(root: Path) -> Path:
    """Every labelled utterance of the release, with empty audio and alignment files."""
    dialogs: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, label in full_labels().items():
        dialogs[name.rsplit("_", 1)[0]].append((name, label))
    for dialog, members in dialogs.items():
        session = root / f"Session{int(dialog[3:5])}"
        blocks = "".join(head(name, label) for name, label in members)
        put(session / "dialog" / "EmoEvaluation" / f"{dialog}.txt", TITLE + blocks)
        text = "".join(f"{name} [006.2901-008.2357]: Excuse me.\n" for name, _ in members)
        put(session / "dialog" / "transcriptions" / f"{dialog}.txt", text)
        wav = session / "sentences" / "wav" / dialog
        aligned = session / "sentences" / "ForcedAlignment" / dialog
        wav.mkdir(parents=True)
        aligned.mkdir(parents=True)
        for name, _ in members:
            (wav / f"{name}.wav").touch()
            if name not in UNALIGNED:
                (aligned / f"{name}.wdseg").touch()
    return root
