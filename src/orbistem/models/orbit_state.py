"""What an `OrbitVAE` is on disk: arrays and plain values, and the way back from them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from orbistem.errors import ShapeError
from orbistem.models.angle import Orders, make_orders
from orbistem.models.angle_zero import AngleZero, stored_angle_zero
from orbistem.models.counting import Counting
from orbistem.models.hands import USUAL_DOUBT
from orbistem.models.orbit import LatentFrame, OrbitVAE, OrbitVAEOptions
from orbistem.models.orbit_vae import OrbitNet, OrbitOptions, make_net
from orbistem.models.train import TrainOptions
from orbistem.models.turns import make_turns

MAX_ANGLES = 100_000
"""More angles than this in a model file are no option of ours."""


def state_of(
    net: OrbitNet,
    *,
    model_error: np.ndarray,
    library: np.ndarray,
    frame: LatentFrame,
    orders: Orders,
    eigenvalue: np.ndarray,
    options: OrbitVAEOptions,
    zero: AngleZero | None,
    hand_doubt: float,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and plain values from which `model_of` builds the same model; see `OrbitVAE.state`."""
    leaves = jax.tree.leaves(eqx.filter(net, eqx.is_inexact_array))
    counting = net.counting
    arrays = {f"net.{i:03d}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    arrays |= {
        "model_error": model_error,
        "library": library,
        "frame.centre": frame.centre,
        "frame.matrix": frame.matrix,
        "frame.activity": frame.activity,
        "order": orders.of,
        "eigenvalue": eigenvalue,
        "counting.waves": np.asarray(counting.waves),
        "counting.electrons": np.asarray(counting.electrons),
    }
    if frame.scatter is not None:
        arrays["frame.scatter"] = frame.scatter
    values = {
        "options": asdict(options),
        "mirror_rad": net.turns.mirror_rad,
        "hand_doubt": hand_doubt,
    }
    return arrays, values | ({} if zero is None else {"zero": asdict(zero)})


def model_of(arrays: dict[str, np.ndarray], values: dict[str, Any]) -> OrbitVAE:
    """Undo `state_of`.

    Raises
    ------
    ShapeError
        The arrays do not fit each other or the options: the file is damaged.
    """
    given = dict(values["options"])
    options = OrbitVAEOptions(
        **{k: v for k, v in given.items() if k not in ("net", "train")},
        net=OrbitOptions(**given["net"]),
        train=TrainOptions(**given["train"]),
    )
    _require_sizes(given["net"], arrays)
    _require_shapes(arrays)
    orders = make_orders(arrays["order"])
    empty = make_net(
        arrays["eigenvalue"],
        orders,
        start=np.zeros((len(orders.of), 2)),
        options=options.net,
        key=jax.random.key(0),
        counting=Counting(jnp.asarray(arrays["counting.waves"]), jnp.asarray(arrays["counting.electrons"])),
        turns=make_turns(options.group, mirror_rad=float(values.get("mirror_rad", 0.0))),
    )
    moved, static = eqx.partition(empty, eqx.is_inexact_array)
    leaves, tree = jax.tree.flatten(moved)
    stored = [jnp.asarray(arrays[f"net.{i:03d}"]) for i in range(len(leaves))]
    for i, (old, new) in enumerate(zip(leaves, stored, strict=True)):
        if old.shape != new.shape:
            raise ShapeError(
                f"net.{i:03d}: want shape {old.shape}, got {new.shape}; the model file is damaged"
            )
    net = eqx.combine(jax.tree.unflatten(tree, stored), static)
    return OrbitVAE(
        net,
        model_error=arrays["model_error"],
        library=arrays["library"],
        frame=LatentFrame(
            centre=arrays["frame.centre"],
            matrix=arrays["frame.matrix"],
            activity=arrays["frame.activity"],
            scatter=arrays.get("frame.scatter"),
        ),
        orders=orders,
        eigenvalue=arrays["eigenvalue"],
        options=options,
        zero=stored_angle_zero(values.get("zero"), orders),
        hand_doubt=float(values.get("hand_doubt", USUAL_DOUBT)),
    )


def _require_sizes(net: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Refuse sizes in a damaged file that no stored array has, before a net of that size is made."""
    largest = max(max(array.shape, default=1) for array in arrays.values())
    for name in ("latent_dim", "encoder_width", "decoder_width"):
        if not 0 < int(net.get(name, 1)) <= largest:
            raise ShapeError(f"{name}: want at most {largest} as in the stored arrays, got {net[name]}")
    for name in ("encoder_depth", "decoder_depth"):
        if not 0 <= int(net.get(name, 1)) <= len(arrays):
            raise ShapeError(f"{name}: want at most {len(arrays)} as there are arrays, got {net[name]}")
    for name in ("train_angles", "grid_angles"):
        if not 0 < int(net.get(name, 1)) <= MAX_ANGLES:
            raise ShapeError(f"{name}: want at most {MAX_ANGLES}, got {net[name]}")


def _require_shapes(arrays: dict[str, np.ndarray]) -> None:
    """Refuse arrays of a damaged file that do not fit each other; those of the net are compared with it."""
    k, latents, nodes = arrays["order"].size, arrays["frame.activity"].size, arrays["counting.electrons"].size
    want = {
        "order": (k,),
        "eigenvalue": (k,),
        "model_error": (k,),
        "library": (len(arrays["library"]), latents),
        "frame.centre": (latents,),
        "frame.matrix": (latents, latents),
        "frame.activity": (latents,),
        "counting.waves": (nodes, 2 * k),
        "counting.electrons": (nodes,),
    }
    if "frame.scatter" in arrays:  # files of before have none
        want["frame.scatter"] = (latents,)
    for name, shape in want.items():
        kind = "iu" if name == "order" else "f"
        if arrays[name].shape != shape or arrays[name].dtype.kind not in kind or 0 in arrays["library"].shape:
            raise ShapeError(
                f"{name}: want {'whole numbers' if kind == 'iu' else 'floats'} {shape}, got "
                f"{arrays[name].dtype} {arrays[name].shape}; the model file is damaged"
            )
