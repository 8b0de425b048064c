"""What to try: search spaces, the Optuna studies of a run, and the trials they hand out.

A space (``space.py``, from YAML) and a request (``setup.py``) come in; ``study.py`` hands out one
configuration after another and is told of each end. Nothing is trained here.
"""
