from __future__ import annotations

import posixpath
import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from slimpack import paths

NAMES = st.text(st.sampled_from("aAbBß\u0301e/.\\: \x00\x1f\x85"), min_size=1, max_size=12)


@pytest.mark.parametrize("path", ["a", "a/b.py", "a b/c", "..a/b..", "ab:c", "é/ß.txt", "C", "a/C:/b"])
def test_an_ordinary_path_has_no_fault(path: str) -> None:
    assert paths.fault(path) is None


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("", "empty part"),
        ("..", "leaves the root"),
        ("a/../b", "leaves the root"),
        ("/a", "absolute"),
        ("//a", "absolute"),
        ("a//b", "empty part"),
        ("a/", "empty part"),
        ("a/./b", "a dot for one"),
        ("a\\b", "backslash"),
        ("c:a", "drive letter"),
        ("a\nb", "control character"),
        ("a\x9bb", "control character"),
        ("a\udcffb", "not UTF-8"),
    ],
)
def test_a_path_without_a_safe_place_has_a_fault(path: str, what: str) -> None:
    assert what in (paths.fault(path) or "")


@given(NAMES)
@example("a/..")
@example("./a")
def test_a_path_without_a_fault_is_normal_and_stays_below_the_root(path: str) -> None:
    assume(paths.fault(path) is None)

    assert posixpath.normpath(path) == path
    assert posixpath.normpath(posixpath.join("/root", path)).startswith("/root/")
    assert "\0" not in path


@given(NAMES)
def test_a_path_clashes_with_itself_in_other_letters(path: str) -> None:
    for other in (
        path.upper(),
        path.casefold(),
        unicodedata.normalize("NFC", path),
        unicodedata.normalize("NFD", path),
    ):
        assert [(clash.path, clash.other) for clash in paths.clashes([path, other])] == [(other, path)]


@given(st.sets(st.text(st.sampled_from("abc"), min_size=1), max_size=5))
def test_paths_that_differ_do_not_clash(names: set[str]) -> None:
    assert list(paths.clashes(f"folder/{name}" for name in names)) == []


@pytest.mark.parametrize(
    ("files", "folders", "path", "other"),
    [
        (["a", "a/b/c"], [], "a", "a/b/c"),
        (["a/b/c", "A/B"], [], "A/B", "a/b/c"),
        (["a"], ["a/b"], "a", "a/b"),
        (["a"], ["a"], "a", "a"),
        (["x/y/z", "x"], ["x/y"], "x", "x/y"),
    ],
)
def test_a_file_clashes_with_a_folder(files: list[str], folders: list[str], path: str, other: str) -> None:
    (clash,) = paths.clashes(files, folders)

    assert (clash.path, clash.other) == (path, other)


def test_files_and_folders_side_by_side_do_not_clash() -> None:
    assert list(paths.clashes(["a/b", "a/c", "ab"], ["a", "d"])) == []


def test_a_path_is_shown_on_one_short_line() -> None:
    assert paths.shown("a/é.py") == "a/é.py"
    assert paths.shown("a\nb\x1b[31m\udcff") == "a\\nb\\x1b[31m\\udcff"
    assert len(paths.shown("a" * 65535)) < 200
