import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbistem.units import normalise_unit

KNOWN = [
    ("1/Å", "reciprocal_length", 1.0, ["A^-1", "1/Å", "1/A", "k_A^-1", "Å⁻¹", "Å^{-1}", "q_A^-1", "A**-1"]),
    ("1/Å", "reciprocal_length", 1.0, [r"$\AA^{-1}$", "\N{ANGSTROM SIGN}^-1", "1 / Angstrom", "inv A"]),
    ("1/nm", "reciprocal_length", 0.1, ["1/nm", "nm^-1", "nm-1", "nm−1", "k_nm^-1", b"1/nm"]),
    ("1/m", "reciprocal_length", 1e-10, ["1/m", "m^-1"]),
    ("mrad", "angle", 1e-3, ["mrad", "Mrad", " mrad ", b"mrad", "milliradian", "k_mrad"[2:]]),
    ("rad", "angle", 1.0, ["rad", "radians"]),
    ("°", "angle", 0.017453292519943295, ["deg", "°", "degrees"]),
    ("Å", "length", 1.0, ["A", "Å", "angstrom", "\N{ANGSTROM SIGN}", "Ang"]),
    ("nm", "length", 10.0, ["nm", b"nm\0"]),
    ("µm", "length", 1e4, ["um", "µm", "μm", b"\xb5m", "Âµm", r"$\mu$m", "micron"]),
    ("m", "length", 1e10, ["m", "metre"]),
    ("px", "pixel", 1.0, ["px", "pixels", "Pixel"]),
    ("", "unknown", 1.0, ["", None, "<undefined>", b"", "None", "_None_", "  "]),
    ("1/px", "unknown", 1.0, ["1/px"]),
    ("furlong", "unknown", 1.0, [" furlong"]),
]


@pytest.mark.parametrize(
    ("spelling", "text", "dimension", "to_base"),
    [(spelling, text, dimension, factor) for text, dimension, factor, all_ in KNOWN for spelling in all_],
)
def test_known_spellings(spelling, text, dimension, to_base):
    unit = normalise_unit(spelling)
    assert (unit.text, unit.dimension) == (text, dimension)
    assert unit.to_base == pytest.approx(to_base, rel=1e-12)


@given(st.one_of(st.text(), st.binary()))
def test_never_raises_and_knows_its_own_spelling(text):
    unit = normalise_unit(text)
    assert unit.to_base > 0
    if unit.dimension != "unknown":
        assert normalise_unit(unit.text) == unit


def test_a_hostile_object_is_an_unknown_unit():
    class Broken:
        def __str__(self):
            raise RuntimeError("no text")

    assert normalise_unit(Broken()).dimension == "unknown"
