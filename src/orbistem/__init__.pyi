from typing import Final

from orbistem.config import FitConfig as FitConfig
from orbistem.io import open_scan as open
from orbistem.pipeline.fit import fit as fit
from orbistem.result import Result as Result
from orbistem.result import load as load
from orbistem.scan import Scan as Scan

__version__: Final[str]
__all__ = ["FitConfig", "Result", "Scan", "__version__", "fit", "load", "open"]
