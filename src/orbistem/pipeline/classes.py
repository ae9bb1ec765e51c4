"""Classes of a run: label and probability of every position, aligned averages and their point groups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.harmonics.store import open_store
from orbistem.models.protocol import Encoding
from orbistem.pipeline.reduction import STORE_NAME
from orbistem.pipeline.static import static_coefficients
from orbistem.result import TrainedModel
from orbistem.symmetry import ComponentBasis
from orbistem.symmetry.classes import Classes, ClassMeans, ClassOptions, find_classes, upright
from orbistem.symmetry.point_group import point_group

__all__ = ["SiteClasses", "class_words", "describe_classes", "measure_classes"]

UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SiteClasses:
    """Classes of a scan.

    Attributes
    ----------
    found
        Labels, probabilities and centres.
    pattern
        (class, ky, kx) electrons: mean over the members, each turned back by its angle, on the static
        background.
    point_group
        Name of each class's point group, or "undecided".
    p
        Its p value; NaN where undecided.
    members
        Number of positions in each class.
    """

    found: Classes
    pattern: NDArray[np.float32]
    point_group: tuple[str, ...]
    p: tuple[float, ...]
    members: tuple[int, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences for the record."""
        return () if self.found.problem is None else (self.found.problem,)


def measure_classes(
    directory: Path,
    model: TrainedModel,
    encoding: Encoding,
    coefficients: NDArray[np.complex64],
    *,
    active: tuple[bool, ...],
    usable: NDArray[np.bool_],
    basis: ComponentBasis,
    factor: NDArray[Any] | None,
    options: ClassOptions,
    rng: np.random.Generator,
) -> SiteClasses:
    """Find the classes, and average their members.

    Parameters
    ----------
    directory
        Holds ``coefficients.zarr``.
    model, encoding, coefficients, active
        Of the run.
    usable
        (n,).
    basis
        Says how harmonics become components.
    factor
        On the noise of each pattern, (n,), or None.
    options
        How many classes.
    rng
        Draws starts.
    """
    z = np.asarray(encoding.z, np.float64)[:, np.asarray(active, bool)]
    angle = model.own_turn(encoding.z, encoding.angle, encoding.handedness)
    usable = usable & np.isfinite(angle)
    found = find_classes(z, usable, options=options, rng=rng)
    n_classes = len(found)
    weight = np.zeros((len(z), n_classes))
    rows = np.flatnonzero(found.label >= 0)
    weight[rows, found.label[rows]] = found.probability[rows, found.label[rows]]
    hand = np.ones(len(z)) if encoding.handedness is None else np.asarray(encoding.handedness, np.float64)
    mirrored, angle = hand < 0, np.nan_to_num(angle)
    means = ClassMeans(n_classes, basis.order)
    for start, harmonics in open_store(directory / STORE_NAME).blocks():
        part = slice(start, start + len(harmonics))
        means.add(
            basis.components(harmonics, noise_factor=None if factor is None else factor[part]),
            angle=angle[part],
            mirrored=mirrored[part],
            weight=weight[part],
        )
    names, p = [], []
    for c in range(n_classes):
        mean = means.of(c)
        fit = None if mean is None else point_group(mean.components)
        names.append(UNDECIDED if fit is None or not fit.names[0] else str(fit.names[0]))
        p.append(float("nan") if fit is None else float(fit.p[0]))
    return SiteClasses(
        found=found,
        pattern=_patterns(model, coefficients, angle, mirrored, weight),
        point_group=tuple(names),
        p=tuple(p),
        members=tuple(int((found.label == c).sum()) for c in range(n_classes)),
    )


def describe_classes(classes: SiteClasses) -> dict[str, Any]:
    """Entry of run.json."""
    return {
        "number": len(classes.found),
        "criterion": list(classes.found.tried),
        "classes": [
            {
                "class": c,
                "members": classes.members[c],
                "latent": [float(one) for one in classes.found.centre[c]],
                "point_group": classes.point_group[c],
                "point_group_p": classes.p[c],
            }
            for c in range(len(classes.found))
        ],
    }


def class_words(classes: SiteClasses) -> tuple[str, ...]:
    """What was found, one sentence."""
    n = len(classes.found)
    if not n:
        return ()
    how = "" if not classes.found.tried else ", as many as the Bayesian information criterion asks for"
    each = ", ".join(f"{c}: {classes.members[c]} positions, {classes.point_group[c]}" for c in range(n))
    return (f"The sites were sorted into {n} classes{how} ({each}).",)


def _patterns(
    model: TrainedModel,
    coefficients: NDArray[np.complex64],
    angle: NDArray[np.float64],
    mirrored: NDArray[np.bool_],
    weight: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Aligned class averages in electrons, drawn by the kept coefficients."""
    if not weight.shape[1]:
        return np.empty((0, *model.plan.detector_shape), np.float32)
    static = static_coefficients(model)
    own = upright(coefficients - static, np.asarray(model.basis.order), angle=angle, mirrored=mirrored)
    total = np.where(np.any(weight > 0, axis=1)[:, None], own, 0).T @ weight
    mean = (total / np.maximum(weight.sum(axis=0), 1e-12)).T
    return model.draw((mean + static).astype(np.complex64))
