"""From any file that can be opened to one that keeps what was found: patterns, axes, masks, positions."""

from __future__ import annotations

import os
from pathlib import Path

from orbistem.durable import require_replaceable
from orbistem.errors import OutputError
from orbistem.io import save_scan
from orbistem.io.save import require_writable
from orbistem.progress import Progress
from orbistem.scan import Scan

__all__ = ["check_target", "convert"]


def check_target(source: Path, target: Path, *, overwrite: bool) -> None:
    """Refuse a target that cannot be written or would destroy something, before anything is read.

    Raises
    ------
    OptionError
        The suffix is none that can be written.
    OutputError
        The target exists, is the source, or lies where there is no folder.
    """
    suffix = require_writable(target)
    if not target.absolute().parent.is_dir():
        raise OutputError(f"want an existing folder, got {target.absolute().parent}; make it first")
    real, origin = Path(os.path.realpath(target)), Path(os.path.realpath(source))
    if real == origin or origin in real.parents or real in origin.parents:
        raise OutputError(
            f"{target} and {source} are the same, or one lies inside the other; give a new name"
        )
    if not os.path.lexists(target):
        return
    require_replaceable(target)
    if not overwrite:
        raise OutputError(f"{target} exists; give another name, or --overwrite to replace it")
    if real.is_dir() != (suffix in (".zspy", ".zarr")) or (real.is_dir() and not _is_store(real)):
        kind = "a folder" if real.is_dir() else "a file"
        raise OutputError(f"{target} is {kind} of another kind, so it stays; give another name")


def convert(scan: Scan, target: Path | str, *, progress: Progress | None = None) -> None:
    """Write a scan under another name and format, block by block; it is complete in the end, or not there.

    Parameters
    ----------
    scan
        What `orbistem.open` gave.
    target
        NAME.hspy, NAME.h5, NAME.zspy or NAME.zarr.
    progress
        Told how many pieces are written.

    Notes
    -----
    Counts are the same bit by bit, and axes, units, positions, masks and flags of positions that were not
    measured come back when the file is opened again. What was assumed about the source is kept as assumed.
    """
    save_scan(scan, target, progress=progress)


def _is_store(folder: Path) -> bool:
    return any((folder / name).exists() for name in (".zgroup", ".zarray", "zarr.json"))
