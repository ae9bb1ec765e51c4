"""A raster of small patterns, and what a scan says of itself."""

import numpy as np

FRAMES, DETECTOR = (24, 20), (16, 12)


def counts(rng, n=480):
    return rng.poisson(2, size=(n, *DETECTOR)).astype(np.uint16)


def said(scan):
    about = scan.provenance
    return " | ".join((*about.found, *about.assumed, *about.warnings))
