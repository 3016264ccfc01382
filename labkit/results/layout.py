"""Tables that never cut a figure: side by side where there is room, else each row over several lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from labkit.output import UNLIMITED, plain

INDENT = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column, top to bottom."""

    head: str
    legend: str = ""
    """Second line of the head: what the parts of each figure are."""
    cells: tuple[str, ...]
    figure: bool = True
    """Whole or not at all; a name may go on in the next line."""
    right: bool = True
    style: Callable[[str], str] | None = None
    """The style of a cell."""

    def text(self, row: int, encoding: str | None) -> Text:
        """A cell. It is no markup: names may have brackets."""
        cell = self.cells[row]
        return Text(plain(cell, encoding), style=self.style(cell) if self.style else "")


def choose(
    console: Console,
    options: ConsoleOptions,
    layouts: Sequence[Sequence[Sequence[Column]]],
    *,
    encoding: str | None,
) -> Iterator[RenderableType]:
    """The first of the layouts (each one or more tables) that fits; where none does, rows over several lines.

    In the layouts before the last no name may be broken either.
    """
    for place, tables in enumerate(layouts):
        drawn = [_table(columns, encoding) for columns in tables]
        widths = [Measurement.get(console, options.update_width(UNLIMITED), table) for table in drawn]
        last = place == len(layouts) - 1
        if all((w.minimum if last else w.maximum) <= options.max_width for w in widths):
            for table in drawn:
                yield table
                yield Text()
            return
    for columns in layouts[0]:
        yield from _over_several_lines(columns, options.max_width, encoding)
        yield Text()


def _table(columns: Sequence[Column], encoding: str | None) -> Table:
    out = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        head = f"{column.head}\n{column.legend}" if column.legend else column.head
        words = [plain(word, encoding) for word in (*head.split("\n"), *column.cells)]
        out.add_column(
            Text(plain(head, encoding)),
            justify="right" if column.right else "left",
            min_width=max(map(cell_len, words)) if column.figure else None,
            no_wrap=column.figure,
            overflow="fold",
        )
    for row in range(len(columns[0].cells)):
        out.add_row(*(column.text(row, encoding) for column in columns))
    return out


def _over_several_lines(columns: Sequence[Column], width: int, encoding: str | None) -> Iterator[Text]:
    """Names first, then every figure with its head before it, as many in a line as there is room for."""
    names, figures = ([c for c in columns if c.figure is wanted] for wanted in (False, True))
    for row in range(len(columns[0].cells)):
        yield Text(" ".join(c.text(row, encoding).plain for c in names), style="bold")
        line = Text(INDENT)
        for column in figures:
            part = Text.assemble(f"{plain(column.head, encoding)} ", column.text(row, encoding))
            if line.cell_len > len(INDENT):
                if line.cell_len + 2 + part.cell_len > width:
                    yield line
                    line = Text(INDENT)
                else:
                    line.append("  ")
            line.append(part)
        yield line
    for legend in dict.fromkeys(f"{c.head}: {c.legend}" for c in figures if c.legend):
        yield Text(plain(legend, encoding), style="dim")
