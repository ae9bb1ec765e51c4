"""Drawing: every function takes an ``ax``, computes no result, and returns its artists.

Matplotlib is imported inside the functions, so that importing this folder stays quick.
"""

from orbistem.plot import latent, layout, maps, patterns, scale, training

__all__ = ["latent", "layout", "maps", "patterns", "scale", "training"]
