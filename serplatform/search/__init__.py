"""What is trained next: spaces, samplers, studies, and lists of fixed configurations.

In comes what a user asks for (`setup.py`); out go trials to run, and their records come back
(`study.py`, `trial_list.py`). Nothing is trained here. Start at `setup.create_run`, then
`study.Studies.ask`.
"""
