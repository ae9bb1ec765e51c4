"""How often an OrbitVAE is trained."""

import pytest

from orbistem.models.fitting import usual_restarts
from orbistem.models.turns import make_turns


@pytest.mark.parametrize(
    ("n_patterns", "n_kept", "group", "trainings"),
    [
        (518, 53, "O2", 4),  # graphene at 10⁶
        (464, 128, "O2", 2),  # the Siemens star
        (1513, 78, "SO2", 3),  # the tilt scan
        (518, 53, "D6", 3),
        (8193, 10, "O2", 1),
        (8193, 10, "SO2", 1),
    ],
)
def test_small_scans_are_trained_several_times(n_patterns, n_kept, group, trainings) -> None:
    assert usual_restarts(n_patterns, n_kept, make_turns(group)) == trainings
