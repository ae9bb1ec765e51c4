"""Drawing: every function takes an ``ax``, computes no result, and returns its artists.

Matplotlib is imported inside the functions, so that importing this folder stays quick.
"""

from orbistem.plot import checks, latent, layout, maps, patterns, scale, training

__all__ = ["checks", "latent", "layout", "maps", "patterns", "scale", "training"]
