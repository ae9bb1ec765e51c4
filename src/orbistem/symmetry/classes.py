"""Discrete classes of sites: a mixture of Gaussians over the latents, and what the members of a class share.

The mixture is fitted by variational Bayes (Bishop, Pattern Recognition and Machine Learning, 2006, section
10.2; scikit-learn's `BayesianGaussianMixture`). Latents are in units of their own uncertainty, so the prior
covariance of a class is the unit matrix: a class is as wide as noise unless the data say more.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orbistem.errors import OptionError
from orbistem.harmonics.rotation import mirror, turn
from orbistem.symmetry.components import CLASSES, Components

__all__ = ["ClassMean", "ClassMeans", "ClassOptions", "Classes", "find_classes"]

MOST_CLASSES = 64
MOST_PATTERNS = 20_000
"""Patterns that the mixture is fitted to; all get a class."""
MIN_PATTERNS = 8
"""A class needs so many members."""
STARTS = 3
SIGNIFICANT = 3.0
"""Members differ by more than shot noise where their scatter says so by this many standard deviations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassOptions:
    """Whether and how sites are sorted into classes.

    Attributes
    ----------
    number
        So many classes; None: none, unless `auto`.
    auto
        As many classes as the Bayesian information criterion asks for (Schwarz, Ann. Stat. 6, 461 (1978)).
    most
        At most so many where the number is found.
    """

    number: int | None = None
    auto: bool = False
    most: int = 12

    def __post_init__(self) -> None:
        if self.number is not None and self.auto:
            raise OptionError("classes: want a number or auto, got both; leave out one")
        for name, value in (("number", self.number), ("most", self.most)):
            if value is not None and not 1 <= value <= MOST_CLASSES:
                raise OptionError(f"classes: want {name} from 1 to {MOST_CLASSES}, got {value}; correct it")

    @property
    def asked(self) -> bool:
        """Whether classes are wanted."""
        return self.auto or self.number is not None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Classes:
    """Class of each position, the most frequent class first.

    Attributes
    ----------
    label
        (n,) int; -1 where the position is not usable.
    probability
        (n, class); NaN where not usable.
    centre
        (class, D): mean latents.
    tried
        Bayesian information criterion for each number of classes that was tried, from 1 on; empty where the
        number was given.
    problem
        One sentence, or None.
    """

    label: np.ndarray
    probability: np.ndarray
    centre: np.ndarray
    tried: tuple[float, ...] = ()
    problem: str | None = None

    def __len__(self) -> int:
        return len(self.centre)


def find_classes(
    latent: np.ndarray, usable: np.ndarray, *, options: ClassOptions, rng: np.random.Generator
) -> Classes:
    """Sort positions into classes by their latents.

    Parameters
    ----------
    latent
        (n, D) active latents, in units of their posterior sd.
    usable
        (n,) bool.
    options
        How many classes.
    rng
        Draws patterns and starts.
    """
    latent = np.asarray(latent, np.float64)
    rows = np.flatnonzero(usable & np.isfinite(latent).all(axis=1))
    n_most = min(options.number or options.most, len(rows) // MIN_PATTERNS)
    if latent.shape[1] == 0 or n_most < 1:
        return _none(latent, "No classes: no latent is active, or too few patterns are usable.")
    some = latent[np.sort(rng.permutation(rows)[:MOST_PATTERNS])]
    seed = int(rng.integers(2**31))
    tried: list[float] = []
    if options.number is None:
        mixtures = [_mixture(some, n, seed) for n in range(1, n_most + 1)]
        tried = [_criterion(mixture, some) for mixture in mixtures]
        mixture = mixtures[int(np.argmin(tried))]
    else:
        mixture = _mixture(some, n_most, seed)
    chance = mixture.predict_proba(latent[rows])
    count = np.bincount(np.argmax(chance, axis=1), minlength=chance.shape[1])
    order = np.argsort(-count, kind="stable")
    order = order[count[order] > 0]
    chance = chance[:, order] / np.maximum(chance[:, order].sum(axis=1, keepdims=True), 1e-300)
    label = np.full(len(latent), -1)
    label[rows] = np.argmax(chance, axis=1)
    probability = np.full((len(latent), len(order)), np.nan)
    probability[rows] = chance
    centre = np.stack([latent[label == c].mean(axis=0) for c in range(len(order))])
    problem = None
    if options.number is not None and len(order) < options.number:
        problem = (
            f"{options.number} classes were asked for, but only {len(order)} have members; ask for fewer."
        )
    return Classes(label=label, probability=probability, centre=centre, tried=tuple(tried), problem=problem)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClassMean:
    """Mean components of the members of a class, each turned back by its own angle.

    Attributes
    ----------
    components
        Of one pattern, the mean. Its noise is the shot noise of the mean plus what the members differ by:
        a departure from a symmetry that is smaller than the class is wide breaks nothing.
    effective
        Number of members that weigh as much.
    """

    components: Components
    effective: float


class ClassMeans:
    """Sums over the members of each class; add block by block.

    Parameters
    ----------
    n_classes
        Number of classes.
    order
        Angular order of each component, (k,), as in `Components`.
    """

    def __init__(self, n_classes: int, order: np.ndarray) -> None:
        self.order = np.asarray(order)
        self.groups = [np.flatnonzero(self.order % CLASSES == r) for r in range(CLASSES)]
        k = len(self.order)
        self.weight = np.zeros(n_classes)
        self.square = np.zeros(n_classes)
        self.total = np.zeros((n_classes, k), complex)
        self.noise = np.zeros((n_classes, k))
        self.spread = np.zeros((n_classes, CLASSES))
        self.second = [np.zeros((n_classes, len(g), len(g)), complex) for g in self.groups]
        self.last: Components | None = None

    def add(
        self, components: Components, *, angle: np.ndarray, mirrored: np.ndarray, weight: np.ndarray
    ) -> None:
        """Add some patterns.

        Parameters
        ----------
        components
            Of n patterns, detector frame.
        angle
            (n,) rad.
        mirrored
            (n,) bool: mirror images of their template.
        weight
            (n, class): 0 for who is no member.
        """
        values = upright(components.values, self.order, angle=angle, mirrored=mirrored)
        self.last = components
        noise_spread = components.noise_spread()
        for c in range(len(self.weight)):
            rows = np.flatnonzero((weight[:, c] > 0) & np.isfinite(values).all(axis=1))
            if not len(rows):
                continue
            w, own = weight[rows, c], values[rows].astype(np.complex128)
            self.weight[c] += w.sum()
            self.square[c] += np.sum(w**2)
            self.total[c] += w @ own
            self.noise[c] += w @ components.variance[rows]
            self.spread[c] += w @ noise_spread[rows]
            for group, second in zip(self.groups, self.second, strict=True):
                part = own[:, group]
                second[c] += part.T @ (w[:, None] * part.conj())

    def of(self, c: int) -> ClassMean | None:
        """Mean of one class; None where it has no members."""
        if self.last is None or self.weight[c] <= 0:
            return None
        effective = self.weight[c] ** 2 / self.square[c]
        mean, shot = self.total[c] / self.weight[c], self.noise[c] / self.weight[c]
        shot_spread = self.spread[c] / self.weight[c]
        chosen = self.last.weight if self.last.test_weight is None else self.last.test_weight
        variance, spread = shot / effective, shot_spread / effective**2
        for r, (group, second) in enumerate(zip(self.groups, self.second, strict=True)):
            covariance = (second[c] / self.weight[c] - np.outer(mean[group], mean[group].conj())) / 2
            beyond = np.diag(covariance).real - shot[group]
            doubt = np.sqrt(np.sum((chosen[group] * shot[group]) ** 2) / effective)
            if float(chosen[group] @ beyond) <= SIGNIFICANT * doubt:
                continue
            own = np.maximum(beyond, 0)
            variance[group] += own
            root = np.sqrt(chosen[group])
            weighted = root[:, None] * covariance * root
            # tr((W Σ)²) of a covariance of few members is too large by tr(W Σ)² / members
            squares = float(np.sum(np.abs(weighted) ** 2) - np.trace(weighted).real ** 2 / effective)
            spread[r] += max(squares - shot_spread[r], float(np.sum((chosen[group] * own) ** 2)))
        components = replace(
            self.last,
            values=mean[None],
            variance=variance[None],
            spread=spread[None],
            doubt=None if self.last.doubt is None else self.last.doubt / effective**2,
        )
        return ClassMean(components=components, effective=float(effective))


def upright(values: np.ndarray, order: np.ndarray, *, angle: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Coefficients (n, k) of the templates: turned by -angle, then mirrored back."""
    turned = turn(values, by_rad=-np.asarray(angle), orders=order)
    return np.asarray(np.where(np.asarray(mirrored)[:, None], mirror(turned), turned))


def _mixture(points: np.ndarray, n: int, seed: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import BayesianGaussianMixture

    mixture = BayesianGaussianMixture(
        n_components=n,
        covariance_prior=np.eye(points.shape[1]),
        mean_precision_prior=1e-3,
        n_init=STARTS,
        max_iter=300,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # more steps change nothing that is shown
        return mixture.fit(points)


def _criterion(mixture: Any, points: np.ndarray) -> float:
    """Bayesian information criterion: smaller is better."""
    n, d = points.shape
    k = mixture.n_components
    free = k - 1 + k * d + k * d * (d + 1) // 2
    return float(-2 * n * mixture.score(points) + free * np.log(n))


def _none(latent: np.ndarray, problem: str) -> Classes:
    n, d = latent.shape
    return Classes(
        label=np.full(n, -1), probability=np.empty((n, 0)), centre=np.empty((0, d)), problem=problem
    )
