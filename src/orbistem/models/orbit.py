"""OrbitVAE: coefficients in; what, how turned, and how sure out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import jax.numpy as jnp
import numpy as np

from orbistem.errors import OptionError, ShapeError
from orbistem.groups import GROUPS, Group, GroupName
from orbistem.harmonics.count_nodes import CountNodes
from orbistem.harmonics.steerable_pca import SteerableBasis
from orbistem.models.angle import Orders
from orbistem.models.angle_zero import AngleZero, AngleZeroName, polar_azimuth, require_angle_zero
from orbistem.models.empirical import Prior, around
from orbistem.models.full_products import full_products
from orbistem.models.hands import USUAL_DOUBT
from orbistem.models.infer import encode_batch, infer_all
from orbistem.models.orbit_vae import OrbitNet, OrbitOptions
from orbistem.models.protocol import Encoding, TrainingReport
from orbistem.models.train import TrainOptions
from orbistem.progress import Progress

log = logging.getLogger(__name__)

Start = Literal["mean", "zero"]
Background = Literal["learned", "mean", "azimuthal", "none"]
AUTO: Final = "auto"
USUAL: Final = "usual"
GroupChoice = Literal["usual", "auto", GroupName]
ACTIVE_RATIO = 2.0
"""A latent is active where its spread is at least this many posterior standard deviations (DESIGN §4)."""
LIBRARY_SIZE = 384
"""Templates that refinement may start from; 192 left 1 % of the positions of a perfect crystal astray."""


BOUNDS = {"restarts": (0, 100), "refine_steps": (0, 1000), "samples": (1, 4096)}
"""What can be done at all; a number beyond is a slip, and would fill the memory or never end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OrbitVAEOptions:
    """Options of the model.

    Parameters
    ----------
    background
        Static background beyond the azimuthal mean: "learned" tries an offset started from the scan
        mean and one from zero, and held-out evidence chooses; "mean" fixes the scan mean; "azimuthal"
        and "none" use none.
    net
        Sizes of the networks.
    train
        Length of the training.
    scout_steps
        Steps of the short trainings that compare starts; 0: none, the first start is taken.
    restarts
        Long trainings, of which held-out evidence keeps one; 0: three for up to 8192 patterns (with "O2" two,
        whose trainings differ less, or four of a very small scan), else one; one where shot noise is followed
        pattern by pattern, three of what was chosen where group or latents are left open.
    heldout_share
        Share of the patterns kept for judging.
    group
        Which patterns are the same site: "SO2", turned by any angle; "O2", mirror images as well; "C2" to
        "C6", turned by multiples of 2π/n only; "D2" to "D6", these and the mirrors of one line; "usual", O2
        where a pattern shows enough to be told from its mirror image (`FAINT_SIGNAL`) and the zero of the
        angle is free, else SO2 (a scan of unknown gain: SO2); "auto", the one with most held-out evidence.
    mirror_line_deg
        Azimuth of a mirror line of "D2" to "D6" on the detector, degrees; None: found.
    angle_zero
        Where the angle of a site is zero: "free", as training left it; "polar", where its order 1 points
        along +kx, so that the angle is the direction of a polar site. For "SO2" and "O2".
    """

    background: Background = "learned"
    net: OrbitOptions = field(default_factory=OrbitOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    scout_steps: int = 500
    restarts: int = 0
    heldout_share: float = 0.1
    refine_steps: int = 15
    samples: int = 32
    group: GroupChoice = USUAL
    mirror_line_deg: float | None = None
    angle_zero: AngleZeroName = "free"

    def __post_init__(self) -> None:
        names = [one.name for one in GROUPS]
        if self.group not in (USUAL, AUTO, *names):
            raise OptionError(
                f"group: want {USUAL}, {AUTO} or one of {', '.join(names)}, got {self.group!r}; "
                "leave it out where in doubt"
            )
        group = Group.from_name("SO2" if self.group in (USUAL, AUTO) else self.group)
        if self.net.mirrored and not group.continuous and not group.mirrors:
            raise OptionError(
                f"mirrored: want false where the group is {group.name}, whose mirror images lie at unknown "
                "angles; leave it out"
            )
        require_angle_zero(self.angle_zero, group)
        for name, (low, high) in BOUNDS.items():
            if not low <= getattr(self, name) <= high:
                raise OptionError(f"{name}: want {low} to {high}, got {getattr(self, name)}; correct it")
        if self.mirror_line_deg is not None and not np.isfinite(self.mirror_line_deg):
            raise OptionError(f"mirror_line_deg: want a finite azimuth, got {self.mirror_line_deg}")
        if self.scout_steps < 0:
            raise OptionError(f"scout_steps: want 0 or more, got {self.scout_steps}; correct it")
        if not 0 < self.heldout_share < 0.5:
            raise OptionError(f"heldout_share: want a share between 0 and 0.5, got {self.heldout_share}")


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentFrame:
    """Affine map between the net's latents and the reported ones: y = (z - centre) @ matrix.

    Attributes
    ----------
    centre, matrix
        (d,), (d, d).
    activity
        (d,), spread over the scan in units of the median posterior sd.
    scatter
        (d,), sd of repeated measurements over that of the posterior; None: taken for equal.
    """

    centre: np.ndarray
    matrix: np.ndarray
    activity: np.ndarray
    scatter: np.ndarray | None = None

    @property
    def inverse(self) -> np.ndarray:
        """From reported latents to the net's: z = y @ inverse + centre."""
        return np.asarray(np.linalg.inv(self.matrix))

    def posterior_sd(self, covariance: np.ndarray) -> np.ndarray:
        """Standard deviations (n, d) of reported latents whose covariance in the net's is (n, d, d)."""
        variance = np.einsum("nij,ik,jk->nk", covariance, self.matrix, self.matrix)
        return np.asarray(np.sqrt(np.maximum(variance, 0)))


class OrbitVAE:
    """A trained model of one scan. Immutable; NumPy in, NumPy out.

    The coefficients are those of a `SteerableBasis`: complex, shape (n, k), unit noise per real degree
    of freedom.
    """

    def __init__(
        self,
        net: OrbitNet,
        *,
        model_error: np.ndarray,
        library: np.ndarray,
        frame: LatentFrame,
        orders: Orders,
        eigenvalue: np.ndarray,
        options: OrbitVAEOptions,
        zero: AngleZero | None = None,
        hand_doubt: float = USUAL_DOUBT,
        prior: Prior | None = None,
    ) -> None:
        self._net = net
        self._model_error = model_error
        self._library = library
        self._frame = frame
        self._orders = orders
        self._eigenvalue = eigenvalue
        self._options = options
        self._zero = zero
        self._hand_doubt = hand_doubt
        self._prior = around(library, frame.matrix, frame.activity) if prior is None else prior

    @property
    def latent_dim(self) -> int:
        """Number of latents."""
        return len(self._frame.activity)

    @property
    def active(self) -> np.ndarray:
        """Which latents are in use, shape (latent_dim,), bool."""
        return self._frame.activity >= ACTIVE_RATIO

    @property
    def options(self) -> OrbitVAEOptions:
        """What the model was fitted with."""
        return self._options

    # ---------------------------------------------------------------- training

    @classmethod
    def fit(
        cls,
        coefficients: np.ndarray,
        *,
        basis: SteerableBasis,
        counts: CountNodes | None = None,
        options: OrbitVAEOptions | None = None,
        seed: int = 0,
        progress: Progress | None = None,
        checkpoint: Path | None = None,
        threads: int | None = None,
    ) -> tuple[OrbitVAE, TrainingReport]:
        """Train on coefficients (n, k).

        Parameters
        ----------
        coefficients
            Complex, shape (n, k), finite.
        basis
            The basis that they belong to.
        counts
            Where electrons are counted: the shot noise then follows the signal. None: the same noise for
            all patterns.
        options
            Sizes, lengths, background.
        seed
            Every random number follows from it.
        progress
            Told about each round.
        checkpoint
            Folder for the state of the training; an interrupted training goes on from there.
        threads
            Trainings at once; None: as many as there are cores. The model does not depend on it.
        """
        from orbistem.models.fitting import fit_one
        from orbistem.models.selection import fit_selected

        fit = partial(
            fit_one, coefficients, basis=basis, counts=counts, seed=seed, progress=progress, threads=threads
        )
        return fit_selected(fit, options=options or OrbitVAEOptions(), checkpoint=checkpoint)

    # ---------------------------------------------------------------- use

    def encode(self, coefficients: np.ndarray) -> Encoding:
        """Latents, angle and evidence of coefficients (n, k)."""
        found = self._infer(coefficients)
        z = ((found["z"] - self._frame.centre) @ self._frame.matrix).astype(np.float32)
        hand = found["handedness"].astype(np.float32) if self._net.turns.mirrors else None
        angle = found["angle"] + self.zero_of(z, hand)
        sd = self._frame.posterior_sd(found["covariance"])
        if self._frame.scatter is not None:
            sd = sd * self._frame.scatter
        freedom = float(self._orders.freedom.sum()) - self.latent_dim - 1
        return Encoding(
            z=z,
            z_sd=sd.astype(np.float32),
            angle=np.mod(angle, 2 * np.pi).astype(np.float32),
            angle_sd=found["angle_sd"].astype(np.float32),
            angle_order=found["angle_order"].astype(np.int32),
            evidence=found["evidence"].astype(np.float32),
            residual=(found["misfit"] / max(freedom, 1.0)).astype(np.float32),
            handedness=hand,
        )

    @full_products
    def decode(self, z: np.ndarray, angle: np.ndarray, handedness: np.ndarray | None = None) -> np.ndarray:
        """Coefficients (n, k), complex64, of latents (n, latent_dim) turned by angles (n,).

        Where the handedness (n,) is below 0, the template is mirrored (ky → -ky) before it is turned.
        """
        template = self._template(z)
        upright = template[..., 0] + 1j * template[..., 1]
        if handedness is not None:
            upright = np.where(np.asarray(handedness)[:, None] < 0, upright.conj(), upright)
        turn = np.asarray(angle) - self.zero_of(z, handedness)
        turned = upright * np.exp(-1j * turn[:, None] * self._orders.of)
        return np.asarray(turned + self.offset, dtype=np.complex64)

    def zero_of(self, z: np.ndarray, handedness: np.ndarray | None = None) -> np.ndarray:
        """Angle of the templates of latents (n, latent_dim) as training left them, (n,) rad.

        Subtracted from `angle`, it leaves the turn of the pattern against that template, which the read-out,
        class averages and comparisons between positions of equal latents go by. 0 where the zero is free.
        """
        if self._zero is None:
            return np.zeros(len(np.atleast_2d(z)))
        azimuth = np.asarray(polar_azimuth(jnp.asarray(self._template(z)), self._zero), np.float64)
        return azimuth if handedness is None else np.where(np.asarray(handedness) < 0, -azimuth, azimuth)

    def with_zero(self, zero: AngleZero | None) -> OrbitVAE:
        """The same model with another zero of the angle; None: as training left it."""
        name: AngleZeroName = "free" if zero is None else "polar"
        return OrbitVAE(
            self._net,
            model_error=self._model_error,
            library=self._library,
            frame=self._frame,
            orders=self._orders,
            eigenvalue=self._eigenvalue,
            options=replace(self._options, angle_zero=name),
            zero=zero,
            hand_doubt=self._hand_doubt,
            prior=self._prior,
        )

    @property
    def zero(self) -> AngleZero | None:
        """Zero of the angle; None: as training left it."""
        return self._zero

    def _template(self, z: np.ndarray) -> np.ndarray:
        """Templates of latents (n, latent_dim) as training left them: (n, k, 2)."""
        z = np.atleast_2d(np.asarray(z, dtype=np.float64))
        if z.shape[1] != self.latent_dim:
            raise ShapeError(f"z: want (n, {self.latent_dim}), got {z.shape}")
        inner = z @ self._frame.inverse + self._frame.centre
        return np.asarray(self._net.counting.mean(self._net.decoder(jnp.asarray(inner, jnp.float32))))

    @full_products
    def features(self, z: np.ndarray) -> np.ndarray:
        """Last hidden layer of the decoder at latents (n, latent_dim): (n, hidden), float64."""
        inner = np.atleast_2d(np.asarray(z, dtype=np.float64)) @ self._frame.inverse + self._frame.centre
        return np.asarray(self._net.decoder.hidden(jnp.asarray(inner, jnp.float32)), dtype=np.float64)

    def predict(self, coefficients: np.ndarray) -> np.ndarray:
        """Posterior mean of the noise-free coefficients, over z and the angle: (n, k), complex64."""
        pattern = self._infer(coefficients)["pattern"]
        return np.asarray(pattern[..., 0] + 1j * pattern[..., 1] + self.offset, dtype=np.complex64)

    @full_products
    def encode_fast(self, coefficients: np.ndarray) -> np.ndarray:
        """The encoder's own z, in the reported frame, without refinement: (n, latent_dim)."""
        pairs = as_pairs(coefficients)
        parts = [
            np.asarray(encode_batch(self._net, jnp.asarray(pairs[i : i + 1024])))
            for i in range(0, len(pairs), 1024)
        ]
        return np.asarray((np.concatenate(parts) - self._frame.centre) @ self._frame.matrix)

    @property
    def group(self) -> GroupName:
        """Which patterns the latents do not tell apart."""
        return Group.from_name(self._options.group).name

    @property
    def mirror_line_rad(self) -> float | None:
        """Azimuth of the mirror line in [0, π), rad; None where there is none or where any will do."""
        turns = self._net.turns
        return turns.mirror_rad / 2 if turns.mirrors and not turns.free else None

    @property
    def offset(self) -> np.ndarray:
        """Static background beyond the azimuthal mean, complex, shape (k,), noise units."""
        scale = np.asarray(self._net.decoder.scale) * (self._orders.of > 0)
        offset = np.asarray(self._net.offset) * scale[:, None]
        return np.asarray(offset[:, 0] + 1j * offset[:, 1])

    @full_products
    def _infer(self, coefficients: np.ndarray) -> dict[str, np.ndarray]:
        return infer_all(
            self._net,
            as_pairs(coefficients),
            self._model_error,
            self._library,
            self._orders,
            steps=self._options.refine_steps,
            n_samples=self._options.samples,
            prior=self._prior,
            zero=self._zero,
            hand_doubt=self._hand_doubt,
        )

    # ---------------------------------------------------------------- storage

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and plain values from which `from_state` builds the same model."""
        from orbistem.models.orbit_state import state_of

        return state_of(
            self._net,
            model_error=self._model_error,
            library=self._library,
            frame=self._frame,
            orders=self._orders,
            eigenvalue=self._eigenvalue,
            options=self._options,
            zero=self._zero,
            hand_doubt=self._hand_doubt,
        )

    @classmethod
    def from_state(cls, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> OrbitVAE:
        """Undo `state`."""
        from orbistem.models.orbit_state import model_of

        return model_of(arrays, values)


def as_pairs(coefficients: np.ndarray) -> np.ndarray:
    """Complex (n, k) → float32 (n, k, 2)."""
    coefficients = np.asarray(coefficients)
    if coefficients.ndim != 2:
        raise ShapeError(f"coefficients: want (n, k), got {coefficients.shape}")
    return np.stack([coefficients.real, coefficients.imag], axis=-1).astype(np.float32)
