"""ShEMO: Sharif Emotional Speech Database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from serplatform.corpora.base import CORPORA
from serplatform.corpora.filename_corpus import Codes, FilenameCorpus


@CORPORA.register("shemo")
class Shemo(FilenameCorpus):
    """Mohamad Nezami, Jamshid Lou and Karami, Language Resources and Evaluation 53, 2019.

    Persian speech from radio plays: 31 women (F01 to F31) and 56 men (M01 to M56). The paper
    fixes no folds. The authors offer it for academic use; their copy on a hub names Apache-2.0.
    """

    title = "ShEMO, Sharif Emotional Speech Database"
    language = "fa"
    licence = "free for academic use (Apache-2.0 on a hub)"
    size = "3,000 clips, 87 speakers, 6 emotions, 3.4 h"
    obtain = "https://github.com/mansourehk/ShEMO"
    default_protocol = "speaker-kfold:5"
    pattern = r"(?P<speaker>[FM]\d\d)(?P<emotion>[A-Z])(?P<number>\d\d)"
    emotions: ClassVar[Codes] = {
        "N": "neutral",
        "H": "happy",
        "S": "sad",
        "A": "angry",
        "F": "fearful",
        "W": "surprised",
    }
    classes = tuple(emotions.values())
    speakers: ClassVar[Codes] = {
        **{f"F{number:02d}": "female" for number in range(1, 32)},
        **{f"M{number:02d}": "male" for number in range(1, 57)},
    }
    columns: ClassVar[Mapping[str, Codes]] = {"number": {}}
    num_clips = 3000
    protocol_speakers = 10
    examples = ("female/F01A01.wav", "male/M02S03.wav", "male/M56N01.wav")
