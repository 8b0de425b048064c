"""The protocol of EmoDB: leave one of its ten speakers out."""

from __future__ import annotations

from typing import ClassVar

from serplatform.protocols.base import PROTOCOLS
from serplatform.protocols.generic import LeaveOneSpeakerOut


@PROTOCOLS.register("emodb-loso")
class EmodbLoso(LeaveOneSpeakerOut):
    """Ten folds, seven classes; two of the nine other speakers are dev, a woman and a man."""

    description: ClassVar[str] = "EmoDB, leave one speaker out"
