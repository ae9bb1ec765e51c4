"""Find what breaks the symmetry of a material, from its diffraction patterns.

The public names are loaded when first used, so that ``import orbistem`` is quick and silent.
"""

import importlib
from typing import Final

__version__ = "0.1.0"

__all__ = ["FitConfig", "Result", "Scan", "__version__", "fit", "load", "open"]

_PUBLIC: Final = {  # public name: (module, name there)
    "FitConfig": ("orbistem.config", "FitConfig"),
    "Result": ("orbistem.result", "Result"),
    "Scan": ("orbistem.scan", "Scan"),
    "fit": ("orbistem.pipeline.fit", "fit"),
    "load": ("orbistem.result", "load"),
    "open": ("orbistem.io", "open_scan"),
}


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    value: object = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
