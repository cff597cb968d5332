from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import account_of, book, file, inventory

from slimpack import config
from slimpack.account import Account, of_manifest
from slimpack.baseline import Change, Update, update
from slimpack.errors import ConfigError
from slimpack.gate import Budget, Budgets, Increase, judge

if TYPE_CHECKING:
    from pathlib import Path

MIB = 2**20

FULL = """\
# our bundle
runtime = "python3.12"   # as deployed

[budget]                 # agreed in May
headroom = "5%"
total = { warn = "1MiB", fail = '2MiB' } # keep room
increase = "5%"

[budget.packages]
# the solver
SciPy   =   "60MiB"      # big
"nvidia-*" = 100
torch = "3MiB"

"""

REWRITTEN = """\
# our bundle
runtime = "python3.12"   # as deployed

[budget]                 # agreed in May
headroom = "5%"
total = { warn = "102.5MiB", fail = '105MiB' } # keep room
increase = "5%"

[budget.packages]
# the solver
SciPy   =   "42MiB"      # big
"nvidia-*" = 26424115
torch = "3MiB"

"""


def bundle(**sizes: int) -> Account:
    files = [file(f"{name}/a", name.replace("_", "-"), size=size) for name, size in sizes.items()]
    return of_manifest(account_of(inventory(*files), book()), name="app.zip")


BUNDLE = bundle(scipy=40 * MIB, nvidia_cublas=24 * MIB, nvidia_cudnn=10 * MIB, numpy=26 * MIB)


def rewritten(
    text: str,
    account: Account = BUNDLE,
    *,
    folder: Path,
    nested: bool = False,
    headroom: Increase = Increase(percent=5),  # noqa: B008 -- frozen
    largest: int = 0,
) -> Update:
    path = folder / ("pyproject.toml" if nested else "slimpack.toml")
    path.write_bytes(text.encode())
    table = config.load(None, folder=folder).config.budget or config.BudgetTable()
    return update(
        text, account, nested=nested, table=table, headroom=headroom, largest=largest, where=path.name
    )


def test_budgets_become_size_plus_headroom_and_nothing_else_changes(tmp_path: Path) -> None:
    found = rewritten(FULL, folder=tmp_path)

    assert found.text == REWRITTEN
    assert found.left == ("torch",)
    assert [one.name for one in found.changes] == ["total", "scipy", "nvidia-*"]
    assert found.changes[0] == Change(
        name="total",
        actual=100 * MIB,
        before=Budget(warn=MIB, fail=2 * MIB),
        after=Budget(warn=config.size("102.5MiB", where=""), fail=105 * MIB),
    )


def test_a_second_update_changes_nothing(tmp_path: Path) -> None:
    once = rewritten(FULL, folder=tmp_path).text

    assert rewritten(once, folder=tmp_path).text == once


def test_a_budget_that_only_warns_goes_on_doing_so(tmp_path: Path) -> None:
    found = rewritten("[budget]\ntotal = { warn = 1 }\n", folder=tmp_path)

    assert tomllib.loads(found.text) == {"budget": {"total": {"warn": 105 * MIB}}}


@pytest.mark.parametrize(
    ("headroom", "words"),
    [
        (Increase(), "100MiB"),
        (Increase(bytes=MIB // 2), "100.5MiB"),
        (Increase(percent=1, bytes=2 * MIB), "102MiB"),
        (Increase(percent=3, bytes=2 * MIB), "103MiB"),
    ],
)
def test_headroom_is_the_larger_of_share_and_size(tmp_path: Path, headroom: Increase, words: str) -> None:
    assert rewritten("", folder=tmp_path, headroom=headroom).text == f'[budget]\ntotal = "{words}"\n'


def test_the_largest_packages_can_have_budgets_as_well(tmp_path: Path) -> None:
    text = '[budget]\ntotal = 1\n[budget.packages]\nscipy = "1MiB"\n'

    found = rewritten(text, folder=tmp_path, headroom=Increase(), largest=3)

    assert found.text == (
        f'[budget]\ntotal = {100 * MIB}\n[budget.packages]\nscipy = "40MiB"\nnumpy = "26MiB"\n'
        'nvidia-cublas = "24MiB"\n'
    )
    assert [one.before for one in found.changes[2:]] == [Budget(), Budget()]


@pytest.mark.parametrize(
    "text",
    [
        '[project]\nname = "x"\n\n[tool.slimpack]\nruntime = "python3.12"\n\n[tool.ruff]\nline-length = 80\n',
        '[tool.slimpack]\nruntime = "python3.12"',
        'tool.slimpack.budget.total = 4 # ours\n[project]\nname = "x"\n',
        '[tool]\nslimpack = { runtime = "python3.12", budget = { total = 1 } }\n',
        "[tool.slimpack]\nbudget.total = 1\n[[tool.x.y]]\na = 1\n[tool.slimpack.budget.packages]\nscipy = 1\n",
        "[[tool.mypy.overrides]]\na = 1\n[dependency-groups]\na = []\n[tool.slimpack]\njobs = 1\n",
        "[tool.slimpack.budget.total]\nfail = 3\n[tool.slimpack]\njobs = 1\n",
    ],
)
def test_the_table_in_a_pyproject_toml_is_rewritten_however_it_is_laid_out(tmp_path: Path, text: str) -> None:
    found = rewritten(text, folder=tmp_path, nested=True, largest=1)

    (tmp_path / "pyproject.toml").write_text(found.text)
    budget = config.load(None, folder=tmp_path).config.budget
    assert budget is not None
    assert budget.total is not None
    assert (budget.total.fail, budget.packages["scipy"].fail) == (105 * MIB, 42 * MIB)
    kept = [
        line for line in text.splitlines() if "budget" not in line and "= 1" not in line and "= 3" not in line
    ]
    assert [line for line in found.text.splitlines() if line in kept and line] == [one for one in kept if one]


def test_a_new_table_stands_apart_from_the_next(tmp_path: Path) -> None:
    text = "[tool.slimpack]\njobs = 1\n\n[tool.ruff]\nline-length = 80\n"

    assert rewritten(text, folder=tmp_path, nested=True).text == (
        '[tool.slimpack]\njobs = 1\n\n[tool.slimpack.budget]\ntotal = "105MiB"\n\n[tool.ruff]\nline-length = 80\n'
    )


def test_line_ends_stay_as_they_were(tmp_path: Path) -> None:
    found = rewritten(FULL.replace("\n", "\r\n"), folder=tmp_path, largest=9)

    assert found.text.count("\n") == found.text.count("\r\n") > FULL.count("\n")
    assert 'numpy = "27.3MiB"\r\n' in found.text


def test_a_layout_that_would_lose_something_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tomlkit.dumps", lambda _: 'runtime = "python3.11"\n')

    with pytest.raises(ConfigError, match="without loss") as caught:
        rewritten('runtime = "python3.12"\n', folder=tmp_path)

    assert caught.value.where == "slimpack.toml"


@given(sizes=st.lists(st.integers(0, 10**12), min_size=1, max_size=4), percent=st.integers(0, 50))
def test_what_was_updated_passes(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], percent: int
) -> None:
    account = bundle(**{f"p{number}": size for number, size in enumerate(sizes)})
    folder = tmp_path_factory.getbasetemp()
    text = '[budget]\ntotal = { warn = 1, fail = 1 }\n[budget.packages]\n"p*" = 1\np0 = "1KiB"\n'

    found = rewritten(text, account, folder=folder, headroom=Increase(percent=percent))
    data = tomllib.loads(found.text)["budget"]

    total = {name: config.size(size, where="") for name, size in data["total"].items()}
    packages = {name: Budget(fail=config.size(size, where="")) for name, size in data["packages"].items()}
    budgets = Budgets(total=Budget(**total), packages=packages)
    verdict = judge(account, budgets)
    assert [one for one in verdict.findings if one.code != "SLP301"] == []
    for one in found.changes:
        assert one.after == (budgets.total if one.name == "total" else packages[one.name])
