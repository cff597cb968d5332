"""Test suites of large packages in pure Python: packed, their modules pass and fail as they do plain."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from suites import MOST, Suite, Trees, installed, steady_differences

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.suites, pytest.mark.network, pytest.mark.heavy]

LOG = logging.getLogger(__name__)

SYMPY = (
    "algebras",
    "categories",
    "codegen",
    "crypto",
    "discrete",
    "logic",
    "multipledispatch",
    "parsing",
    "sets",
    "strategies",
    "tensor",
    "unify",
    "utilities",
    "vector",
)
"""Parts of sympy, those whose tests are quick; the tests of all of it take hours."""

SUITES = {
    "docutils": Suite(requirements=("docutils",), tests=("test",), source="docutils", least=2000),
    "mpmath": Suite(requirements=("mpmath<1.4",), tests=("mpmath",), least=300),  # newer tests use terminals
    "networkx": Suite(requirements=("networkx",), tests=("networkx",), least=4000),
    "pygments": Suite(
        requirements=("pygments", "wcag-contrast-ratio"),
        tests=("tests",),
        source="pygments",
        data=("tests/examplefiles/",),
        least=5000,
    ),
    "sympy": Suite(
        requirements=("sympy",),
        tests=tuple(f"sympy/{one}" for one in SYMPY),
        options=("-m", "not slow and not tooslow"),  # its own marks; one of them takes all memory there is
        least=1500,
    ),
}


@pytest.fixture(scope="module", params=SUITES)
def trees(request: pytest.FixtureRequest) -> Iterator[Trees]:
    with installed(SUITES[request.param]) as both:
        yield both


def test_nearly_all_modules_are_packed_and_the_others_say_why_not(trees: Trees) -> None:
    LOG.info("modules: %s", trees.told_of_modules())

    assert "" not in trees.modules.values()
    assert trees.share > MOST


def test_packed_modules_pass_and_fail_as_plain_ones_do(trees: Trees) -> None:
    LOG.info("plain: %s; packed: %s", trees.plain, trees.demand)

    assert trees.plain.counts["passed"] >= trees.suite.least, trees.plain.end
    assert {trees.plain.exit_code, trees.demand.exit_code} <= {0, 1}, trees.demand.end  # 1: tests failed
    assert steady_differences(trees, "demand") == {}, trees.demand.end
