"""Lists of scan positions: from a CSV file, or found beside the patterns inside a file."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np

from orbistem.errors import InputError, OptionError, one_line
from orbistem.scan import as_positions

__all__ = ["LIST_NAME", "columns_of", "positions_beside", "read_list"]

LIST_NAME = re.compile(r"(scan_|probe_)?(positions?|translations?|coordinates?)(_\w{1,6})?", re.IGNORECASE)
"""Names under which a list of positions is looked for beside the patterns."""

_BESIDE = ("scan_coordinates.csv", "positions.csv", "scan_positions.csv")


def columns_of(name: str, table: Any) -> tuple[np.ndarray[Any, Any], str]:
    """Columns y and x of a table (n, 2) or (n, 3), and a few words about which they were.

    A table called "translation" is x, y, z, as CXI defines it; any other is y, x.
    """
    array = np.asarray(table)
    if "translation" in name.lower() and array.ndim == 2 and array.shape[1] >= 2:
        return as_positions(array[:, 1::-1]), "columns x, y as in CXI"
    return as_positions(array), "columns y, x"


def read_list(path: Path) -> tuple[np.ndarray[Any, Any], str]:
    """Positions (n, 2), y and x, from a text file (comma, semicolon, tab or space) or .npy.

    A header with columns called x and y decides the order; without one it is y, x.

    Returns
    -------
    positions, words
        The words say which columns were used.
    """
    if path.suffix.lower() == ".npy":
        try:
            table = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"positions: {path} is no readable table of numbers; give one that NumPy saved, or a CSV file"
            ) from error
        return columns_of(path.stem, table)
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise InputError(
            f"positions: cannot read {path} ({error.strerror}); give an existing file"
        ) from error
    rows = _rows(text)
    if not rows:
        raise OptionError(f"positions: want lines of y, x in {path}, got none; give a list with two columns")
    header = None if _numbers(rows[0]) is not None else [cell.strip().lower() for cell in rows[0]]
    table = [_numbers(row) for row in rows[header is not None :]]
    widths = {len(row) if row is not None else 0 for row in table}
    if len(widths) != 1 or min(widths) < 2:
        bad = next((i for i, row in enumerate(table) if row is None or len(row) < 2), 0)
        raise OptionError(
            f"positions: want two numbers y, x in every line of {path}, "
            f"got a different line {bad + 1 + (header is not None)}; correct the list"
        )
    array = np.array(table, dtype=np.float64)
    y, x = _column(header, "y"), _column(header, "x")
    if y is not None and x is not None:
        if max(y, x) >= array.shape[1]:
            raise OptionError(
                f"positions: want as many numbers in each line of {path} as names in its header, got "
                f"{array.shape[1]} and {len(header or ())}; correct the list"
            )
        return as_positions(array[:, [y, x]]), f"columns {y + 1} (y) and {x + 1} (x), by the header"
    return as_positions(array), "columns y, x"


def positions_beside(path: Path, n_frames: int) -> tuple[np.ndarray[Any, Any], str, str] | None:
    """A list of positions of the right length beside the file: positions (n, 2), its name, its columns."""
    for name in (f"{path.stem}.positions.csv", f"{path.stem}_positions.csv", *_BESIDE):
        beside = path.parent / name
        try:
            if beside.is_file():
                values, columns = read_list(beside)
                if len(values) == n_frames:
                    return values, name, columns
        except (OSError, InputError, OptionError):
            continue
    return None


def _rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        return []
    separator = next((mark for mark in (";", "\t", ",") if mark in lines[-1]), None)
    if separator is None:
        return [line.split() for line in lines]
    try:
        return list(csv.reader(lines, delimiter=separator))
    except (
        csv.Error
    ) as error:  # a field of more than 131072 letters: a quote that is never closed, or no list
        raise OptionError(
            f"positions: want lines of y, x, got another table ({one_line(error)}); correct the list"
        ) from error


def _numbers(cells: list[str]) -> list[float] | None:
    try:
        return [float(cell) for cell in cells if cell.strip()]
    except ValueError:
        return None


def _column(header: list[str] | None, letter: str) -> int | None:
    if header is None:
        return None
    for index, name in enumerate(header):
        words = re.split(r"[^a-z]+", name)
        if letter in words or words[0] in {f"pos{letter}", f"scan{letter}"}:
            return index
    return None
