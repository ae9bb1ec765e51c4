"""The scan: lazy diffraction patterns, calibrated axes, what is valid, and where it all came from."""

from orbistem.scan.axis import Axis
from orbistem.scan.check import as_positions, require_patterns
from orbistem.scan.patterns import Block, Scan
from orbistem.scan.provenance import Provenance
from orbistem.scan.truth import Truth

__all__ = ["Axis", "Block", "Provenance", "Scan", "Truth", "as_positions", "require_patterns"]
