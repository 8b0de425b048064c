"""What a system that normalises by speaker must be given, and what less of it is worth."""

from __future__ import annotations

from collections.abc import Iterator

from serplatform.artifacts.model import WITHIN_SPEAKER, read_model
from serplatform.artifacts.speaker_statistics import (
    SpeakerStatistics,
    curve_words,
    read_speaker_statistics,
    uar_with,
)
from serplatform.prediction.system import PredictionSystem

#: clips of a speaker below which normalisation was measured to give less than none, see
#: benchmarks/results/speaker_statistics.json
FEW_CLIPS = {"speaker": 20, "speaker_shrunk": 5}


def system_curve(system: PredictionSystem) -> SpeakerStatistics | None:
    """What a bundle carries, or the run of the first member that normalises by speaker has.

    Raises:
        ArtifactError: a file is damaged.
    """
    if system.description:
        return system.description.get("speaker_statistics")
    for directory in dict.fromkeys(member.directory for member in system.members):
        model = read_model(directory)
        if model["preprocessing"]["normalization"] in WITHIN_SPEAKER:
            return read_speaker_statistics(directory.parents[2])
    return None


def need_words(curve: SpeakerStatistics | None) -> Iterator[str]:
    """Sentences for a model card."""
    if curve is not None:
        yield f"Normalised by speaker: its test used {curve['needs']}."
        yield from filter(None, [curve_words(curve)])


def few_words(clips: int, speakers: int, least: int, curve: SpeakerStatistics | None) -> str:
    """A warning where speakers have few clips.

    Args:
        clips: of the speaker who has fewest.
        speakers: how many have fewer than ``least``.
        curve: of the system's run, if there is one.
    """
    text = (
        f"{speakers} speaker(s) with fewer than {least} clips (fewest: {clips}): models normalise "
        "by speaker, and statistics of few clips, or of clips of one emotion, can be worse than "
        "none; give more recordings of each speaker (--speaker folder or all)"
    )
    if curve is None:
        return text
    text += f". Their test used {curve['needs']}"
    few, whole = uar_with(curve, "random", clips), uar_with(curve, "random", None)
    if few is None or whole is None:
        return text
    points = [p["clips"] for p in curve["points"] if p["kind"] == "random" and p["clips"]]
    asked = max([n for n in points if n <= clips], default=min(points))
    return (
        f"{text}; with {asked} random clips UAR was {100 * few:.1f} % in place of "
        f"{100 * whole:.1f} %"
    )
