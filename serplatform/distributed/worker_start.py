"""What every process of ours on a Ray cluster does before its work.

:func:`start_worker` is called first in each task and actor of this package: the training of a
trial (one process or a group of them), the extraction of a shard, and publishing.
"""

from __future__ import annotations

from collections.abc import Sequence

from serplatform.plugins import unpack


def start_worker(plugins: Sequence[str] = ()) -> None:
    """Set this process up; a second call of a reused process costs nothing.

    Args:
        plugins: of ``plugins.packed``: they register models, features, corpora, ….

    Raises:
        BadInputError: a plugin cannot be imported on this node.
    """
    unpack(plugins)
