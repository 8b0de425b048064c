"""A trained system as a web service: a recording in, posteriors out, as ``predict`` gives them.

The web application knows nothing of Ray; ``serplatform.distributed.serve`` runs copies of it.
"""
