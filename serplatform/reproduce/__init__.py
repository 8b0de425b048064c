"""Reproduce a paper's table: train what its rows ask for, and show it next to what is published.

A table of ``papers`` and prepared datasets come in; ``table.csv``, ``table.json`` and
``table.html`` go out. ``plan.py`` reads a table and finds what is still to be trained,
``measure.py`` reads the results, ``outcome.py`` puts them next to the published numbers and
``page.py`` into words.
"""
