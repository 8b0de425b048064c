"""Where the words and phones of an utterance lie, in seconds: one file per source.

An utterance and its samples in, spans or a reason out (``base.Aligner``). ``tokens.py`` says
what a word is, ``tidy.py`` brings spans into order, ``segments.py`` turns them into the frames
that models read. Start with ``base.py``.
"""
