"""The papers' tables and figures: published numbers beside measured ones.

``tables/`` holds one YAML file a table or figure; ``table.py`` reads and checks it, ``plan.py``
finds what is still to be trained, ``measure.py`` and ``sampling.py`` read the results, and
``outcome.py`` puts them beside what was published.
"""
