import pickle

import numpy as np
import pytest

from orbistem import errors
from orbistem.errors import OrbistemError, ShapeError, require_stack

CLASSES = [one for one in (getattr(errors, name) for name in errors.__all__) if isinstance(one, type)]


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_survive_the_way_back_from_a_worker(kind):
    back = pickle.loads(pickle.dumps(kind("want this, got that, do so")))
    assert type(back) is kind
    assert str(back) == "want this, got that, do so"
    assert issubclass(kind, OrbistemError)
    assert "__init__" not in vars(kind)


@pytest.mark.parametrize("kind", CLASSES[1:])
def test_errors_are_also_a_builtin_kind(kind):
    builtin = {ValueError, ImportError, OSError, RuntimeError}
    assert kind is OrbistemError or builtin & set(kind.__mro__)


def test_a_stack_passes():
    require_stack("patterns", np.zeros((0, 4, 4)))


@pytest.mark.parametrize("shape", [(4, 4), (2, 3, 4, 4), ()])
def test_anything_else_is_refused_with_a_remedy(shape):
    with pytest.raises(ShapeError, match=r"patterns: want \(n, ky, kx\), got .*; "):
        require_stack("patterns", np.zeros(shape))
