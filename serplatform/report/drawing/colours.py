"""Colours of pictures: a paper's own, or the page's, which follow the reader's light or dark."""

from __future__ import annotations

import functools
import re
from importlib import resources

#: shades of a heat map's cells
SHADES = 32


@functools.cache
def light_colours() -> dict[str, str]:
    """The page's colours by token, as the style sheet has them for paper."""
    sheet = (resources.files("serplatform.report") / "templates" / "page.css").read_text("utf-8")
    return dict(re.findall(r"--([\w-]+): (#\w{6})", sheet[: sheet.index("@media")]))


def shade(share: float) -> tuple[int, int, float]:
    """Where a share of a heat map's range lies: two of its five colours, and how far between.

    Example:
        >>> shade(0.375)
        (1, 2, 0.5)
    """
    place = 4 * min(1.0, max(0.0, share))
    low = min(3, int(place))
    return low, low + 1, place - low


class PaperColours:
    """Colours in print, where paper is white."""

    def __call__(self, token: str) -> str:
        known = {**light_colours(), "paper": "#ffffff", "veil": "#ffffff"}
        return known[token[1:]] if token.startswith("@") else _plain(token)

    def cell(self, share: float) -> str:
        low, high, part = shade(round(share * SHADES) / SHADES)
        ends = [light_colours()[f"sequential-{n}"] for n in (low, high)]
        mixed = [
            round((1 - part) * int(a, 16) + part * int(b, 16))
            for a, b in zip(*([end[i : i + 2] for i in (1, 3, 5)] for end in ends), strict=True)
        ]
        return "#" + "".join(f"{value:02x}" for value in mixed)


class PageColours:
    """Stand-ins of colours, which :meth:`resolve` replaces by the style sheet's variables."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def _stand_in(self, css: str) -> str:
        if css not in self._names:
            self._names.append(css)
        return f"#0b{self._names.index(css):04x}"

    def __call__(self, token: str) -> str:
        return self._stand_in(f"var(--{token[1:]})") if token.startswith("@") else _plain(token)

    def cell(self, share: float) -> str:
        low, high, part = shade(round(share * SHADES) / SHADES)
        mixed = f"color-mix(in srgb, var(--sequential-{high}) {100 * part:g}%, "
        return self._stand_in(f"{mixed}var(--sequential-{low}))")

    def resolve(self, svg: str) -> str:
        """The picture with its real colours."""
        return re.sub(r"#0b([0-9a-f]{4})", lambda found: self._names[int(found[1], 16)], svg)


def _plain(colour: str) -> str:
    return "none" if colour == "rgba(0,0,0,0)" else colour
