"""Files of real microscopes open as what they are."""

import importlib.util

import pytest
from cli.conftest import orbistem, quick_toml

from orbistem.errors import FormatError
from orbistem.io import open_scan

__all__ = ["orbistem", "quick_toml"]

MEASURED = [
    ("ebsd-nickel-3x3/oxford_binary__patterns.ebsp", {}, (3, 3), (60, 60), 246),
    ("siemens-star/siemens-star.h5", {}, (516,), (128, 128), 963),
    ("dlacbed-srtio3-001/scan4d.npz", {}, (41, 41), (64, 64), 60000),
    ("dlacbed-srtio3-001/scan4d_inner.npz", {"dataset": "data"}, (41, 41), (32, 32), 45369),
    ("cryo4dstem-rotavirus-a/scan4d.npz", {}, (64, 64), (32, 32), 240),
    ("ebsd-nickel-3x3/edax_h5ebsd__patterns.h5", {}, (3, 3), (60, 60), 246),
    (
        "ebsd-nickel-3x3/kikuchipy_h5ebsd__patterns.h5",
        {"dataset": "Scan 1/EBSD/Data/patterns"},
        (3, 3),
        (60, 60),
        246,
    ),
    ("sped-astar-blo/test1.blo", {}, (3, 2), (144, 144), 255),
    ("xray-ptycho-aps235/patterns.npz", {}, (20,), (192, 192), 23742),
    ("vendor-files/mib/001_4x2_6bit.mib", {}, (2, 4), (256, 256), 63),
    ("vendor-files/dm/dd020.dm3", {}, (1, 1), (256, 256), 33056),
    ("vendor-files/tia/16x16-line_profile_horizontal_5x128x128_EDS.emi", {}, (5, 1), (128, 128), 1173),
    ("vendor-files/tia/16x16-line_profile_horizontal_5x128x128_EDS_2.ser", {}, (5, 1), (128, 128), 1173),
    ("vendor-files/emd/py4DSTEM_size2x3x4x5.h5", {}, (2, 3), (4, 5), 2766.8955),
    ("vendor-files/empad/map4x4.xml", {}, (4, 4), (128, 128), 265983),
    ("vendor-files/empad/scan_x4_y4.raw", {}, (4, 4), (128, 128), 265983),
]


@pytest.mark.parametrize(("name", "options", "scan_shape", "detector_shape", "largest"), MEASURED)
def test_measured_files_open(measured_data, name, options, scan_shape, detector_shape, largest):
    scan = open_scan(measured_data / name, **options)
    assert scan.scan_shape == scan_shape
    assert scan.detector_shape == detector_shape
    assert scan.block(0, scan.n_positions).frames.max() == pytest.approx(largest)


def test_measured_files_with_a_catch(measured_data):
    star = open_scan(measured_data / "siemens-star/siemens-star.h5")
    assert "positions from positions" in " | ".join(star.provenance.found)
    arina = open_scan(measured_data / "vendor-files/arina/test_00_master.h5", shape=(4, 4))
    assert arina.scan_shape == (4, 4)
    if importlib.util.find_spec("hdf5plugin"):
        assert arina.block(0, 16).frames.max() == 0
    else:
        with pytest.raises(FormatError, match="pip install hdf5plugin"):
            arina.block(0, 16)
    with pytest.raises(FormatError, match=r"Scan 1/EBSD/Data/patterns.*Scan 2"):
        open_scan(measured_data / "ebsd-nickel-3x3/kikuchipy_h5ebsd__patterns.h5")


@pytest.mark.slow
def test_every_command_says_something_plain_about_each(measured_data, orbistem, quick_toml, tmp_path):
    large = {"siemens-star", "cryo4dstem-rotavirus-a", "dlacbed-srtio3-001"}
    names = [(name, options) for name, options, *_ in MEASURED if name.split("/")[0] not in large]
    names += [("vendor-files/arina/test_00_master.h5", {})]
    for number, (name, options) in enumerate(names):
        source = [measured_data / name, *(["--dataset", options["dataset"]] if options else []), "-q"]
        assert orbistem("info", *source).status == 0, name
        assert orbistem("convert", *source, tmp_path / f"{number}.zspy").status == 0, name
        for command, more in (("fit", ["--config", quick_toml]), ("symmetry", [])):
            done = orbistem(command, *source, "-o", tmp_path / f"{command}{number}", *more)
            assert done.status in (0, 2), (name, done.err)
            assert len(done.err.strip().splitlines()) == (done.status == 2), (name, done.err)


def test_what_vendor_files_hold_in_spite_of_themselves(measured_data, orbistem):
    folder = measured_data / "vendor-files"
    series, whole = (
        orbistem(
            "info", folder / "tia" / f"16x16-line_profile_horizontal_5x128x128_EDS{end}", "--json"
        ).summary
        for end in ("_2.ser", ".emi")
    )
    for one in (series, whole):  # the .ser keeps spatial frequencies as if they were metres
        assert one["axes"][-1]["units"] == "1/nm"
        assert one["axes"][-1]["scale"] == pytest.approx(0.1744, rel=1e-3)
        assert any("below zero on average" in text for text in one["estimate"]["problems"])
    single = orbistem("info", folder / "dm" / "dd020.dm3", "--json").summary["estimate"]
    assert single["gain"] is None
    assert single["dose"] > 1e5
    arina = orbistem("info", folder / "arina" / "test_00_master.h5").out
    assert "16 = 4 x 4" in arina
    assert "only patterns that are constant, zero or not finite" in arina
    merlin = orbistem("info", folder / "mib" / "001_4x2_6bit.mib", "--json").summary["estimate"]
    assert merlin["centre_px"] == pytest.approx([125.3, 16.2], abs=1)
    assert any("saturated pixels masked" in text for text in merlin["notes"])
