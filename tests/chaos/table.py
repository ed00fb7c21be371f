"""What was tried, how often, and what it cost: the table at the end."""

from __future__ import annotations

import collections
import dataclasses
import statistics

_COLUMNS = ("fault", "rounds", "claims", "visits", "ended", "taken by the fault", "lost", "back after", "wrong")


@dataclasses.dataclass
class Row:
    """The rounds of one fault. `recoveries` are the seconds from the fault's end until all was as it should be."""

    rounds: int = 0
    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    recoveries: list[float] = dataclasses.field(default_factory=list)
    wrongs: list[str] = dataclasses.field(default_factory=list)


class Table:
    """One row for each fault."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = collections.defaultdict(Row)

    def __bool__(self) -> bool:
        return bool(self.rows)

    @property
    def wrongs(self) -> list[str]:
        """Everything that went wrong, with the fault and the seed of its round."""
        return [wrong for row in self.rows.values() for wrong in row.wrongs]

    def lines(self) -> list[str]:
        """The table as text. `taken by the fault` are sessions whose very container the fault ends."""
        table = [_COLUMNS, *(self._cells(name, row) for name, row in self.rows.items())]
        widths = [max(len(line[column]) for line in table) for column in range(len(_COLUMNS))]
        return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in table]

    def _cells(self, name: str, row: Row) -> tuple[str, ...]:
        back = ""
        if row.recoveries:
            back = f"{statistics.median(row.recoveries):.1f} s, at most {max(row.recoveries):.1f} s"
        counts = ("claims", "visits", "ended", "taken by the fault", "LOST")
        return (name, str(row.rounds), *(str(row.counts[one]) for one in counts), back, str(len(row.wrongs)))
