import math
from dataclasses import replace

import pytest

from orbistem.config import ComputeOptions, FitConfig, InputOptions, PrepareOptions
from orbistem.errors import InputError, OptionError
from orbistem.prepare.counts import CountsOptions
from orbistem.prepare.mask import MaskOptions


def test_the_defaults_survive_toml():
    assert FitConfig.from_toml(FitConfig().to_toml()) == FitConfig()


def test_every_kind_of_value_survives_toml():
    config = FitConfig(
        seed=7,
        input=InputOptions(
            dataset='entry/"data"', positions="näher é\\x.csv", shape=(4, 5, 16, 16), dtype="<u2", offset=1024
        ),
        prepare=PrepareOptions(centre_px=(15.123456789012345, 1e-5), reference=(0, 4, 1, 3)),
        counts=CountsOptions(gain=0.1, offset=-3.0),
        mask=MaskOptions(hot=False),
        compute=ComputeOptions(memory_mb=256, threads=3),
    )
    assert FitConfig.from_toml(config.to_toml()) == config


def test_the_model_options_are_nested_tables():
    config = FitConfig()
    config = config.replace(model=replace(config.model, net=replace(config.model.net, latent_dim=5)))
    assert "[model.net]\nlatent_dim = 5" in config.to_toml()
    assert FitConfig.from_toml(config.to_toml()).model.net.latent_dim == 5


def test_a_part_of_the_keys_is_enough():
    config = FitConfig.from_toml("[prepare]\nwhiten = 'sqrt'\n[rings]\nspacing_px = 3")
    assert config == FitConfig(
        prepare=PrepareOptions(whiten="sqrt"), rings=replace(FitConfig().rings, spacing_px=3.0)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sede = 1", "sede; do you mean seed"),
        ("[prepare]\nwhitening = 'sqrt'", "prepare.whitening; do you mean whiten"),
        ("[model.net]\nlatnet_dim = 3", r"model.net.latnet_dim; do you mean latent_dim"),
        ("[prepare]\nxyzzy = 1", "known are centre_px"),
        ("seed = 'one'", "seed: want a whole number"),
        ("seed = true", "seed: want a whole number"),
        ("seed = -1", "seed: want a number from 0"),
        ("seed = 99999999999999999999", "seed: want a number from 0"),
        ("[mask]\nhot = 1", "mask.hot: want true or false"),
        ("[prepare]\ncentre_px = [1.0]", "want a list of 2"),
        ("[prepare]\nwhiten = 'log'", "want one of auto, poisson, sqrt"),
        ("prepare = 3", r"want a table \[prepare\]"),
        ("[compute]\nmemory_mb = 3", "memory: want at least"),
        ("[compute]\nthreads = 0", "threads: want at least 1"),
        ("[prepare]\nreference = [4, 2, 0, 3]", "reference: want"),
        ("[counts]\ngain = -1.0", "gain: want a positive"),
        ("schema = 2", "want schema 1, got 2"),
        ("seed = ", "want TOML"),
        ("seed = " + "[" * 5000, "want TOML"),
    ],
)
def test_what_is_wrong_is_said(text, message):
    with pytest.raises(OptionError, match=message):
        FitConfig.from_toml(text)


def test_options_are_checked_when_built():
    with pytest.raises(OptionError, match="normalise: want none or total"):
        PrepareOptions(normalise="sum")
    with pytest.raises(OptionError, match="centre_px: want two finite"):
        PrepareOptions(centre_px=(math.nan, 1.0))
    with pytest.raises(OptionError, match="max_kept"):
        FitConfig(max_kept=0)


def test_a_missing_or_binary_file_is_said(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        FitConfig.load(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        FitConfig.load(tmp_path / "binary.toml")


def test_the_fingerprint_follows_what_decides_the_result():
    config = FitConfig()
    threads = config.replace(compute=ComputeOptions(threads=7))
    assert threads.fingerprint() == config.fingerprint()
    assert config.replace(seed=1).fingerprint() != config.fingerprint()
    assert config.replace(prepare=PrepareOptions(whiten="sqrt")).fingerprint() != config.fingerprint()


@pytest.mark.parametrize(
    "text",
    [
        "[rings]\nspacing_px = 1e-9",
        "[rings]\nspacing_px = inf",
        "[model]\nsamples = 1000000000000",
        "[model]\nrefine_steps = -1",
        "[model]\nrestarts = 1000000",
        "[model]\nmirror_line_deg = nan",
        "[model.train]\naveraging = nan",
        "[model.train]\npatience = nan",
        "[model.train]\nlearning_rate = inf",
        "[counts]\nsnap = nan",
        "[counts]\nshared_limit = -1.0",
    ],
)
def test_numbers_beyond_all_use_are_refused(text):
    """They would fill the memory, never end, or train nothing."""
    with pytest.raises(OptionError, match="want"):
        FitConfig.from_toml(text)
