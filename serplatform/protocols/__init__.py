"""Protocols: a dataset's utterance table in, folds of train, dev and test ids out.

``selection.py`` keeps what a protocol uses, ``partition.py`` divides it, ``finish.py`` and
``plan.py`` refuse what would leak and write the fold file. Start with ``base.SplitScheme`` and
``generic.SelectionScheme``, of which ``ravdess.py`` is an example.
"""
