"""Unit strings, as instruments and programs spell them, brought to one spelling and one base unit.

Base units are 1/Å for reciprocal lengths (without 2π), rad for angles and Å for lengths.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

__all__ = ["Dimension", "Unit", "normalise_unit"]

Dimension = Literal["reciprocal_length", "angle", "length", "pixel", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """One unit.

    Attributes
    ----------
    text : str
        Our spelling, such as "1/Å", "mrad", "nm" or "px"; for an unknown unit the given text, stripped;
        empty where no unit was given at all.
    dimension : {"reciprocal_length", "angle", "length", "pixel", "unknown"}
        What kind of quantity it measures.
    to_base : float
        A value in this unit times `to_base` is the value in the base unit (1/Å, rad or Å); 1 for pixels
        and for unknown units.
    """

    text: str
    dimension: Dimension
    to_base: float


_LENGTHS_ANGSTROM = {"m": 1e10, "cm": 1e8, "mm": 1e7, "µm": 1e4, "nm": 10.0, "Å": 1.0, "pm": 1e-2, "fm": 1e-5}
_ANGLES_RAD = {"rad": 1.0, "mrad": 1e-3, "µrad": 1e-6, "nrad": 1e-9, "°": 0.017453292519943295}

_LENGTH_WORDS = {
    "a": "Å",
    "å": "Å",
    "ang": "Å",
    "angs": "Å",
    "angstrom": "Å",
    "angstroms": "Å",
    "ångström": "Å",
    "ångstrom": "Å",
    "um": "µm",
    "micron": "µm",
    "microns": "µm",
    "micrometer": "µm",
    "micrometre": "µm",
    "nanometer": "nm",
    "nanometre": "nm",
    "nanometers": "nm",
    "nanometres": "nm",
    "picometer": "pm",
    "picometre": "pm",
    "millimeter": "mm",
    "millimetre": "mm",
    "meter": "m",
    "metre": "m",
    "meters": "m",
    "metres": "m",
}
_ANGLE_WORDS = {
    "radian": "rad",
    "radians": "rad",
    "milliradian": "mrad",
    "milliradians": "mrad",
    "mrads": "mrad",
    "urad": "µrad",
    "deg": "°",
    "degs": "°",
    "degree": "°",
    "degrees": "°",
}
_PIXEL_WORDS = frozenset({"px", "pix", "pixel", "pixels", "index", "channel", "channels"})
_NO_UNIT = frozenset(
    {"", "<undefined>", "undefined", "none", "_none_", "nan", "unknown", "unitless", "n/a", "-", "?"}
)

_RECIPROCAL = (
    re.compile(r"^1\s*/\s*(?P<length>.+)$"),
    re.compile(r"^(?P<length>[^\W\d]+)\s*(?:\^|\*\*)?\s*-1$"),
    re.compile(r"^(?:inverse|reciprocal|inv|rec)[\s_.]*(?P<length>.+)$"),
)
_MOMENTUM_PREFIX = re.compile(r"^[kqgs]_+")
_TYPESETTING = re.compile(r"\\(?:mathrm|text|mathring|mu|mathsf|rm)\b|[${}()\[\]\\]")


def normalise_unit(text: object) -> Unit:
    """Recognise a unit; never raises.

    Parameters
    ----------
    text : str, bytes, None or anything else
        A unit as found in a file: "A^-1", "1/nm", "k_A^-1", "mrad", "um", "px", "<undefined>", "", None...

    Returns
    -------
    Unit
        Its spelling here, its dimension, and the factor to the base unit. What is not recognised has
        dimension "unknown" and keeps its text.

    Examples
    --------
    >>> normalise_unit("k_A^-1")
    Unit(text='1/Å', dimension='reciprocal_length', to_base=1.0)
    >>> normalise_unit(b"mrad").to_base
    0.001
    >>> normalise_unit("furlong").dimension
    'unknown'
    """
    given = _decode(text).strip()
    word = _simplify(given)
    if word in _NO_UNIT:
        return Unit(text="", dimension="unknown", to_base=1.0)
    if word in _PIXEL_WORDS:
        return Unit(text="px", dimension="pixel", to_base=1.0)
    if (angle := _lookup(word, _ANGLES_RAD, _ANGLE_WORDS)) is not None:
        return Unit(text=angle, dimension="angle", to_base=_ANGLES_RAD[angle])
    if (length := _lookup(word, _LENGTHS_ANGSTROM, _LENGTH_WORDS)) is not None:
        return Unit(text=length, dimension="length", to_base=_LENGTHS_ANGSTROM[length])
    bare = _MOMENTUM_PREFIX.sub("", word)
    for pattern in _RECIPROCAL:
        match = pattern.match(bare)
        length = _lookup(match["length"].strip(), _LENGTHS_ANGSTROM, _LENGTH_WORDS) if match else None
        if length is not None:
            return Unit(
                text=f"1/{length}", dimension="reciprocal_length", to_base=1.0 / _LENGTHS_ANGSTROM[length]
            )
    return Unit(text=given, dimension="unknown", to_base=1.0)


def _decode(text: object) -> str:
    if text is None:
        return ""
    if isinstance(text, bytes | bytearray):
        raw = bytes(text).rstrip(b"\0")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw.decode("latin-1")  # DigitalMicrograph writes a lone 0xB5 for the micro sign
    try:
        return str(text)
    except Exception:  # an object from a file whose __str__ fails is an unknown unit, not an error
        return ""


def _simplify(text: str) -> str:
    """Lower case, one spelling of micro, Å, minus and superscripts, no TeX."""
    text = text.replace("\N{MICRO SIGN}", "u").replace("\\mu", "u").replace("\\AA", "Å")
    text = text.replace("Âu", "u").replace("Ã…", "Å")  # UTF-8 that was once read as Latin-1
    text = unicodedata.normalize("NFKC", text)  # Angstrom sign -> Å, superscripts -> digits
    text = text.replace("\N{GREEK SMALL LETTER MU}", "u").replace("\N{MINUS SIGN}", "-")
    text = _TYPESETTING.sub("", text)
    return re.sub(r"\s+", " ", text).strip().lower()


def _lookup(word: str, units: dict[str, float], words: dict[str, str]) -> str | None:
    if word in words:
        return words[word]
    return word if word in units else None
