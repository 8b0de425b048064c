"""Rows of predictions as text and as files of other programs; one module a program.

A format is a function ``(rows, classes, *, rejecting=False, out=None)`` that yields text; ``out``
is where it is written, for one that writes files beside it.
"""
