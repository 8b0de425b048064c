"""What a figure is: numbers first (:meth:`Figure.compute`), then a drawing (:meth:`Figure.draw`).

A drawing holds plain values only: traces and axes in a few of Plotly's words, which
:mod:`serplatform.report.charts` writes and :mod:`serplatform.report.drawing` draws, for the page
and for papers. Colours are tokens (``"@series-1"``, ``"@ink"``) that follow light, dark and print.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from serplatform.registry import Registry
from serplatform.report.data import Need, ReportData

D = TypeVar("D")
#: One trace, axis or shape, as Plotly writes it.
Spec = dict[str, Any]

#: Sections of the page in order: name → heading.
SECTIONS = {
    "leaderboard": "Leaderboard",
    "results": "Results",
    "models": "Models",
    "explanations": "Explanations",
    "search": "Search",
    "evaluation": "On another dataset",
}

Cell = str | int | float | None

#: Colour tokens of series and marker shapes: both differ, so that colour is never alone.
SERIES = tuple(f"@series-{i}" for i in range(1, 9))
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star", "x", "pentagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dash")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Palette:
    """Colour, marker and dash of each architecture and system, the same on the whole page."""

    architectures: tuple[str, ...]
    systems: tuple[str, ...] = (
        *("Ensemble", "Best single trial", "Mean of all trials"),
        *("Exported trial", "Reference"),
    )

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

    def marker(
        self,
        name: str,
        size: float | Sequence[float],
        *,
        hollow: bool = False,
        opacity: float | None = None,
    ) -> Spec:
        """Plotly's marker of a name; ``size`` in pixels, one for all or one per point."""
        symbol = self.symbol(name) + "-open" * hollow
        marker = {"color": self.colour(name), "symbol": symbol, "size": size}
        return marker if opacity is None else {**marker, "opacity": opacity}

    def dash(self, name: str) -> str:
        return DASHES[self.place(name) % len(DASHES)]


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
        folded: it is offered, also where the figure's tables are shown.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    display: Sequence[Sequence[str]] = ()
    csv_header: Sequence[str] = ()
    sortable: bool = False
    folded: bool = False

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
    """One plot: Plotly traces, and layout beyond the page's own; ``height`` in pixels.

    The title is empty when the figure has one panel. ``audio`` is a ``data:`` address of sound
    whose time is the plot's x axis in seconds; empty without sound.
    """

    title: str = ""
    data: Sequence[Spec]
    layout: Spec
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
    """One figure of the page, in the file of its theme in ``report/figures/``, or in a plugin.

    A figure is registered under its id on the page and makes itself in two steps: numbers, which
    tests look at, then a drawing of them::

        @FIGURES.register("tested_rows")
        class TestedRows(Figure[int]):
            title = "Number of test rows"
            section = "results"
            needs = (Need.TESTED_SYSTEM,)

            def compute(self, report: ReportData) -> int:
                return len(report.systems[0].test)

            def draw(self, data: int, palette: Palette) -> Drawing:
                return Drawing(summary=f"There are {data} test rows.")

    Attributes:
        title: its heading.
        section: one of :data:`SECTIONS`.
        after: the figure of the section that it follows; without one, it stands at the end.
        printed: it is part of the printed page, too.
        needs: what :meth:`compute` may take for granted.
    """

    title: ClassVar[str]
    section: ClassVar[str]
    after: ClassVar[str] = ""
    printed: ClassVar[bool] = True
    needs: ClassVar[tuple[Need, ...]] = ()

    @abstractmethod
    def compute(self, report: ReportData) -> D:
        """Work out the numbers.

        Raises:
            NoDataError: there is nothing to show, and why.
            ArtifactError: a file that only this figure reads is damaged; the page goes without.
        """

    @abstractmethod
    def draw(self, data: D, palette: Palette) -> Drawing:
        """Lay the numbers out; computes nothing new."""

    def make(self, report: ReportData, palette: Palette) -> Drawing:
        """Compute and draw; NoDataError where a need is not met, or there is nothing to show."""
        report.require(*self.needs)
        return self.draw(self.compute(report), palette)


FIGURES: Registry[type[Figure[Any]]] = Registry("figure", "serplatform.report.figures")

#: ``after`` of the first figure of a section.
FIRST = "first"


def in_order(figures: Mapping[str, type[Figure[Any]]], section: str) -> list[str]:
    """Names of a section's figures, each behind the one that it follows.

    Figures that follow the same one are sorted by name; those that follow none of the section
    stand at the end.
    """
    names = sorted(name for name, figure in figures.items() if figure.section == section)
    found: list[str] = []

    def add(after: str) -> None:
        for name in names:
            if figures[name].after == after and name not in found:
                found.append(name)
                add(name)

    add(FIRST)
    for name in names:
        if name not in found and figures[name].after not in names:
            found.append(name)
            add(name)
    return [*found, *(name for name in names if name not in found)]
