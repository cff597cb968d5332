"""``slimpack baseline update`` as a user meets it."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from samples import account_of, book, file, inventory

from slimpack.cli import program
from slimpack.manifest import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

MIB = 2**20


class Cli(Protocol):
    """Runs the program in this process; returns its exit code, and what it wrote to stdout and stderr."""

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]: ...


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    for name in [name for name in os.environ if name.startswith("SLIMPACK_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    Path("dist").mkdir()
    stock = inventory(file("a/a", "scipy", size=40 * MIB), file("b/b", "numpy", size=20 * MIB))
    Path("dist", "app.manifest.json").write_text(to_json(account_of(stock, book())))

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["slimpack", *map(str, arguments)])
        return program.run(), *capsys.readouterr()

    return call


def budgets(name: str = "slimpack.toml") -> object:
    data = tomllib.loads(Path(name).read_text())
    return (data["tool"]["slimpack"] if name == "pyproject.toml" else data)["budget"]


def test_a_bundle_passes_once_its_budgets_are_updated(cli: Cli) -> None:
    Path("slimpack.toml").write_text(
        '# ours\n[budget]\ntotal = "1MiB"\n[budget.packages]\nscipy = "1MiB" # big\n'
    )
    assert cli("check", "-q")[0] == 1

    code, output, errors = cli("baseline", "update")

    assert (code, errors) == (0, "")
    assert [line.split() for line in output.splitlines()[2:]] == [
        ["Budget", "Takes", "Was", "Is", "now"],
        ["─" * len(output.splitlines()[3])],
        ["total", "60.0", "MiB", "1.0", "MiB", "63.0", "MiB"],
        ["scipy", "40.0", "MiB", "1.0", "MiB", "42.0", "MiB"],
    ]
    assert Path("slimpack.toml").read_text() == (
        '# ours\n[budget]\ntotal = "63MiB"\n[budget.packages]\nscipy = "42MiB" # big\n'
    )
    assert cli("check", "-q") == (0, "", "")


def test_where_there_is_no_configuration_one_is_made(cli: Cli) -> None:
    assert cli("baseline", "update", "-q") == (0, "", "")

    assert Path("slimpack.toml").read_text() == '[budget]\ntotal = "63MiB"\n'
    assert [path.name for path in Path().iterdir() if path.is_file()] == ["slimpack.toml"]


def test_the_configuration_that_counts_is_the_one_that_is_rewritten(cli: Cli) -> None:
    Path("pyproject.toml").write_text('[tool.slimpack]\nruntime = "python3.12"\n')

    assert cli("baseline", "update", "--packages", "1")[0] == 0

    assert budgets("pyproject.toml") == {"total": "63MiB", "packages": {"scipy": "42MiB"}}
    assert not Path("slimpack.toml").exists()
    Path("ci.toml").write_text("")
    assert cli("baseline", "update", "--config", "ci.toml")[0] == 0
    assert budgets("ci.toml") == {"total": "63MiB"}


@pytest.mark.parametrize(
    ("words", "arguments", "total"),
    [
        ("", [], "63MiB"),
        ("", ["--headroom", "10%"], "66MiB"),
        ("", ["--headroom", "1%,2MiB"], "62MiB"),
        ('headroom = "1MiB"', [], "61MiB"),
        ('headroom = "1MiB"', ["--headroom", "0%"], "60MiB"),
    ],
)
def test_headroom_is_what_was_asked_for(cli: Cli, words: str, arguments: Sequence[str], total: str) -> None:
    Path("slimpack.toml").write_text(f"[budget]\n{words}\ntotal = '1KiB'\n")

    assert cli("baseline", "update", *arguments)[0] == 0

    assert Path("slimpack.toml").read_text() == f"[budget]\n{words}\ntotal = '{total}'\n"


def test_a_dry_run_shows_the_change_and_writes_nothing(cli: Cli) -> None:
    before = '[budget]\ntotal = "1MiB" # ours\n'
    Path("slimpack.toml").write_text(before)

    code, output, _ = cli("baseline", "update", "--dry-run")

    assert code == 0
    assert output.splitlines() == [
        "--- slimpack.toml",
        "+++ slimpack.toml",
        "@@ -1,2 +1,2 @@",
        " [budget]",
        '-total = "1MiB" # ours',
        '+total = "63MiB" # ours',
    ]
    assert Path("slimpack.toml").read_text() == before


def test_json_has_bytes(cli: Cli) -> None:
    Path("slimpack.toml").write_text('[budget]\ntotal = "1MiB"\n[budget.packages]\ntorch = 1\n')

    assert json.loads(cli("baseline", "update", "--json", "--dry-run")[1]) == {
        "schema_version": 1,
        "file": "slimpack.toml",
        "budgets": [
            {
                "name": "total",
                "actual": 60 * MIB,
                "before": {"warn": None, "fail": MIB},
                "after": {"warn": None, "fail": 63 * MIB},
            }
        ],
        "left": ["torch"],
    }


def test_a_budget_that_matches_nothing_is_told(cli: Cli) -> None:
    Path("slimpack.toml").write_text("[budget.packages]\ntorch = 1\n")

    output = cli("baseline", "update")[1]

    assert "torch: the bundle has no such package; its budget is left as it was" in output
    assert budgets() == {"total": "63MiB", "packages": {"torch": 1}}


def test_a_link_stays_one_and_a_file_keeps_its_mode(cli: Cli) -> None:
    real = Path("shared.toml")
    real.write_text("[budget]\ntotal = 1\n")
    real.chmod(0o640)
    Path("slimpack.toml").symlink_to(real)

    assert cli("baseline", "update")[0] == 0

    assert Path("slimpack.toml").is_symlink()
    assert (budgets("shared.toml"), real.stat().st_mode & 0o777) == ({"total": 63 * MIB}, 0o640)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--headroom", "5"], "--headroom: '5' is no growth"),
        (["gone.zip"], "gone.zip"),
        (["--config", "gone.toml"], "gone.toml: cannot be read"),
        (["--config", "slimpack.toml"], "unknown key 'budget.totl'"),
    ],
)
def test_what_cannot_be_done_changes_nothing(cli: Cli, arguments: Sequence[str], words: str) -> None:
    config = "[budget]\ntotl = 1\n" if "slimpack.toml" in arguments else ""
    Path("slimpack.toml").write_text(config)

    code, output, errors = cli("baseline", "update", *arguments)

    assert (code, output) == (2, "")
    assert words in errors
    assert Path("slimpack.toml").read_text() == config


def test_what_cannot_be_written_is_one_error(cli: Cli) -> None:
    folder = Path("made")
    folder.mkdir()
    Path("slimpack.toml").symlink_to(folder / "none" / "slimpack.toml")

    code, _, errors = cli("baseline", "update")

    assert code == 2
    assert errors.startswith("error: slimpack.toml: there is no such folder")
