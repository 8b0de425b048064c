"""What every process of ours on a Ray cluster does before its work.

:func:`start_worker` is called first in each task and actor of this package: the training of a
trial (one process or a group of them), the extraction of a shard, and publishing.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from serplatform.errors import BadInputError


def start_worker(plugins: Sequence[str] = ()) -> None:
    """Set this process up; a second call of a reused process costs nothing.

    Args:
        plugins: names of modules whose import registers models, features, corpora, ….

    Raises:
        BadInputError: a module cannot be imported on this node.
    """
    for name in plugins:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise BadInputError(
                f"plugin '{name}' cannot be imported on this node ({error}); install it on every "
                "node of the cluster, or put its directory on PYTHONPATH there"
            ) from None
