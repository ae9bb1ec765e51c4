"""Maps that need no model: the descriptors of symmetry over the stored harmonics."""

from __future__ import annotations

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
from orbistem.pipeline.preparation import MIN_PATTERNS
from orbistem.plan import Plan
from orbistem.stream import cores
from orbistem.symmetry import (
    DESCRIPTORS,
    ComponentBasis,
    Descriptor,
    Variable,
    component_basis,
    point_group,
)
from orbistem.symmetry.n_fold import FOLDS

__all__ = [
    "Descriptors",
    "describe_symmetry",
    "noise_factor",
    "static_kind",
    "stored_basis",
    "symmetry_words",
]


REFUTED = 1e-4
"""Below this probability of noise alone a turn is refuted."""
CAVEAT = (
    "Mistilt and thickness break the symmetry of convergent-beam patterns too: these are groups of patterns, "
    "not yet of the crystal."
)


HIDDEN = (
    " At {open} of {all} positions nothing is left once the mean of the scan is taken off as background: if "
    "these are the same pattern again and again, its symmetry (that of the mean is {group}) was taken off "
    "with it; --background none shows it."
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Descriptors:
    """Maps of symmetry.

    Attributes
    ----------
    maps
        Pairs of a variable and its values, (position,) or (position, label), NaN where not usable.
    basis
        How harmonics became components.
    shared
        Point group of what all patterns share, where the mean of the scan is the background and is taken off;
        "" where that shows no symmetry or nothing is taken off.
    """

    maps: tuple[tuple[Variable, NDArray[Any]], ...]
    basis: ComponentBasis
    shared: str = ""


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
    return Descriptors(maps=maps, basis=basis, shared="" if given is not None else _shared_group(basis))


def _shared_group(basis: ComponentBasis) -> str:
    """Point group of the static background, seen as one pattern; "" where it has none to speak of."""
    static = basis.static.copy()
    if not np.any(static[:, 1:]):
        return ""
    alone = replace(basis, static=np.where(np.arange(static.shape[1]) > 0, 0, static))
    name = str(point_group(alone.components(static[None])).names[0])
    return "" if name == "C1" else name


def noise_factor(plan: Plan, totals: NDArray[Any] | None) -> NDArray[Any] | None:
    """Factor on the noise of each pattern, (position,); None where patterns were not scaled to one total."""
    if plan.normalise != "total" or totals is None or plan.gain is None:
        return None
    target = plan.reference_total or float(np.nanmean(totals))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(totals > 0, target / totals, np.nan)


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
        text = "Point groups that agree with the noise: "
        text += f"{', '.join(said)} positions" if said else "none at any position"
        text += f"; {open_} positions show too little to tell."
        if unknown := len(values) - len(good):
            text += f" {unknown} positions are not known."
        text += _at_odds(found, values, names)
        if found.shared and 2 * open_ >= len(good):
            text += HIDDEN.format(open=open_, all=len(good), group=found.shared)
        return (text + " " + CAVEAT,)
    return ()


def _at_odds(found: Descriptors, code: NDArray[Any], names: list[str]) -> str:
    """Where a turn of the group that was found is refuted when it is looked at alone."""
    p = {v.name: values for v, values in found.maps}.get("n_fold_p")
    if p is None:
        return ""
    order = np.array([0, *(int(name[1:]) for name in names[1:])])[np.nan_to_num(code).astype(int)]
    refuted = [(order % fold == 0) & (order > 0) & (p[:, i] < REFUTED) for i, fold in enumerate(FOLDS)]
    n = int(np.any(refuted, axis=0).sum())
    if not n:
        return ""
    return (
        f" At {n} of them a turn of that group is refuted when it is looked at alone (n_fold_p below "
        f"{REFUTED:g}): the group is judged by all that it forbids together, one turn by its own part, and "
        "what breaks it is too little to break the group; --at shows which."
    )


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
    workers = threads or cores()
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Any]] = deque()
        for block in store.blocks():
            waiting.append(pool.submit(task, block))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
