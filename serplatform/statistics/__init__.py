"""Intervals and tests for comparing classifiers on the same utterances; numpy and scipy only.

Truth, posteriors or predictions and speaker ids come in; intervals and the records of
``ensemble.json`` go out. Start with ``intervals.py``.
"""
