"""Options of a program that fits with another group, or number of latents, than a fit takes by itself."""

from __future__ import annotations

import argparse

from orbistem.models.orbit import AUTO, USUAL, OrbitVAEOptions
from orbistem.models.orbit_vae import OrbitOptions


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add --group and --latents."""
    parser.add_argument("--group", default=USUAL, help="what makes patterns the same site")
    parser.add_argument(
        "--latents",
        type=lambda text: 0 if text == AUTO else int(text),
        default=OrbitOptions().latent_dim,
        help="their number, or auto: held-out evidence decides",
    )


def model_options(given: argparse.Namespace) -> OrbitVAEOptions:
    """What was given."""
    return OrbitVAEOptions(group=given.group, net=OrbitOptions(latent_dim=given.latents))
