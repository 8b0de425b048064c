"""Corpora: a directory or table in, utterances with speaker, label and audio out.

``base.py`` says what a corpus is, ``filename_corpus.py`` makes one of a declaration (``emodb.py``
is the shortest), ``validate.py`` holds the rules for all of them. ``audio.py`` is the one reader
of recordings. Start with ``base.Corpus`` and ``audio.read_audio``.
"""
