"""One reader a format. A new one: copy the nearest file, and add its line to the tuple below."""

from orbistem.io.formats import (
    abtem,
    arrays,
    cxi,
    ebsp,
    folder,
    hdf5,
    mrcz,
    nion,
    raw,
    rosetta,
    zarr3,
    zarr_store,
)

__all__ = ["FORMATS"]

FORMATS = (  # asked in this order; the first that recognises the content reads it
    abtem.FORMAT,
    zarr_store.FORMAT,
    zarr3.FORMAT,
    folder.FORMAT,
    rosetta.VELOX,
    cxi.FORMAT,
    hdf5.FORMAT,
    nion.FORMAT,
    arrays.NPY,
    arrays.NPZ,
    ebsp.FORMAT,
    mrcz.FORMAT,
    raw.FORMAT,
    rosetta.FORMAT,
)
