"""What a fit gives, and the folder it lives in."""

from orbistem.result.run import Result, load, plain, read_run
from orbistem.result.trained import TrainedModel

__all__ = ["Result", "TrainedModel", "load", "plain", "read_run"]
