from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpack.errors import BundleError
from slimpack.installed import Installed, Tree, source_of

if TYPE_CHECKING:
    from collections.abc import Mapping

LINUX = {"python_version": "3.12", "sys_platform": "linux", "platform_machine": "x86_64", "os_name": "posix"}


def tree(files: Mapping[str, str]) -> Tree:
    return Tree(
        {path: len(text.encode()) for path, text in files.items()},
        lambda path: files[path].encode(),
        name="a.zip",
    )


def metadata(name: str, *requires: str, requested: bool = False) -> dict[str, str]:
    """Returns the dist-info folder of a distribution."""
    lines = [f"Name: {name}", "Version: 1", *(f"Requires-Dist: {one}" for one in requires)]
    files = {f"{name}-1.dist-info/METADATA": "\n".join(lines)}
    return files | ({f"{name}-1.dist-info/REQUESTED": ""} if requested else {})


def told(*parts: Mapping[str, str]) -> dict[str, Installed]:
    files = {path: text for part in parts for path, text in part.items()}
    return {one.name: one for one in tree(files).distributions(LINUX)}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("a/__pycache__/b.cpython-312.pyc", "a/b.py"),
        ("__pycache__/b.cpython-312.opt-2.pyc", "b.py"),
        ("a/__pycache__/b.c.pypy39.pyc", "a/b.c.py"),
        ("a/b.pyc", "a/b.py"),
        ("a/b.py", None),
        ("a/pyc", None),
    ],
)
def test_bytecode_has_a_source(path: str, source: str | None) -> None:
    assert source_of(path) == source


def test_an_extra_counts_if_somebody_asks_for_it_however_far_away() -> None:
    found = told(
        metadata("root", "mid[X.y]"),
        metadata("mid", 'leaf[z]; extra == "x-y"', 'never; extra == "other"'),
        metadata("leaf", 'last; extra == "z" and os_name == "posix"', "leaf[q]", 'deep; extra == "q"'),
        metadata("last"),
        metadata("deep"),
        metadata("never"),
    )

    assert {name: one.requires for name, one in found.items()} == {
        "root": ("mid",),
        "mid": ("leaf",),
        "leaf": ("deep", "last"),
        "last": (),
        "deep": (),
        "never": (),
    }
    assert [name for name, one in found.items() if one.requested] == ["never", "root"]


def test_only_what_was_asked_for_can_have_been_asked_for_with_extras() -> None:
    found = told(
        metadata("root", "mid", 'socks; extra == "s"', 'both; extra == "s"', requested=True),
        metadata("mid", 'socks; extra == "s"'),
        metadata("socks"),
        metadata("both"),
        metadata("alone"),
    )

    assert found["root"].requires == ("both", "mid", "socks")
    assert found["mid"].requires == ()
    assert [name for name, one in found.items() if one.requested] == ["alone", "root"]


def test_what_is_not_there_is_not_needed() -> None:
    assert told(metadata("root", "absent", "Root", "here>=1"), metadata("here"))["root"].requires == ("here",)


def test_extras_in_a_ring_come_to_an_end() -> None:
    found = told(metadata("a", "b[x]"), metadata("b", 'a[y]; extra == "x"'))

    assert {name: one.requires for name, one in found.items()} == {"a": ("b",), "b": ("a",)}
    assert all(one.requested for one in found.values())


def test_names_are_canonical_and_versions_short() -> None:
    text = "Name: Ab_c.D\nVersion: " + "9" * 1000
    (found,) = tree({"ab_c_d-9.dist-info/METADATA": text}).distributions(LINUX)

    assert (found.name, len(found.version)) == ("ab-c-d", 100)


def test_without_metadata_the_name_of_the_folder_tells() -> None:
    found = tree({"Ab_c-1.5.dist-info/RECORD": "x.py,,\n", "x.py": ""})

    assert found.owners == {"Ab_c-1.5.dist-info/RECORD": "ab-c", "x.py": "ab-c"}
    assert [(one.name, one.version) for one in found.distributions(LINUX)] == [("ab-c", "1.5")]


LINES = (
    "Name: a",
    "Name: B_b",
    "Version: 1",
    "Requires-Dist: a[x]; extra == 'y'",
    "Requires-Dist: b-b[y] ; python_version >= '3'",
    "Requires-Dist: a; (((",
    "Tag: cp312-cp312-manylinux_2_28_x86_64",
    "a.py,sha256=x,3",
    "../a.py,,",
    "../../bin/run,,5",
    "/a.py,,",
    '"a',
    '""",,,,,',
    "a-1.dist-info/METADATA,,",
    "b-1.dist-info/RECORD,,",
    "a",
    "..",
    "",
    "\0",
    "\ud800",
    "\x85,\u2028,1",
)
FOLDERS = (
    "a-1.dist-info/",
    "b-1.dist-info/",
    "python/a-2.dist-info/",
    "a.egg-info/",
    "x/a-1.dist-info/b.egg-info/",
)
FILES = ("METADATA", "RECORD", "WHEEL", "PKG-INFO", "REQUESTED", "top_level.txt", "installed-files.txt")
PLACES = [folder + file for folder in FOLDERS for file in FILES] + [
    *(
        "a.py",
        "a.pyc",
        "__pycache__/a.cpython-312.pyc",
        "bin/run",
        "python/bin/run",
        "b_b/x.so",
        "c.egg-info",
    ),
    *("a.dist-info", ".dist-info/METADATA", "-1.dist-info/RECORD", "x.cpython-312-x86_64-linux-gnu.so"),
]

texts = st.lists(st.sampled_from(LINES) | st.text(max_size=20), max_size=6).map("\n".join)


@given(st.dictionaries(st.sampled_from(PLACES), texts, max_size=12))
def test_whatever_metadata_says_each_file_has_one_owner_at_most(files: dict[str, str]) -> None:
    contents = {path: text.encode(errors="surrogatepass") for path, text in files.items()}
    sizes = {path: len(content) for path, content in contents.items()}

    with suppress(BundleError):
        found = Tree(sizes, contents.__getitem__, name="a.zip")
        _check(found, found.distributions(LINUX), files)


def _check(found: Tree, distributions: tuple[Installed, ...], files: Mapping[str, str]) -> None:
    names = {one.name for one in distributions}
    assert len(names) == len(distributions)
    assert set(found.owners.values()) <= names
    assert found.owners.keys() <= files.keys()
    assert all(set(one.requires) <= names - {one.name} for one in distributions)
    needed = {other for one in distributions for other in one.requires}
    assert {one.name for one in distributions if not one.requested} <= needed
