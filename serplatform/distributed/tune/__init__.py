"""The trials of a search as trials of Ray Tune: the only place that knows Tune and Ray Train.

In: a source of suggestions (the Optuna studies, or a fixed list), a plan and the cluster's
resources. Out: one record per trial in the run directory, and how the search ended. Start with
``tuner.run_trials``; ``tracker.TrialTracker`` is what the driver knows of its trials,
``adapters`` are the classes that Tune calls, ``worker_groups`` trains one trial in several workers.
"""
