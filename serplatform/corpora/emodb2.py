"""Emo-DB 2.0: all recordings of the Berlin Database of Emotional Speech."""

from __future__ import annotations

from serplatform.corpora.base import CORPORA
from serplatform.corpora.emodb import Emodb


@CORPORA.register("emodb2")
class Emodb2(Emodb):
    """Emo-DB's ten speakers with the recordings that the first release left out.

    It is published as a database in audformat, which the reader ``audformat`` reads with all of
    its ratings; this one reads the files' names, by the rules of the first release, and leaves out
    what has other codes. That every name of the second release follows them is not certain here.
    """

    title = "Emo-DB 2.0, Berlin Database of Emotional Speech"
    licence = "see its page"
    size = "more than the 535 clips of the first release, 10 speakers, 7 emotions"
    obtain = "audb.load('emodb') of the package audb, or its page at Zenodo"
    num_clips = 0
    default_protocol = "loso"

    clips_from = Emodb.num_clips + 1
    clips_to = 10_000
