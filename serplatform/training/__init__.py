"""Training: a trial's configuration and a fold's data in, weights, posteriors and records out.

``trial.py`` trains one configuration over the folds of a protocol, ``loop.py`` one fold, epoch by
epoch; neither knows Ray or Optuna. Start with ``loop.py``.
"""
