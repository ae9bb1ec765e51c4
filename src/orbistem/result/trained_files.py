"""The folder of a trained model: plan, basis, network, read-out and latents, each a part of its two files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from orbistem.errors import FormatError, InputError, OrbistemError, ShapeError, one_line
from orbistem.harmonics.steerable_pca import SteerableBasis
from orbistem.models.orbit import OrbitVAE
from orbistem.models.readout import Readout
from orbistem.plan import Plan
from orbistem.result.model_files import read_model, write_model

if TYPE_CHECKING:
    from orbistem.result.trained import TrainedModel

__all__ = ["read_trained", "write_trained"]

Model = TypeVar("Model", bound="TrainedModel")


def write_trained(model: TrainedModel, folder: Path) -> None:
    """Write a model into a folder."""
    plan_facts, plan_arrays = model.plan.to_dict(), model.plan.arrays()
    vae_arrays, vae_facts = model.vae.state()
    basis_names = ("order", "vectors", "eigenvalue", "edge", "spectrum")
    basis = {name: getattr(model.basis, name) for name in basis_names}
    given = {}
    if model.background is not None:
        pairs = np.stack([model.background.real, model.background.imag], axis=-1)
        given["background"] = pairs.astype(np.float32)
    write_model(
        folder,
        {
            "plan": (plan_arrays, plan_facts),
            "basis": (basis, {"noise_level": model.basis.noise_level, "n_above": model.basis.n_above}),
            "orbit_vae": (vae_arrays, vae_facts),
            "readout": (
                {} if model.readout is None else model.readout.arrays(),
                {} if model.readout is None else model.readout.facts(),
            ),
            "latents": (
                given,
                {"order": list(model.latent_order), "sign": [float(sign) for sign in model.latent_sign]},
            ),
        },
    )


def read_trained(kind: type[Model], folder: Path) -> Model:
    """Read what `write_trained` wrote.

    Raises
    ------
    InputError
        There is no model, or a part of it is not there.
    VersionError
        It was written by a newer major version.
    FormatError
        It is damaged.
    """
    parts = read_model(Path(folder))
    try:
        plan = Plan.from_dict(parts["plan"][1], parts["plan"][0])
        arrays, facts = parts["basis"]
        basis = SteerableBasis(
            order=arrays["order"],
            vectors=arrays["vectors"],
            eigenvalue=arrays["eigenvalue"],
            edge=arrays["edge"],
            spectrum=arrays["spectrum"],
            noise_level=float(facts["noise_level"]),
            n_above=int(facts["n_above"]),
        )
        latents, named = parts["latents"]
        pairs = latents.get("background")
        readout = parts.get("readout", ({}, {}))
        made = kind(
            readout=Readout.from_parts(*readout) if readout[0] else None,
            plan=plan,
            basis=basis,
            vae=OrbitVAE.from_state(*parts["orbit_vae"]),
            latent_order=tuple(int(one) for one in named["order"]),
            latent_sign=tuple(float(one) for one in named["sign"]),
            background=None if pairs is None else pairs[..., 0] + 1j * pairs[..., 1],
        )
        _require_whole(made)
        return made
    except KeyError as error:
        raise InputError(f"{folder}: the model lacks {one_line(error)}; run orbistem fit again") from error
    except OrbistemError as error:
        raise FormatError(
            f"{folder}: the model is damaged ({one_line(error)}); run orbistem fit again"
        ) from error
    except Exception as error:  # facts of any kind may stand in a damaged file
        raise FormatError(
            f"{folder}: the model is damaged ({one_line(error)}), or another version wrote it; "
            "run orbistem fit again"
        ) from error


def _require_whole(model: TrainedModel) -> None:
    """Refuse parts of a damaged file that do not fit each other; one pattern is tried."""
    basis, k = model.basis, model.basis.order.size
    dim = model.vae.latent_dim
    fits = {
        "basis.order": basis.order.shape == (k,) and basis.order.dtype.kind in "iu",
        "basis.vectors": basis.vectors.ndim == 2 and len(basis.vectors) == k,
        "basis.eigenvalue": basis.eigenvalue.shape == (k,),
        "basis.spectrum": basis.spectrum.ndim == 2 and basis.edge.shape == basis.spectrum.shape[:1],
        "latents.order": sorted(model.latent_order) == list(range(dim)),
        "latents.sign": len(model.latent_sign) == dim and {abs(one) for one in model.latent_sign} <= {1.0},
        "latents.background": model.background is None or model.background.shape == (k,),
    }
    for name, good in fits.items():
        if not good:
            raise ShapeError(f"{name} does not fit the rest of the model; the model file is damaged")
    one = model.coefficients(np.ones((1, *model.plan.detector_shape), np.float32))
    if one.shape != (1, len(model.vae.state()[0]["order"])):
        raise ShapeError("basis and network are of different sizes; the model file is damaged")
