"""Maps that need no model: the descriptors of symmetry over the stored harmonics, and the scan's rotation."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.config import FitConfig
from orbistem.harmonics.background import static_harmonics
from orbistem.harmonics.reduce import HarmonicsMoments, HarmonicsReduction
from orbistem.harmonics.store import CoefficientStore
from orbistem.pipeline.preparation import MIN_PATTERNS, Preparation
from orbistem.plan import Plan
from orbistem.prepare.moments import MomentsResult
from orbistem.prepare.scan_rotation import find_scan_rotation
from orbistem.scan import Scan
from orbistem.symmetry import DESCRIPTORS, ComponentBasis, Descriptor, Variable, component_basis

__all__ = [
    "Descriptors",
    "ScanFrame",
    "describe_symmetry",
    "find_scan_frame",
    "noise_factor",
    "scan_frame",
    "static_kind",
    "stored_basis",
    "symmetry_words",
]

MIRRORED_SHARE = 0.5
"""A mirrored scan must leave less than this part of the curl that the scan as it is leaves."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Descriptors:
    """Maps of symmetry.

    Attributes
    ----------
    maps
        Pairs of a variable and its values, (position,) or (position, label), NaN where not usable.
    basis
        How harmonics became components.
    """

    maps: tuple[tuple[Variable, NDArray[Any]], ...]
    basis: ComponentBasis


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanFrame:
    """How the scan lies against the detector.

    Attributes
    ----------
    used_rad
        Rotation that was given, in the detector's axes: azimuth of the scan's +x axis; 0 where none was.
    given
        Whether it was.
    found_rad
        What the centres of mass say; NaN where they do not.
    mirrored
        Whether they say that one of the scan's axes is inverted.
    words
        The same for the report.
    """

    used_rad: float = 0.0
    given: bool = False
    found_rad: float = float("nan")
    mirrored: bool = False
    words: tuple[str, ...] = ()

    def attributes(self) -> dict[str, Any]:
        """Attributes of ``maps.nc``."""
        return {
            "scan_rotation_rad": self.used_rad,
            "scan_rotation_given": int(self.given),
            "scan_rotation_found_rad": self.found_rad,
            "scan_mirrored_found": int(self.mirrored),
        }


def stored_basis(
    plan: Plan,
    store: CoefficientStore,
    *,
    background: str,
    given: NDArray[Any] | None = None,
    threads: int | None = None,
) -> ComponentBasis:
    """Components of a scan from its stored harmonics.

    Parameters
    ----------
    plan
        That made the harmonics, with the noise scale.
    store
        ``coefficients.zarr``.
    background
        "mean" (also for "learned"), "azimuthal", "none" or "given"; a scan of a few patterns has no mean that
        were its background.
    given
        Harmonics of a vacuum pattern, (ring, order).
    threads
        At once; None: as many as there are cores.
    """
    bare = replace(plan, order0_mean=None)
    moments = _moments(bare, store, threads)
    kind = static_kind(background, moments.n)
    static = static_harmonics(kind, mean_harmonics=moments.mean, given=given)  # type: ignore[arg-type]
    return component_basis(bare, moments, static=static)


def static_kind(background: str, n: int) -> str:
    """What the background of a model means without one, for a scan of n patterns; see `stored_basis`."""
    kind = "mean" if background == "learned" else background
    return "azimuthal" if kind == "mean" and n < MIN_PATTERNS else kind


def describe_symmetry(
    plan: Plan,
    store: CoefficientStore,
    *,
    config: FitConfig,
    totals: NDArray[Any] | None = None,
    given: NDArray[Any] | None = None,
    descriptors: tuple[Descriptor, ...] = DESCRIPTORS,
) -> Descriptors:
    """Descriptors of all positions, block by block.

    Parameters
    ----------
    plan, store
        See `stored_basis`.
    config
        Its background.
    totals
        Electrons of each pattern, (position,): needed where patterns were scaled to one total.
    given
        Harmonics of a vacuum pattern.
    descriptors
        Which.
    """
    background = "given" if given is not None else config.model.background
    basis = stored_basis(plan, store, background=background, given=given, threads=config.compute.threads)
    factor = noise_factor(plan, totals)

    def of_block(block: tuple[int, NDArray[Any]]) -> list[NDArray[np.float32]]:
        start, harmonics = block
        scale = None if factor is None else factor[start : start + len(harmonics)]
        components = basis.components(harmonics, noise_factor=scale)
        found = [values for descriptor in descriptors for values in descriptor.compute(components)]
        return [values.astype(np.float32) for values in found]

    parts = list(zip(*_each_block(of_block, store, config.compute.threads), strict=True))
    variables = [variable for descriptor in descriptors for variable in descriptor.variables]
    maps = tuple((v, np.concatenate(part)) for v, part in zip(variables, parts, strict=True))
    return Descriptors(maps=maps, basis=basis)


def noise_factor(plan: Plan, totals: NDArray[Any] | None) -> NDArray[Any] | None:
    """Factor on the noise of each pattern, (position,); None where patterns were not scaled to one total."""
    if plan.normalise != "total" or totals is None or plan.gain is None:
        return None
    target = plan.reference_total or float(np.nanmean(totals))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(totals > 0, target / totals, np.nan)


def find_scan_frame(scan: Scan, prepared: Preparation, *, scan_rotation_deg: float | None) -> ScanFrame:
    """Rotation of the scan against the detector: what was given, beside what the centres of mass say.

    Nothing is turned by it: angles stay in the detector's axes.

    Parameters
    ----------
    scan
        Only grids with perpendicular axes have a field of centres of mass.
    prepared
        Gives the centres of mass.
    scan_rotation_deg
        Azimuth of the scan's +x axis in the detector's axes, degrees; None: not known.
    """
    plan = prepared.plan
    shift = np.zeros((1, 2)) if plan.shift_px is None else plan.shift_px
    place = plan.centre_px + shift
    return scan_frame(scan, prepared.moments, place, scan_rotation_deg=scan_rotation_deg)


def scan_frame(
    scan: Scan, moments: MomentsResult, place_px: NDArray[Any], *, scan_rotation_deg: float | None
) -> ScanFrame:
    """The same from the moments and the centre of each pattern, (n_positions, 2) or (1, 2), px."""
    given = scan_rotation_deg is not None
    used = 0.0 if scan_rotation_deg is None else float(np.deg2rad(scan_rotation_deg))
    frame = ScanFrame(used_rad=used, given=given)
    if not scan.is_grid or scan.scan_vectors is not None or min(scan.scan_shape) < 3:
        return frame
    com = np.where(moments.usable[:, None], moments.com - place_px, np.nan).reshape(*scan.scan_shape, 2)
    straight, flipped = find_scan_rotation(com), find_scan_rotation(com * np.array([1, -1]))
    mirrored = flipped.problem is None and flipped.curl_share < MIRRORED_SHARE * straight.curl_share
    if mirrored:
        words = (
            "The centres of mass have no curl only if one axis of the scan is inverted; compare the "
            "handedness of scan and detector with a known sample.",
        )
        return replace(frame, mirrored=True, words=words)
    if straight.problem is not None:
        return frame
    text = (
        f"The centres of mass have least curl if the scan's x axis lies at "
        f"{np.rad2deg(straight.angle_rad):.0f}° in the detector's axes "
        f"({100 * straight.curl_share:.0f} % of the squared gradients are left as curl). "
    )
    text += (
        f"{scan_rotation_deg:g}° was given." if given else "This was not applied; --scan-rotation says it."
    )
    return replace(frame, found_rad=straight.angle_rad, words=(text,))


def symmetry_words(found: Descriptors) -> tuple[str, ...]:
    """Which point groups were found at how many positions."""
    for variable, values in found.maps:
        if variable.name != "point_group":
            continue
        names = str(variable.attributes["flag_meanings"]).split()
        good = values[np.isfinite(values)].astype(int)
        counts = [(int((good == code).sum()), name) for code, name in enumerate(names) if code]
        said = [f"{name} at {n}" for n, name in sorted(counts, reverse=True) if n]
        open_ = int((good == 0).sum())
        text = "Point groups that agree with the noise: " + (", ".join(said) or "none")
        return (text + f" positions; {open_} positions show too little to tell.",)
    return ()


def _moments(plan: Plan, store: CoefficientStore, threads: int | None) -> HarmonicsMoments:
    reduction = HarmonicsReduction(plan)
    state = reduction.start()
    for sums in _each_block(lambda block: reduction.sums(block[1]), store, threads):
        state = reduction.merge(state, sums)
    return reduction.finish(state)


def _each_block(
    task: Callable[[tuple[int, NDArray[Any]]], Any], store: CoefficientStore, threads: int | None
) -> Iterator[Any]:
    """Results for the blocks of a store in their order; a few blocks at a time are in memory."""
    workers = threads or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Any]] = deque()
        for block in store.blocks():
            waiting.append(pool.submit(task, block))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
