"""Faster ways on a CPU to what plain torch computes too, behind one switch.

``SERPLATFORM_KERNELS=reference`` in the environment takes plain torch everywhere; ``fast`` is the
default. Both give the same numbers up to rounding. What torch does not document is named in
``private.py`` alone; where a version of torch lacks it, plain torch takes its place.
"""

from __future__ import annotations

import os

from serplatform.errors import BadInputError

#: environment variable that chooses the kernels
VARIABLE = "SERPLATFORM_KERNELS"


def fast_kernels_enabled() -> bool:
    """Whether the fast kernels are wanted, and this version of torch has what they need.

    Raises:
        BadInputError: the environment variable holds another word than fast or reference.
    """
    from serplatform.models.kernels import private  # it imports torch

    choice = os.environ.get(VARIABLE, "fast")
    if choice not in ("fast", "reference"):
        raise BadInputError(f"{VARIABLE} = '{choice}': must be fast or reference; or unset it")
    return choice == "fast" and private.HAS_SLOPES
