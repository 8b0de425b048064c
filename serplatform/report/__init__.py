"""The page of a run or an ensemble: one HTML file that opens from disk, without a network.

In come the directories that `search` and `ensemble` wrote (``load``); ``data`` works out systems,
intervals and members; ``narrative`` puts them into sentences and ``figures`` into plots, which
``charts`` describes and ``drawing`` draws; ``build`` makes the page, ``paper`` files for a paper,
``compare`` a page of several runs. Start at :func:`build.build_report`.
"""
