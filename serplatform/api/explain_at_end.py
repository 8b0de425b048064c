"""What a search shows of its models at the end, without being asked; never its failure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from serplatform.console import say
from serplatform.errors import ArtifactError, SerplatformError

if TYPE_CHECKING:
    from serplatform.artifacts.explanations import ExplanationsRecord

#: seconds after which no further model is asked
BUDGET = 20.0
#: test utterances that each model is asked about
LIMIT = 120
#: most confident errors, and right answers, that are shown whole
ERRORS, HITS = 2, 2


def explain_at_end(run: Path, *, audio: bool | None, seed: int) -> ExplanationsRecord | None:
    """Explain a run briefly, so that its page has the papers' figures.

    Explanations of utterances that the user chose are left as they are. Whatever goes wrong is
    said and ends nothing: the search's results are there without it.

    Args:
        run: the directory.
        audio: as for ``explain_run``.
        seed: of the draws.

    Returns:
        the summary of what was explained, or None.
    """
    from serplatform.artifacts.files import read_json
    from serplatform.explanations.explain_run import FOLDER, explain_run

    again = f"`serplatform explain {run}` explains it at any time"
    try:
        made = read_json(Path(run, FOLDER, "explanations.json"))
    except ArtifactError:
        made = {}
    if isinstance(made, dict) and made.get("chosen_by") == "user":
        say(f"The run's explanations are of utterances that were chosen, and are kept; {again}.")
        return None
    say("Asking the best models what they attend to …")
    try:
        found = explain_run(
            run, most=ERRORS, hits=HITS, limit=LIMIT, audio=audio, seed=seed, budget=BUDGET
        )
    except (SerplatformError, OSError) as error:
        say(f"Note: nothing is explained: {error}; {again}.")
        return None
    except Exception as error:  # noqa: BLE001 - a search that succeeded does not fail here
        say(f"Note: nothing is explained ({type(error).__name__}: {error}); {again}.")
        return None
    if found["out_of_time"]:
        say(f"Note: {len(found['out_of_time'])} architecture(s) were left out for time; {again}.")
    return found
