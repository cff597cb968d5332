"""Own test suites of large pure-Python packages: packed, their modules pass and fail as they do plain."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from packed_tree import Python, pack_tree

pytestmark = [pytest.mark.network, pytest.mark.heavy]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """What to install and which of its tests to run."""

    requirements: tuple[str, ...]
    packages: tuple[str, ...]
    fewest: int
    """Tests that have to pass, so that a suite that finds nothing is no success."""


CORE = ("basic", "expr", "arit", "sympify")
"""Tests of sympy's core; all of sympy's take an hour."""

SUITES = {
    "networkx": Suite(requirements=("networkx==3.6.1",), packages=("networkx",), fewest=4000),
    "mpmath": Suite(requirements=("mpmath==1.3.0",), packages=("mpmath",), fewest=300),
    "sympy": Suite(
        requirements=("sympy==1.14.0",),
        packages=(
            "sympy.parsing",
            "sympy.codegen",
            "sympy.tensor",
            *(f"sympy.core.tests.test_{one}" for one in CORE),
        ),
        fewest=600,
    ),
}


@pytest.mark.parametrize("name", SUITES)
def test_a_packages_own_tests_end_on_packed_modules_as_on_plain_ones(name: str, tmp_path: Path) -> None:
    suite = SUITES[name]
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    install(suite, plain)
    shutil.copytree(plain, packed)
    outcome = pack_tree(packed, Python(version=sys.version_info[:2], executable=Path(sys.executable)))

    assert len(outcome.packed) > 50
    expected = outcomes(suite, plain)
    assert outcomes(suite, packed) == expected
    assert sum(1 for one in expected.values() if one == "passed") >= suite.fewest


def install(suite: Suite, root: Path) -> None:
    """Installs a package and what it needs into a folder, for the interpreter that runs this."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(root)]
    subprocess.run([*command, "--only-binary", ":all:", *suite.requirements], check=True)


def outcomes(suite: Suite, root: Path) -> dict[str, str]:
    """Runs a package's tests in a tree; returns how each ended."""
    report = root.parent / f"{root.name}.xml"
    options = ("-q", "-p", "no:cacheprovider", "-W", "ignore", "-c", "/dev/null", f"--junitxml={report}")
    subprocess.run(
        [sys.executable, "-P", "-B", "-m", "pytest", "--pyargs", *suite.packages, *options],
        cwd=root.parent,
        env={
            "PYTHONPATH": str(root),
            "PYTHONHASHSEED": "0",
            "HOME": str(root.parent),
            "PATH": "/usr/bin:/bin",
        },
        stdout=subprocess.DEVNULL,
        check=False,  # tests that want the network or data fail, in both trees
    )
    return {
        f"{case.get('classname')}.{case.get('name')}".replace(f"{root.name}.", ""): next(
            (part.tag for part in case), "passed"
        )
        for case in ET.parse(report).iter("testcase")  # noqa: S314 -- pytest wrote it
    }
