"""A section of the page made of plain data: how other rooms (people's ratings) add to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

Cell = str | float | int | None
"""Numbers are shown with three digits; None is a dash."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: ``rows`` hold one cell for each of ``columns``."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.caption!r}: expected {len(self.columns)} cells a row,"
                    f" got {len(row)}"
                )


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A Plotly figure: ``data`` and ``layout`` as Plotly's JSON has them.

    ``says`` is the figure in a sentence, for whoever cannot see it. A point whose ``customdata`` is
    an arm's name opens that arm's videos.
    """

    says: str
    data: Sequence[Mapping[str, object]]
    layout: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section of the page, after its own: a heading, sentences, tables, figures.

    ``id`` names it in the address (``#section=ratings``) and must be a word.
    """

    id: str
    title: str
    sentences: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()

    def __post_init__(self) -> None:
        if not self.id.isidentifier():
            raise ValueError(f"section: expected a word as its id, got {self.id!r}")

    def tree(self) -> dict[str, object]:
        """Plain values."""
        return {
            "id": self.id,
            "title": self.title,
            "sentences": list(self.sentences),
            "tables": [asdict(table) for table in self.tables],
            "figures": [asdict(figure) for figure in self.figures],
        }
