"""From extracted frames to a model's batches, the same way for stored utterances and new audio.

In comes a :class:`serplatform.inputs.clips.ClipSource` (a dataset's rows or new recordings), out
come padded batches. ``pipeline.py`` fits the chain of steps on a fold's training rows, describes
it in a model's ``config.json`` and loads it again; each step is one file with its settings, its
fit, its arithmetic and its description. Start reading at ``pipeline.py``, then ``step.py``.
"""
