"""An accelerator computes as the processor does: no function of a model rounds its products."""

import jax
import numpy as np
import pytest

from orbistem.models import infer
from orbistem.models.full_products import full_products
from orbistem.models.orbit import OrbitVAE
from orbistem.models.spatial_vae import SpatialVAE


@full_products
def precision(times=1):
    return [jax.config.jax_default_matmul_precision] * times


def test_products_are_full_inside_only():
    assert precision(times=2) == ["highest", "highest"]
    assert jax.config.jax_default_matmul_precision is None


def test_a_choice_of_the_user_stands():
    with jax.default_matmul_precision("float32"):
        assert precision() == ["float32"]


@full_products
def fails():
    raise ValueError("no")


def test_the_precision_is_put_back_after_an_error():
    with pytest.raises(ValueError, match="no"):
        fails()
    assert jax.config.jax_default_matmul_precision is None


def test_compiled_programs_obey():
    ones = np.ones((3, 3), np.float32)
    plain = jax.jit(lambda a: a @ a)
    assert "HIGHEST" not in plain.lower(ones).as_text()
    assert "HIGHEST" in full_products(lambda: jax.jit(lambda a: a @ a).lower(ones).as_text())()


@pytest.mark.parametrize(
    "function",
    [OrbitVAE.decode, OrbitVAE.features, OrbitVAE.encode_fast, OrbitVAE._infer, SpatialVAE._mapped],
)
def test_entries_of_the_models_are_wrapped(function):
    assert hasattr(function, "__wrapped__")
    assert not hasattr(infer.infer_all, "__wrapped__")  # called through these only
