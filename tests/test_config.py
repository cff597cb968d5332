from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slimpack import config
from slimpack.errors import ConfigError, UsageError
from slimpack.gate import Increase

if TYPE_CHECKING:
    from pathlib import Path


def test_options_come_from_slimpack_toml_before_pyproject_toml(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.slimpack]\nruntime = "python3.11"\n')
    found = config.load(None, folder=tmp_path)
    assert (found.config.runtime, found.file) == ("python3.11", tmp_path / "pyproject.toml")

    (tmp_path / "slimpack.toml").write_text('runtime = "python3.12"\nmax-size = "200MiB"\n')
    found = config.load(None, folder=tmp_path)
    assert found.config.options() == {"runtime": "python3.12", "max_size": 200 * 2**20}
    assert found.file == tmp_path / "slimpack.toml"


def test_no_configuration_is_fine(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.slim]\n[tool.ruff]\n")

    found = config.load(None, folder=tmp_path)

    assert (found.config.options(), found.file) == ({}, None)


def test_paths_are_relative_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "slimpack.toml").write_text('source = "app"\nrules = ["mine"]\nkeep = ["a/b"]\n')
    loaded = config.load(tmp_path / "slimpack.toml", folder=tmp_path / "elsewhere").config

    assert loaded.source == str(tmp_path / "app")
    assert loaded.rules == (str(tmp_path / "mine"),)
    assert loaded.keep == ("a/b",)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("slimpack.toml", 'runtme = "x"', r"unknown key 'runtme' \(did you mean 'runtime'\?\)"),
        ("slimpack.toml", "max_sise = 1", r"unknown key 'max_sise' \(did you mean 'max-size'\?\)"),
        ("slimpack.toml", "runtime =", "no valid TOML"),
        ("slimpack.toml", 'arch = "mips"', "arch: input should be 'x86_64' or 'arm64'"),
        ("slimpack.toml", 'compact = "no"', "compact: input should be a valid boolean"),
        ("slimpack.toml", "compact = 0", "compact: input should be a valid boolean"),
        ("slimpack.toml", "max-size = true", "max-size: a size is a number of bytes"),
        ("slimpack.toml", "max-size = 1.5", "max-size: a size is a number of bytes"),
        ("slimpack.toml", 'max-size = "much"', "max-size: 'much' is no size"),
        ("slimpack.toml", 'cache_limit = "{}"', "cache-limit: '{}' is no size"),
        ("slimpack.toml", 'jobs = "many"', "jobs: input should be a valid integer"),
        ("slimpack.toml", "jobs = true", "jobs: input should be a valid integer"),
        ("slimpack.toml", "jobs = 0", "jobs: input should be greater than or equal to 1"),
        ("slimpack.toml", 'keep = "a"', "keep: this is a list"),
        ("slimpack.toml", "keep = [1]", "keep.0: input should be a valid string"),
        ("slimpack.toml", 'output = ""', "output: string should have at least 1 character"),
        ("slimpack.toml", "runtime = 3.12", "runtime: input should be a valid string"),
        ("slimpack.toml", "[tool.slimpack]", r"the keys belong at the top of this file, not into \[tool.sl"),
        ("slimpack.toml", "[slimpack]", r"the keys belong at the top of this file, not into \[slimpack\]"),
        ("slimpack.toml", "reserve = -1", "reserve: -1 is no size"),
        ("slimpack.toml", 'forbid = ["boto3>=1"]', "forbid.0: 'boto3>=1' is no name of a package"),
        ("slimpack.toml", "[budgets]", r"unknown key 'budgets' \(did you mean 'budget'\?\)"),
        ("slimpack.toml", "budget = 3", "budget: input should be"),
        ("slimpack.toml", "[budget]\ntotl = 3", r"unknown key 'budget.totl' \(did you mean 'total'\?\)"),
        ("slimpack.toml", "[budget]\ntotal = {wran = 3}", r"'budget.total.wran' \(did you mean 'warn'\?\)"),
        ("slimpack.toml", "[budget]\ntotal = {}", "budget.total: a budget has a warn, a fail, or both"),
        ("slimpack.toml", "[budget]\ntotal = {warn = 3, fail = 2}", "budget.total: warn is above fail"),
        ("slimpack.toml", "[budget]\nincrease = 5", "budget.increase.fail: a growth is a text such as '5%'"),
        ("slimpack.toml", '[budget]\nincrease = "5"', "budget.increase.fail: '5' is no growth"),
        ("slimpack.toml", '[budget]\nincrease = "1%, 2%"', "budget.increase.fail: '1%, 2%' is no growth"),
        ("slimpack.toml", '[budget]\nincrease = {warn = "5%", fail = "2%"}', "increase: warn is above fail"),
        (
            "slimpack.toml",
            '[budget]\nincrease = {fial = "2%"}',
            r"'budget.increase.fial' \(did you mean 'fail'",
        ),
        ("slimpack.toml", '[budget]\nheadroom = "x%"', "budget.headroom: 'x%' is no share"),
        ("slimpack.toml", "[budget]\npackages = 3", "budget.packages: input should be a valid dictionary"),
        (
            "slimpack.toml",
            '[budget.packages]\nscipy = "much"',
            "budget.packages.scipy.fail: 'much' is no size",
        ),
        ("slimpack.toml", "[budget.packages]\nscipy = []", "budget.packages.scipy.fail: a size is a number"),
        (
            "slimpack.toml",
            "[budget.packages]\nsci_py = 1\nSci-Py = 2",
            "'sci_py' and 'Sci-Py' are one package",
        ),
        ("slimpack.toml", '[budget.packages]\n"a b" = 1', "'a b' is no name of a package"),
        ("pyproject.toml", "[project]", "no .tool.slimpack. in it"),
        ("pyproject.toml", "tool = 3", "no .tool.slimpack. in it"),
        ("pyproject.toml", "[tool]\nslimpack = 3", "is no table"),
        ("slimpack.toml", "\xff", "no valid TOML"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_refused(
    tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    (tmp_path / name).write_bytes(text.encode("latin-1"))

    with pytest.raises(ConfigError, match=sentence) as caught:
        config.load(tmp_path / name, folder=tmp_path)

    assert caught.value.where == str(tmp_path / name)
    assert caught.value.fix


def test_budgets_are_read(tmp_path: Path) -> None:
    (tmp_path / "slimpack.toml").write_text(
        """
        reserve = "10MiB"
        baseline = "base.manifest.json"
        forbid = ["Boto_3", "nvidia-*"]
        [budget]
        total = { warn = "1KiB", fail = 2048 }
        increase = { warn = "2.5%", fail = "5%, 1MiB" }
        headroom = "2MiB"
        [budget.packages]
        Scikit_Learn = "60MiB"
        "nvidia-*" = { warn = 1 }
        "(app)" = 7
        """
    )
    read = config.load(None, folder=tmp_path).config

    assert (read.reserve, read.forbid) == (10 * 2**20, ("boto-3", "nvidia-*"))
    assert read.baseline == str(tmp_path / "base.manifest.json")
    assert read.budget is not None
    assert read.budget.total == config.Levels(warn=1024, fail=2048)
    assert read.budget.increase is not None
    assert read.budget.increase.warn == Increase(percent=2.5)
    assert read.budget.increase.fail == Increase(percent=5, bytes=2**20)
    assert read.budget.headroom == Increase(bytes=2 * 2**20)
    assert read.budget.packages == {
        "scikit-learn": config.Levels(fail=60 * 2**20),
        "nvidia-*": config.Levels(warn=1),
        "(app)": config.Levels(fail=7),
    }


@pytest.mark.parametrize(
    "text", ["", ",", "5", "%", "5%,", "-5%", "5 percent", "1e3%", "5%%", "1MiB,2MiB", "5%,1MiB,1%"]
)
def test_what_is_no_growth_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        config.increase(text, where="--max-increase")


@pytest.mark.parametrize("table", ["tool.slimpak", "tool.Slimpack", "tool.slim-pack", "slimpack"])
def test_a_misspelt_table_is_not_passed_over(tmp_path: Path, table: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[{table}]\njobs = 2\n")

    with pytest.raises(ConfigError) as caught:
        config.load(None, folder=tmp_path)

    assert "[tool.slimpack]" in f"{caught.value.what} {caught.value.fix}"


def test_a_configuration_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path / "none.toml", folder=tmp_path)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1000", 1000),
        ("1_000", 1000),
        (7, 7),
        ("2 KiB", 2048),
        ("1.5MiB", 1_572_864),
        ("3GB", 3_000_000_000),
        ("4b", 4),
    ],
)
def test_sizes_have_units(text: str | int, size: int) -> None:
    assert config.size(text, where="x") == size


@pytest.mark.parametrize("text", ["", "much", "-1", "5 miles", "1e3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no size"):
        config.size(text, where="--max-size")
