"""Open anything as a `Scan`: recognise, read lazily, fold, and say what was found and what was assumed."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from orbistem.durable import recover
from orbistem.errors import FormatError, InputError, OptionError, OrbistemError, one_line
from orbistem.io.checksum import array_checksum, path_checksum
from orbistem.io.contract import Found, Request
from orbistem.io.detect import look_at, recognise
from orbistem.io.gains import divided_by
from orbistem.io.lazy import as_lazy
from orbistem.io.memory import from_memory
from orbistem.io.placed import Places, find_places, given_places, put_in_place
from orbistem.io.plausible import require_plausible
from orbistem.io.positions import positions_beside, read_list
from orbistem.io.shape import check_shape, describe_fits, fold, fold_lazily
from orbistem.scan import Axis, Provenance, Scan, require_patterns

__all__ = ["open_scan"]

logger = logging.getLogger(__name__)


def open_scan(
    source: Any,
    *,
    dataset: str | None = None,
    positions: Any = None,
    shape: tuple[int, ...] | None = None,
    dtype: str | None = None,
    offset: int | None = None,
    frame_gap: int | None = None,
    mask: Any = None,
    gain_map: Any = None,
    roll: int | None = None,
) -> Scan:
    """Open a file, a folder of frames, or an object that holds patterns. Nothing is read until needed.

    Parameters
    ----------
    source
        Path; NumPy or Dask array; HyperSpy signal; abTEM measurement; h5py or zarr dataset.
    dataset
        Key inside HDF5, Zarr or .npz; number or title of a signal in other files.
    positions
        Scan positions: a CSV file of y, x, a key inside the file, or an array (n, 2). Makes the scan a list.
        "none": also a list that lies beside the file is not used.
    shape
        (y, x) or (y, x, ky, kx): fold a flat stack, or put listed positions (whole numbers) in their places;
        (n, ky, kx) or (y, x, ky, kx): describe raw data.
    dtype, offset, frame_gap
        Raw data: number type, bytes before the first pattern, bytes after each pattern.
    mask
        Array (ky, kx) or a file with one; pixels where it is zero are left out.
    gain_map
        Array (ky, kx) or a file with one: sensitivity of each pixel, by which every pattern is divided when
        it is read; its mean is made 1. Pixels where it is not above zero are left out.
    roll
        Grids: so many patterns at the start of each line belong to the end of the line before; below 0, so
        many at the end of each line to the start of the next.

    Returns
    -------
    Scan
        `provenance` tells what was found and what was assumed.

    Raises
    ------
    InputError, FormatError, OptionError
        With one sentence: what was wanted, what was got, what to do.

    Examples
    --------
    >>> import numpy as np
    >>> scan = open_scan(np.zeros((480, 16, 16), np.uint8), shape=(24, 20))
    >>> scan.scan_shape
    (24, 20)
    """
    shape = check_shape(shape)
    listed, key, words = _given_positions(positions, source)
    request = Request(
        dataset=dataset, positions=key, shape=shape, dtype=dtype, offset=offset, frame_gap=frame_gap
    )
    path: Path | None = None
    if isinstance(source, str | os.PathLike):
        if not os.fspath(source):
            raise InputError("want the path of a file or a folder, got an empty text; give one")
        path = Path(source)
        found, content = _read(path, request), path_checksum(path)
        found = found if positions is not None else _with_list_beside(found, request, path)
    else:
        if dataset is not None or request.is_raw or key is not None:
            raise OptionError(
                "dataset, dtype, offset, frame_gap and a positions key are for files; leave them out"
            )
        found, name = from_memory(source)
        path = None if name is None else Path(name)
        content = array_checksum(found.patterns) if path is None else path_checksum(path)
    if listed is not None:
        found = dataclasses.replace(
            found, positions=listed, position_units="px", found=(*_without_positions(found.found), words)
        )
    elif found.positions is not None and key is None and shape is not None and len(shape) != 3:
        sentence = "the positions in the file are not used, since --shape is given"
        found = dataclasses.replace(
            found,
            positions=None,
            found=_without_positions(found.found),
            warnings=(*found.warnings, sentence),
        )
    scan = _to_scan(_in_place(found, request, is_given=listed is not None or key is not None), request, path)
    scan = scan if not roll else _rolled(scan, roll)
    gains = None if gain_map is None else read_picture("gain_map", gain_map)
    about = dataclasses.replace(scan.provenance, checksum=_checksum(content, scan, roll, gains))
    scan = scan.replace(provenance=about)
    scan = scan if gains is None else divided_by(scan, gains)
    return scan if mask is None else scan.with_mask(read_picture("mask", mask) != 0)


def _read(path: Path, request: Request) -> Found:
    if not os.path.lexists(path):
        recover(path)  # a folder that was being replaced when its writer was killed
    look = look_at(path, request)
    try:
        found = recognise(look).read(path, request)
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename or path} does not exist; give an existing file or folder"
        ) from error
    except PermissionError as error:
        raise InputError(
            f"{path} cannot be read (permission denied); change its rights, or read a copy"
        ) from error
    except OrbistemError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{path} needs more memory than there is to be opened; convert it on a larger machine"
        ) from error
    except Exception as error:  # readers of damaged files raise every kind
        logger.debug("opening failed", exc_info=error)
        raise FormatError(f"{path} is damaged ({one_line(error)}); copy it again") from error
    require_plausible(path, found.patterns)
    if request.positions is not None and found.positions is None:
        raise OptionError(
            f"positions: want a CSV file of y, x or a key of a table in {path.name}, got "
            f"{request.positions}; correct it"
        )
    if request.dataset is not None and found.dataset is None:
        raise OptionError(f"dataset: {path.name} ({found.format}) has no named arrays; leave --dataset out")
    if request.is_raw and not found.format.startswith("raw"):
        sentence = f"--dtype, --offset and --frame-gap are not used: {found.format} describes itself"
        found = dataclasses.replace(found, warnings=(*found.warnings, sentence))
    return found


def _with_list_beside(found: Found, request: Request, path: Path) -> Found:
    """A stack whose order nothing tells takes the list of positions beside its file, if there is one."""
    shape = tuple(found.patterns.shape)
    if found.positions is not None or found.order is not None:
        return found
    if (
        found.scan_shape is not None
        or request.is_raw
        or len(shape) not in (3, 4)
        or (len(shape) == 4 and found.axes_known)
    ):
        return found
    n = int(np.prod(shape[:-2]))
    beside = positions_beside(path, n)
    if beside is None:
        return found
    values, name, columns = beside
    sentence = f"positions from {name} beside the file ({columns}); leave them out with --positions none"
    if len(shape) == 4 or request.shape is not None:  # a raster; the list may say that its order is another
        sentence = f"{name} beside the file lists {n} positions; use it with --positions {name}"
        return dataclasses.replace(found, assumed=(*found.assumed, sentence))
    return dataclasses.replace(
        found, positions=values, position_units="px", assumed=(*found.assumed, sentence)
    )


def _to_scan(found: Found, request: Request, path: Path | None) -> Scan:
    raw_shape = tuple(int(size) for size in found.patterns.shape)
    require_patterns(
        tuple(raw_shape[axis] for axis in found.order or range(len(raw_shape))), found.patterns.dtype
    )
    shape = request.shape
    if shape is None and found.positions is None:
        shape = found.scan_shape
    patterns, missing, more = _folded(found, shape)
    is_folded = patterns.ndim == 4 and len(raw_shape) == 3
    by_file = request.shape is None and found.scan_shape is not None
    scan = Scan.from_array(
        patterns,
        positions=found.positions,
        position_units=found.position_units,
        scan_axes=None if found.positions is not None or (is_folded and not by_file) else found.scan_axes,
        detector_axes=found.detector_axes,
        pixel_valid=found.pixel_valid,
        measured=found.measured if missing is None else missing,
        scan_vectors=found.scan_vectors,
    )
    about = Provenance(
        path=None if path is None else str(path),
        format=found.format,
        dataset=found.dataset,
        found=found.found,
        assumed=found.assumed,
        warnings=found.warnings + more,
    )
    facts, guesses = _sentences(scan, found, request, raw_shape, path)
    return scan.replace(provenance=about.adding(found=facts, assumed=guesses))


def _in_place(found: Found, request: Request, *, is_given: bool) -> Found:
    """Listed patterns on their raster: where its shape was given, or the list counts rows and columns."""
    if found.positions is None or len(found.patterns.shape) != 3 or found.order is not None:
        return found
    if len(found.positions) != found.patterns.shape[0]:
        return found  # refused later
    if request.shape is not None and len(request.shape) != 3:
        if len(request.shape) == 4 and request.shape[2:] != tuple(found.patterns.shape[1:]):
            return found
        places = given_places(found.positions, (request.shape[0], request.shape[1]))
    elif not is_given and found.position_units == "px" and (counted := find_places(found.positions)):
        places = counted
    else:
        return found
    axes = tuple(
        Axis(name=name, offset=float(first)) for name, first in zip("yx", places.origin, strict=True)
    )
    return dataclasses.replace(
        found,
        patterns=put_in_place(found.patterns, places),
        positions=None,
        measured=places.measured,
        scan_axes=axes,
        axes_known=True,
        found=(*found.found, places.words),
    )


def _folded(
    found: Found, shape: tuple[int, ...] | None
) -> tuple[Any, np.ndarray[Any, Any] | None, tuple[str, ...]]:
    """Patterns as NumPy or Dask in the order scan, ky, kx and in the scan shape; as `fold` returns them."""
    patterns = found.patterns
    if not isinstance(patterns, np.ndarray) and not hasattr(patterns, "dask"):
        if shape is not None and patterns.ndim == 3 and found.order is None:
            return fold_lazily(patterns, shape, storage_chunks=found.storage_chunks)
        along = found.order[0] if found.order else 0
        patterns = as_lazy(patterns, storage_chunks=found.storage_chunks, along=along)
    if found.order is not None:
        patterns = patterns.transpose(found.order)
    if shape is None or patterns.ndim == 2:
        return patterns, None, ()
    return fold(patterns, shape)


def _without_positions(sentences: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text for text in sentences if not text.startswith("positions from "))


def _sentences(
    scan: Scan, found: Found, request: Request, raw_shape: tuple[int, ...], path: Path | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What `info` says about the shape: facts, and guesses with the option that changes them."""
    (ky, kx), n = scan.detector_shape, scan.n_positions
    found_more: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    size = " x ".join(map(str, raw_shape))
    if scan.positions is not None:
        found_more = (f"{n} listed positions, patterns of {ky} x {kx} px (ky, kx), {scan.dtype}",)
    else:
        y, x = scan.scan_shape
        found_more = (f"{y} x {x} positions (y, x), patterns of {ky} x {kx} px (ky, kx), {scan.dtype}",)
        if request.shape is not None and len(request.shape) != 3:
            found_more += (f"the shape {y} x {x} was given with --shape",)
        elif len(raw_shape) == 4 and not found.axes_known:
            assumed = (f"the axes {size} are taken as (y, x, ky, kx), since the file does not name them; "
                       "give --shape Y,X,KY,KX to fold them otherwise",)  # fmt: skip
        elif len(raw_shape) == 3 and found.scan_shape is None and n > 1:
            fits = describe_fits(n, (ky, kx))
            assumed = (f"the {n} patterns are taken as one line, since no scan shape is in the file; {fits}",)
        elif len(raw_shape) == 2:
            assumed = ("a single pattern: one position",)
    if found.detector_axes is None and not found.axes_known:
        assumed += ("no calibration in the file: lengths are in px",)
    return found_more, assumed


def _given_positions(positions: Any, source: Any) -> tuple[Any, str | None, str]:
    """Positions as (array, key inside the file, sentence): at most one of the first two."""
    if positions is None:
        return None, None, ""
    if not isinstance(positions, str | os.PathLike):
        return np.asarray(positions), None, "positions as given"
    path = Path(positions)
    if str(positions) == "none" and not path.is_file():
        return None, None, ""
    if not path.is_file() and isinstance(source, str | os.PathLike):
        beside = Path(source).parent / path
        path = beside if beside.is_file() else path
    if path.is_file():
        values, columns = read_list(path)
        return values, None, f"positions as given in {path.name} ({columns})"
    if path.suffix.lower() in {".csv", ".txt", ".tsv"}:
        raise InputError(f"positions: {positions} does not exist; give an existing CSV file of y, x")
    return None, str(positions), ""


def _rolled(scan: Scan, roll: int) -> Scan:
    """The scan with every pattern `roll` positions earlier; those without a pattern are not measured."""
    n = scan.n_positions
    if not scan.is_grid or abs(roll) >= n:
        raise OptionError(
            f"roll: want a scan with lines, of more than {abs(roll)} patterns, got {n} "
            f"{'in a grid' if scan.is_grid else 'listed positions'}; leave out --roll"
        )
    index = np.arange(n) + roll
    index = np.where((index >= 0) & (index < n), index, -1)
    places = Places(index=index.reshape(scan.scan_shape), origin=(0, 0))
    measured = np.where(index >= 0, scan.measured.reshape(-1)[index], False).reshape(scan.scan_shape)
    flat = scan.patterns.reshape(n, *scan.detector_shape)
    sentence = f"the lines were rolled by {-roll:+d} patterns, as given; {abs(roll)} positions have none now"
    return scan.replace(
        patterns=put_in_place(flat, places),
        measured=measured,
        provenance=scan.provenance.adding(found=(sentence,)),
    )


def read_picture(name: str, given: Any) -> np.ndarray[Any, Any]:
    """A picture (ky, kx), given as an array or in a file; `name` is that of the option."""
    if not isinstance(given, str | os.PathLike):
        return np.asarray(given)
    scan = open_scan(given)
    if scan.n_positions != 1:
        raise OptionError(
            f"{name}: want one picture (ky, kx) in {given}, got {scan.n_positions}; give one frame"
        )
    return np.asarray(scan.block(0, 1).frames[0])


def _checksum(content: str, scan: Scan, roll: int | None, gains: np.ndarray[Any, Any] | None) -> str:
    """Content, and how it was read: another dataset or shape of the same file is another input."""
    digest = hashlib.sha256(content.encode())
    digest.update(
        f"{scan.provenance.dataset} {scan.scan_shape} {scan.detector_shape} {scan.dtype.str}".encode()
    )
    if roll:
        digest.update(f"roll {roll}".encode())
    if gains is not None:
        digest.update(np.ascontiguousarray(gains).tobytes())
    if scan.positions is not None:
        digest.update(np.ascontiguousarray(scan.positions).tobytes())
    return digest.hexdigest()
