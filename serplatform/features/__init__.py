"""Feature extractors: 16 kHz samples in, (T, D) frames out; one file per kind of feature.

``base.FeatureExtractor`` is what to write, ``base.FEATURES`` names the presets. ``extract.py``
takes utterances to frames and table rows, ``fingerprint.py`` finds copies of a recording. Start
with ``base.py`` and ``log_mel.py``.
"""
