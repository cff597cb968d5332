"""What the documentation shows is what the program does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from samples import account_of, book, distribution, file, inventory

from slimpack import config
from slimpack.account import of_manifest
from slimpack.errors import SlimpackError
from slimpack.findings import CATALOGUE
from slimpack.gate import Budget, Budgets, review
from slimpack.report.check import text

ROOT = Path(__file__).parent.parent


def generated() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.files())


@pytest.mark.parametrize(
    "name",
    [
        "cli.md",
        "manifest.schema.json",
        "profile.schema.json",
        "review.schema.json",
        "diff.schema.json",
        "why.schema.json",
        "comment.schema.json",
    ],
)
def test_generated_documents_are_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == generated()[name], "run `make docs`"


def test_every_option_that_the_readme_names_exists() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = readme.replace("\\\n", " ").splitlines()  # commands of several lines
    ours = [line for line in lines if not line.lstrip().startswith("aws ")]  # another program's
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(ours)))

    assert named
    assert named <= set(re.findall(r"--[a-z][a-z-]+", generated()["cli.md"]))


def test_every_room_that_the_documentation_names_is_there() -> None:
    text = "".join(
        (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("architecture.md", "rules.md")
    )
    modules = set(re.findall(r"`((?:elf/|resolve/|report/|cli/|slimpack/)?[a-z_]+\.(?:py|toml))`", text))

    missing = {
        name
        for name in modules
        if not any((ROOT / place / name).exists() for place in ("slimpack", "rules", ""))
    }
    assert modules
    assert missing == set()


def test_the_findings_of_the_catalogue_have_codes_names_and_fixes() -> None:
    assert len({kind.name for kind in CATALOGUE.values()}) == len(CATALOGUE)
    for code, kind in CATALOGUE.items():
        assert re.fullmatch(r"SLP[0-4]\d\d", code)
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", kind.name)
        assert kind.what.endswith(".")
        assert kind.fix.endswith(".")


def test_the_configuration_that_the_page_on_the_gate_shows_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "pyproject.toml").write_text(shown, encoding="utf-8")

    read = config.load(None, folder=tmp_path).config

    assert read.budget is not None
    assert list(read.budget.packages) == ["scipy", "nvidia-*", "*"]


def test_the_page_on_the_gate_has_all_of_its_findings_and_what_it_prints() -> None:
    mebibyte = 2**20
    stock = inventory(
        file("sklearn/a.so", "scikit-learn", size=30 * mebibyte),
        file("scipy/a.so", "scipy", size=62 * mebibyte + 1),
        file("numpy/a.so", "numpy", size=20 * mebibyte),
        distributions=(
            distribution("scikit-learn", requires=("numpy", "scipy")),
            distribution("scipy", requires=("numpy",), requested=False),
            distribution("numpy", requested=False),
        ),
    )
    budgets = Budgets(
        reserve=10 * mebibyte,
        total=Budget(fail=200 * mebibyte),
        packages={"scipy": Budget(fail=62 * mebibyte)},
    )

    printed = text(review(of_manifest(account_of(stock, book()), name="app.zip"), budgets))

    page = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    assert f"```\n{printed}```" in page
    codes = re.findall(r"^\| (SLP\d+) ", page, re.MULTILINE)
    assert set(codes) >= {code for code in CATALOGUE if code.startswith("SLP0")}


def test_every_error_ends_with_a_documented_exit_code() -> None:
    kinds: list[type[SlimpackError]] = [SlimpackError, *SlimpackError.__subclasses__()]

    assert {kind.exit_code for kind in kinds} == {2}
    assert all(kind.__doc__ for kind in kinds)
