from __future__ import annotations

import fcntl
import stat
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from runtimes import make_zip

from slimpack.elf.compact import compact
from slimpack.elf.pack import pack
from slimpack.errors import BundleError
from slimpack.runtime.unpack import copy, scratch, unpack, whole

if TYPE_CHECKING:
    from conftest import MakeElf


def test_a_file_gets_for_all_what_its_mode_says_of_others(tmp_path: Path) -> None:
    modes = {"a.py": 0o644, "run": 0o755, "secret.py": 0o600, "group.py": 0o640}
    bundle = make_zip(tmp_path / "b.zip", dict.fromkeys(modes, "x"), modes)

    root = unpack(bundle, tmp_path / "task")

    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in root.iterdir()} == {
        "a.py": 0o444,
        "run": 0o555,
        "secret.py": 0o000,
        "group.py": 0o000,
    }


def test_a_zip_without_unix_modes_is_readable(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        info = zipfile.ZipInfo("pkg/a.py")
        info.create_system = 0
        archive.writestr(info, "x = 1")

    root = unpack(tmp_path / "b.zip", tmp_path / "task")

    assert (root / "pkg/a.py").read_text() == "x = 1"
    assert stat.S_IMODE((root / "pkg").stat().st_mode) == 0o555


def test_a_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()

    assert unpack(tmp_path / "bundle", tmp_path / "task") == (tmp_path / "bundle").resolve()
    assert not (tmp_path / "task").exists()


@pytest.mark.parametrize(
    ("name", "mode", "message"),
    [
        ("../evil.py", 0o100644, "leaves the root"),
        ("/evil.py", 0o100644, "absolute"),
        ("link", 0o120777, "symbolic link"),
        ("pipe", 0o010644, "special file"),
    ],
)
def test_a_hostile_zip_is_refused(tmp_path: Path, name: str, mode: int, message: str) -> None:
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, "/etc/passwd")

    with pytest.raises(BundleError, match=message):
        unpack(tmp_path / "b.zip", tmp_path / "task")


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04 and nothing")

    with pytest.raises(BundleError, match="is no zip"):
        unpack(tmp_path / "b.zip", tmp_path / "task")
    with pytest.raises(BundleError, match="cannot be read"):
        unpack(tmp_path / "none.zip", tmp_path / "task")


def test_a_damaged_entry_is_refused(tmp_path: Path) -> None:
    bundle = make_zip(tmp_path / "b.zip", {"a.py": "some text"})
    bundle.write_bytes(bundle.read_bytes().replace(b"some text", b"same text"))

    with pytest.raises(BundleError, match="CRC"):
        unpack(bundle, tmp_path / "task")


def test_the_scratch_folder_goes_with_all_that_is_in_it_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir(mode=0o750)
    with scratch() as folder:
        (folder / "shut" / "deeper").mkdir(parents=True)
        (folder / "shut" / "deeper" / "file").touch()
        (folder / "link").symlink_to(tmp_path / "outside")
        (folder / "shut" / "deeper").chmod(0)
        (folder / "shut").chmod(0)
        assert folder.stat().st_mode & 0o011 == 0o011

    assert not folder.exists()
    assert stat.S_IMODE((tmp_path / "outside").stat().st_mode) == 0o750


def test_what_a_killed_process_left_is_swept_and_what_another_uses_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("killed", "used", "unlocked"):
        (tmp_path / f"slimpack-invoke-{name}" / "shut").mkdir(parents=True)
    for name in ("killed", "used"):
        (tmp_path / f"slimpack-invoke-{name}" / "lock").touch()
    (tmp_path / "slimpack-invoke-link").symlink_to(tmp_path / "slimpack-invoke-used")

    with (tmp_path / "slimpack-invoke-used/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with scratch() as mine, scratch() as another:
            assert mine.is_dir()
            assert another.is_dir()

    assert {path.name.removeprefix("slimpack-invoke-") for path in tmp_path.iterdir()} == {
        "used",
        "unlocked",
        "link",
    }


def test_a_copy_has_the_modes_of_what_is_unpacked_and_keeps_links(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "pkg").mkdir(parents=True)
    for name, mode in (("pkg/a.py", 0o644), ("pkg/run", 0o755), ("secret.py", 0o600)):
        (tree / name).write_text(name)
        (tree / name).chmod(mode)
    (tree / "link").symlink_to("pkg")
    (tree / "nowhere").symlink_to("gone")

    copy(tree, tmp_path / "copy")

    found = {path.relative_to(tmp_path / "copy").as_posix(): path for path in (tmp_path / "copy").rglob("*")}
    assert {name: stat.S_IMODE(path.stat().st_mode) for name, path in found.items() if path.exists()} == {
        "pkg": 0o555,
        "link": 0o555,
        "pkg/a.py": 0o444,
        "pkg/run": 0o555,
        "secret.py": 0,
    }
    assert (tmp_path / "copy/pkg/a.py").read_text() == "pkg/a.py"
    assert found["link"].readlink() == Path("pkg")
    assert found["nowhere"].is_symlink()


SOURCE = "".join(f"int f{i}(int x) {{ return x * {i * i + 3} ^ {i}; }}\n" for i in range(8000))


@pytest.mark.parametrize("owned", [True, False])
def test_a_whole_tree_has_packed_libraries_as_they_were(
    tmp_path: Path, make_elf: MakeElf, owned: bool
) -> None:
    # given a tree that nobody may write to
    image = b"".join(compact(make_elf(SOURCE, "-shared", "-fPIC", "-O1").read_bytes()).chunks)
    packed = b"".join(pack(image, pager_folder="$ORIGIN", level=3).chunks)
    tree = tmp_path / "task"
    (tree / "a").mkdir(parents=True)
    (tree / "a/lib.so").write_bytes(packed)
    (tree / "a/lib.so").chmod(0o555)
    (tree / "plain.so").write_bytes(image)
    (tree / "app.py").write_text("x = 1\n")
    (tree / "a").chmod(0o555)

    # when
    found = whole(tree, tmp_path / "whole", owned=owned)

    # then
    assert (found == tree) is owned
    assert (found / "a/lib.so").read_bytes() == image
    assert stat.S_IMODE((found / "a/lib.so").stat().st_mode) == 0o555
    assert stat.S_IMODE((found / "a").stat().st_mode) == 0o555
    assert sorted(path.name for path in found.rglob("*")) == ["a", "app.py", "lib.so", "plain.so"]
    assert (tree / "a/lib.so").read_bytes() == (image if owned else packed)


def test_a_tree_with_nothing_packed_is_whole(tmp_path: Path) -> None:
    (tmp_path / "damaged.so").write_bytes(b"\x7fELF\2\1\1" + bytes(57))
    (tmp_path / "link").symlink_to("nowhere")

    assert whole(tmp_path, tmp_path / "whole", owned=False) == tmp_path
