"""What a service serves, and its limits."""

from __future__ import annotations

import dataclasses
import math

from serplatform.errors import BadInputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """Checked settings of one copy of a service.

    Attributes:
        system: a run, an ensemble or a bundle, path or URI.
        trial: of a run; None: the best on dev.
        device: of the models.
        max_mb: largest request, in megabytes.
        max_seconds: longest recording, in seconds.
        timeout: seconds that a request may take, its upload too, each.
        max_waiting: requests that a copy takes at a time; one is classified, the others wait.
        plugins: for ``plugins.unpack``, that the system was made with.

    Raises:
        BadInputError: a limit is not above 0.
    """

    system: str
    trial: int | None = None
    device: str = "cpu"
    max_mb: float = 50.0
    max_seconds: float = 60.0
    timeout: float = 60.0
    max_waiting: int = 32
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        errors = []
        for name in ("max_mb", "max_seconds", "timeout"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                errors.append(f"--{name.replace('_', '-')} {value:g}: must be more than 0")
        if errors:
            raise BadInputError("\n".join(errors))

    @property
    def max_bytes(self) -> int:
        """Largest request, in bytes."""
        return int(self.max_mb * 1e6)
