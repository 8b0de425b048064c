"""Times as tables write them: seconds, clocks, and what pandas and audformat print."""

from __future__ import annotations

import re

from serplatform.labels import is_missing

_NUMBER = r"\d+(?:[.,]\d*)?|[.,]\d+"
_PLAIN = re.compile(rf"([+-]?(?:{_NUMBER})(?:e[+-]?\d+)?)\s*([a-zµ]*)", re.IGNORECASE)
_CLOCK = re.compile(
    rf"(?:([+-]?\d+)\s*days?,?\s*)?(?:([+-])?(?:(\d+):)?(\d+):({_NUMBER}))?", re.IGNORECASE
)
_ISO = re.compile(rf"P(?:(\d+)D)?T(?:(\d+)H)?(?:(\d+)M)?(?:({_NUMBER})S)?", re.IGNORECASE)
#: what stands behind a number or in a column's name → seconds
UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "µs", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nanoseconds"), 1e-9),
    **dict.fromkeys(("day", "days"), 86_400.0),
}


def seconds(text: str, unit: float = 1.0) -> float | None:
    """Seconds of a time; None where there is none (an empty cell, NaT, nan).

    Args:
        text: a number with a point or a comma, alone or with its unit; a clock
            (``00:16:00,059``, ``1:02.5``); a time of pandas or audformat; an ISO duration.
        unit: seconds that a number alone counts, 0.001 in a column of milliseconds.

    Raises:
        ValueError: it is none of these; the message says so.
    """
    text = text.strip()
    if is_missing(text):
        return None
    if match := _PLAIN.fullmatch(text):
        number, name = match.groups()
        scale = UNITS.get(name.lower()) if name else unit
        if scale is not None:
            value = float(number.replace(",", "."))
            return value if scale == 1.0 else round(value * scale, 9)
    elif match := _ISO.fullmatch(text):
        return _sum(*match.groups())
    elif (match := _CLOCK.fullmatch(text)) and _is_clock(*match.groups()[2:]):
        days, sign, hours, minutes, rest = match.groups()
        clock = _sum(None, hours, minutes, rest)
        return _sum(days, None, None, None) + (-clock if sign == "-" else clock)
    raise ValueError(f"'{text}' is not a time such as '1.5', '00:01:02.5' or '0 days 00:00:01.5'")


def span_name(recording: str, start: float | None, end: float | None) -> str:
    """An id for a stretch of a recording (``a_0.500-``); its own name for the whole of it."""
    if start is None and end is None:
        return recording
    return f"{recording}_{start or 0.0:.3f}-{'' if end is None else f'{end:.3f}'}"


def _is_clock(hours: str | None, minutes: str | None, rest: str | None) -> bool:
    """Whether minutes below an hour, and seconds below a minute, are fewer than 60."""
    return (hours is None or int(minutes or 0) < 60) and float((rest or "0").replace(",", ".")) < 60


def _sum(days: str | None, hours: str | None, minutes: str | None, rest: str | None) -> float:
    whole = (int(days or 0) * 24 + int(hours or 0)) * 60 + int(minutes or 0)
    return whole * 60 + float((rest or "0").replace(",", "."))
