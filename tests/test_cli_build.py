"""What ``slimpack build`` makes of its options, wherever they come from; nothing gets as far as a build but one."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Protocol

import pytest

from slimpack.cli import program

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeWheel

RUNTIME = f"python3.{max(10, min(14, sys.version_info.minor))}"
"""The one that an interpreter is surely here for."""


class Build(Protocol):
    """Runs ``slimpack build`` in this process; returns its exit code, and what it wrote to stdout and stderr."""

    def __call__(self, *arguments: str) -> tuple[int, str, str]: ...


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Build:
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_", "SLIMPACK_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("SLIMPACK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SLIMPACK_VERIFY", "0")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "requirements.txt").write_text("--no-index\n--find-links .\nhelper\n")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["slimpack", "build", "requirements.txt", *arguments])
        return program.run(), *capsys.readouterr()

    return call


@pytest.mark.parametrize(
    ("arguments", "environment", "text", "place"),
    [
        (("--max-size", "much"), {}, "", "--max-size"),
        ((), {"SLIMPACK_MAX_SIZE": "much"}, "", "SLIMPACK_MAX_SIZE"),
        ((), {"SLIMPACK_JOBS": "many"}, "", "SLIMPACK_JOBS"),
        ((), {"SLIMPACK_LAYER": "maybe"}, "", "SLIMPACK_LAYER"),
        ((), {"SLIMPACK_CACHE_LIMIT": "x"}, "", "SLIMPACK_CACHE_LIMIT"),
        (("--keep", "#"), {}, "", "--keep"),
        ((), {}, 'keep = ["#"]', "slimpack.toml: keep"),
        ((), {}, 'max-size = "much"', "slimpack.toml: max-size"),
        ((), {}, 'runtime = "python2.7"', "slimpack.toml: runtime"),
        ((), {}, 'enable = ["no/such"]', "slimpack.toml: enable"),
        (("--runtime", "python2.7"), {}, f'runtime = "{RUNTIME}"', "--runtime"),
    ],
)
def test_an_error_names_what_the_user_has_written(
    *,
    tmp_path: Path,
    build: Build,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    text: str,
    place: str,
) -> None:
    if text:
        (tmp_path / "slimpack.toml").write_text(text)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    code, _, errors = build(*arguments)

    assert code == 2
    assert errors.startswith(f"error: {place}: ")
    assert "\n  fix: " in errors


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("-o", ""), "'-o' / '--output': the path is empty"),
        (("--source", ""), "'--source': the path is empty"),
        (("--source", "", "-o", ""), "the path is empty"),
        (("--rules", ""), "'--rules': the path is empty"),
        (("-o", "."), ".: is the folder you are in, or one above it"),
        (("-o", ".."), "..: is the folder you are in, or one above it"),
        (("-o", "/"), "/: is no place for a bundle"),
    ],
)
def test_a_path_that_can_be_none_is_refused(
    tmp_path: Path, build: Build, arguments: tuple[str, ...], sentence: str
) -> None:
    code, _, errors = build("--runtime", RUNTIME, *arguments)

    assert (code, sentence in errors) == (2, True)
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == {"requirements.txt"}


def test_an_empty_bundle_is_no_success(build: Build, make_wheel: MakeWheel) -> None:
    make_wheel("helper", "1.0", {"helper.py": ""})

    for options, code in (((), 0), (("--remove", "*"), 1), (("--remove", "*", "--quiet"), 1)):
        done, shown, _ = build("--runtime", RUNTIME, *options)
        assert (done, "EMPTY: not one file is left" in shown) == (code, code == 1)


def test_a_zip_is_replaced_and_a_foreign_folder_is_not(
    tmp_path: Path, build: Build, make_wheel: MakeWheel
) -> None:
    make_wheel("helper", "1.0", {"helper.py": ""})
    (tmp_path / "app.zip").write_text("made by another tool")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "mine.txt").write_text("by hand")

    zipped, _, _ = build("--runtime", RUNTIME, "-o", "app.zip")
    folder, _, _ = build("--runtime", RUNTIME, "-o", "app")

    assert (zipped, (tmp_path / "app.zip").read_bytes()[:2]) == (0, b"PK")
    assert (folder, (tmp_path / "app" / "mine.txt").read_text()) == (2, "by hand")


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (
            '[budget]\ntotal = "1MiB"\nincrease = "5%"\n[budget.packages]\nhelper = "1MiB"',
            0,
            ["2 budgets hold", "growth is not judged without a baseline"],
        ),
        (
            'forbid = ["helper"]\n[budget]\ntotal = { warn = 1 }\n[budget.packages]\ntorch = 1',
            1,
            [
                "error SLP004 requirements.txt:3: helper is forbidden",
                "error SLP005 slimpack.toml",
                "warning SLP001",
            ],
        ),
    ],
    ids=["within", "breached"],
)
def test_a_build_is_held_against_the_budgets_of_the_configuration(
    *, tmp_path: Path, build: Build, make_wheel: MakeWheel, text: str, code: int, words: list[str]
) -> None:
    make_wheel("helper", "1.0", {"helper.py": f"text = {'x' * 5000!r}\n"})
    (tmp_path / "slimpack.toml").write_text(text)

    ended, output, _ = build("--runtime", RUNTIME)

    assert ended == code
    assert (tmp_path / "dist" / "requirements.zip").is_file()
    assert [one for one in words if one not in output] == []


def test_a_build_is_compared_with_the_baseline_of_the_configuration(
    tmp_path: Path, build: Build, make_wheel: MakeWheel
) -> None:
    make_wheel("helper", "1.0", {"helper.py": "small = 1\n"})
    ended, output, _ = build("--runtime", RUNTIME)
    assert ended == 0
    assert "budget" not in output
    (tmp_path / "dist" / "requirements.manifest.json").rename(tmp_path / "base.manifest.json")
    (tmp_path / "slimpack.toml").write_text('baseline = "base.manifest.json"\n[budget]\nincrease = "5%"\n')

    make_wheel("helper", "2.0", {"helper.py": f"text = {'x' * 5000!r}\n"})
    code, output, errors = build("--runtime", RUNTIME, "--upgrade", "--json")

    assert code == 1
    assert output.startswith("{")
    assert "error SLP003 requirements.txt:3: the bundle has grown by" in errors


def test_a_build_writes_reports_in_which_findings_have_their_lines(
    tmp_path: Path, build: Build, make_wheel: MakeWheel
) -> None:
    make_wheel("helper", "1.0", {"helper.py": ""})
    (tmp_path / "slimpack.toml").write_text('forbid = ["helper"]')

    ended, _, _ = build("--runtime", RUNTIME, "--report", "review.json", "--report", "github=lines.txt")

    (finding,) = json.loads((tmp_path / "review.json").read_text())["findings"]
    assert ended == 1
    assert (finding["code"], finding["file"], finding["line"]) == ("SLP004", "requirements.txt", 3)
    assert "::error file=requirements.txt,line=3,title=SLP004" in (tmp_path / "lines.txt").read_text()
