"""The Python interface, `import serplatform as sp`, and what commands share with it.

Comes in: what a user asks for, as arguments or as the typed requests of `search` and
`distributed`. Goes out: a :class:`~serplatform.datasets.dataset.Dataset`, a ``Run``, an
``Ensemble`` or a ``Bundle`` with tables of pandas. Start with `calls.py`.
"""
