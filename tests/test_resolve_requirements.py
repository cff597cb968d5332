from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slimpack.errors import RequirementsError
from slimpack.resolve.requirements import read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conftest import MakeWheel

    from slimpack.resolve.requirements import Requirements


def _read(folder: Path, text: str | bytes, environment: Mapping[str, str] | None = None) -> Requirements:
    path = folder / "requirements.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path, environment or {})


def test_names_extras_and_places_are_read(tmp_path: Path) -> None:
    read_back = _read(
        tmp_path, "# models\n\nScikit_Learn[Plot]>=1.0  # why\npandas ; python_version < '3.12'\n"
    )

    learn, pandas = read_back.requested
    assert (learn.name, learn.extras, learn.specifier, learn.place) == (
        "scikit-learn",
        frozenset({"plot"}),
        ">=1.0",
        "requirements.txt:3",
    )
    assert (pandas.name, str(pandas.marker), pandas.place) == (
        "pandas",
        'python_version < "3.12"',
        "requirements.txt:4",
    )


def test_a_line_goes_on_behind_a_backslash_and_counts_from_its_start(tmp_path: Path) -> None:
    digest = "0" * 64
    text = f"a==1.0 \\\n    --hash=sha256:{digest} \\\n  --hash=sha256:{'1' * 64}\nb\n"

    first, second = _read(tmp_path, text).requested

    assert first.hashes == {f"sha256:{digest}", f"sha256:{'1' * 64}"}
    assert first.text == "a==1.0"
    assert second.place == "requirements.txt:4"


def test_included_files_and_constraints_are_read_from_their_own_folder(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "more.txt").write_text("b\n-c ../limits.txt\n")
    (tmp_path / "limits.txt").write_text("b<2\n")

    requested = _read(tmp_path, "-r base/more.txt\na\n").requested

    assert [(one.name, one.place, one.constraint) for one in requested] == [
        ("b", "base/more.txt:1", False),
        ("b", "limits.txt:1", True),
        ("a", "requirements.txt:2", False),
    ]


def test_variables_are_filled_in_as_pip_does(tmp_path: Path) -> None:
    told = _read(
        tmp_path,
        "a==${VERSION}\n--index-url https://${USER_1}@index.example/${gone}\n",
        {"VERSION": "1.0", "USER_1": "me"},
    )

    assert told.requested[0].specifier == "==1.0"
    assert told.options["index-url"] == "https://me@index.example/${gone}"


def test_index_options_gather(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    text = "--extra-index-url https://a.example --extra-index-url=https://b.example\n-f wheels\n--pre\n--no-index\na\n"

    options = _read(tmp_path, text).options

    assert options == {
        "extra-index-url": "https://a.example https://b.example",
        "find-links": str(tmp_path / "wheels"),
        "pre": "1",
        "no-index": "1",
    }


def test_local_wheels_and_urls_have_links_and_names(
    tmp_path: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel("tiny-one", "1.0", {})
    monkeypatch.chdir(tmp_path)
    text = (
        f"./{wheel.name}[extra] ; python_version > '3'\n{wheel}\n"
        "https://files.example/other-2.0-py3-none-any.whl#sha256=00\n"
        "third @ https://files.example/third-3.0.tar.gz\ngit+https://host.example/a/fourth@v1#egg=fourth\n"
    )

    told = _read(tmp_path, text)

    assert [(one.name, one.is_source) for one in told.requested] == [
        ("tiny-one", False),
        ("tiny-one", False),
        ("other", False),
        ("third", True),
        ("fourth", True),
    ]
    assert told.requested[0].local == wheel
    assert told.requested[0].extras == {"extra"}
    wanted, narrowed = told.flat()
    assert wanted.splitlines() == [
        f"tiny-one[extra] @ {wheel.as_uri()} ; python_version > '3'",
        f"tiny-one @ {wheel.as_uri()}",
        "other @ https://files.example/other-2.0-py3-none-any.whl#sha256=00",
    ]
    assert narrowed == ""


def test_files_at_urls_are_left_to_the_resolvers(tmp_path: Path) -> None:
    told = _read(tmp_path, "a\n-c https://host.example/constraints.txt\n")

    assert told.flat()[0] == "a\n-c https://host.example/constraints.txt\n"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path: Path, encoding: str) -> None:
    assert _read(tmp_path, "a\n".encode(encoding)).requested[0].name == "a"


def test_a_coding_line_tells_the_encoding(tmp_path: Path) -> None:
    told = _read(tmp_path, "# -*- coding: latin-1 -*-\na  # für\n".encode("latin-1"))

    assert told.requested[0].name == "a"


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a\nb c\n", 2, "no requirement"),
        ("a\n\n  b>=one\n", 3, "no requirement"),
        ("a ; python_verson < '3'\n", 1, "no requirement"),
        ("a\n--index https://x --what\n", 2, "no line of a requirements file"),
        ("--index-url\na\n", 1, "no line of a requirements file"),
        ("a\n-e .\n", 2, "editable"),
        ("a\n-r gone.txt\n", 2, "there is no file"),
        ("./gone-1.0-py3-none-any.whl\n", 1, "there is no file ./gone-1.0-py3-none-any.whl"),
        ("./gone\n", 1, "there is no wheel, source archive or folder ./gone"),
        ("https://files.example/none.whl\n", 1, "none.whl is no name of a wheel"),
        ("a --hash=md5:00\n", 1, "no hash"),
        ("a\n-r requirements.txt\n", 2, "includes itself"),
        ("a @ somewhere\n", 1, "no URL"),
        ("'\n", 1, "no requirement"),
        ("a --hash='\n", 1, "no line of a requirements file"),
        ("b\na==\n", 2, "'a==' is no requirement"),
        ("b\na===\n", 2, "'a===' is no requirement: the version is missing"),
        ("b\na===weird\n", 2, "'a===weird' is no requirement: 'weird' is no version"),
        (f"b\na=={'9' * 20}\n", 2, "is no version"),
        (f"b\na==1.{'9' * 5000}\n", 2, "is no version"),
        ("b\n./folder\n", 2, "the folder ./folder is no Python project"),
        ("b\na @ https://[x.example/a-1.0-py3-none-any.whl\n", 2, "not a valid URL: Invalid IPv6 URL"),
        ("b\na @ https://x.example:port/a-1.0-py3-none-any.whl\n", 2, "not a valid URL: Port"),
        ("b\n--index-url https://[x.example/simple\n", 2, "not a valid URL"),
        ("b\n-r https:///x.txt\n", 2, "not a valid URL: it names no server"),
        (f"b\n./{'a' * 5000}.whl\n", 2, "not a valid path: File name too long"),
        (f"b\n-r {'a' * 5000}\n", 2, "cannot be read: File name too long"),
        ("b\n-c folder\n", 2, "folder is a folder"),
    ],
)
def test_a_wrong_line_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: int, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()

    with pytest.raises(RequirementsError, match=what) as caught:
        _read(tmp_path, text)

    assert caught.value.where == f"{tmp_path / 'requirements.txt'}:{line}"
    assert caught.value.fix


def test_a_wrong_line_is_shown_without_its_credentials(tmp_path: Path) -> None:
    with pytest.raises(RequirementsError, match="no requirement") as caught:
        _read(tmp_path, "a @@ https://me:hidden@files.example/a-1.0-py3-none-any.whl\n")

    assert "hidden" not in caught.value.what


@pytest.mark.parametrize(
    "text",
    [
        "a" * 10_000_000,
        f"{' ' * 10_000_000}a",
        f"a {'-' * 10_000_000}",
        f"a[{'a[' * 60_000}",
        f"a{' ' * 120_000}b",
        f"a ; {'(' * 100_000}",
        "a\n" * 20_001,
    ],
    ids=["letters", "blanks", "dashes", "brackets", "gap", "parentheses", "lines"],
)
def test_what_nobody_writes_is_refused_at_once(tmp_path: Path, text: str) -> None:
    with pytest.raises(RequirementsError) as caught:
        _read(tmp_path, text)

    assert len(caught.value.what) < 500


@pytest.mark.parametrize("text", ["", "# nothing\n", "--pre\n", "-c limits.txt\n"])
def test_a_file_that_requires_nothing_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "limits.txt").write_text("a<2\n")

    with pytest.raises(RequirementsError, match="requires nothing"):
        _read(tmp_path, text)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a\0b\n", b"\x80\n", b"# coding: no-such\na\n"])
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(RequirementsError, match="no text"):
        _read(tmp_path, content)


def test_a_missing_file_a_folder_a_device_and_a_loop_are_refused(tmp_path: Path) -> None:
    loop = tmp_path / "loop.txt"
    loop.symlink_to(loop)
    for path, what in {
        tmp_path / "gone.txt": "there is no file",
        tmp_path: "this is a folder",
        Path("/dev/zero"): "no regular file",
        loop: "Too many levels of symbolic links",
    }.items():
        with pytest.raises(RequirementsError, match=what) as caught:
            read(path, {})
        assert caught.value.where == str(path)
