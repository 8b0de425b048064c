"""The figures of the page by theme: numbers in ``compute``, their drawing in ``draw``.

A file registers what it defines; ``base`` says what a figure is, with an example, and
:mod:`serplatform.report.charts` has the traces, axes and tables. Start at ``by_group``.
"""
