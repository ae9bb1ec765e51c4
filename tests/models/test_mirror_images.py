"""Whether mirror images of the patterns are as well known as the patterns."""

from dataclasses import dataclass, field

import numpy as np

from orbistem.models.mirror_images import AS_WELL, mirror_words
from orbistem.models.protocol import Encoding


@dataclass
class Hands:
    """Loses `worse` nats on every pattern whose first coefficient, without the offset, points down."""

    worse: float
    offset: np.ndarray = field(default_factory=lambda: np.array([1 + 5j, 2.0]))

    def encode(self, coefficients: np.ndarray) -> Encoding:
        n = len(coefficients)
        down = (coefficients - self.offset)[:, 0].imag < 0
        zero = np.zeros(n, np.float32)
        return Encoding(
            z=zero[:, None],
            z_sd=zero[:, None],
            angle=zero,
            angle_sd=zero,
            angle_order=zero.astype(np.int32),
            evidence=(-self.worse * down).astype(np.float32),
            residual=zero,
        )


def patterns(*, both: bool) -> np.ndarray:
    up = np.array([1 + 1j, 2.0])
    down = np.array([1 - 1j, 2.0])
    return Hands(0.0).offset + np.array([up, down if both else up] * 20)


def test_a_crystal_of_both_hands_is_named() -> None:
    words = mirror_words(Hands(worse=400.0), patterns(both=True), signal_nats=1000.0)
    assert len(words) == 1
    assert "--group O2" in words[0]
    assert "0 of 1000 nats worse" in words[0]


def test_a_scan_of_one_hand_is_not() -> None:
    assert not mirror_words(Hands(worse=400.0), patterns(both=False), signal_nats=1000.0)
    assert not mirror_words(Hands(worse=1000 * AS_WELL + 1), patterns(both=False), signal_nats=1000.0)


def test_a_model_that_cannot_tell_hands_apart_says_so_too() -> None:
    assert mirror_words(Hands(worse=0.0), patterns(both=False), signal_nats=1000.0)
