"""The sections of the page, in their order: each turns the run's files into HTML, or into nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from orbistem.report import check_figures, figures, site_figures
from orbistem.report.canvas import Picture
from orbistem.report.files import RunFiles, section, sentences
from orbistem.report.words import (
    CERTIFICATE_MEANING,
    GLOSSARY,
    SCORE_MEANING,
    command_line,
    readable,
)

__all__ = ["SECTIONS", "Section"]

CERTIFICATE_WHERE_ASKED = {"latent_change_mirrored_coefficients"}
LARGE_COUNTS = {2, 4}  # so many pictures look best in two columns

LOAD_SNIPPET = """\
import orbistem

result = orbistem.load({directory!r})
result.maps                     # every map, an xarray.Dataset
"""
LATENT_SNIPPET = """\
result.maps["latent"][..., 0]   # the first latent over the scan
result.maps["angle"]            # radians, from +kx towards +ky
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One section: its title, its anchor, and what writes its body (empty: the section is left out)."""

    title: str
    anchor: str
    body: Callable[[RunFiles], str]


def _latents(files: RunFiles) -> str:
    intro = (
        "What the local structure is, whichever way it is turned (latents), and how it is turned (angle). "
        "Positions of equal latents look alike after rotation."
    )
    return _pictures([*figures.latent_pictures(files), figures.angle_picture(files)], intro)


def _manifold(files: RunFiles) -> str:
    intro = "Points of the latent space as diffraction patterns, beside measured ones."
    return _pictures([figures.manifold_picture(files), *figures.plane_pictures(files)], intro)


def _fit(files: RunFiles) -> str:
    intro = "Where the model does not describe the patterns: look here for defects, edges and damage."
    return _pictures(figures.map_pictures(files, "fit"), intro)


def _symmetry(files: RunFiles) -> str:
    shown = _pictures(
        figures.map_pictures(files, "symmetry"), "Which symmetries each position keeps or breaks."
    )
    broken = section(files.run, "broken")
    words = "".join(f"<p>{escape(str(broken[key]))}</p>" for key in ("sentence", "caveat") if broken.get(key))
    rows = [
        (f"position {', '.join(map(str, one['position']))}", one["score"], f"shown by: {one['carried_by']}")
        for one in broken.get("strongest") or ()
    ]
    return shown + words + _table(rows)


def _places(files: RunFiles) -> str:
    """Which operation, where, and whose fault."""
    places = files.run.get("places")
    instrument = section(files.run, "instrument")
    text = f"<p>{escape(str(instrument['sentence']))}</p>" if instrument.get("sentence") else ""
    if not isinstance(places, list) or not places:
        return text
    for place in places:
        text += f"<p>{escape(str(place.get('sentence')))}</p>"
    text += f"<p>{escape(str(places[0].get('caveat')))}</p>"
    text += _pictures(site_figures.place_pictures(files), "")
    for place in places:
        rows = [(one["name"], readable(one["score"]), _of_operation(one)) for one in place["operations"]]
        name = escape(str(place.get("name")))
        text += f"<details><summary>{name}: every operation</summary>{_table(rows)}</details>"
    return text


def _of_operation(one: Mapping[str, Any]) -> str:
    words = "broken" if one["broken"] else "kept within the noise"
    words += f"; most against it: order {one['order']} at {readable(one['radius'])} {one['units']}"
    if one.get("correlation") is not None:
        words += f"; correlation {one['correlation']:.3f} ± {readable(one.get('correlation_sd'))}"
    moved = one.get("score_moved")
    if moved is not None:
        words += f"; with the instrument moved {readable(moved[0])} to {readable(moved[1])}"
    return words + ("; the verdict may be the instrument's" if one.get("by_instrument") else "")


def _classes(files: RunFiles) -> str:
    intro = (
        "Sites sorted by their latents, whichever way they are turned. Where latents vary smoothly, as over "
        "a perfect crystal, the borders between classes are a choice."
    )
    rows = []
    for one in section(files.run, "classes").get("classes") or ():
        sure = f", p = {readable(one['point_group_p'])}" if one.get("point_group_p") is not None else ""
        about = f"positions; point group {one['point_group']}{sure}"
        rows.append((f"class {one['class']}", one["members"], about))
    return _pictures(site_figures.class_pictures(files), intro) + _table(rows)


def _beam(files: RunFiles) -> str:
    intro = "What needs no model: total and centre of mass of every pattern, from the pattern's centre."
    return _pictures(figures.map_pictures(files, "beam"), intro)


def _preparation(files: RunFiles) -> str:
    words = "".join(f"<li>{escape(text)}</li>" for text in sentences(files.run, "words"))
    given = section(files.run, "input")
    for name, text in (("found", "Found in the file"), ("assumed", "Assumed, since the file does not say")):
        listed = sentences(given, name)
        if listed:
            words += f"<li>{text}: {escape('; '.join(listed))}.</li>"
    pictures = [
        check_figures.mean_picture(files),
        check_figures.drift_picture(files),
        check_figures.descan_picture(files),
        figures.spectrum_picture(files),
        figures.training_picture(files),
    ]
    return (f"<ol>{words}</ol>" if words else "") + _pictures(pictures, "")


def _scores(files: RunFiles) -> str:
    training = section(files.run, "training")
    rows = [(_named(k), v, SCORE_MEANING.get(k, "")) for k, v in section(files.run, "scores").items()]
    for key, meaning in (
        ("heldout_evidence", "nats per pattern, on patterns that were not trained on"),
        ("kept_coefficients", "numbers per pattern that stand above the noise"),
        ("active_units", SCORE_MEANING["active_units"]),
    ):
        if key in training and _named(key) not in {name for name, _, _ in rows}:
            rows.append((_named(key), training[key], meaning))
    return _table(rows)


def _certificate(files: RunFiles) -> str:
    certificate = section(files.run, "certificate")
    sentence = str(certificate.get("sentence") or "")
    shown = {k: v for k, v in certificate.items() if k not in CERTIFICATE_WHERE_ASKED or v is not None}
    rows = [(_named(k), v, CERTIFICATE_MEANING.get(k, "")) for k, v in shown.items() if k != "sentence"]
    return (f"<p>{escape(sentence)}</p>" if sentence else "") + _table(rows)


def _run(files: RunFiles) -> str:
    run = files.run
    timings = section(run, "timings_s")
    seconds = {k: float(v) for k, v in timings.items() if isinstance(v, int | float)}
    rows: list[tuple[str, Any, str]] = [(f"time, {k}", f"{v:.1f} s", "") for k, v in seconds.items()]
    if seconds:
        rows.append(("time, all", f"{sum(seconds.values()):.1f} s", ""))
    rate = section(run, "training").get("patterns_per_s")
    if rate is not None:
        rows.append(("training", f"{readable(rate)} patterns per second", ""))
    given = section(run, "input")
    rows += [(f"input, {k}", given[k], "") for k in ("path", "format", "shape", "dtype") if given.get(k)]
    rows += [("seed", run["seed"], "")] if "seed" in run else []
    rows += [(f"checksum, {k}", v, "") for k, v in section(run, "checksums").items()]
    rows += [(f"version, {k}", v, "") for k, v in section(run, "versions").items()]
    return _table(rows)


def _repeat(files: RunFiles) -> str:
    text = f"<p>The same maps again, from the same file and seed:</p><pre>{escape(command_line(files))}</pre>"
    if files.config:
        text += f"<details><summary>config.toml</summary><pre>{escape(files.config)}</pre></details>"
    name = files.directory.name.removesuffix(".partial")  # it is renamed when all is there
    snippet = LOAD_SNIPPET.format(directory=name) + (LATENT_SNIPPET if "latent" in files.maps else "")
    return text + f"<p>In Python:</p><pre>{escape(snippet)}</pre>"


def _glossary(files: RunFiles) -> str:
    del files  # the same for every run
    items = "".join(f"<dt>{escape(word)}</dt><dd>{escape(text)}</dd>" for word, text in GLOSSARY.items())
    return f"<dl>{items}</dl>"


SECTIONS: tuple[Section, ...] = (
    Section(title="Latents and angle", anchor="latents", body=_latents),
    Section(title="What the latents mean", anchor="manifold", body=_manifold),
    Section(title="Symmetry", anchor="symmetry", body=_symmetry),
    Section(title="Which operation, and whose fault", anchor="places", body=_places),
    Section(title="Classes", anchor="classes", body=_classes),
    Section(title="What is left over", anchor="fit", body=_fit),
    Section(title="Without a model", anchor="beam", body=_beam),
    Section(title="What was done, and why", anchor="done", body=_preparation),
    Section(title="Scores", anchor="scores", body=_scores),
    Section(title="Certificate", anchor="certificate", body=_certificate),
    Section(title="How to repeat it", anchor="repeat", body=_repeat),
    Section(title="Times and versions", anchor="run", body=_run),
    Section(title="Glossary", anchor="glossary", body=_glossary),
)


def _pictures(pictures: Iterable[Picture | None], intro: str) -> str:
    shown = [_figure(picture) for picture in pictures if picture is not None]
    if not shown:
        return ""
    text = f"<p>{escape(intro)}</p>" if intro else ""
    large = " large" if len(shown) in LARGE_COUNTS else ""
    return text + f'<div class="pictures{large}">{"".join(shown)}</div>'


def _figure(picture: Picture) -> str:
    title = escape(picture.title)
    image = f'<img alt="{title}" src="{picture.data_uri}">'
    if picture.wide:
        image = f'<div class="scroll">{image}</div>'
    caption = f"<p>{escape(picture.caption)}</p>" if picture.caption else ""
    wide = ' class="wide"' if picture.wide else ""
    return f"<figure{wide}>{image}<figcaption><h3>{title}</h3>{caption}</figcaption></figure>"


def _table(rows: Iterable[tuple[str, Any, str]]) -> str:
    lines = []
    for name, value, meaning in rows:
        if isinstance(value, Mapping):
            parts = [(f"{name}, {_named(str(k))}", v) for k, v in value.items()]
        else:
            parts = [(name, value)]
        for part, shown in parts:
            kind = ' class="number"' if isinstance(shown, int | float) else ""
            lines.append(
                f"<tr><th>{escape(part)}</th><td{kind}>{escape(readable(shown))}</td>"
                + (f'<td class="soft">{escape(meaning)}</td></tr>' if meaning else "</tr>")
            )
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>' if lines else ""


def _named(key: str) -> str:
    words = key.replace("_", " ")
    return words[: -len(" deg")] + " (°)" if words.endswith(" deg") else words
