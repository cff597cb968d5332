"""``slimpack check`` as a user and a pipeline meet it."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from samples import account_of, book, distribution, file, inventory, target

from slimpack import findings
from slimpack.account import of_manifest
from slimpack.findings import CATALOGUE
from slimpack.gate import Budget, Budgets, judge, review
from slimpack.manifest import to_json
from slimpack.report.check import addition, text

if TYPE_CHECKING:
    from conftest import Cli

    from slimpack.manifest import Manifest
    from slimpack.model import Finding

MIB = 2**20

LIMIT = 262_144_000


def manifest(scipy: int = 60 * MIB, *, found: tuple[Finding, ...] = (), **changes: object) -> Manifest:
    stock = inventory(
        file("sklearn/a.so", "scikit-learn", size=30 * MIB),
        file("scipy/a.so", "scipy", size=scipy),
        distributions=(
            distribution("scikit-learn", requires=("scipy",)),
            distribution("scipy", requested=False),
        ),
    )
    return account_of(stock, book(), findings=found, runs_on=target(**changes))


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """Returns the manifest of a build of 90 MiB in ``dist/``."""
    path = tmp_path / "dist" / "app.manifest.json"
    path.parent.mkdir()
    path.write_text(to_json(manifest()))
    return path


def configure(words: str) -> None:
    Path("slimpack.toml").write_text(words)


def codes(output: str) -> list[str]:
    return [one["code"] for one in json.loads(output).get("findings", [])]


def test_a_bundle_within_its_budgets_passes_in_a_line(cli: Cli, built: Path) -> None:
    code, output, errors = cli("check", built, "--max-total", "90MiB", "--max-package", "scipy=60MiB")

    assert (code, errors) == (0, "")
    assert output.splitlines()[-1] == "pass app: 90.0 MiB, must stay below 250.0 MiB; 2 budgets hold"
    assert cli("check", "-q", built) == (0, "", "")


def test_without_a_subject_the_only_manifest_in_dist_is_judged(cli: Cli, built: Path) -> None:
    assert cli("check", "-q") == (0, "", "")
    built.with_name("other.manifest.json").write_bytes(built.read_bytes())
    assert cli("check", "-q")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--max-total", "1KiB"], 1, ["SLP001"]),
        (["--warn-total", "1KiB"], 0, ["SLP001"]),
        (["--max-package", "scipy=1KiB"], 1, ["SLP002"]),
        (["--max-package", "sci*=1KiB"], 1, ["SLP002", "SLP002"]),
        (["--max-increase", "5%", "--baseline", "base.manifest.json"], 1, ["SLP003"]),
        (["--warn-increase", "5%", "--baseline", "base.manifest.json"], 0, ["SLP003"]),
        (["--max-increase", "5%,30MiB", "--baseline", "base.manifest.json"], 0, []),
        (["--forbid", "scipy"], 1, ["SLP004"]),
        (["--forbid", "boto3"], 0, []),
        (["--max-package", "torch=1GiB"], 1, ["SLP005"]),
        (["--max-increase", "5%"], 1, ["SLP006"]),
        (["--baseline", "gone.json"], 1, ["SLP006"]),
        (["--baseline", "broken.json"], 1, ["SLP006"]),
        (["--baseline", "newer.json"], 1, ["SLP006"]),
        (["--baseline", "base.manifest.json"], 0, []),
        (["--baseline", "other.manifest.json"], 0, ["SLP008"]),
        (["--baseline", "other.manifest.json", "--max-increase", "9%"], 1, ["SLP008"]),
        (["--baseline", "old.manifest.json"], 0, ["SLP007"]),
        (["--baseline", "base.manifest.json", "--base-commit", "a1", "--merge-base", "b2"], 0, ["SLP007"]),
        (["--baseline", "base.manifest.json", "--base-commit", "a1", "--merge-base", "a1"], 0, []),
        (["--reserve", "160MiB"], 1, ["SLP301"]),
        (["--reserve", "159MiB"], 0, []),
        (["--max-size", "90MiB"], 1, ["SLP301"]),
        (["--max-size", "91MiB"], 0, []),
    ],
)
@pytest.mark.usefixtures("built")
def test_each_option_asks_what_it_says(
    cli: Cli, arguments: list[str], code: int, expected: list[str]
) -> None:
    Path("base.manifest.json").write_text(to_json(manifest(40 * MIB)))
    Path("old.manifest.json").write_text(to_json(replace(manifest(), slimpack="0.0.1")))
    Path("other.manifest.json").write_text(to_json(manifest(runtime="python3.11")))
    Path("broken.json").write_text("{")
    Path("newer.json").write_text('{"schema_version": 99, "slimpack": "9"}')

    ended, output, _ = cli("check", "--json", *arguments)

    assert (ended, codes(output)) == (code, expected)


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        ('[budget]\ntotal = "1KiB"', 1, ["SLP001"]),
        ('[budget]\ntotal = { warn = "1KiB", fail = "1GiB" }', 0, ["SLP001"]),
        ('[budget.packages]\nSciPy = "1KiB"', 1, ["SLP002"]),
        ('[budget.packages]\ntorch = "1KiB"', 1, ["SLP005"]),
        ('baseline = "base.manifest.json"\n[budget]\nincrease = "5%"', 1, ["SLP003"]),
        (
            'baseline = "base.manifest.json"\n[budget]\nincrease = { warn = "5%", fail = "90%" }',
            0,
            ["SLP003"],
        ),
        ('[budget]\nincrease = "5%"', 1, ["SLP006"]),
        ('forbid = ["scipy"]', 1, ["SLP004"]),
        ('reserve = "160MiB"', 1, ["SLP301"]),
        ('max-size = "80MiB"', 1, ["SLP301"]),
        ('runtime = "python3.12"\nmax-size = "200MiB"', 0, []),
    ],
)
@pytest.mark.usefixtures("built")
def test_the_configuration_asks_the_same(cli: Cli, words: str, code: int, expected: list[str]) -> None:
    Path("base.manifest.json").write_text(to_json(manifest(40 * MIB)))
    configure(words)

    ended, output, _ = cli("check", "--json")

    assert (ended, codes(output)) == (code, expected)


@pytest.mark.usefixtures("built")
def test_options_go_before_the_configuration(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(
        'forbid = ["scipy"]\nreserve = "160MiB"\n[budget]\ntotal = "1KiB"\n[budget.packages]\nscipy = 1\n'
    )
    options = ["--forbid", "boto3", "--reserve", "0", "--max-total", "1GiB", "--max-package", "scipy=1GiB"]

    assert codes(cli("check", "--json")[1]) == ["SLP001", "SLP002", "SLP004", "SLP301"]
    assert cli("check", "-q", *options) == (0, "", "")
    monkeypatch.setenv("SLIMPACK_MAX_TOTAL", "1GiB")
    assert codes(cli("check", "--json")[1]) == ["SLP002", "SLP004", "SLP301"]


@pytest.mark.usefixtures("built")
def test_findings_of_the_configuration_name_it(cli: Cli) -> None:
    configure('[budget]\nincrease = "5%"\n[budget.packages]\ntorch = 1\n')

    places = {one["place"] for one in json.loads(cli("check", "--json")[1])["findings"]}
    assert places == {"slimpack.toml"}
    output = cli("check", "--max-package", "jax=1", "--max-increase", "1%")[1]
    assert "SLP005 --max-package: the bundle has no package 'jax'" in output
    assert "SLP006 --max-increase: growth has a budget, and no baseline is given" in output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--max-total", "1KiB", "--max-package", "scipy=1", "--forbid", "scipy"], 0),
        (["--max-increase", "1%", "--baseline", "base.manifest.json"], 0),
        (["--max-total", "1KiB", "--max-package", "torch=1"], 1),
        (["--max-increase", "1%"], 1),
        (["--baseline", "gone.json"], 1),
        (["--baseline", "other.manifest.json", "--max-increase", "9%"], 1),
        (["--max-size", "1MiB"], 1),
        (["--max-total", "much"], 2),
        ([], 0),
    ],
)
@pytest.mark.usefixtures("built")
def test_exit_zero_masks_breached_budgets_and_nothing_else(cli: Cli, arguments: list[str], code: int) -> None:
    Path("base.manifest.json").write_text(to_json(manifest(40 * MIB)))
    Path("other.manifest.json").write_text(to_json(manifest(runtime="python3.11")))

    ended, output, _ = cli("check", "--exit-zero", *arguments)

    assert ended == code
    assert ("--exit-zero: the exit code is 0 nevertheless" in output) == (code == 0 and arguments != [])


def test_exit_zero_does_not_mask_what_the_build_found(cli: Cli, built: Path) -> None:
    built.write_text(to_json(manifest(found=(findings.EVENT_FAILS.at("event.json", "it raised KeyError"),))))

    code, output, _ = cli("check", "--exit-zero", "--max-total", "1KiB")

    assert code == 1
    assert "error SLP403 event.json: it raised KeyError" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max-total", "much"], "--max-total: 'much' is no size"),
        (["--max-package", "scipy"], "--max-package: 'scipy' is no NAME=SIZE"),
        (["--max-package", "scipy=x"], "--max-package: 'x' is no size"),
        (["--max-package", "a b=1"], "--max-package: 'a b' is no name of a package"),
        (["--forbid", "boto3>=1"], "--forbid: 'boto3>=1' is no name of a package"),
        (["--max-increase", "5"], "--max-increase: '5' is no growth"),
        (["--base-commit", "a1"], "--base-commit: nothing to compare it with"),
        (["--merge-base", "a1"], "--merge-base: nothing to compare it with"),
        (["gone.json"], "gone.json: cannot be read"),
        (["--baseline", "dist/app.manifest.json"], "dist/app.manifest.json is the bundle itself"),
        (["--baseline", "dist/../dist/app.manifest.json"], "is the bundle itself"),
    ],
)
@pytest.mark.usefixtures("built")
def test_what_cannot_be_asked_is_one_error(cli: Cli, arguments: list[str], words: str) -> None:
    code, output, errors = cli("check", *arguments)

    assert (code, output) == (2, "")
    assert words in errors
    assert "\n  fix: " in errors


@pytest.mark.usefixtures("built")
def test_a_mistake_in_the_configuration_is_told_with_its_file(cli: Cli) -> None:
    configure("[budget]\ntotl = 1\n")

    code, _, errors = cli("check")

    assert code == 2
    assert "slimpack.toml: unknown key 'budget.totl' (did you mean 'total'?)" in errors


def test_a_zip_of_another_tool_is_held_against_the_limit_of_lambda(cli: Cli, tmp_path: Path) -> None:
    small, large = tmp_path / "small.zip", tmp_path / "large.zip"
    for path, size in ((small, LIMIT - 1), (large, LIMIT)):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("data.bin", b"\0" * size)

    assert cli("check", small)[0] == 0
    code, output, _ = cli("check", large)
    assert code == 1
    assert "error SLP301 large.zip: 262,144,000 bytes unzipped, must stay below 262,144,000" in output
    assert cli("check", large, "--max-size", "500MiB")[0] == 0
    assert cli("check", small, "--max-size", "1MiB")[0] == 1


def test_a_folder_of_another_tool_is_attributed_to_its_packages(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "out" / "six-1.0.dist-info").mkdir(parents=True)
    (tmp_path / "out" / "six.py").write_bytes(b"#" * 5000)
    info = tmp_path / "out" / "six-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: six\nVersion: 1.0\n")
    (info / "RECORD").write_text("six.py,,\nsix-1.0.dist-info/METADATA,,\nsix-1.0.dist-info/RECORD,,\n")

    code, output, _ = cli("check", "out", "--max-package", "six=4KiB", "--json")

    assert (code, codes(output)) == (1, ["SLP002"])
    assert json.loads(output)["findings"][0]["actual"] == 5000 + sum(
        path.stat().st_size for path in info.iterdir()
    )


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_every_line_fits_the_terminal(
    cli: Cli, built: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    configure(
        '[budget]\ntotal = { warn = 1, fail = "1GiB" }\n[budget.packages]\n"*" = "59.99999MiB"\ntorch = 1\n'
    )

    code, output, _ = cli("check", built)

    assert code == 1
    assert max(map(len, output.splitlines())) <= width
    assert output.splitlines()[0].startswith("error SLP002")
    assert "\x1b" not in output


def test_names_in_a_manifest_cannot_steer_the_terminal(cli: Cli, built: Path) -> None:
    evil = "\x1b[31m[bold red]evil[/]\nerror: \u202egnp"
    one = manifest(found=(findings.IMPORT_FAILS.at(evil, evil),))
    named = replace(
        one,
        distributions=tuple(
            replace(each, name=evil) if each.name == "scipy" else each for each in one.distributions
        ),
        files=tuple(replace(each, owner=evil) if each.owner == "scipy" else each for each in one.files),
    )
    built.write_text(to_json(named))

    code, output, _ = cli("check", built, "--max-package", "*=1KiB", "--max-total", "1KiB")

    assert code == 1
    assert "\x1b" not in output
    assert "\u202e" not in output
    assert "[bold red]evil[/]" in output.replace("\n", "")
    assert not any(line.startswith("error: ") for line in output.splitlines())
    assert "\x1b" not in cli("check", built, "--json", "--max-package", "*=1KiB")[1]


@pytest.mark.parametrize(
    "words",
    [
        "",
        "[]",
        "nul",
        "[" * 100_000,
        '{"schema_version": 1}',
        '{"schema_version": 1, "slimpack": 1}',
        '{"schema_version": 1, "slimpack": "1", "files": {"a": 1}}',
        '{"schema_version": 1, "slimpack": "1", "totals": {"size_after": "many"}}',
    ],
)
def test_what_is_no_manifest_is_one_error(cli: Cli, built: Path, words: str) -> None:
    built.write_text(words)

    code, output, errors = cli("check", "--exit-zero")

    assert (code, output) == (2, "")
    assert errors.startswith("error: ")
    assert "Traceback" not in errors


def test_a_manifest_whose_sums_are_not_those_of_its_files_is_refused(cli: Cli, built: Path) -> None:
    one = manifest()
    built.write_text(to_json(replace(one, totals=replace(one.totals, size_after=1))))

    assert cli("check", "--exit-zero")[0] == 2


def test_sizes_beyond_any_disk_are_figures_like_others(cli: Cli, built: Path) -> None:
    built.write_text(to_json(manifest(10**12)))

    code, output, _ = cli("check", "--max-package", "scipy=953674.3MiB")

    assert code == 1
    assert "scipy alone takes 953,674.3 MiB" in " ".join(output.split())


def test_many_packages_share_a_row(cli: Cli, built: Path) -> None:
    files = [file(f"p{number}/a", f"p{number}", size=1000 + number) for number in range(300)]
    built.write_text(to_json(account_of(inventory(*files), book())))

    code, output, _ = cli("check", "--max-package", "*=1298")

    lines = output.splitlines()
    assert code == 1
    assert len(lines) < 30
    assert any("285 more" in line for line in lines)


@pytest.mark.parametrize("code", [code for code in CATALOGUE if code.startswith("SLP0")])
def test_every_finding_of_the_gate_is_explained(cli: Cli, code: str) -> None:
    ended, output, _ = cli("rule", code.lower())

    assert ended == 0
    assert output.startswith(f"{code} {CATALOGUE[code].name}")


def test_colour_is_for_those_who_want_it() -> None:
    found = review(of_manifest(manifest(), name="app.zip"))

    assert "\x1b[1;32mpass" in text(found, color=True)
    assert "\x1b" not in text(found)


def test_the_report_of_a_build_gets_only_what_it_does_not_say_itself() -> None:
    over = of_manifest(manifest(LIMIT), name="app.zip")
    fine = of_manifest(manifest(), name="app.zip")
    budget = Budgets(total=Budget(fail=MIB))

    assert addition(review(fine)) == addition(review(over)) == ""
    assert judge(over, Budgets()).status == "fail"
    assert "SLP001" in addition(review(over, budget))
    assert "SLP301" not in addition(review(over, budget))
    assert "SLP301" in addition(review(fine, Budgets(reserve=LIMIT)))
