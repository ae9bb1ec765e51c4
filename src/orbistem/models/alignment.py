"""Angles by cross-correlation of coefficients, without a trained model; plain NumPy.

A pattern a is its template t turned by θ: a_k = t_k exp(−i m_k θ). The correlation Re Σ_m exp(imθ) P_m with
P_m = Σ_{k∈m} conj(t_k) a_k is a trigonometric polynomial; its highest peak is the angle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GRID = 360
ORDERS_TESTED = (2, 3, 4, 6)
CLAIM_NATS = 3.0
"""Peaks within this many nats are equally good; a symmetry needs valleys this deep."""
ROUNDS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Aligned:
    """Angles of patterns against their templates.

    Attributes
    ----------
    angle
        (n,) rad in [0, 2π).
    sd
        (n,) rad, width of the peak where the noise of the coefficients is 1 and that of the template is 0.
    order
        (n,) largest number of equally good peaks at equal distances; 0: all angles are equally good.
    """

    angle: np.ndarray
    sd: np.ndarray
    order: np.ndarray


def align(coefficients: np.ndarray, template: np.ndarray, order: np.ndarray) -> Aligned:
    """Turn that takes a template to each pattern.

    Parameters
    ----------
    coefficients
        Complex (n, k), unit noise per real degree of freedom.
    template
        Complex (n, k), or (k,) for all.
    order
        (k,) angular order of each coefficient.
    """
    present = np.unique(order)
    member = (order[:, None] == present[None]).astype(np.float64)
    inner = (coefficients * np.conj(template)) @ member
    theta = 2 * np.pi * np.arange(GRID) / GRID
    field = (inner @ np.exp(1j * present[:, None] * theta[None])).real
    angle = theta[np.argmax(field, axis=1)]
    for _ in range(3):
        turned = inner * np.exp(1j * present[None] * angle[:, None])
        slope, bend = -(turned.imag @ present), turned.real @ present.astype(np.float64) ** 2
        step = np.divide(slope, bend, out=np.zeros_like(slope), where=bend > 0)
        angle = angle + np.clip(step, -np.pi / GRID, np.pi / GRID)
    turned = inner * np.exp(1j * present[None] * angle[:, None])
    bend = turned.real @ present.astype(np.float64) ** 2
    unknown = np.pi / np.sqrt(3)
    sd = np.minimum(1 / np.sqrt(np.maximum(bend, 1e-12)), unknown)
    claimed = _claimed(turned, present)
    return Aligned(angle=angle % (2 * np.pi), sd=np.where(claimed == 0, unknown, sd), order=claimed)


def turn_back(coefficients: np.ndarray, angle: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Coefficients (n, k) turned by −angle (n,)."""
    return np.asarray(coefficients * np.exp(1j * angle[:, None] * order[None]))


def align_group(coefficients: np.ndarray, order: np.ndarray, *, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Angles (n,) of patterns that are turned copies of one, and their common template (k,).

    Parameters
    ----------
    coefficients
        (n, k).
    order
        (k,).
    start
        Row that serves as the first template.
    """
    template = coefficients[start]
    angle = np.zeros(len(coefficients))
    for _ in range(ROUNDS):
        angle = align(coefficients, template, order).angle
        template = turn_back(coefficients, angle, order).mean(axis=0)
    return angle, template


def align_scan(coefficients: np.ndarray, z: np.ndarray, order: np.ndarray, *, seed: int) -> np.ndarray:
    """Angles (n,) of patterns with different latents: groups of like latents first, then group to group.

    Parameters
    ----------
    coefficients
        (n, k).
    z
        (n, d) rotation-invariant latents: near ones belong to patterns that are alike up to a turn.
    order
        (k,).
    seed
        Seeds the grouping.
    """
    from scipy.spatial.distance import cdist
    from sklearn.cluster import KMeans

    n_groups = int(np.clip(len(z) // 12, 1, 64))
    groups = KMeans(n_groups, n_init=1, random_state=seed).fit(z)
    label, centres = groups.labels_, groups.cluster_centers_
    angle = np.zeros(len(z))
    templates = np.zeros((n_groups, coefficients.shape[1]), np.complex128)
    for g in range(n_groups):
        rows = np.flatnonzero(label == g)
        if not len(rows):
            continue
        middle = int(np.argmin(((z[rows] - centres[g]) ** 2).sum(axis=1)))
        angle[rows], templates[g] = align_group(coefficients[rows], order, start=middle)
    away = cdist(centres, centres)
    placed = [int(np.argmax(np.abs(templates) ** 2 @ (order > 0)))]
    waiting = [g for g in range(n_groups) if g != placed[0]]
    while waiting:  # the nearest group next, turned as it fits its nearest neighbour
        near = away[np.ix_(waiting, placed)]
        i, j = np.unravel_index(int(np.argmin(near)), near.shape)
        group, parent = waiting.pop(int(i)), placed[int(j)]
        by = align(templates[group][None], templates[parent], order).angle
        templates[group] = turn_back(templates[group][None], by, order)[0]
        angle[label == group] += by[0]
        placed.append(group)
    return np.asarray(angle % (2 * np.pi))


def _claimed(turned: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Rotation order that the correlation shows, counted from its highest peak at 0."""
    theta = 2 * np.pi * np.arange(GRID) / GRID
    field = (turned @ np.exp(1j * present[:, None] * theta[None])).real
    peak = field[:, 0]
    order = np.ones(len(turned), dtype=int)
    for n in ORDERS_TESTED:
        related = field[:, GRID // n :: GRID // n].min(axis=1)
        between = field[:, GRID // (2 * n) :: GRID // n].max(axis=1)
        holds = (related > peak - CLAIM_NATS) & (related > between + CLAIM_NATS)
        order = np.where(holds, np.maximum(order, n), order)
    return np.where(peak - field.min(axis=1) < CLAIM_NATS, 0, order)
