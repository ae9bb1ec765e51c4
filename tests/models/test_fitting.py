"""How often an OrbitVAE is trained."""

from types import SimpleNamespace

import pytest

from orbistem.models.fitting import _near_words, usual_restarts
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


def test_a_training_kept_with_less_evidence_than_another_is_explained() -> None:
    def trained(evidence: float | None) -> SimpleNamespace:
        return SimpleNamespace(restart=SimpleNamespace(refined=evidence))

    kept, other = trained(-130.3), trained(-129.8)
    (said,) = _near_words(kept, [kept, other], bright=True)
    assert "0.50 nats" in said
    assert "noise" in said
    assert "agree" in _near_words(kept, [kept, other], bright=False)[0]
    assert _near_words(other, [other, kept, trained(None)], bright=True) == ()
    assert _near_words(trained(None), [trained(None)], bright=True) == ()
