"""Prepared datasets, opened for reading: memory-mapped frames, labels, words and folds.

In comes the directory that `prepare` wrote (``dataset.py``) and a fold plan; out come the rows of
each part of a fold, as batches that :mod:`serplatform.inputs` prepares (``fold_data.py``: start
there), grouped by length (``batching.py``).
"""
