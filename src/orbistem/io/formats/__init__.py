"""One reader a format. A new one: copy the nearest file, and add its line to the tuple below."""

from orbistem.io.formats import abtem, arrays, cxi, folder, hdf5, raw, rosetta, zarr3, zarr_store

__all__ = ["FORMATS"]

FORMATS = (  # asked in this order; the first that recognises the content reads it
    abtem.FORMAT,
    zarr_store.FORMAT,
    zarr3.FORMAT,
    folder.FORMAT,
    rosetta.VELOX,
    cxi.FORMAT,
    hdf5.FORMAT,
    arrays.NPY,
    arrays.NPZ,
    raw.FORMAT,
    rosetta.FORMAT,
)
