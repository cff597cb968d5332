from __future__ import annotations

import base64
import hashlib
import os
import pickle
import stat
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile, ZipInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.tags import Tag

from slimpack.errors import WheelError
from slimpack.wheel import Limits, Wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from conftest import MakeWheel

INFO = "pkg-1.0.dist-info"
METADATA = b"Metadata-Version: 2.1\nName: pkg\nVersion: 1.0\n"
WHEEL = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"

NESTED = b"".join(
    b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (depth, depth) for depth in range(1200)
)
"""A message in a message in a message."""

# offsets of fields in an entry of the central directory (APPNOTE 4.3.12)
FLAGS, METHOD, CRC, COMPRESSED, SIZE, OFFSET = 8, 10, 16, 20, 24, 42


def entry(name: str, *, mode: int = stat.S_IFREG | 0o644, method: int = ZIP_DEFLATED) -> ZipInfo:
    info = ZipInfo(name)
    info.external_attr = mode << 16
    info.compress_type = method
    return info


def record_line(name: str, content: bytes, algorithm: str = "sha256") -> str:
    digest = base64.urlsafe_b64encode(hashlib.new(algorithm, content).digest()).rstrip(b"=").decode()
    return f"{name},{algorithm}={digest},{len(content)}\n"


def craft(
    folder: Path,
    entries: Iterable[tuple[str | ZipInfo, bytes]] = (),
    *,
    record: Callable[[str], bytes] = str.encode,
    metadata: bytes = METADATA,
    wheel: bytes = WHEEL,
    without: str | None = None,
    info: str = INFO,
    filename: str = "pkg-1.0-py3-none-any.whl",
) -> Path:
    """Writes a wheel without asking whether it makes sense; ``record`` gets the right RECORD and may change it."""
    infos = [(one if isinstance(one, ZipInfo) else entry(one), content) for one, content in entries]
    infos += [(entry(f"{info}/METADATA"), metadata), (entry(f"{info}/WHEEL"), wheel)]
    lines = [record_line(one.filename, content) for one, content in infos if not one.is_dir()]
    infos.append((entry(f"{info}/RECORD"), record("".join([*lines, f"{info}/RECORD,,\n"]))))
    path = folder / filename
    with ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name that is there twice
        for one, content in infos:
            if one.filename != without:
                archive.writestr(one, content)
    return path


def patch(path: Path, name: str, field: int, value: int, *, size: int = 4, local: int | None = None) -> Path:
    """Changes a field of an entry in the central directory, and in its own header if ``local`` tells where."""
    with ZipFile(path) as archive:
        start, header = archive.start_dir, archive.getinfo(name).header_offset
    content = bytearray(path.read_bytes())
    place = content.index(name.encode(), start) - 46
    packed = value.to_bytes(size, "little")
    content[place + field : place + field + size] = packed
    if local is not None:
        content[header + local : header + local + size] = packed
    path.write_bytes(content)
    return path


def read_all(path: Path, limits: Limits | None = None) -> dict[str, bytes]:
    with Wheel.open(path, limits) as wheel:
        return {file.path: wheel.read(file) for file in wheel.files}


def refused(path: Path, limits: Limits | None = None) -> WheelError:
    """Returns the error of opening a wheel and reading all of it."""
    with pytest.raises(WheelError) as caught:
        read_all(path, limits)
    error = caught.value
    assert error.fix
    assert str(error).isprintable()
    assert error.where is not None
    return error


def test_an_open_wheel_tells_what_its_name_and_metadata_say(make_wheel: MakeWheel) -> None:
    path = make_wheel(
        "My.Pkg",
        "1.0.0",
        {"my/pkg.py": "x = 1\n"},
        requires=("numpy>=2; extra == 'fast'", "six"),
        extras=("Fast_Mode",),
        tag="cp312-cp312-manylinux_2_28_x86_64",
        entry_points="[console_scripts]\nrun = my.pkg:main\n",
    )

    with Wheel.open(path) as wheel:
        assert (wheel.name, wheel.version, wheel.filename) == ("my-pkg", "1.0.0", path.name)
        assert wheel.tags == {Tag("cp312", "cp312", "manylinux_2_28_x86_64")}
        assert wheel.requires == (Requirement("numpy>=2; extra == 'fast'"), Requirement("six"))
        assert wheel.extras == ("fast-mode",)
        assert wheel.entry_points == "[console_scripts]\nrun = my.pkg:main\n"
        assert not wheel.root_is_purelib


def test_a_wheel_lists_every_file_and_reads_it(make_wheel: MakeWheel) -> None:
    path = make_wheel(
        "pkg", "1.0", {"pkg/b.py": "b", "pkg/tool": "#!/bin/sh", "a.py": b""}, executable=("pkg/tool",)
    )

    with Wheel.open(path) as wheel:
        files = {file.path: file for file in wheel.files}
        assert list(files) == sorted(
            ["a.py", "pkg/b.py", "pkg/tool", f"{INFO}/METADATA", f"{INFO}/RECORD", f"{INFO}/WHEEL"]
        )
        assert wheel.read(files["pkg/b.py"]) == b"b"
        assert wheel.read(files["a.py"]) == b""
        assert all(file.sha256 == hashlib.sha256(wheel.read(file)).hexdigest() for file in wheel.files)
        assert all(file.size == len(wheel.read(file)) for file in wheel.files)
        assert {file.owner for file in wheel.files} == {"pkg"}
        assert [file.path for file in wheel.files if file.executable] == ["pkg/tool"]
        assert wheel.entry_points is None
        assert wheel.requires == ()
        assert wheel.root_is_purelib


def test_the_files_are_those_that_pip_installs(make_wheel: MakeWheel, tmp_path: Path) -> None:
    # given a wheel with everything that a .data folder may have
    path = make_wheel(
        "My_Pkg.x",
        "1.0",
        {"my_pkg/__init__.py": "x = 1\n", "my_pkg/tool": "#!/bin/sh\n"},
        executable=("my_pkg/tool", "data/bin/helper"),
        data={
            "purelib/pure.py": "p",
            "platlib/plat.py": "q",
            "scripts/run": "#!/bin/sh\n",
            "headers/a.h": "h",
            "headers/sub/b.h": "i",
            "data/bin/helper": "#!/bin/sh\n",
            "data/etc/my.json": "{}",
            "data/include/python/x.h": "j",
            "data/lib/python/viadata.py": "v",
            "data/lib64/y.so": "y",
            "data/top.txt": "t",
        },
    )

    # when pip installs it
    target = tmp_path / "target"
    command = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-compile", "--no-deps")
    subprocess.run([*command, "--target", target, path], check=True)

    # then both have the same files
    made_by_pip = {"INSTALLER", "REQUESTED", "direct_url.json", "RECORD"}
    site = (
        f"include/site/python{sys.version_info.major}.{sys.version_info.minor}/"  # from a virtual environment
    )
    installed = {
        file.relative_to(target).as_posix().replace(site, "include/python/"): file
        for file in target.rglob("*")
        if file.is_file() and file.name not in made_by_pip
    }
    with Wheel.open(path) as wheel:
        files = {file.path: file for file in wheel.files if not file.path.endswith("/RECORD")}
        assert files.keys() == installed.keys()
        for place, file in files.items():
            assert wheel.read(file) == installed[place].read_bytes()
            # pip leaves a script without an execute bit as it is
            assert file.executable == bool(installed[place].stat().st_mode & 0o100) or place == "bin/run"
        assert files["bin/run"].executable


def test_data_that_pip_loses_is_kept(make_wheel: MakeWheel) -> None:
    path = make_wheel("pkg", "1.0", {"pkg/a.py": ""}, data={"data/lib/libx.so": "x", "data/pkg/b.txt": "y"})

    with Wheel.open(path) as wheel:
        assert {"lib/libx.so", "pkg/a.py", "pkg/b.txt"} < {file.path for file in wheel.files}


def test_a_script_that_pip_would_rewrite_keeps_its_content(make_wheel: MakeWheel) -> None:
    path = make_wheel("pkg", "1.0", {}, data={"scripts/run": "#!python\nprint(1)\n"})

    with Wheel.open(path) as wheel:
        (script,) = (file for file in wheel.files if file.path == "bin/run")
        assert script.executable
        assert wheel.read(script) == b"#!python\nprint(1)\n"


def test_a_dist_info_folder_may_be_spelt_otherwise_than_the_file_name(tmp_path: Path) -> None:
    path = craft(
        tmp_path,
        info="foo_bar-1.0.dist-info",
        metadata=METADATA.replace(b"pkg", b"foo-bar"),
        filename="Foo.Bar-1.0.0-py2.py3-none-any.whl",
    )

    with Wheel.open(path) as wheel:
        assert wheel.name == "foo-bar"


def test_folders_are_no_files_and_signatures_need_no_hash(tmp_path: Path) -> None:
    folder = entry("a/", mode=stat.S_IFDIR | 0o755, method=ZIP_STORED)
    path = craft(
        tmp_path,
        [(folder, b""), ("a/b.py", b"1"), (f"{INFO}/RECORD.jws", b"{}")],
        record=lambda text: "".join(line for line in text.splitlines(True) if ".jws" not in line).encode(),
    )

    with Wheel.open(path) as wheel:
        signature = next(file for file in wheel.files if file.path.endswith(".jws"))
        assert "a/" not in {file.path for file in wheel.files}
        assert signature.sha256 is None
        assert wheel.sha256(signature) == hashlib.sha256(b"{}").hexdigest()


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
def test_better_hashes_than_sha256_are_checked_and_the_sha256_is_told_on_demand(
    tmp_path: Path, algorithm: str
) -> None:
    other = record_line("a.py", b"1", algorithm)
    path = craft(
        tmp_path,
        [("a.py", b"1")],
        record=lambda text: text.replace(record_line("a.py", b"1"), other).encode(),
    )

    with Wheel.open(path) as wheel:
        assert wheel.files[0].path == "a.py"
        assert wheel.files[0].sha256 is None
        assert wheel.read(wheel.files[0]) == b"1"
        assert wheel.sha256(wheel.files[0]) == hashlib.sha256(b"1").hexdigest()


def test_a_wheel_is_read_by_several_threads(make_wheel: MakeWheel) -> None:
    contents = {f"{number}.bin": hashlib.sha512(bytes([number])).digest() * 4096 for number in range(32)}
    path = make_wheel("pkg", "1.0", contents)

    with Wheel.open(path) as wheel, ThreadPoolExecutor(4) as pool:
        files = [file for file in wheel.files if file.path in contents]
        assert dict(zip((file.path for file in files), pool.map(wheel.read, files), strict=True)) == contents


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("../x.py", "leaves the root"),
        ("a/../../x.py", "leaves the root"),
        ("pkg-1.0.data/purelib/../x.py", "leaves the root"),
        ("/etc/x.py", "absolute path"),
        ("pkg-1.0.data/data//etc/x.py", "empty part"),
        ("./x.py", "a dot for one"),
        ("a\\..\\x.py", "backslash"),
        ("C:/x.py", "drive letter"),
        ("a/x\n.py", "control character"),
        ("a/\x9b31m.py", "control character"),
        ("pkg-1.0.data/nowhere/x.py", ".data folder"),
        ("pkg-1.0.data/x.py", ".data folder"),
        ("x.data", ".data folder"),
    ],
)
def test_a_name_without_a_safe_place_is_refused(tmp_path: Path, name: str, what: str) -> None:
    error = refused(craft(tmp_path, [(name, b"1")]))

    assert what in error.what
    assert error.where is not None
    assert error.where.startswith("pkg-1.0-py3-none-any.whl: ")


def test_a_name_with_a_nul_is_refused(tmp_path: Path) -> None:
    path = craft(tmp_path, [("good.py?evil", b"1")])
    path.write_bytes(path.read_bytes().replace(b"good.py?evil", b"good.py\0evil"))

    assert "control character" in refused(path).what


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (("a.py", "a.py"), "is there twice"),
        (("a.py", "pkg-1.0.data/purelib/a.py"), "is there twice"),
        (("a/README", "a/Readme"), "only in case"),
        (("stra\u00dfe.py", "strasse.py"), "only in case"),
        (("caf\u00e9.py", "cafe\u0301.py"), "Unicode form"),
        (("a", "a/b.py"), "where another needs a folder"),
        (("a/b.py", "A"), "where another needs a folder"),
        (("a", "a/"), "where another needs a folder"),
    ],
)
def test_two_entries_for_one_place_are_refused(tmp_path: Path, names: tuple[str, str], what: str) -> None:
    assert what in refused(craft(tmp_path, [(name, b"") for name in names])).what


@pytest.mark.parametrize(
    ("kind", "what"),
    [(stat.S_IFLNK, "symbolic link"), (stat.S_IFIFO, "special file"), (stat.S_IFCHR, "special file")],
)
def test_links_and_special_files_are_refused(tmp_path: Path, kind: int, what: str) -> None:
    error = refused(craft(tmp_path, [(entry("pkg/link", mode=kind | 0o777), b"a.py")]))

    assert what in error.what
    assert error.where == "pkg-1.0-py3-none-any.whl: pkg/link"


def test_a_wheel_at_its_limits_is_fine_and_beyond_them_refused(tmp_path: Path) -> None:
    path = craft(tmp_path, [("zeros.bin", b"\0" * 100_000)])
    with ZipFile(path) as archive:
        infos = archive.infolist()
    size, ratio = sum(info.file_size for info in infos), 100_000 // infos[0].compress_size + 1

    Wheel.open(path, Limits(size=size, entries=4, ratio=ratio, ratio_floor=1000)).close()
    Wheel.open(path, Limits(ratio=1, ratio_floor=100_000)).close()
    assert f"limit of {size - 1}" in refused(path, Limits(size=size - 1)).what
    assert "limit of 3" in refused(path, Limits(entries=3)).what
    assert f"limit of {ratio - 1} to 1" in refused(path, Limits(ratio=ratio - 1, ratio_floor=99_999)).what


def test_a_directory_too_large_for_the_limit_is_not_even_read(tmp_path: Path) -> None:
    infos = [entry(f"{number}.py") for number in range(20)]
    for info in infos:
        info.comment = b"?" * 0xFFFF  # in the directory only
    path = craft(tmp_path, [(info, b"") for info in infos])

    assert refused(path, Limits(entries=5)).what == "has too many entries"
    Wheel.open(path).close()


@pytest.mark.parametrize("declared", [0, 10, 10_000_000])
def test_content_of_another_size_than_declared_is_refused_within_bounds(
    tmp_path: Path, declared: int
) -> None:
    # given 64 MiB of zeros that claim to be something else, in the directory, the header and RECORD
    path = craft(
        tmp_path,
        [("zeros.bin", b"\0" * 2**26)],
        record=lambda text: text.replace(f",{2**26}\n", f",{declared}\n").encode(),
    )
    patch(path, "zeros.bin", SIZE, declared, local=22)

    # when it is read
    tracemalloc.start()
    error = refused(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # then it fails, and memory goes by what was declared
    assert f"the {declared} bytes that it declares" in error.what
    assert peak < 2 * declared + 2**21


def test_truncated_wheels_are_refused(tmp_path: Path) -> None:
    path = craft(tmp_path, [("a.bin", os.urandom(5000))])
    whole = path.read_bytes()

    for size in (0, 10, 4000, len(whole) - 30, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert "truncated" in refused(path).what


def test_a_file_that_shrinks_while_it_is_open_is_refused(tmp_path: Path) -> None:
    path = craft(tmp_path, [("a.bin", os.urandom(5000))])

    with Wheel.open(path) as wheel:
        os.truncate(path, 4000)
        with pytest.raises(WheelError, match=r"a\.bin: is truncated"):
            wheel.read(wheel.files[0])


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        (FLAGS, 0x0001, "encrypted"),
        (FLAGS, 0x2000, "encrypted"),
        (FLAGS, 0x0020, "method 8"),
        (METHOD, 99, "method 99"),
    ],
)
def test_encrypted_entries_and_unknown_methods_are_refused(
    tmp_path: Path, field: int, value: int, what: str
) -> None:
    path = patch(craft(tmp_path, [("a.py", b"1")]), "a.py", field, value, size=2)

    assert what in refused(path).what


def test_methods_that_installers_need_not_know_are_refused(tmp_path: Path) -> None:
    path = craft(tmp_path, [(entry("a.py", method=ZIP_LZMA), b"1")])

    assert "neither stored nor deflated" in refused(path).what


def test_overlapping_entries_are_refused_at_once(tmp_path: Path) -> None:
    path = patch(craft(tmp_path, [("a.py", b"1"), ("b.py", b"1")]), "b.py", OFFSET, 0)

    with pytest.raises(WheelError, match="overlaps"):
        Wheel.open(path)


def test_an_entry_that_reaches_into_the_directory_is_refused_at_once(tmp_path: Path) -> None:
    path = craft(tmp_path)
    with ZipFile(path) as archive:
        last = archive.infolist()[-1]
    patch(path, last.filename, COMPRESSED, last.compress_size + 1)

    with pytest.raises(WheelError, match="overlaps"):
        Wheel.open(path)


def test_an_entry_before_the_beginning_of_the_file_is_refused(tmp_path: Path) -> None:
    # given a directory that says it begins 5 bytes later than it does, so that all offsets are 5 less
    path = craft(tmp_path)
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\5\6") + 16
    content[place : place + 4] = struct.pack("<L", int.from_bytes(content[place : place + 4], "little") + 5)
    path.write_bytes(content)

    with pytest.raises(WheelError, match=r"overlaps|no zip file"):
        Wheel.open(path)


def test_an_entry_whose_extra_field_reaches_into_the_next_is_refused(tmp_path: Path) -> None:
    path = craft(tmp_path, [("a.py", b"1"), ("b.py", b"1")])
    content = bytearray(path.read_bytes())
    content[28:30] = struct.pack("<H", 40)
    path.write_bytes(content)

    assert "overlaps" in refused(path).what


@pytest.mark.parametrize(("old", "new"), [(b"PK\3\4", b"PK\3\5"), (b"a.py", b"b.py")])
def test_a_header_that_contradicts_the_directory_is_refused(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = craft(tmp_path, [("a.py", b"1")])
    path.write_bytes(path.read_bytes().replace(old, new, 1))

    assert "contradicts the zip's directory" in refused(path).what


def test_an_entry_that_python_knows_by_two_names_is_refused(tmp_path: Path) -> None:
    # given Info-ZIP's Unicode path field, which Python takes for the name in some versions and not in others
    info = entry("a.py")
    info.extra = struct.pack("<HHBL", 0x7075, 9, 1, zlib.crc32(b"a.py")) + b"b.py"
    path = craft(tmp_path, [(info, b"1")])
    with ZipFile(path) as archive:
        has_two_names = archive.infolist()[0].filename == "b.py"

    if has_two_names:
        assert refused(path).what == "has two names"
    else:
        assert read_all(path)["a.py"] == b"1"


def test_content_with_another_crc_is_refused(tmp_path: Path) -> None:
    path = patch(craft(tmp_path, [("a.py", b"1")]), "a.py", CRC, 1)

    assert "CRC" in refused(path).what


def test_content_with_another_hash_than_in_record_is_refused(tmp_path: Path) -> None:
    other = record_line("a.py", b"2")
    path = craft(
        tmp_path,
        [("a.py", b"1")],
        record=lambda text: text.replace(record_line("a.py", b"1"), other).encode(),
    )

    error = refused(path)

    assert error.where == "pkg-1.0-py3-none-any.whl: a.py"
    assert "hash" in error.what


@pytest.mark.parametrize(
    ("record", "what"),
    [
        (lambda text: text.replace("a.py,", "b.py,"), "is not in RECORD"),
        (lambda text: text + record_line("c.py", b""), "is in RECORD, but not in the wheel"),
        (lambda text: text + record_line("a.py", b"2"), "two lines"),
        (lambda text: text.replace(record_line("a.py", b"1"), "a.py,,\n"), "no hash"),
        (
            lambda text: text.replace(record_line("a.py", b"1"), record_line("a.py", b"1", "md5")),
            "no sha256 or better",
        ),
        (
            lambda text: text.replace(record_line("a.py", b"1"), record_line("a.py", b"1", "sha1")),
            "no sha256 or better",
        ),
        (lambda text: text.replace("sha256=", "sha256=x"), "no sha256 or better"),
        (lambda text: text.replace(",1\n", ",2\n"), "has 1 bytes, but 2 by RECORD"),
        (lambda text: text.replace(",1\n", ",one\n"), "no number"),
        (lambda text: text.replace(",1\n", "\n"), "2 fields"),
        (lambda text: text.replace("a.py", "a" * 200_000), "comma-separated"),
    ],
)
def test_a_record_that_disagrees_or_makes_no_sense_is_refused(
    tmp_path: Path, record: Callable[[str], str], what: str
) -> None:
    assert what in refused(craft(tmp_path, [("a.py", b"1")], record=lambda text: record(text).encode())).what


def test_a_record_may_have_empty_lines_folders_and_no_sizes(tmp_path: Path) -> None:
    path = craft(
        tmp_path, [("a.py", b"1")], record=lambda text: f"\n{text.replace(',1', ',')}\na/,,\n\n".encode()
    )

    Wheel.open(path).close()


def test_texts_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    assert "not UTF-8" in refused(craft(tmp_path, record=lambda text: text.encode() + b"\xff,,\n")).what
    assert "not UTF-8" in refused(craft(tmp_path, metadata=METADATA + b"Summary: \xff\n")).what
    assert "not UTF-8" in refused(craft(tmp_path, [(f"{INFO}/entry_points.txt", b"\xff")])).what


@pytest.mark.parametrize("file", ["RECORD", "METADATA", "WHEEL"])
def test_a_wheel_without_a_file_of_its_dist_info_folder_is_refused(tmp_path: Path, file: str) -> None:
    error = refused(craft(tmp_path, without=f"{INFO}/{file}"))

    assert (error.where, error.what) == (f"pkg-1.0-py3-none-any.whl: {INFO}/{file}", "is missing")


def test_any_number_of_dist_info_folders_but_one_is_refused(tmp_path: Path) -> None:
    assert "has 2 dist-info folders" in refused(craft(tmp_path, [("other-1.0.dist-info/METADATA", b"")])).what
    with ZipFile(tmp_path / "none-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("a.py", b"")
    assert "has no dist-info folders" in refused(tmp_path / "none-1.0-py3-none-any.whl").what


@pytest.mark.parametrize(
    ("filename", "metadata", "what"),
    [
        ("other-1.0-py3-none-any.whl", METADATA, "another distribution"),
        ("pkg-2.0-py3-none-any.whl", METADATA, "contradicts the file name"),
        ("pkg-1.0-py3-none-any.whl", METADATA.replace(b"1.0\n", b"2.0\n"), "contradicts the file name"),
        ("pkg-1.0-py3-none-any.whl", METADATA.replace(b"1.0\n", b"one\n"), "contradicts the file name"),
        ("pkg-1.0-py3-none-any.whl", METADATA.replace(b"pkg", b"other"), "contradicts the file name"),
        ("pkg-1.0-py3-none-any.whl", b"", "contradicts the file name"),
        ("pkg-1.0-py3-none-any.whl", METADATA + b"Requires-Dist: numpy >< 2\n", "no requirement"),
    ],
)
def test_metadata_that_contradicts_the_file_name_is_refused(
    tmp_path: Path, filename: str, metadata: bytes, what: str
) -> None:
    assert what in refused(craft(tmp_path, metadata=metadata, filename=filename)).what


@pytest.mark.parametrize(
    ("metadata", "what"),
    [
        (METADATA + b"Requires-Dist: a; " + b"(" * 5000 + b"\n", "nested too deeply"),
        (METADATA + NESTED, "nested too deeply"),
        (METADATA.replace(b"1.0", b"9" * 5000), "contradicts the file name"),
        (METADATA + b"\n" * 2**22, "too many for what it is"),
    ],
)
def test_metadata_made_to_break_its_parser_is_refused(tmp_path: Path, metadata: bytes, what: str) -> None:
    assert what in refused(craft(tmp_path, metadata=metadata)).what


def test_a_record_larger_than_its_wheel_can_need_is_refused(tmp_path: Path) -> None:
    path = craft(tmp_path, record=lambda text: text.encode() + b"\n" * (2**22 + 4096))

    assert "too many for what it is" in refused(path).what


@pytest.mark.parametrize("wheel", [WHEEL.replace(b"1.0", b"2.0"), WHEEL.replace(b"1.0", b"new"), b""])
def test_a_wheel_of_another_format_is_refused(tmp_path: Path, wheel: bytes) -> None:
    assert "only 1.x is known" in refused(craft(tmp_path, wheel=wheel)).what


def test_a_newer_minor_version_of_the_format_is_fine(tmp_path: Path) -> None:
    Wheel.open(craft(tmp_path, wheel=WHEEL.replace(b"1.0", b"1.9"))).close()


@pytest.mark.parametrize(
    "filename", ["pkg.whl", "pkg-1.0.whl", "pkg-one-py3-none-any.whl", "pkg-1.0-py3-none-any.zip"]
)
def test_a_file_name_that_is_none_of_a_wheel_is_refused(tmp_path: Path, filename: str) -> None:
    assert "no file name of a wheel" in refused(craft(tmp_path, filename=filename)).what


def test_what_is_no_zip_or_no_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pkg-1.0-py3-none-any.whl"
    assert "No such file" in refused(path).what
    path.write_bytes(b"<html>404</html>")
    assert "no zip file" in refused(path).what
    path.unlink()
    path.mkdir()
    assert "no regular file" in refused(path).what
    path.rmdir()
    os.mkfifo(path)
    assert "no regular file" in refused(path).what


def test_all_faults_of_a_wheel_come_in_one_error(tmp_path: Path) -> None:
    path = craft(
        tmp_path, [(f"../{number}.py", b"") for number in range(8)] + [("a/b.py", b""), ("a/B.py", b"")]
    )

    error = refused(path)

    assert error.what.startswith("has 9 faults: ../0.py has a path that leaves the root; ../1.py ")
    assert error.what.endswith("; and 4 more")
    assert error.where == path.name


def test_an_error_survives_the_way_out_of_a_worker_process(tmp_path: Path) -> None:
    error = refused(craft(tmp_path, [("../x", b"")]))

    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own bytes

    assert (copy.what, copy.where, copy.fix) == (error.what, error.where, error.fix)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_wheel_is_read_as_it_was_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    # given a wheel with some bytes changed or cut out
    path = craft(tmp_path, [("a.py", b"x = 1\n" * 20), (entry("b.bin", method=ZIP_STORED), b"12345")])
    expected = read_all(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    path.write_bytes(content)

    # when it is read, then what comes is right
    try:
        found = read_all(path)
    except WheelError:
        return
    assert {name: found[name] for name in ("a.py", "b.bin")} == {
        name: expected[name] for name in ("a.py", "b.bin")
    }


@pytest.mark.network
@pytest.mark.parametrize("requirement", ["six==1.17.0", "click==8.1.8", "ipykernel==6.29.5"])
def test_real_wheels_have_the_files_that_pip_installs(tmp_path: Path, requirement: str) -> None:
    pip = (sys.executable, "-m", "pip")
    subprocess.run([*pip, "download", "--quiet", "--no-deps", "--dest", tmp_path, requirement], check=True)
    (path,) = tmp_path.glob("*.whl")
    target = tmp_path / "target"
    subprocess.run([*pip, "install", "-q", "--no-compile", "--no-deps", "--target", target, path], check=True)

    made_by_pip = {"INSTALLER", "REQUESTED", "direct_url.json", "RECORD"}
    installed = {file.relative_to(target).as_posix(): file for file in target.rglob("*") if file.is_file()}
    with Wheel.open(path) as wheel:
        files = {file.path: file for file in wheel.files if not file.path.endswith("/RECORD")}
        assert files.keys() == {place for place, file in installed.items() if file.name not in made_by_pip}
        for place, file in files.items():
            assert wheel.read(file) == installed[place].read_bytes()
