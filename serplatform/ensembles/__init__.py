"""Combine the posteriors of every finished trial of one or several runs, from files alone.

Run directories come in; ``ensemble.json`` and ``posteriors.parquet`` go out (``build.py``, where
to start reading). ``base.py`` says what a combiner is; each file that registers one is a
combiner. Members, weights and temperatures see the dev rows of a fold only.
"""
