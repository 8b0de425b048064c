"""What a search measures, sent live to experiment trackers: TensorBoard always, others as asked.

A tracker is one file beside ``base.py``. ``choice`` reads ``--log``, ``watch.SearchWatch`` is told
by the search what happens and brings every tracker up to date. The run directory stays the one
truth: nothing is read back from a tracker but what it has already got.
"""
