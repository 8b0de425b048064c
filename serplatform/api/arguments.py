"""Arguments of a call from Python: names that exist, values of the kinds that are annotated."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from pydantic import ConfigDict, ValidationError, validate_call

from serplatform.console import parse_duration
from serplatform.errors import BadInputError, unknown_name

F = TypeVar("F", bound=Callable[..., Any])


def checked_arguments(function: F) -> F:
    """Let a function be called with arguments of its annotated kinds alone.

    Raises:
        BadInputError: when it is called with others; each is named.
    """

    @functools.cache
    def validated() -> Callable[..., Any]:  # at the first call: kinds may be of classes below
        return validate_call(config=ConfigDict(arbitrary_types_allowed=True))(function)

    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        signature.bind(*args, **named)  # a TypeError, as of every other function
        try:
            return validated()(*args, **named)
        except ValidationError as error:
            if error.title.rpartition(".")[2] != function.__name__:
                raise
            found = {str(one["loc"][0]): one["input"] for one in error.errors(include_url=False)}
        kinds = {name: one.annotation for name, one in signature.parameters.items()}
        if "options" in kinds:
            typed = kinds.pop("options").removeprefix("Unpack[").removesuffix("]")
            options = inspect.get_annotations(function.__globals__[typed])
            kinds |= {name: getattr(k, "__forward_arg__", k) for name, k in options.items()}
        faults = []
        for place, value in found.items():
            name = list(kinds)[min(int(place), len(kinds) - 1)] if place.isdigit() else place
            if name in kinds:
                faults.append(f"{name}={value!r}: must be {kinds[name]}")
            else:
                faults.append(unknown_name("argument", name, kinds))
        if len(faults) == 1:
            raise BadInputError(f"{function.__name__}(): {faults[0]}")
        raise BadInputError(f"{function.__name__}(): wrong arguments", faults)

    return cast("F", call)


def seconds_of(duration: str | float | None) -> float | None:
    """A duration as `10m` or in seconds."""
    return None if duration is None else parse_duration(str(duration))
