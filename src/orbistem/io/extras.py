"""What a scan has and the .hspy and .zspy formats have no place for: kept in metadata/orbistem."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from orbistem.io.axes import as_text
from orbistem.io.contract import Found
from orbistem.scan import Scan

__all__ = ["extras_of", "restore_extras"]

_TABLES = ("positions", "pixel_valid", "measured", "scan_vectors")


def extras_of(scan: Scan) -> dict[str, Any]:
    """Plain arrays and texts to store beside the patterns; only what is not the default."""
    extras: dict[str, Any] = {}
    if scan.positions is not None:
        extras |= {"positions": np.array(scan.positions), "position_units": scan.position_units}
    if not scan.pixel_valid.all():
        extras["pixel_valid"] = scan.pixel_valid.astype(np.uint8)
    if not scan.measured.all():
        extras["measured"] = scan.measured.astype(np.uint8)
    if scan.scan_vectors is not None:
        extras["scan_vectors"] = np.array(scan.scan_vectors)
    if scan.provenance.assumed:
        extras["assumed"] = "\n".join(scan.provenance.assumed)
    return extras


def restore_extras(found: Found, root: Any, group_path: str) -> Found:
    """Put back what `extras_of` gave; a damaged part is left out and said."""
    try:
        group = root[f"{group_path}/metadata/orbistem"]
        tables = {name: np.asarray(group[name][()]) for name in _TABLES if name in group}
    except Exception:  # not written by us, or unreadable metadata: the data stand alone
        return found
    shape = tuple(found.patterns.shape)
    want = {
        "positions": (shape[0], 2),
        "pixel_valid": shape[-2:],
        "measured": shape[:-2],
        "scan_vectors": (2, 2),
    }
    good: dict[str, Any] = {name: value for name, value in tables.items() if value.shape == want[name]}
    bad = tuple(
        f"the stored {name} do not fit the patterns and are not used" for name in tables if name not in good
    )
    for name in ("pixel_valid", "measured"):
        if name in good:
            good[name] = good[name] != 0
    if "positions" in good:
        good["position_units"] = as_text(group.attrs.get("position_units")) or "px"
        good |= {"scan_axes": None, "axes_known": True}
    try:
        assumed = tuple(filter(None, as_text(group.attrs.get("assumed")).split("\n")))
    except Exception:  # unreadable, as above
        assumed = ()
    assumed = tuple(f"when it was converted: {text}" for text in assumed)
    return dataclasses.replace(found, warnings=found.warnings + bad, assumed=found.assumed + assumed, **good)
