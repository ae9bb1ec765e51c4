"""The report's sentences: the verdict, what numbers mean, and a glossary for microscopists."""

from __future__ import annotations

import math
import shlex
from pathlib import PurePath
from typing import Any

import numpy as np

from orbistem.plot.maps import active_latents
from orbistem.report.files import RunFiles, number, section

__all__ = [
    "CERTIFICATE_MEANING",
    "GLOSSARY",
    "SCORE_MEANING",
    "command_line",
    "count_word",
    "input_name",
    "readable",
    "verdict",
]

RESIDUAL_FITS = (0.9, 1.1)  # median reduced chi-square that counts as "noise alone"
NOISE_IS_RIGHT = 0.02
"""Whitened noise within this of unit variance: the gain is not at fault."""

SCORE_MEANING = {
    "fold_error": "distance of symmetry-equivalent positions in the latents; 0: folded, 1: unrelated",
    "repeat_error": "distance of two noise draws of one position in the latents: what noise alone does",
    "rotation_error": "distance between a pattern and its copy that was turned pixel by pixel",
    "angle_error": "error of angle differences between equivalent positions, in degrees",
    "angle_error_deg": "error of angle differences between equivalent positions, in degrees",
    "explained_variance": "share of the variation about the static background that the model reproduces",
    "oracle": "explained variance of the best possible guess from one pattern at a time",
    "oracle_linear": "the same limit for one who sees only the harmonic coefficients",
    "active_units": "latents whose uncertainty is under half their spread",
    "site_accuracy": "positions whose class, found by clustering the latents, is the true one",
    "nmi": "information that the clusters share with the true classes; 1: all of it",
    "resultant": "agreement of the angles with the expected directions; 1: perfect",
}

CERTIFICATE_MEANING = {
    "latent_change_turned_coefficients": "change of the latents when the coefficients are turned by random "
    "angles, as a share of the latents' spread",
    "latent_change_turned_pixels": "the same when the patterns themselves are turned, pixel by pixel",
    "angle_error_deg": "error of the angle found after such a turn, in degrees",
    "latent_change_mirrored_coefficients": "the same under a mirror and a turn, where the group has mirrors",
    "restarts_agree": "whether two trainings from different starts found the same latents",
}

GLOSSARY = {
    "point group": "The turns and mirrors that leave a pattern as it is, up to its noise: C3 has threefold "
    "turns, D3 three mirrors as well. Given is the largest of the ten groups of the plane that agrees with "
    "the noise and whose absence would have been noticed; its p value says how often noise alone would look "
    "as bad. Thickness, mistilt and a centre that is off break symmetries, too.",
    "n-fold symmetry": "Its share is the part of the pattern's energy in angular orders that are multiples "
    "of n, after the static background is taken off and without the energy of the noise.",
    "latent": "A number that says what the local structure is, whichever way it is turned. Positions with "
    "equal latents look alike after rotation. The latents of a perfect crystal repeat with its symmetry; "
    "whatever leaves that pattern is broken symmetry.",
    "active latent": "A latent that carries information: it varies over the scan by much more than its "
    "uncertainty. The others are switched off by the training, because the data do not pay for them.",
    "angle": "How the local structure is turned, in the frame of the detector, from +kx towards +ky "
    "(clockwise on the screen). Its zero is free, so only differences count, and they compare "
    "positions of equal latents. At a threefold site turns by 120° are the same, and get the same colour.",
    "class": "Sites of similar latents, by a mixture of Gaussians. Its point group is that of the mean over "
    "its members, each turned back by its angle; a departure smaller than the class is wide breaks nothing.",
    "angle order": "How many turns leave the pattern of a site unchanged, as far as the noise can tell: "
    "1 for none, 3 for a threefold site, 0 where no direction is preferred at all.",
    "evidence": "How probable the model finds a pattern, in nats (a logarithm; one nat is a factor of 2.7). "
    "Low evidence marks patterns unlike all others: defects, edges, contamination, damage.",
    "held out": "Patterns that were kept away from training. Their evidence shows whether the model learned "
    "structure (both curves rise) or noise (only the training curve rises).",
    "residual": "What the model leaves unexplained, over what shot noise alone would leave. 1: noise only. "
    "Well above 1: something real that the latents do not describe.",
    "steerable eigenvalue": "How much a pattern shape of one angular order varies over the scan, in units "
    "of the noise. What lies below the noise edge cannot be told from noise and is dropped.",
    "whitening": "Weighting detector pixels so that noise counts equally everywhere.",
    "static background": "What does not turn with the sample (aperture edge, aberrations, detector). It is "
    "subtracted first; otherwise it would pin the angle.",
    "certificate": "The check, on these very data, that turning a pattern leaves its latents alone and turns "
    "its angle by just that much.",
}

_NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def input_name(files: RunFiles) -> str:
    """Name of the file that was analysed; "array" where it came from memory."""
    path = section(files.run, "input").get("path")
    return PurePath(str(path).replace("\\", "/")).name if path else "an array in memory"


def verdict(files: RunFiles) -> str:
    """One paragraph: what was read, how many latents are active, noise, residual, certificate."""
    parts = [_read_sentence(files), _latent_sentence(files), _noise_sentence(files)]
    parts.append(_residual_sentence(files))
    parts.append(str(section(files.run, "certificate").get("sentence") or ""))
    return " ".join(part for part in parts if part)


def command_line(files: RunFiles) -> str:
    """The command that repeats the run, for a POSIX shell."""
    command = files.run.get("command")
    if isinstance(command, list):
        return shlex.join(str(word) for word in command)
    if isinstance(command, str) and command:
        return command
    source = str(section(files.run, "input").get("path") or "FILE")
    return shlex.join(["orbistem", "fit", source, "-o", "repeat", "--config", "config.toml"])


def readable(value: Any) -> str:
    """A value of run.json as a reader wants it: three digits, powers of ten, yes and no."""
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return _grouped(str(value)).replace("-", "−")
    if isinstance(value, float):
        return _readable_float(value)
    if isinstance(value, list | tuple):
        return ", ".join(readable(entry) for entry in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {readable(entry)}" for name, entry in value.items())
    return str(value)


def count_word(count: int) -> str:
    """A small number as a word."""
    return _NUMBER_WORDS[count] if 0 <= count < len(_NUMBER_WORDS) else str(count)


def _read_sentence(files: RunFiles) -> str:
    shape = section(files.run, "input").get("shape")
    positions = int(files.maps["dose"].size) if "dose" in files.maps else 0
    size = f" of {shape[-2]} × {shape[-1]} pixels" if isinstance(shape, list) and len(shape) > 2 else ""
    name = input_name(files)
    text = f"{readable(positions)} patterns{size} were read from {name}."
    unusable = int((~np.isfinite(files.maps["dose"].values)).sum()) if "dose" in files.maps else 0
    if unusable:
        were = "position was" if unusable == 1 else "positions were"
        text += f" {readable(unusable)} {were} not measured or cannot be used, and are grey in all maps."
    return text


def _latent_sentence(files: RunFiles) -> str:
    if "latent" not in files.maps:
        return "No model was trained."
    flags = active_latents(files.maps)
    active, size = sum(flags), len(flags)
    if not np.isfinite(files.maps["latent"].values).any() or active == 0:
        return "No latent is active: apart from rotation, the patterns do not differ beyond the noise."
    number_word = count_word(active).capitalize()
    of_all = f"{number_word} of {count_word(size)} latents {'is' if active == 1 else 'are'} active"
    if active == size:
        of_all = "The one latent is active" if size == 1 else f"All {count_word(size)} latents are active"
    ways = "one way" if active == 1 else f"{count_word(active)} independent ways"
    return f"{of_all}: apart from rotation, the local structure varies in {ways} beyond the noise."


def _noise_sentence(files: RunFiles) -> str:
    noise = section(files.run, "noise")
    gain, variance = number(noise, "gain"), number(noise, "unit_variance")
    dose = _median(files, "dose")
    if gain is None:
        about = f"The median total is {readable(dose)} counts per pattern. " if dose is not None else ""
        return (
            about
            + "The counts do not follow Poisson statistics, so the noise was judged from the weakest shapes."
        )
    counts = readable(gain * (number(noise, "together") or 1.0))
    text = f"One electron makes {counts} count{'' if counts == '1' else 's'}"
    if dose is not None:
        text += f"; the median pattern holds {readable(dose)} electrons"
    if variance is not None:
        text += f"; after whitening the noise variance is {variance:.3f} (1 is right)"
    return text + "."


def _residual_sentence(files: RunFiles) -> str:
    residual = _median(files, "residual")
    if residual is None:
        return ""
    low, high = RESIDUAL_FITS
    if residual > high:
        meaning = "more than noise remains unexplained"
    elif residual < low:
        variance = number(section(files.run, "noise"), "unit_variance")
        if variance is not None and abs(variance - 1) < NOISE_IS_RIGHT:
            meaning = "less than the mean noise remains, as where most patterns scatter less than the mean"
        else:
            meaning = "less than the expected noise remains; check the gain"
    else:
        meaning = "noise alone explains what the model leaves"
    return f"The median residual is {readable(residual)}: {meaning}."


def _median(files: RunFiles, name: str) -> float | None:
    if name not in files.maps:
        return None
    values = np.asarray(files.maps[name].values, dtype=np.float64)
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else None


def _readable_float(value: float) -> str:
    if not math.isfinite(value):
        return "not known" if math.isnan(value) else str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        digits = 0 if abs(value) >= 100 else 2 - math.floor(math.log10(abs(value))) if value else 0
        text = f"{value:.{max(digits, 0)}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else _grouped(text)
        return text.replace("-", "−")
    mantissa, exponent = f"{value:.1e}".replace("-", "−", int(value < 0)).split("e")
    power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa} × 10{power}"


def _grouped(digits: str) -> str:
    """Thin spaces between thousands, from five digits on."""
    return f"{int(digits):,}".replace(",", "\u202f") if len(digits.lstrip("-")) > 4 else digits
