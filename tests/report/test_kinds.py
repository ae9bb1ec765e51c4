import numpy as np
import pytest
import xarray as xr
from report.synthetic import write_run

from orbistem.report import write_report


@pytest.mark.parametrize("kind", ["list", "line", "cell"])
def test_every_kind_of_scan_makes_a_page(tmp_path, rng, kind):
    directory = write_run(tmp_path / kind, kind=kind, side=12, rng=rng)
    assert "Latent 2" in write_report(directory).read_text(encoding="utf-8")


def test_a_run_without_a_latent_says_so(tmp_path, rng):
    directory = write_run(tmp_path / "run", side=8, rng=rng, noise={"gain": None}, problems=["No latent."])
    maps = xr.load_dataset(directory / "maps.nc", engine="h5netcdf")
    for name in ("latent", "latent_sd", "angle", "angle_sd", "angle_order"):
        maps[name] = maps[name] * np.nan
    maps.to_netcdf(directory / "maps.nc", engine="h5netcdf")
    source = write_report(directory).read_text(encoding="utf-8")
    assert "No latent is active" in source
    assert "do not follow Poisson statistics" in source
    assert 'id="latents"' not in source
