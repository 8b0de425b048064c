"""Datasets, runs and results on object storage: addresses, requests, caches and working copies.

In comes what a user names: a path, or a URI (`location.py`, `destination.py`). Out go local
directories: staged datasets (`cache.py`), working copies of runs and ensembles (`mirror.py`), and
folders that are put on storage when they are whole (`outgoing.py`). Start at `mirror.py`.
"""
