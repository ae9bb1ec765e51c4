import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from report.synthetic import synthetic_maps, synthetic_run, write_run

from orbistem.errors import InputError
from orbistem.report import write_report
from orbistem.report.sections import SECTIONS

VOID_TAGS = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; complains about tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def values(self, tag, name):
        return [attrs[name] for found, attrs in self.tags if found == tag and name in attrs]


def page_of(path):
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def bare_run(tmp_path, rng):
    """A run directory with small maps only: quick to draw."""
    maps = synthetic_maps(kind="grid", side=6, rng=rng)
    maps[["dose", "angle"]].to_netcdf(tmp_path / "maps.nc", engine="h5netcdf")
    return tmp_path


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("reports") / "Lücke im Graphen 石墨烯"
    write_run(directory, side=24, rng=np.random.default_rng(2021), problems=["<b>gain</b> & dose"])
    return write_report(directory)


def test_the_page_is_whole_and_alone(whole_run):
    page = page_of(whole_run)
    assert whole_run.name == "report.html"
    assert sorted(p.name for p in whole_run.parent.iterdir()) == [
        "config.toml",
        "examples.nc",
        "maps.nc",
        "report.html",
        "run.json",
    ]
    assert not [tag for tag, _ in page.tags if tag in {"script", "link", "iframe"}]
    assert all(source.startswith("data:image/png;base64,") for source in page.values("img", "src"))
    assert all(page.values("img", "alt"))
    anchors = page.values("a", "href")
    assert {anchor.removeprefix("#") for anchor in anchors} == set(page.values("section", "id"))


def test_every_section_with_data_is_there(whole_run):
    expected = {section.anchor for section in SECTIONS} - {"symmetry", "places", "classes"}  # not in this run
    assert set(page_of(whole_run).values("section", "id")) == expected


def test_the_page_says_what_the_run_says(whole_run):
    text = page_of(whole_run).text
    run = json.loads((whole_run.parent / "run.json").read_text(encoding="utf-8"))
    assert "Two of three latents are active" in text
    assert run["certificate"]["sentence"] in text
    assert all(sentence in text for sentence in run["words"])
    assert "Latent 3 (not active)" in text
    assert "# everything needed to repeat the run" in text


def test_text_from_files_is_escaped(whole_run):
    source = whole_run.read_text(encoding="utf-8")
    assert "<b>gain" not in source
    assert "Lücke <1>" not in source
    assert "<b>gain</b> & dose" in page_of(whole_run).text


def test_symmetry_maps_appear_once_they_exist(bare_run, rng):
    maps = xr.load_dataset(bare_run / "maps.nc", engine="h5netcdf")
    shape = maps["dose"].shape
    maps["broken"] = (maps["dose"].dims, rng.normal(size=shape), {"units": "1"})
    maps["n_fold"] = ((*maps["dose"].dims, "order"), rng.uniform(size=(*shape, 2)), {"units": "1"})
    maps["point_group"] = (maps["dose"].dims, np.full(shape, "C3"))
    maps = maps.assign_coords(order=[2, 3])
    maps.to_netcdf(bare_run / "maps.nc", engine="h5netcdf")
    text = page_of(write_report(bare_run)).text
    assert "Broken symmetry" in text
    assert "Share of n-fold symmetry, order 3" in text


def test_maps_alone_make_a_page(bare_run):
    page = page_of(write_report(bare_run))
    assert "No model was trained." in page.text
    assert "36 patterns were read from an array in memory." in page.text
    assert not [attrs for _, attrs in page.tags if attrs.get("class") == "problems"]


def test_the_same_run_gives_the_same_bytes(bare_run):
    first = write_report(bare_run).read_bytes()
    assert write_report(bare_run).read_bytes() == first


def test_no_run_and_a_damaged_run_say_so(tmp_path, bare_run):
    with pytest.raises(InputError, match=r"maps\.nc"):
        write_report(tmp_path / "nothing")
    (bare_run / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"run\.json"):
        write_report(bare_run)
    assert not (bare_run / "report.html").exists()


def test_empty_and_null_entries_are_left_out(bare_run, rng):
    run = synthetic_run(synthetic_maps(kind="grid", side=6, rng=rng))
    for key in run:
        if isinstance(run[key], dict):
            run[key] = dict.fromkeys(run[key])
    (bare_run / "run.json").write_text(json.dumps(run), encoding="utf-8")
    text = page_of(write_report(bare_run)).text
    assert "None" not in text
    assert not re.search(r"\bnan\b", text)


def test_drawing_leaves_the_global_state_of_matplotlib_alone(bare_run):
    code = (
        "import sys; from pathlib import Path; from orbistem.report import write_report\n"
        "assert 'matplotlib' not in sys.modules\n"
        "write_report(Path(sys.argv[1])); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(bare_run)], check=True, env=os.environ)
