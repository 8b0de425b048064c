"""What a figure is: numbers first (:meth:`Figure.compute`), ink after (:meth:`Figure.draw`).

A drawing holds plain values only: Plotly's JSON written by hand, so that the page needs no
plotting library to be built, and colours as tokens (``"@series-1"``, ``"@ink"``,
``"@sequential"``) that the page resolves for light, dark and print.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from serplatform.registry import Registry
from serplatform.report.evidence import Evidence

D = TypeVar("D")

#: Sections of the page in order: name → heading.
SECTIONS = {
    "results": "Results",
    "models": "Models",
    "explanations": "Explained",
    "search": "Search",
}

Cell = str | int | float | None

#: Colour tokens of series and marker shapes: both differ, so that colour is never alone.
SERIES = tuple(f"@series-{i}" for i in range(1, 9))
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star", "x", "pentagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dash")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ink:
    """Colour, marker and dash of each architecture and system, the same on the whole page.

    Attributes:
        architectures: in the order of the page.
        systems: labels of the systems in a fixed order.
    """

    architectures: tuple[str, ...]
    systems: tuple[str, ...] = ("Ensemble", "Best single trial", "Mean of all trials")

    def place(self, name: str) -> int:
        """Position of an architecture or system among its kind; 0 for a name not known."""
        for names in (self.architectures, self.systems):
            if name in names:
                return names.index(name)
        return 0

    def colour(self, name: str) -> str:
        return SERIES[self.place(name) % len(SERIES)]

    def symbol(self, name: str) -> str:
        return SYMBOLS[self.place(name) % len(SYMBOLS)]

    def marker(self, name: str, size: Any, **more: Any) -> dict[str, Any]:
        """Plotly's marker of a name; ``size`` in pixels, one for all or one a point."""
        return {"color": self.colour(name), "symbol": self.symbol(name), "size": size, **more}

    def dash(self, name: str) -> str:
        return DASHES[self.place(name) % len(DASHES)]


class NoDataError(Exception):
    """The figure has nothing to show; the message says why, in one line, for the reader."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """The data behind a figure, or a figure of its own.

    Attributes:
        caption: what the rows are.
        header: column names; with units.
        rows: raw values, for the download.
        display: the same rows as text, for the page; ``rows`` formatted when empty.
        csv_header: names of the columns of ``rows``, where the page shows others.
        sortable: a click on a column's name sorts by it; numbers are then shown plainly.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    display: Sequence[Sequence[str]] = ()
    csv_header: Sequence[str] = ()
    sortable: bool = False

    def shown(self) -> list[list[str]]:
        """Rows as text."""
        if self.display:
            return [list(row) for row in self.display]
        return [[cell_text(cell) for cell in row] for row in self.rows]

    def numeric(self) -> list[bool]:
        """Whether each column shown reads as numbers, to be set flush right."""
        rows = self.shown()
        return [
            all(row[i][:1] in "0123456789−–-." for row in rows) and i > 0
            for i in range(len(self.header))
        ]


def cell_text(cell: Cell) -> str:
    """A value as a page shows it where nothing else is asked for."""
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.4g}".replace("-", "−")
    return str(cell)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """One plot.

    Attributes:
        title: shown above the plot; empty when the figure has one panel.
        data: Plotly traces.
        layout: Plotly layout beyond the page's own.
        height: pixels.
        audio: a ``data:`` address of sound whose time is the plot's x axis in seconds; empty
            without sound.
    """

    title: str = ""
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    height: int = 360
    audio: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure ready for the page.

    Attributes:
        summary: one or two sentences that say what is seen; also the text alternative.
        panels: plots; none for a figure that is a table.
        tables: the data; each can be downloaded.
        note: how it was computed and how to read it.
        open_tables: show the tables rather than offering them.
        wide: each panel takes the whole width.
    """

    summary: str
    panels: Sequence[Panel] = ()
    tables: Sequence[Table] = ()
    note: str = ""
    open_tables: bool = False
    wide: bool = False


class Figure(ABC, Generic[D]):
    """One figure of the page; one file of ``report/figures/`` each.

    Attributes:
        name: its id on the page.
        title: its heading.
        section: one of :data:`SECTIONS`.
        order: place within the section, small first.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    section: ClassVar[str]
    order: ClassVar[int]

    @abstractmethod
    def compute(self, evidence: Evidence) -> D:
        """Work out the numbers.

        Raises:
            NoDataError: there is nothing to show, and why.
        """

    @abstractmethod
    def draw(self, data: D, ink: Ink) -> Drawing:
        """Lay the numbers out; computes nothing new."""


FIGURES: Registry[type[Figure[Any]]] = Registry("figure", "serplatform.report.figures")
