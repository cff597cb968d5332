from __future__ import annotations

import pytest

from slimpack.plan import REMOVE
from slimpack.verify.cause import LOST, causes, remedy

RULE = "x/rule"
REMOVED = dict.fromkeys(
    (
        "numpy/_core/tests/__init__.py",
        "numpy/_core/tests/_natype.py",
        "scipy/special/_ufuncs.cpython-312-x86_64-linux-gnu.so",
        "scipy.libs/libgfortran-040039e1.so.5.0.0",
        "sklearn/datasets/data/iris.csv",
        "sklearn/datasets/data/wine.csv",
        "sklearn/datasets/__init__.py",
        "Foo_Bar-1.0.dist-info/METADATA",
        "Foo_Bar-1.0.dist-info/RECORD",
        "other/iris.csv",
    ),
    RULE,
)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "ModuleNotFoundError: No module named 'numpy._core.tests'",
            {"numpy/_core/tests/__init__.py"},
        ),
        (
            "ImportError: cannot import name '_natype' from 'numpy._core.tests' (/var/task/x.py)",
            {"numpy/_core/tests/__init__.py", "numpy/_core/tests/_natype.py"},
        ),
        (
            "AttributeError: module 'scipy.special' has no attribute '_ufuncs'",
            {"scipy/special/_ufuncs.cpython-312-x86_64-linux-gnu.so"},
        ),
        (
            "ImportError: libgfortran-040039e1.so.5.0.0: cannot open shared object file: No such file",
            {"scipy.libs/libgfortran-040039e1.so.5.0.0"},
        ),
        (
            "PackageNotFoundError: No package metadata was found for foo-bar",
            {"Foo_Bar-1.0.dist-info/METADATA", "Foo_Bar-1.0.dist-info/RECORD"},
        ),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: '/var/task/sklearn/datasets/data/iris.csv'",
            {"sklearn/datasets/data/iris.csv"},
        ),
        (
            "NotADirectoryError: '/var/task/sklearn/datasets/data'",
            {"sklearn/datasets/data/iris.csv", "sklearn/datasets/data/wine.csv"},
        ),
        ("OSError: cannot read other/iris.csv.", {"other/iris.csv"}),
        (
            "ImportError: cannot import name 'load_iris' from 'sklearn.datasets' (unknown location)",
            {"sklearn/datasets/__init__.py"},
        ),
        ("ModuleNotFoundError: No module named 'torch'", set()),
        ("ValueError: could not convert string to float: 'iris.csv'", set()),
        ("FileNotFoundError: '/elsewhere/sklearn/datasets/data/iris.csv'", set()),
        ("", set()),
    ],
)
def test_a_message_leads_to_the_files_that_it_is_about(message: str, expected: set[str]) -> None:
    assert set(causes(message, REMOVED, roots=("/var/task",))) == expected


def test_a_missing_module_tells_more_than_the_files_of_the_stack() -> None:
    message = "File \"/var/task/sklearn/datasets/data/iris.csv\"\nNo module named 'numpy._core.tests'"
    assert causes(message, REMOVED, roots=("/var/task",)) == ("numpy/_core/tests/__init__.py",)


def test_a_message_of_megabytes_is_no_trouble() -> None:
    assert causes("/var/task/" + "a/" * 2_000_000 + "'" * 1_000_000, REMOVED, roots=("/var/task",)) == ()


@pytest.mark.parametrize(
    ("removed", "said"),
    [
        ({}, None),
        (
            {"a.txt": RULE},
            (
                'a.txt was removed by x/rule. Keep it, with keep = ["/a.txt"] in the configuration, or build with '
                "--repair-rules."
            ),
        ),
        (
            {"a.txt": RULE, "b.txt": LOST},
            "b.txt is in the manifest but not in the bundle: build it again.",
        ),
        (
            {"a.txt": REMOVE, "b.txt": RULE},
            "a.txt (and 1 more) was removed by a pattern of the configuration: take that out.",
        ),
    ],
)
def test_what_to_do_depends_on_who_took_the_file(removed: dict[str, str], said: str | None) -> None:
    assert remedy(tuple(removed), removed) == said
