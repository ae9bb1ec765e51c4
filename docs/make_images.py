"""Make the pictures of README and docs with the program itself: ``python docs/make_images.py [DATA]``.

DATA is the folder with the measured data sets; without it, ``../shared/data`` beside the repository. Takes
about five minutes on two cores. ``--only cryo`` (siemens, graphene, stone-wales) makes one
picture.
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

import orbistem
from orbistem.plot.maps import angle_map, latents_beside_counts, scalar_map

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
DOTS_PER_INCH = 90
DARK_FIELD_PX = 20.0  # the bright disc of the simulated defects ends at 17


def save(figure: Figure, name: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    path = IMAGES / f"{name}.png"
    figure.savefig(path, dpi=DOTS_PER_INCH, bbox_inches="tight", facecolor="white")
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def cryo(data: Path) -> None:
    """What the total counts show, and what the latents show."""
    result = orbistem.fit(data / "cryo4dstem-rotavirus-a" / "scan4d.npz")
    figure = Figure(figsize=(10.2, 3.4), layout="constrained")
    latents_beside_counts(figure, result.maps, latent=(0, 1), angle=False)
    save(figure, "cryo-latents")


def siemens(data: Path) -> None:
    """The angle follows the spokes."""
    result = orbistem.fit(data / "siemens-star" / "siemens-star.h5")
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    scalar_map(left, result.maps, "latent", index=0, title="latent 1: what")
    angle_map(right, result.maps, title="angle: how it is turned")
    save(figure, "siemens-angle")


def graphene(data: Path) -> None:
    """The demo: graphene with a vacancy, 100,000 electrons in a pattern."""
    from orbistem.simulate import simulate

    del data
    scan, _ = simulate("graphene-vacancy", seed=0, dose=1e5, scan_shape=(64, 64), detector_px=64)
    result = orbistem.fit(scan)
    figure = Figure(figsize=(13.6, 3.4), layout="constrained")
    latents_beside_counts(figure, result.maps, latent=(0, 1))
    save(figure, "graphene-vacancy")


def stone_wales(data: Path) -> None:
    """A bond turned by 90°, 10,000 electrons in a pattern: no atom is missing, the symmetry is broken."""
    import numpy as np
    import xarray as xr

    from orbistem.pipeline.broken import modes_of
    from orbistem.plan import Plan
    from orbistem.simulate import simulate
    from orbistem.symmetry.broken import BrokenOptions, find_broken
    from orbistem.symmetry.pooling import Layout

    del data
    scan, _ = simulate("graphene-stone-wales", seed=0, dose=1e4)
    shape, pixels = scan.scan_shape, scan.detector_shape
    counts = np.asarray(scan.patterns).reshape(-1, *pixels)
    centre = (pixels[0] - 1) / 2
    everywhere = np.ones(pixels, bool)
    plan = Plan(mean=counts.mean(axis=0), pixel_valid=everywhere, centre_px=(centre, centre), gain=1.0)
    harmonics = plan.harmonics(counts)
    harmonics[:, :, 0] -= harmonics[:, :, 0].mean(axis=0)
    steps = (float(scan.scan_axes[0].scale), float(scan.scan_axes[1].scale))
    found = find_broken(
        harmonics,
        modes_of(plan, BrokenOptions()),
        latent=None,
        angle=None,
        reference=np.ones(len(counts), bool),
        layout=Layout.grid(shape, steps=steps),
        rng=np.random.default_rng(0),
    )
    y, x = np.indices(pixels) - centre
    dark = counts[:, np.hypot(y, x) > DARK_FIELD_PX].sum(axis=1)
    coordinates = {
        axis.name: (axis.name, axis.coordinates(size), {"units": axis.units})
        for axis, size in zip(scan.scan_axes, shape, strict=True)
    }
    maps = xr.Dataset(
        {
            "dark_field": (("y", "x"), dark.reshape(shape), {"units": "electrons"}),
            "broken": (("y", "x"), found.score.reshape(shape), {"units": "1"}),
        },
        coords=coordinates,
    )
    figure = Figure(figsize=(9.2, 3.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    scalar_map(left, maps, "dark_field", kind="counts", title="annular dark field")
    scalar_map(right, maps, "broken", kind="signed", title="broken: standard-normal score")
    save(figure, "graphene-stone-wales")


PICTURES = {"cryo": cryo, "siemens": siemens, "graphene": graphene, "stone-wales": stone_wales}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=ROOT.parent / "shared" / "data")
    parser.add_argument("--only", choices=sorted(PICTURES))
    given = parser.parse_args()
    for name, make in PICTURES.items():
        if given.only in (None, name):
            make(given.data)


if __name__ == "__main__":
    main()
