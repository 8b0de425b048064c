"""New audio in, named posteriors out; and the bundles that carry a system elsewhere.

``open.py`` opens a run, an ensemble or a bundle as a :class:`~.system.PredictionSystem`,
``predictor.py`` loads its models, ``predict.py`` streams recordings through them (start there),
``export.py`` writes a bundle.
"""
