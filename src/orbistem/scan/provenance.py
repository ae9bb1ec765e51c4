"""Where a scan came from: facts, guesses, and what could not be used."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

__all__ = ["Provenance"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where a scan came from, in plain sentences.

    Attributes
    ----------
    path
        The file or folder; None for an array in memory.
    format
        Name of the format that was recognised, or "array".
    dataset
        Key inside the file, if the format has keys.
    found
        Facts read from the file, one sentence each.
    assumed
        Guesses, one sentence each, with the option that overrides it.
    warnings
        What could not be used, or looks wrong.
    checksum
        Checksum of sampled content: tells whether the same data are there again. Not a proof.
    """

    path: str | None = None
    format: str = "array"
    dataset: str | None = None
    found: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    checksum: str | None = None

    def adding(
        self,
        *,
        found: tuple[str, ...] = (),
        assumed: tuple[str, ...] = (),
        warnings: tuple[str, ...] = (),
    ) -> Provenance:
        """Return the same with more sentences at the end of each list."""
        return dataclasses.replace(
            self,
            found=self.found + found,
            assumed=self.assumed + assumed,
            warnings=self.warnings + warnings,
        )
