"""Groups under which the help of a command with many options lists them."""

from __future__ import annotations

#: commands with fewer options list them in one group
MANY = 12

_PANELS = {
    "Data and run": "data joined_labels protocol out resume seal seed seeds log name language "
    "licence",
    "How much, how long": "trials time_budget repeats quick rows stand_in",
    "What is searched": "space setting small objective sampler pruner warm_start nested storage",
    "Machine": "workers gpus_per_trial concurrent address device",
    "Trials that fail": "retries trial_timeout",
    "At the end": "reference combiner explain audio",
    "Features and words": "features speeds align alignments word_vectors",
    "What is accepted": "label_map speakers_differ max_duration overwrite allow_outside",
    "Demo corpus": "utterances speakers",
    "Answers": "output_format trial text speaker reject",
    "Over time": "window hop track smooth segments",
    "Endless audio": "stream pcm follow",
    "What is shown": "most hits limit",
    "Every command": "as_json plugin trust_plugins",
}
#: parameter of a command → its group; others stand under "Options"
PANELS = {name: panel for panel, names in _PANELS.items() for name in names.split()}
