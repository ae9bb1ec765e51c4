"""Open any file as a `Scan`, describe it, save it. The only part of orbistem that knows file formats."""

from orbistem.io.describe import describe
from orbistem.io.opening import open_scan
from orbistem.io.save import save_scan

__all__ = ["describe", "open_scan", "save_scan"]
