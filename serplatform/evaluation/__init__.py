"""A trained system on data that it was not made for: another corpus, other speakers.

``evaluate.py`` is the way through: labels by name (``label_names.py``), rows that training has
seen left out (``seen_rows.py``), posteriors of the others (``dataset_clips.py``), and what they are
worth (``measures.py``); on request on changed audio (``conditions.py``) and by group
(``report/fairness.py``). ``record.py`` and ``output.py`` tell it.
"""
