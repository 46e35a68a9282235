"""The report of an evaluation: tables, as Markdown for people and as JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Row = dict[str, float]


@dataclass
class Table:
    """A titled table. ``keys``: names of the columns that name a row; ``cells``: row (one text a key) -> column -> value."""

    title: str
    note: str
    keys: tuple[str, ...]
    cells: dict[tuple[str, ...], Row] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    """Names of the columns of values, in the order in which they came."""

    def put(self, key: tuple[str, ...], column: str, value: float) -> None:
        """Set one cell."""
        if column not in self.columns:
            self.columns.append(column)
        self.cells.setdefault(key, {})[column] = value

    def put_all(self, key: tuple[str, ...], column: str, values: Row) -> None:
        """Set one cell for each of ``values``, whose names complete the row's key."""
        for name, value in values.items():
            self.put((*key, name), column, value)

    def add_means(self, label: str, skip: frozenset[str] = frozenset()) -> None:
        """Put rows of means over the first key first, each column over the rows that have a number in it (`mean_of`)."""
        names = list(dict.fromkeys(key[1:] for key in self.cells))
        means: dict[tuple[str, ...], Row] = {}
        for name in names:
            rows = [row for key, row in self.cells.items() if key[1:] == name]
            for column in self.columns:
                value = mean_of(name[-1], [row[column] for row in rows if column in row])
                if not math.isnan(value) and column not in skip:
                    means.setdefault((label, *name), {})[column] = value
        self.cells = means | self.cells

    def markdown(self) -> str:
        """The table under its title."""
        columns = self.columns
        lines = [f"## {self.title}", "", self.note, ""]
        lines += [f"| {' | '.join((*self.keys, *columns))} |", "|" + "---|" * (len(self.keys) + len(columns))]
        for key, row in self.cells.items():
            lines.append(f"| {' | '.join((*key, *(_cell(row.get(column)) for column in columns)))} |")
        return "\n".join([*lines, ""])

    def as_json(self) -> dict[str, object]:
        """Nested objects, a level for each key; what is not a number is null."""
        nested: dict[str, object] = {}
        for key, row in self.cells.items():
            level = nested
            for part in key:
                level = level.setdefault(part, {})  # type: ignore[assignment]
            level.update({name: value if math.isfinite(value) else None for name, value in row.items()})
        return {"note": self.note, "keys": list(self.keys), "rows": nested}


def mean_of(name: str, values: list[float]) -> float:
    """Mean of the numbers among ``values``, NaN without any; of standard errors, by their ``name``, that of the mean."""
    numbers = [value for value in values if not math.isnan(value)]
    if not numbers:
        return math.nan
    return (math.hypot(*numbers) if name.endswith("error") else sum(numbers)) / len(numbers)


@dataclass
class Report:
    """What an evaluation found: facts about it, and its tables."""

    facts: dict[str, str]
    tables: list[Table] = field(default_factory=list)

    def table(self, title: str, note: str, keys: tuple[str, ...]) -> Table:
        """The table of that title, made when first asked for."""
        for table in self.tables:
            if table.title == title:
                return table
        self.tables.append(Table(title, note, keys))
        return self.tables[-1]

    def markdown(self) -> str:
        """The whole report; tables without a row are left out."""
        facts = [f"- {name}: {text}" for name, text in self.facts.items()]
        return "\n".join(["# Evaluation", "", *facts, "", *(table.markdown() for table in self.tables if table.cells)])

    def write(self, out: Path) -> None:
        """``evaluation.md`` and ``evaluation.json`` in the folder ``out``."""
        out.mkdir(parents=True, exist_ok=True)
        (out / "evaluation.md").write_text(self.markdown(), encoding="utf-8")
        tables = {table.title: table.as_json() for table in self.tables if table.cells}
        (out / "evaluation.json").write_text(json.dumps({"facts": self.facts, "tables": tables}, indent=1), encoding="utf-8")


Task = tuple[str, Callable[[], None]]
"""One piece of an evaluation by name, for the progress bar."""


def _cell(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
