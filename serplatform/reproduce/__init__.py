"""Reproduce a paper's table: train what its rows ask for, and show it next to what is published.

A table of ``papers`` and prepared datasets come in; ``table.csv``, ``table.json`` and
``table.html`` go out. ``table.py`` looks up what a table names, ``plan.py`` finds what is still
to be trained, ``measure.py`` and ``sampling.py`` read the results, ``outcome.py`` puts them
next to the published numbers.
"""
