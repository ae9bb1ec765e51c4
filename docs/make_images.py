"""Make the pictures of README and docs with the program itself: ``python docs/make_images.py [DATA]``.

DATA is the folder with the measured data sets; without it, ``../shared/data`` beside the repository. Takes
about five minutes on two cores. ``--only cryo`` (siemens, graphene) makes one picture.
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

import orbistem
from orbistem.plot.maps import angle_map, latents_beside_counts, scalar_map

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
DOTS_PER_INCH = 90


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


PICTURES = {"cryo": cryo, "siemens": siemens, "graphene": graphene}


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
