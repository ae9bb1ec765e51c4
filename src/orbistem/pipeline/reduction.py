"""Second pass over the file: harmonics of every pattern, the basis of signal, the kept coefficients."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.config import FitConfig
from orbistem.durable import atomic_write_text, write_aside
from orbistem.harmonics.reduce import HarmonicsMoments, reduce_scan
from orbistem.harmonics.steerable_pca import (
    FAINT_SIGNAL,
    MOVED_DOUBT,
    SMOOTH_PX,
    SteerableBasis,
    steerable_basis,
)
from orbistem.harmonics.store import CoefficientStore, create, open_store
from orbistem.pipeline.preparation import Preparation
from orbistem.plan import Plan
from orbistem.progress import Progress
from orbistem.scan import Scan
from orbistem.stream import Runner

__all__ = ["Reduced", "reduce", "resume_reduced", "save_reduced"]

STORE_NAME = "coefficients.zarr"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reduced:
    """What the second pass has found.

    Attributes
    ----------
    plan
        With the noise level and the mean of order 0.
    basis
        Kept coefficients.
    coefficients
        (position, K) complex64, noise units; NaN where not usable.
    """

    plan: Plan
    basis: SteerableBasis
    coefficients: NDArray[np.complex64]

    @property
    def words(self) -> tuple[str, ...]:
        """What was kept and why."""
        basis = self.basis
        if basis.n_kept == 0:
            return ("No pattern shape rises above the noise.",)
        text = (
            f"{basis.n_kept} pattern shapes (angular orders 0 to {int(np.max(basis.order))}) rise above the "
            f"noise and were kept; the strongest varies {basis.eigenvalue[0]:.3g} times as much as the noise."
        )
        if basis.n_above > basis.n_kept:
            text = text.replace("rise above the noise and were kept", "were kept") + (
                f" {basis.n_above - basis.n_kept} weaker ones above the noise were left out."
            )
        if self.plan.gain is None:
            return (
                text,
                f"Since the numbers are no counts, the noise was taken from the weakest shapes: "
                f"{self.plan.noise_scale:.3g} times that of counts.",
            )
        return (text,)


def reduce(
    scan: Scan,
    prepared: Preparation,
    config: FitConfig,
    *,
    directory: Path,
    runner: Runner,
    block_size: int,
    progress: Progress,
) -> Reduced:
    """Read the file a second time and write ``coefficients.zarr``.

    Parameters
    ----------
    scan
        Its `measured` already excludes unusable patterns.
    prepared
        Plan of the first pass.
    directory
        Where ``coefficients.zarr`` goes.
    """
    plan = prepared.plan
    store = create(directory / STORE_NAME, n_positions=scan.n_positions, harmonics_shape=plan.harmonics_shape)
    moments = reduce_scan(
        plan, scan, runner=runner, sink=store.write_harmonics, block_size=block_size, progress=progress
    )
    plan, basis = _basis(plan, moments, config)
    coefficients = store.write_basis(basis, noise=plan.noise, order0_mean=moments.order0_mean)
    return Reduced(plan=plan, basis=basis, coefficients=coefficients)


def _basis(plan: Plan, moments: HarmonicsMoments, config: FitConfig) -> tuple[Plan, SteerableBasis]:
    plan = plan.with_order0_mean(moments.order0_mean)
    sharp = (plan.spread_px or 0.0) < SMOOTH_PX

    def solve(noise: NDArray[Any], scale_noise: bool, *, static: bool = True) -> SteerableBasis:
        return steerable_basis(
            moments.second_moment,
            noise,
            plan.grid.carried,
            n_samples=moments.n,
            max_kept=config.max_kept,
            mean=None if static else moments.mean,
            scale_noise=scale_noise,
            doubt=MOVED_DOUBT if plan.shift_px is not None and sharp else 1.0,
        )

    if plan.gain is not None:
        basis = solve(plan.noise, scale_noise=False)
        signal = basis.signal_nats
        if plan.spread_px is not None:  # fine static detail has little noise there, and would count for much
            signal -= basis.static_nats(moments.mean)
        if signal < FAINT_SIGNAL and plan.autocorrelation is None:
            # what is the same in all patterns only adds noise
            basis = solve(plan.noise, scale_noise=False, static=False)
        return plan, basis
    basis = solve(plan.noise, scale_noise=True)
    return plan.with_noise_scale(max(basis.noise_level, float(np.finfo(np.float32).tiny))), basis


def save_reduced(folder: Path, reduced: Reduced) -> None:
    """Keep for ``--resume`` what the store does not hold."""
    arrays = {f"plan.{name}": array for name, array in reduced.plan.arrays().items()}
    for name in ("order", "vectors", "eigenvalue", "edge", "spectrum"):
        arrays[f"basis.{name}"] = getattr(reduced.basis, name)
    facts = {
        "plan": reduced.plan.to_dict(),
        "noise_level": reduced.basis.noise_level,
        "n_above": reduced.basis.n_above,
    }
    with write_aside(folder / "reduced.npz") as aside:
        np.savez(aside, allow_pickle=False, **arrays)
    atomic_write_text(folder / "reduced.json", json.dumps(facts))


def resume_reduced(folder: Path, directory: Path) -> Reduced:
    """Inverse of `save_reduced`."""
    facts = json.loads((folder / "reduced.json").read_text(encoding="utf-8"))
    with np.load(folder / "reduced.npz", allow_pickle=False) as arrays:
        parts = {name: np.asarray(arrays[name]) for name in arrays.files}
    plan_arrays = {name[5:]: array for name, array in parts.items() if name.startswith("plan.")}
    basis = {name[6:]: array for name, array in parts.items() if name.startswith("basis.")}
    store: CoefficientStore = open_store(directory / STORE_NAME)
    return Reduced(
        plan=Plan.from_dict(facts["plan"], plan_arrays),
        basis=SteerableBasis(noise_level=facts["noise_level"], n_above=facts["n_above"], **basis),
        coefficients=store.read("steerable").astype(np.complex64),
    )
