"""Protocols: a dataset's utterance table in, folds of train, dev and test ids out.

``selection.py`` keeps what a protocol uses, ``partition.py`` divides it, ``plan.py``
refuses what would leak and writes the fold file. Start with ``base.SplitScheme`` and
``generic.SelectionScheme``, of which ``ravdess.py`` is an example.
"""
