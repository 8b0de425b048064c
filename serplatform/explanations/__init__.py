"""What the models of a finished run attend to: attention on phones, sampled shares, embeddings.

A run directory and its dataset come in; ``RUN/explanations/`` goes out, from which the report
draws without a model. Start at ``explain_run.py``: it builds a ``ProbeRequest``, asks the models
of each fold (``model_probe.py``) and collects their answers (``findings.py``).
"""
