"""Convergent-beam patterns of a specimen: abTEM does the physics, this file the geometry of the detector.

A pattern is the fraction of the beam that each detector pixel catches. abTEM samples the diffraction plane at
λ/L (L: width of the box); every sample is spread evenly over its own λ/L wide rectangle, and a pixel takes
the area that it shares with it. Pixels are square, and the beam's axis is at (N − 1)/2: between the middle
pixels when N is even (31.5 for 64 px).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orbistem.errors import OptionError
from orbistem.progress import Progress, Silent

if TYPE_CHECKING:
    from abtem.potentials.iam import PotentialArray
    from ase import Atoms

    from orbistem.simulate.structures import Specimen

# Diffraction samples across a detector pixel. Error of 144 graphene patterns against twice as many samples,
# in noise units² at 10⁷ electrons (signal 16,100): 47 with 2, 13 with 2.5; most of it at the disk's rim.
SAMPLES_PER_PIXEL = 2.5
# abTEM spreads an atom between grid points over its neighbours, so equal atoms differ by up to 1 % at the
# first Bragg disks. On a finer grid, then band-limited, rotated positions agree 20 times better.
FINER_POTENTIAL = 4
BATCH = 64  # probes at a time: 50 MB at 300 × 300
ANTIALIAS = 2.0 / 3.0  # abTEM keeps scattering up to this part of the grid's own limit
PROBE_MARGIN_A = 5.0  # room round the scan for the tails of a focused probe
MAX_HALF_ANGLE_MRAD = 400.0  # multislice is paraxial: cos and 1 differ by 8 % here
MAX_POINTS = 4096  # along one side of the potential: 2 GB with its finer grid
ABERRATIONS = (
    "C10",
    "C12",
    "C21",
    "C23",
    "C30",
    "C32",
    "C34",
    "C41",
    "C43",
    "C45",
    "C50",
    "C52",
    "C54",
    "C56",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Optics:
    """The microscope.

    Attributes
    ----------
    voltage_kv, semiangle_mrad
        Acceleration voltage, and the probe-forming semi-angle.
    half_angle_mrad
        Half the width of the square detector.
    defocus
        Å, positive is underfocus.
    aberrations
        Further polar aberration coefficients as abTEM names them, for instance (("C30", 1e4), ("C12",
        5.0)), Å and rad.
    source_sd
        Standard deviation of the effective source, Å: patterns are averaged incoherently over 9 offsets
        (exact for a pattern that varies as a polynomial of degree 5 over the source).
    phonon_configurations, phonon_sd
        Frozen phonons: number of configurations that are averaged (0: still atoms), displacement per axis
        in Å.
    """

    voltage_kv: float = 60.0
    semiangle_mrad: float = 31.0
    half_angle_mrad: float = 62.0
    defocus: float = 0.0
    aberrations: tuple[tuple[str, float], ...] = ()
    source_sd: float = 0.0
    phonon_configurations: int = 0
    phonon_sd: float = 0.06

    def __post_init__(self) -> None:
        for name in ("voltage_kv", "semiangle_mrad", "half_angle_mrad"):
            value = getattr(self, name)
            if not value > 0:
                raise OptionError(f"{name}: want a positive number, got {value}")
        if self.source_sd < 0 or self.phonon_configurations < 0 or self.phonon_sd < 0:
            raise OptionError("source_sd, phonon_configurations and phonon_sd: want numbers >= 0")
        if self.half_angle_mrad > MAX_HALF_ANGLE_MRAD:
            raise OptionError(
                f"half_angle_mrad: want at most {MAX_HALF_ANGLE_MRAD:g} mrad, which multislice can simulate, "
                f"got {self.half_angle_mrad:g}; take a smaller detector"
            )
        for name, value in self.aberrations:
            if name.replace("phi", "C") not in ABERRATIONS or not np.isfinite(value):
                raise OptionError(
                    f"aberrations: want {', '.join(ABERRATIONS)} in Å, and phi12 and the like in rad; got "
                    f"{name!r}: {value}; correct it"
                )
        if self.half_angle_mrad < self.semiangle_mrad:
            raise OptionError(
                f"half_angle_mrad: want at least the semi-angle of {self.semiangle_mrad} mrad, "
                f"got {self.half_angle_mrad}; the direct beam would miss the detector"
            )


def wavelength(voltage_kv: float) -> float:
    """Relativistic electron wavelength, Å.

    >>> round(wavelength(60.0), 5)
    0.04866
    """
    from ase import units

    energy_ev = voltage_kv * 1e3
    rest_ev = units._me * units._c**2 / units._e
    momentum = np.sqrt(energy_ev * (energy_ev + 2 * rest_ev)) * units._e / units._c
    return float(units._hplanck / momentum * 1e10)


def box_extent(optics: Optics, *, detector_px: int, samples_per_pixel: float = SAMPLES_PER_PIXEL) -> float:
    """Width of box, Å, that gives so many diffraction samples across each detector pixel."""
    pixel_mrad = 2 * optics.half_angle_mrad / detector_px
    return samples_per_pixel * wavelength(optics.voltage_kv) * 1e3 / pixel_mrad


def probe_margin(optics: Optics) -> float:
    """Room that a probe needs on each side, Å: tails of the focused probe, and its radius out of focus.

    The radius is that of rays at the aperture's edge: C_nm spreads them over |C_nm| α^n.
    """
    angle = optics.semiangle_mrad * 1e-3
    blur = sum(abs(value) * angle ** int(name[1]) for name, value in optics.aberrations if name[0] == "C")
    return PROBE_MARGIN_A + abs(optics.defocus) * angle + blur


def bin_weights(
    n_samples: int, sample_mrad: float, *, detector_px: int, half_angle_mrad: float
) -> np.ndarray:
    """Share of each sample that each detector pixel catches along one axis, (detector_px, n_samples).

    Samples stand at (i − n // 2) · sample_mrad and are sample_mrad wide.
    """
    pixel_mrad = 2 * half_angle_mrad / detector_px
    low = (np.arange(detector_px)[:, None] - detector_px / 2) * pixel_mrad
    left = (np.arange(n_samples)[None, :] - n_samples // 2 - 0.5) * sample_mrad
    shared = np.minimum(low + pixel_mrad, left + sample_mrad) - np.maximum(low, left)
    return np.asarray(np.maximum(shared, 0.0) / sample_mrad)


def clean_patterns(
    specimen: Specimen,
    positions: np.ndarray,
    *,
    optics: Optics,
    detector_px: int = 64,
    rng: np.random.Generator | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Noise-free patterns, float32 (n, ky, kx): fraction of the beam in each pixel.

    Parameters
    ----------
    specimen
        What stands in the beam.
    positions
        (n, 2): (x, y) of the probe from the specimen's origin, Å.
    optics
        The microscope.
    detector_px
        Pixels along each side of the detector.
    rng
        Draws the frozen phonons; needed only for those.
    progress
        Told after each batch of probes.

    Raises
    ------
    OptionError
        A scan that leaves the box, or phonons without `rng`.
    """
    import abtem

    positions = np.asarray(positions, dtype=np.float64)
    size = specimen.atoms.cell.lengths()[:2]
    spread = np.ptp(positions, axis=0)
    room = size - 2 * probe_margin(optics)
    if np.any(spread > room):
        raise OptionError(
            f"scan: want at most {np.round(room, 1)} Å (x, y) here, got {np.round(spread, 1)}; a probe "
            "would meet the periodic copy of the specimen: scan less, defocus less or build a larger box"
        )
    if optics.phonon_configurations and rng is None:
        raise OptionError("rng: frozen phonons are random; pass a numpy Generator")
    offsets, weights = _source_points(optics.source_sd)
    gpts = grid_points(specimen, optics)
    samples_mrad = wavelength(optics.voltage_kv) * 1e3 / size
    across, down = (
        bin_weights(n, step, detector_px=detector_px, half_angle_mrad=optics.half_angle_mrad).astype(
            np.float32
        )
        for n, step in zip(gpts, samples_mrad, strict=True)
    )
    configurations = _configurations(specimen, optics, rng)
    out = np.zeros((len(positions), detector_px, detector_px), dtype=np.float32)
    progress = Silent() if progress is None else progress
    progress.start("simulate", len(positions) * len(configurations) * len(offsets))
    quiet = {
        "precision": "float32",
        "fftw.planning_effort": "FFTW_ESTIMATE",  # measured plans differ from run to run
        "fftw.threads": 2,
        "diagnostics.progress_bar": False,
    }
    with abtem.config.set(quiet):
        probe = abtem.Probe(
            energy=optics.voltage_kv * 1e3,
            semiangle_cutoff=optics.semiangle_mrad,
            defocus=optics.defocus,
            aberrations=dict(optics.aberrations),
        )
        for atoms in configurations:
            potential = _potential(atoms, gpts, slice_thickness=specimen.slice_thickness)
            for offset, weight in zip(offsets, weights / len(configurations), strict=True):
                for start in range(0, len(positions), BATCH):
                    block = positions[start : start + BATCH] + specimen.origin + offset
                    waves = probe.multislice(potential, scan=abtem.CustomScan(block), lazy=False)
                    assert isinstance(waves, abtem.Waves)
                    sampled = waves.diffraction_patterns(max_angle="full", parity="same").array
                    seen = np.matmul(across, np.matmul(sampled, down.T))
                    out[start : start + BATCH] += np.float32(weight) * seen.transpose(0, 2, 1)  # to (ky, kx)
                    progress.advance(len(block))
    progress.finish()
    return out


def _potential(atoms: Atoms, gpts: tuple[int, int], *, slice_thickness: float) -> PotentialArray:
    """Projected potential of the slices: computed on a finer grid, then cut to `gpts` in Fourier space."""
    import abtem

    fine = abtem.Potential(
        atoms,
        gpts=(FINER_POTENTIAL * gpts[0], FINER_POTENTIAL * gpts[1]),
        slice_thickness=slice_thickness,
        parametrization="lobato",
    )
    size = atoms.cell.lengths()
    kept_x, kept_y = (np.fft.fftfreq(n, 1 / n).astype(int) for n in gpts)
    slices = [
        np.fft.ifft2(np.fft.fft2(one.array[0])[np.ix_(kept_x, kept_y)]).real / FINER_POTENTIAL**2
        for one in fine.generate_slices()
    ]
    return abtem.PotentialArray(
        np.stack(slices).astype(np.float32),
        slice_thickness=fine.slice_thickness,
        extent=(float(size[0]), float(size[1])),
    )


def grid_points(specimen: Specimen, optics: Optics) -> tuple[int, int]:
    """Points along x and y: even, up to the corner of the detector, and repeating with the crystal.

    Atoms at halves and quarters (thirds and sixths where a cell has them) then lie on points of the finer
    grid. Otherwise equal atoms differ a little and sites of high symmetry are not quite symmetric: strontium
    columns of SrTiO3 by 67 noise units² at 10⁶ electrons, now by less than 0.01.
    """
    size = specimen.atoms.cell.lengths()[:2]
    at_least = least_points(size, optics)
    part = specimen.crystal.positions[:, :2] / specimen.repeat * FINER_POTENTIAL
    thirds = np.abs(part - np.round(part)).max(axis=0) > 1e-6
    cells = np.rint(size / specimen.repeat).astype(int) * np.where(thirds, 3, 1)
    return even_multiple(at_least[0], of=int(cells[0])), even_multiple(at_least[1], of=int(cells[1]))


def least_points(size: np.ndarray | float, optics: Optics) -> np.ndarray:
    """Points along a box of `size` Å, so that scattering into the detector's corners is simulated."""
    corner_rad = np.sqrt(2) * optics.half_angle_mrad * 1e-3
    return np.asarray(2 * corner_rad * size / (ANTIALIAS * wavelength(optics.voltage_kv)))


def even_multiple(at_least: float, *, of: int) -> int:
    """Smallest even multiple >= `at_least`, the other factor without a prime above 13: quick to transform.

    >>> even_multiple(281.2, of=11)
    286
    """
    factor = max(1, int(np.ceil(at_least / of - 1e-9)))
    while (of * factor) % 2 or not _smooth(factor):
        factor += 1
    return of * factor


def _smooth(n: int) -> bool:
    for prime in (2, 3, 5, 7, 11, 13):
        while n % prime == 0:
            n //= prime
    return n == 1


def _source_points(source_sd: float) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (x, y) in Å and weights of a Gaussian source: product of three-point Gauss–Hermite rules."""
    if source_sd == 0:
        return np.zeros((1, 2)), np.ones(1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    weights = weights / weights.sum()
    x, y = np.meshgrid(nodes, nodes)
    return source_sd * np.stack([x.ravel(), y.ravel()], axis=1), np.outer(weights, weights).ravel()


def _configurations(specimen: Specimen, optics: Optics, rng: np.random.Generator | None) -> list[Atoms]:
    """The still specimen, or its frozen phonons (abTEM's, seeded from `rng`)."""
    if not optics.phonon_configurations or rng is None:
        return [specimen.atoms]
    import abtem

    return [
        abtem.FrozenPhonons(specimen.atoms, 1, sigmas=optics.phonon_sd, seed=(int(seed),)).randomize(
            specimen.atoms
        )
        for seed in rng.integers(2**31, size=optics.phonon_configurations)
    ]
