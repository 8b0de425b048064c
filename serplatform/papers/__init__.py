"""Numbers printed in papers or measured elsewhere: one YAML file per table in ``tables/``.

``paper_table.py`` reads and checks a file; ``published.py`` turns all of them into results
that may be compared with a number of ours. `serplatform reproduce` (package ``reproduce``)
trains the rows that name an architecture. Adding a table adds one file and nothing else.
"""
