"""What is known about every position of a simulated scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from orbistem.errors import InputError, ShapeError

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["Truth"]

TRUTH_UNITS = {"site": "1", "angle": "rad", "point_group": "1", "defect_distance": "angstrom"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Truth:
    """What is known about every position of a simulated scan; each array has the shape of the scan.

    Attributes
    ----------
    site
        Class of the local structure, integer.
    angle
        How the site is turned, in rad, in the detector's frame (from +kx to +ky).
    point_group
        Name of the site's two-dimensional point group.
    defect_distance
        Distance to the nearest defect in Å; NaN or inf if there is none.
    """

    site: NDArray[np.int64]
    angle: NDArray[np.float64]
    point_group: NDArray[np.str_]
    defect_distance: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in TRUTH_UNITS:
            if getattr(self, name).shape != self.site.shape:
                raise ShapeError(
                    f"{name}: want {self.site.shape} like site, got {getattr(self, name).shape}; "
                    "give one per position"
                )

    def to_dataset(self) -> xr.Dataset:
        """As an xarray dataset with dimensions (y, x), or (position)."""
        import xarray as xr

        dims = ("y", "x") if self.site.ndim == 2 else ("position",)
        values = {"site": self.site, "angle": self.angle, "defect_distance": self.defect_distance}
        values["point_group"] = np.asarray(self.point_group).astype(object)
        return xr.Dataset(
            {name: (dims, values[name], {"units": units}) for name, units in TRUTH_UNITS.items()}
        )

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> Self:
        """Inverse of `to_dataset`."""
        missing = [name for name in TRUTH_UNITS if name not in dataset]
        if missing:
            raise InputError(
                f"truth: want {', '.join(TRUTH_UNITS)}, got no {', '.join(missing)}; give a .truth.nc file"
            )
        return cls(
            site=dataset["site"].to_numpy().astype(np.int64),
            angle=dataset["angle"].to_numpy().astype(np.float64),
            point_group=dataset["point_group"].to_numpy().astype(np.str_),
            defect_distance=dataset["defect_distance"].to_numpy().astype(np.float64),
        )

    def save(self, path: Path | str) -> None:
        """Write NetCDF (usually NAME.truth.nc), complete or not at all."""
        from orbistem.durable import write_aside

        with write_aside(Path(path)) as aside:
            self.to_dataset().to_netcdf(aside, engine="h5netcdf")

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote."""
        import xarray as xr

        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            return cls.from_dataset(dataset.load())
