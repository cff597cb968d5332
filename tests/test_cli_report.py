"""``slimpack report``, and ``--report`` of other verbs, as a user and a pipeline meet them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from junitparser import JUnitXml
from samples import account_of, book, distribution, file, inventory

from slimpack.manifest import to_json
from slimpack.report.formats import FORMATS
from slimpack.report.text import text

if TYPE_CHECKING:
    from conftest import Cli

    from slimpack.manifest import Manifest

MIB = 2**20


def manifest(scipy: int = 60 * MIB) -> Manifest:
    stock = inventory(
        file("sklearn/a.so", "scikit-learn", size=30 * MIB),
        file("scipy/a.so", "scipy", size=scipy),
        distributions=(
            distribution("scikit-learn", requires=("scipy",)),
            distribution("scipy", requested=False),
        ),
    )
    return account_of(stock, book())


@pytest.fixture
def built(tmp_path: Path) -> Path:
    return saved(tmp_path / "app.manifest.json", manifest())


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return saved(tmp_path / "base.manifest.json", manifest(scipy=50 * MIB))


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Returns a zip that another tool made."""
    place = tmp_path / "foreign.zip"
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("six.py", "x" * 3000)
        archive.writestr(
            "six-1.17.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: six\nVersion: 1.17.0\n"
        )
        archive.writestr("six-1.17.0.dist-info/RECORD", "six.py,,\nsix-1.17.0.dist-info/METADATA,,\n")
        archive.writestr("handler.py", "y" * 500)
    return place


def saved(place: Path, one: Manifest) -> Path:
    place.write_text(to_json(one))
    return place


def test_of_a_manifest_the_report_is_that_of_its_build(cli: Cli, built: Path) -> None:
    code, out, _ = cli("report", built)

    assert code == 0
    assert out == text(manifest(), name="app")


def test_the_manifest_itself_can_still_be_had(cli: Cli, built: Path) -> None:
    code, out, _ = cli("report", "--json", built)

    assert code == 0
    assert json.loads(out) == json.loads(built.read_text())


@pytest.mark.parametrize("other", [("--format", "json"), ("-o", "x.json"), ("--base", "x.zip")])
def test_the_manifest_itself_has_no_other_form(cli: Cli, built: Path, other: tuple[str, str]) -> None:
    code, out, err = cli("report", "--json", built, *other)

    assert (code, out) == (2, "")
    assert "--json prints the manifest and nothing else" in err


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_comes_to_stdout(cli: Cli, built: Path, base: Path, name: str) -> None:
    code, out, err = cli("report", built, "--base", base, "--format", name)

    assert (code, err) == (0, "")
    assert out.strip()


@pytest.mark.parametrize("name", FORMATS)
def test_names_in_a_manifest_cannot_steer_the_terminal_in_any_format(
    cli: Cli, built: Path, base: Path, name: str
) -> None:
    harm = "\x1b[2J\x9b31m\u202e\ud800\n::error::<b>@you|`"
    plain = json.loads(built.read_text())
    for one in plain["files"]:
        one["path"] += harm
        one["owner"] += harm
    for one in plain["distributions"]:
        one["name"] += harm
        one["version"] += harm
    built.write_text(json.dumps(plain))

    code, out, err = cli("report", built, "--base", base, "--format", name)

    assert (code, err) == (0, "")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", out)


def test_the_name_of_the_output_tells_the_format(cli: Cli, built: Path, base: Path, tmp_path: Path) -> None:
    code, out, _ = cli("report", built, "--base", base, "-o", "comment.md")

    assert (code, out) == (0, "")
    words = (tmp_path / "comment.md").read_text(encoding="utf-8")
    assert words.startswith(
        "<!-- slimpack:slimpack -->\n**✅ app passes: 90.0 MiB of 250.0 MiB (36.0 %); +10.0 MiB"
    )


def test_the_format_that_is_named_goes_before_the_name_of_the_output(
    cli: Cli, built: Path, tmp_path: Path
) -> None:
    cli("report", built, "-f", "junit", "-o", "out.txt")

    assert JUnitXml.fromstring((tmp_path / "out.txt").read_bytes())


def test_an_output_that_tells_no_format_is_refused(cli: Cli, built: Path, tmp_path: Path) -> None:
    code, _, err = cli("report", built, "-o", "out.pdf")

    assert code == 2
    assert "no report of this kind: out.pdf" in err
    assert "junit=FILE" in err
    assert not (tmp_path / "out.pdf").exists()


def test_an_output_in_no_folder_is_refused(cli: Cli, built: Path) -> None:
    code, _, err = cli("report", built, "-o", "none/out.md")

    assert code == 2
    assert "--output: none/out.md cannot be written" in err


def test_with_a_base_it_tells_what_has_changed(cli: Cli, built: Path, base: Path) -> None:
    code, out, _ = cli("report", built, "--base", base)

    assert code == 0
    assert "base → app: +10.0 MiB" in out
    assert "fits, 160.0 MiB left" in out


def test_a_base_that_cannot_be_read_is_an_error(cli: Cli, built: Path) -> None:
    code, out, err = cli("report", built, "--base", "none.zip")

    assert (code, out) == (2, "")
    assert "none.zip" in err


def test_of_a_bundle_of_another_tool_it_tells_what_the_bundle_does(cli: Cli, foreign: Path) -> None:
    code, out, _ = cli("report", foreign)

    assert code == 0
    assert "six" in out
    assert "1.17.0" in out
    assert "pass foreign.zip" in out


def test_budgets_of_the_configuration_are_applied_and_the_exit_code_stays_0(
    cli: Cli, built: Path, tmp_path: Path
) -> None:
    (tmp_path / "slimpack.toml").write_text('[budget]\ntotal = "80MiB"\n')
    code, out, _ = cli("report", built, "--format", "json")

    assert code == 0
    assert json.loads(out)["status"] == "fail"
    assert [one["code"] for one in json.loads(out)["findings"]] == ["SLP001"]


def test_growth_is_judged_only_with_a_base(cli: Cli, built: Path, base: Path, tmp_path: Path) -> None:
    (tmp_path / "slimpack.toml").write_text('[budget]\nincrease = "1MiB"\n')

    assert json.loads(cli("report", built, "--format", "json")[1])["status"] == "pass"
    with_base = json.loads(cli("report", built, "--base", base, "--format", "json")[1])
    assert [one["code"] for one in with_base["findings"]] == ["SLP003"]


def test_places_are_named_from_the_root_of_the_repository(cli: Cli, built: Path, tmp_path: Path) -> None:
    (tmp_path / "slimpack.toml").write_text('[budget]\n[budget.packages]\nscipy = "1MiB"\n')
    _, out, _ = cli("report", built, "--format", "github", "--folder", "services/api")

    assert "::error file=services/api/requirements.txt,line=1,title=SLP002" in out


def test_a_key_that_no_comment_could_have_is_refused(cli: Cli, built: Path) -> None:
    code, out, err = cli("report", built, "--format", "markdown", "--key", "a-->b")

    assert (code, out) == (2, "")
    assert "--key" in err


@pytest.mark.parametrize("place", ["-", "/dev/stdout"])
def test_a_report_can_go_to_standard_output(built: Path, tmp_path: Path, place: str) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "slimpack", "check", str(built), "--report", f"github={place}"]
    with log.open("w") as stream:
        stream.write("before\n")
        stream.flush()
        subprocess.run(command, stdout=stream, check=True, cwd=tmp_path)

    lines = log.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "before"
    assert lines[1].startswith("::notice title=slimpack%3A pass::app passes: 90.0 MiB")
    assert "limit" in lines[4]


def test_a_report_can_go_to_a_stream_which_stays_what_it_is(cli: Cli, built: Path, tmp_path: Path) -> None:
    assert cli("check", built, "--report", "github=/dev/null")[0] == 0

    assert Path("/dev/null").is_char_device()
    assert not (tmp_path / "-").exists()


def test_check_writes_reports_as_well(cli: Cli, built: Path, tmp_path: Path) -> None:
    code, _, _ = cli("check", built, "--max-total", "80MiB", "--report", "a.sarif", "--report", "junit=a.txt")

    assert code == 1
    assert json.loads((tmp_path / "a.sarif").read_text())["runs"][0]["results"][0]["ruleId"] == "SLP001"
    assert JUnitXml.fromstring((tmp_path / "a.txt").read_bytes()).failures


def test_diff_writes_reports_as_well(cli: Cli, built: Path, base: Path, tmp_path: Path) -> None:
    code, _, _ = cli("diff", base, built, "--report", "a.json", "--base-commit", "aa", "--merge-base", "bb")

    assert code == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["diff"]["delta"] == 10 * MIB
    assert found["diff"]["notes"][0].startswith("The base was built from commit aa")


@pytest.mark.parametrize("verb", ["check", "diff", "build"])
def test_two_reports_in_one_file_and_files_that_cannot_be_are_refused_before_anything_is_done(
    cli: Cli, verb: str
) -> None:
    subject = ("none.zip", "none.zip") if verb == "diff" else ("none.zip",)

    for given, words in (
        (("a.md", "./a.md"), "two reports would be one file"),
        (("none/a.md",), "none/a.md cannot be written"),
        (("a.pdf",), "no report of this kind"),
    ):
        code, _, err = cli(verb, *subject, *(word for one in given for word in ("--report", one)))
        assert code == 2
        assert words in err
