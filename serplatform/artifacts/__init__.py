"""The files that stages exchange: one typed reader each, written atomically.

In come paths; out go dictionaries and tables that are checked already, or an ``ArtifactError``
that names file, key and remedy. Start at `records.py` (how a JSON file is checked), then one file
per kind of artifact; `layout.py` says where each lies in a run.
"""
