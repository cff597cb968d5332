from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slimpack.errors import SourceError
from slimpack.model import APP, InventoryFile
from slimpack.source import read_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


def plant(root: Path, files: Mapping[str, str] | Iterable[str]) -> Path:
    """Makes files of a folder; without content their content is their path."""
    content = files if isinstance(files, dict) else {path: path for path in files}
    for path, text in content.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def stay(root: Path) -> list[str]:
    return [file.path for file in read_source(root)]


def refused(root: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read_source(root)
    error = caught.value
    assert error.fix
    assert str(error).isprintable()
    return error


def test_every_file_of_a_folder_belongs_to_the_app(tmp_path: Path) -> None:
    plant(tmp_path, {"app.py": "x = 1\n", "model/knn.bin": "123", "bin/run": "#!/bin/sh\n"})
    (tmp_path / "bin/run").chmod(0o755)
    (tmp_path / "empty").mkdir()

    def file(path: str, size: int, *, executable: bool = False) -> InventoryFile:
        return InventoryFile(path=path, size=size, owner=APP, entry=path, sha256=None, executable=executable)

    assert read_source(tmp_path) == (
        file("app.py", 6),
        file("bin/run", 10, executable=True),
        file("model/knn.bin", 3),
    )


def test_caches_environments_and_ignore_files_are_always_left_out(tmp_path: Path) -> None:
    plant(
        tmp_path,
        [
            "app.py",
            "venv.py",
            ".git/config",
            "sub/.git",
            "a/__pycache__/a.cpython-312.pyc",
            "a/b.pyc",
            ".venv/x.py",
            "a/venv/x.py",
            "myenv/pyvenv.cfg",
            "myenv/lib/x.py",
            "web/node_modules/x.js",
            ".mypy_cache/x",
            ".tox/x",
            ".vscode/x",
            "a/.DS_Store",
        ],
    )
    plant(tmp_path, {".gitignore": "", "a/.slimpackignore": "!*.pyc\n"})

    assert stay(tmp_path) == ["app.py", "venv.py"]


def test_what_is_always_left_out_and_who_ignores_can_be_chosen(tmp_path: Path) -> None:
    plant(tmp_path, {"a.pyc": "", "b.txt": "", "c.log": "", ".gitignore": "*.log\n", ".other": "b.txt\n"})

    files = read_source(tmp_path, ignore_files=(".other",), always_excluded=("c.*",))

    assert [file.path for file in files] == [".gitignore", "a.pyc"]


@pytest.mark.parametrize(
    ("ignored", "stays"),
    [
        ("", ["a.txt", "sub/a.txt", "sub/deep/b.txt"]),
        ("# sub\n\n", ["a.txt", "sub/a.txt", "sub/deep/b.txt"]),
        ("a.txt\n", ["sub/deep/b.txt"]),
        ("/a.txt\n", ["sub/a.txt", "sub/deep/b.txt"]),
        ("sub/a.txt\r\n", ["a.txt", "sub/deep/b.txt"]),
        ("deep/  \n", ["a.txt", "sub/a.txt"]),
        ("a.txt/\n", ["a.txt", "sub/a.txt", "sub/deep/b.txt"]),
        ("*\n!a.txt\n", ["a.txt"]),
        ("*\n!*/\n!a.txt\n", ["a.txt", "sub/a.txt"]),
        ("*.txt\n!sub/\n", []),
        ("sub/\n!sub/a.txt\n", ["a.txt"]),
        ("sub/*\n!sub/a.txt\n", ["a.txt", "sub/a.txt"]),
        ("\ufeff**/b.txt\n", ["a.txt", "sub/a.txt"]),
    ],
)
def test_gitignore_means_what_it_means_to_git(tmp_path: Path, ignored: str, stays: list[str]) -> None:
    plant(tmp_path, ["a.txt", "sub/a.txt", "sub/deep/b.txt"])
    plant(tmp_path, {".gitignore": ignored})

    assert stay(tmp_path) == stays


def test_a_deeper_gitignore_is_relative_to_its_folder_and_decides(tmp_path: Path) -> None:
    plant(tmp_path, ["a.log", "sub/a.log", "sub/b.log", "sub/deep/a.log", "x/a.log"])
    plant(tmp_path, {".gitignore": "*.log\n", "sub/.gitignore": "!/a.log\n", "x/.gitignore": "!/b.log\n"})

    assert stay(tmp_path) == ["sub/a.log"]


@pytest.mark.parametrize(
    ("git", "own", "stays"),
    [
        ("*.joblib\n", "!model.joblib\n", ["app.py", "model.joblib", "models/model.joblib"]),
        ("*.joblib\n", "!/model.joblib\n", ["app.py", "model.joblib"]),
        ("*.joblib\n", "", ["app.py"]),
        ("models/\n", "!models/\n", ["app.py", "model.joblib", "models/model.joblib", "models/other.joblib"]),
        ("models/\n", "!models/model.joblib\n", ["app.py", "model.joblib", "models/model.joblib"]),
        ("models/\n*.joblib\n", "!models/\n", ["app.py"]),
        (
            "models/\n",
            "!models/*\n!m.joblib\n/models/o*\n",
            ["app.py", "model.joblib", "models/model.joblib"],
        ),
        ("", "models/\n!models/model.joblib\n", ["app.py", "model.joblib"]),
        ("!app.py\n", "app.py\n*.joblib\n", []),
    ],
)
def test_slimpackignore_has_the_last_word(tmp_path: Path, git: str, own: str, stays: list[str]) -> None:
    plant(tmp_path, ["app.py", "model.joblib", "models/model.joblib", "models/other.joblib"])
    plant(tmp_path, {".gitignore": git, ".slimpackignore": own})

    assert stay(tmp_path) == stays


def test_ignore_files_in_a_folder_that_is_left_out_are_not_read(tmp_path: Path) -> None:
    plant(tmp_path, {".gitignore": "models/\n", ".slimpackignore": "!keep.bin\n"})
    plant(tmp_path, {"models/keep.bin": "", "models/a.bin": "", "models/.slimpackignore": "!a.bin\n"})

    assert stay(tmp_path) == ["models/keep.bin"]


NAMES = st.sampled_from(["a", "b", "ab", "a.x", "b.x"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
SEGMENTS = st.sampled_from(["a", "b", "a.x", "*", "a*", "*.x", "**", "?", "[ab]", "a\\b"])
PATTERNS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join),
    st.sampled_from(["", "", "/"]),
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("git") is None:
        pytest.skip("git is not installed: this test asks git what it ignores")
    path = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "--quiet", path], check=True)
    return path


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    paths=st.sets(PATHS, min_size=3, max_size=8),
    ignored=st.dictionaries(st.sampled_from(["", "a/", "a/b/"]), st.lists(PATTERNS, max_size=4)),
)
def test_git_lists_the_same_files(repository: Path, paths: set[str], ignored: dict[str, list[str]]) -> None:
    # given a tree with ignore files here and there
    for old in repository.iterdir():
        if old.name != ".git":
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    for path in sorted(paths):
        if (
            not any(parent.is_file() for parent in (repository / path).parents)
            and not (repository / path).exists()
        ):
            plant(repository, [path])
    for folder, lines in ignored.items():
        if (repository / folder).is_dir():
            plant(repository, {f"{folder}.gitignore": "".join(f"{line}\n" for line in lines)})

    # when both list what is not ignored
    command = ("git", "-c", "core.excludesFile=", "ls-files", "--others", "--exclude-standard", "-z")
    listed = subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True).stdout.split(
        "\0"
    )
    ours = {file.path for file in read_source(repository, always_excluded=(".git/",))}

    # then they agree
    assert ours == {path for path in listed if path and not path.endswith(".gitignore")}


def test_a_line_that_is_no_pattern_is_named(tmp_path: Path) -> None:
    plant(tmp_path, {"a.py": "", "sub/.slimpackignore": "a\n!\n"})

    assert refused(tmp_path).where == f"{tmp_path}/sub/.slimpackignore:2"


def test_a_line_that_could_take_ages_is_named(tmp_path: Path) -> None:
    plant(tmp_path, {"a.py": "", ".slimpackignore": "# *a*a*a*a*a*\n*a*a*a*b\n"})
    assert [file.path for file in read_source(tmp_path)] == ["a.py"]

    plant(tmp_path, {".slimpackignore": "x\n*a*a*a*a*b/\n"})
    problem = refused(tmp_path)
    assert (problem.where, "more than 4 stars" in problem.what) == (f"{tmp_path}/.slimpackignore:2", True)


def test_an_ignore_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_bytes(b"caf\xe9\n")

    assert refused(tmp_path).what == "is not UTF-8"


def test_links_to_files_and_folders_inside_count_as_what_they_point_to(tmp_path: Path) -> None:
    plant(tmp_path, {"models/v3/a.bin": "123", "models/v3/__pycache__/x": ""})
    (tmp_path / "models/latest").symlink_to("v3")
    (tmp_path / "a.bin").symlink_to(tmp_path / "models/v3/a.bin")

    files = {file.path: file.size for file in read_source(tmp_path)}

    assert files == {"a.bin": 3, "models/latest/a.bin": 3, "models/v3/a.bin": 3}


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    plant(tmp_path / "real", ["a", "b/c"])
    (tmp_path / "real/d").symlink_to("b")
    (tmp_path / "link").symlink_to("real")

    assert stay(tmp_path / "link") == ["a", "b/c", "d/c"]


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("../outside", "leaves the folder"),
        ("../outside/b", "leaves the folder"),
        ("../app-too/b", "leaves the folder"),
        ("missing", "leads nowhere"),
        ("link", "leads nowhere"),
        (".", "leads back"),
        ("..", "leads back"),
    ],
)
def test_a_link_that_leads_nowhere_out_or_back_is_refused(tmp_path: Path, target: str, what: str) -> None:
    plant(tmp_path, ["outside/b", "app/app.py", "app-too/b"])
    (tmp_path / "app/sub").mkdir()
    (tmp_path / "app/sub/link").symlink_to(target.replace("../", "../../"))

    error = refused(tmp_path / "app")

    assert what in error.what
    assert error.where == str(tmp_path / "app/sub/link")


def test_links_to_each_other_s_folders_are_refused(tmp_path: Path) -> None:
    plant(tmp_path, ["a/x", "b/y"])
    (tmp_path / "a/to_b").symlink_to("../b")
    (tmp_path / "b/to_a").symlink_to("../a")

    assert "leads back" in refused(tmp_path).what


def test_faulty_files_that_are_left_out_do_not_matter(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {"app.py": "", ".gitignore": "bad/\nlink\n", "bad/a\nb": "", "App.py": "", ".slimpackignore": "A*\n"},
    )
    (tmp_path / "link").symlink_to("missing")
    (tmp_path / "bad/link").symlink_to("..")
    os.mkfifo(tmp_path / "bad/pipe")

    assert stay(tmp_path) == ["app.py"]


def test_pipes_and_sockets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is a pipe" in refused(tmp_path).what
    (tmp_path / "pipe").unlink()
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert "is a pipe, a socket" in refused(tmp_path).what


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (b"a\nb", "control character"),
        (b"a\xff", "not UTF-8"),
        (b"a\\b", "backslash"),
        (b"sub\x01/a", "control character"),
    ],
)
def test_a_name_that_no_zip_can_hold_is_refused(tmp_path: Path, name: bytes, what: str) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.parent.mkdir(exist_ok=True)
    path.write_text("")

    assert what in refused(tmp_path).what


def test_names_that_differ_only_in_case_are_refused(tmp_path: Path) -> None:
    plant(tmp_path, ["sub/Model.bin", "sub/model.bin"])

    error = refused(tmp_path)

    assert error.where == f"{tmp_path}/sub/model.bin"
    assert "only in case" in error.what


def test_a_root_that_is_no_folder_or_an_environment_is_refused(tmp_path: Path) -> None:
    plant(tmp_path, ["file", "env/pyvenv.cfg"])

    assert "No such file" in refused(tmp_path / "missing").what
    assert "is no folder" in refused(tmp_path / "file").what
    assert "is a virtual environment" in refused(tmp_path / "env").what


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder of a user who may not read everything; tests often run as root, who may."""
    if os.geteuid() != 0:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    nobody = 65534
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, nobody, -1)
        os.seteuid(nobody)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("sub/a", 0),
        ("sub/.gitignore", 0),
        ("sub", 0),
        ("sub", 0o400),
        (".", 0),
        (".", 0o400),
    ],  # 400: no search
)
def test_what_cannot_be_read_is_refused(as_nobody: Path, path: str, mode: int) -> None:
    plant(as_nobody, ["sub/a", "sub/.gitignore"])
    unreadable = as_nobody / path
    unreadable.chmod(mode)

    error = refused(as_nobody)

    unreadable.chmod(0o700)
    assert "cannot be read: Permission denied" in error.what
    assert error.where is not None
    assert error.where.startswith(str(unreadable))
