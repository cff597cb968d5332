from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from reviews import account, review

from slimpack import findings
from slimpack.manifest import DistributionRecord, FileRecord
from slimpack.report.places import Place, placed

if TYPE_CHECKING:
    from slimpack.account import Account


def one(
    name: str, *, requires: tuple[str, ...] = (), required_at: tuple[str, ...] = ()
) -> DistributionRecord:
    return DistributionRecord(
        name=name,
        version="1",
        wheel="",
        sha256="",
        size_before=1,
        size_after=1,
        requires=requires,
        requested=bool(required_at),
        required_at=required_at,
    )


def bundle(*distributions: DistributionRecord) -> Account:
    """Returns a bundle with one file of each package."""
    files = tuple(
        FileRecord(path=f"{each.name}/a.py", owner=each.name, decision="kept", size_before=1, size_after=1)
        for each in distributions
    )
    return account({}, distributions=distributions, files=files, size=len(files))


BUNDLE = bundle(
    one("keras", requires=("tensorflow",), required_at=("requirements.txt:9", "extra.txt:2")),
    one("numpy"),
    one("tensorflow", requires=("numpy",)),
    one("zlib", required_at=("requirements.txt:4",)),
)


def place(where: str, head: Account = BUNDLE, folder: str = "") -> Place | None:
    reviewed = review(head, found=[findings.OVER_LIMIT.at(where, "too large")], folder=folder)
    (found,) = placed(reviewed, reviewed.verdict.findings)
    return found.place


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("requirements.txt:7", 7),  # a line is one
        ("keras", 9),  # a package: where it is asked for
        ("numpy", 9),  # what it is here for
        ("numpy==2.5", 9),
        ("tensorflow/a.py", 9),  # a file: of its owner
        ("zlib/a.py", 4),
        ("--max-total", 4),  # nothing of that: the first of all
    ],
)
def test_a_finding_goes_back_to_a_line_of_the_requirements(where: str, line: int) -> None:
    assert place(where) == Place(file="requirements.txt", line=line)


def test_a_line_of_the_configuration_is_one_as_well() -> None:
    assert place("slimpack.toml:3") == Place(file="slimpack.toml", line=3)
    assert place("pyproject.toml") == Place(file="pyproject.toml", line=1)


def test_a_file_of_the_bundle_that_is_called_like_a_line_is_none() -> None:
    odd = FileRecord(path="a.py:3", owner="zlib", decision="kept", size_before=1, size_after=1)

    assert place("a.py:3", replace(BUNDLE, files=(odd,))) == Place(file="requirements.txt", line=4)


def test_a_bundle_that_tells_nothing_has_no_places() -> None:
    assert place("numpy", bundle(one("numpy"))) is None


@pytest.mark.parametrize(
    ("folder", "where", "file"),
    [
        ("", "requirements.txt:1", "requirements.txt"),
        (".", "./requirements.txt:1", "requirements.txt"),
        ("services/api/", "requirements.txt:1", "services/api/requirements.txt"),
        ("services/api", "../common.txt:1", "services/common.txt"),
        ("", "../../etc/passwd:1", "etc/passwd"),
        ("", "/etc/passwd:1", "etc/passwd"),
    ],
)
def test_a_file_is_named_from_the_root_of_the_repository_and_never_outside(
    folder: str, where: str, file: str
) -> None:
    assert place(where, folder=folder) == Place(file=file, line=1)


@pytest.mark.parametrize("where", ["x:0", "x:-1", "x:99999999999999999999", ":1", "..:1", "a\nb:1", ""])
def test_what_is_no_line_is_none(where: str) -> None:
    assert place(where, bundle(one("numpy"))) is None
