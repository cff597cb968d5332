from __future__ import annotations

import hashlib
import os
import random
import resource
import shutil
import stat
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from typing import TYPE_CHECKING

import pytest

from slimpack import archive
from slimpack.archive import COMPRESSOR, Member, write_zip
from slimpack.errors import BooksError, OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MIB = 2**20

JAVA_READER = """
import java.io.*; import java.util.zip.*;
class Read { public static void main(String[] args) throws Exception {
  try (ZipInputStream in = new ZipInputStream(new FileInputStream(args[0]))) {
    for (ZipEntry entry; (entry = in.getNextEntry()) != null; ) {
      CRC32 crc = new CRC32(); byte[] buffer = new byte[65536];
      for (int count; (count = in.read(buffer)) > 0; ) crc.update(buffer, 0, count);
      System.out.println(entry.getName() + " " + crc.getValue()); } } } }
"""


def prose(size: int, seed: int = 1) -> bytes:
    """Returns text-like bytes that every Python makes alike."""
    generator = random.Random(seed)  # noqa: S311 -- test data, not a secret
    words = [generator.getrandbits(40).to_bytes(5, "little") for _ in range(999)]
    picks = (generator.getrandbits(10) * generator.getrandbits(10) >> 11 for _ in range(size // 6 + 1))
    return b" ".join(words[pick] for pick in picks)[:size]


def noise(size: int) -> bytes:
    return random.Random(7).randbytes(size)  # noqa: S311 -- test data, not a secret


CONTENTS: Mapping[str, bytes] = {
    "app.py": b"def handler(event, context):\n    return event\n" * 20,
    "empty.py": b"",
    "one.txt": b"1",
    "lib/libsmall.so.1": prose(30_000),
    "lib/libbig.so": prose(3 * MIB + 12_345),
    "lib/exactly.bin": prose(2 * MIB),
    "lib/just_over.bin": prose(MIB + 1),
    "data/noise.bin": noise(5_000),
    "data/big noise.bin": noise(2 * MIB + 9),
    "data/noise then zeros.bin": noise(MIB) + bytes(MIB),
    "data/Größe 数据.txt": "Größe".encode() * 99,
    "data/zeros": bytes(5 * MIB),
}
EXECUTABLE = {"lib/libbig.so"}


def members(folder: Path, contents: Mapping[str, bytes] = CONTENTS) -> list[Member]:
    found = []
    for path, content in contents.items():
        source = folder / path
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(content)
        found.append(Member(path=path, source=source, size=len(content), executable=path in EXECUTABLE))
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    destination = folder / "bundle.zip"
    size = write_zip(destination, members(folder / "tree"), jobs=2)
    assert size == destination.stat().st_size
    return destination


def test_python_reads_back_what_went_in(written: Path) -> None:
    with zipfile.ZipFile(written) as zipped:
        assert {name: zipped.read(name) for name in zipped.namelist()} == CONTENTS


def test_members_are_sorted_and_carry_nothing_of_the_machine(written: Path) -> None:
    with zipfile.ZipFile(written) as zipped:
        entries = zipped.infolist()
    assert [entry.filename for entry in entries] == sorted(CONTENTS)
    for entry in entries:
        mode = 0o755 if entry.filename in EXECUTABLE else 0o644
        assert entry.external_attr == (stat.S_IFREG | mode) << 16
        assert entry.date_time == (1980, 1, 1, 0, 0, 0)
        assert (entry.create_system, entry.extra, entry.comment, entry.extract_version) == (3, b"", b"", 20)


def test_only_names_that_are_not_ascii_are_marked_as_unicode(written: Path) -> None:
    with zipfile.ZipFile(written) as zipped:
        marked = [entry.filename for entry in zipped.infolist() if entry.flag_bits == 0x800]
        plain = [entry.filename for entry in zipped.infolist() if entry.flag_bits == 0]
    assert marked == ["data/Größe 数据.txt"]
    assert len(plain) == len(CONTENTS) - 1


def test_what_deflate_does_not_make_smaller_is_stored(written: Path) -> None:
    with zipfile.ZipFile(written) as zipped:
        stored = {e.filename for e in zipped.infolist() if e.compress_type == zipfile.ZIP_STORED}
        assert all(entry.compress_size <= entry.file_size for entry in zipped.infolist())
    assert stored == {"empty.py", "one.txt", "data/noise.bin", "data/big noise.bin"}


def test_the_bytes_depend_on_neither_jobs_nor_order_nor_clock_nor_umask(
    written: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "another place"
    given = members(tree)
    for member in given:
        os.utime(member.source, (1, 1))
        member.source.chmod(0o600)
    before = os.umask(0o077)
    try:
        write_zip(tmp_path / "one.zip", given[::-1], jobs=1)
    finally:
        os.umask(before)
    write_zip(tmp_path / "four.zip", given, jobs=4)
    assert (tmp_path / "one.zip").read_bytes() == written.read_bytes()
    assert (tmp_path / "four.zip").read_bytes() == written.read_bytes()
    assert stat.S_IMODE((tmp_path / "one.zip").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "four.zip").stat().st_mode) == 0o666 & ~before


@pytest.mark.skipif(COMPRESSOR != "zlib-ng 2.3.3 level 5", reason="other releases may pack differently")
def test_the_bytes_are_those_of_every_other_machine(written: Path) -> None:
    # computed on x86_64 and, under emulation, on x86_64 without SSE4.2, without AVX2, and on aarch64
    assert (
        hashlib.sha256(written.read_bytes()).hexdigest()
        == "2419dc1d355d8ed905de7a20f89d250ebb1e1072b2c7e63c6cfba657e2cd68a5"
    )


def test_nothing_to_write_is_an_archive_too(tmp_path: Path) -> None:
    size = write_zip(tmp_path / "empty.zip", [], jobs=2)
    assert size == 22
    with zipfile.ZipFile(tmp_path / "empty.zip") as zipped:
        assert zipped.namelist() == []


@pytest.mark.parametrize("reader", [["unzip", "-tqq"], ["bsdtar", "-tf"], ["jar", "-tf"]], ids=lambda r: r[0])
def test_other_programs_accept_it(written: Path, reader: list[str]) -> None:
    if shutil.which(reader[0]) is None:
        pytest.skip(f"no {reader[0]} here")
    subprocess.run(
        [*reader, written], check=True, capture_output=True, env=os.environ | {"LC_ALL": "C.UTF-8"}
    )


def test_java_reads_it_as_a_stream(written: Path, tmp_path: Path) -> None:
    if shutil.which("javac") is None:
        pytest.skip("no javac here")
    (tmp_path / "Read.java").write_text(JAVA_READER)
    run = subprocess.run(
        ["java", "-Dstdout.encoding=UTF-8", "-Dsun.stdout.encoding=UTF-8", tmp_path / "Read.java", written],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    )
    assert run.stdout.splitlines() == [f"{path} {zlib.crc32(CONTENTS[path])}" for path in sorted(CONTENTS)]


def test_packages_can_be_imported_from_it(tmp_path: Path) -> None:
    given = members(tmp_path, {"package/__init__.py": b"", "package/module.py": b"print(6 * 7)\n"})
    write_zip(tmp_path / "bundle.zip", given, jobs=1)
    run = subprocess.run(
        [
            sys.executable,
            "-Ic",
            f"import sys; sys.path.insert(0, {str(tmp_path / 'bundle.zip')!r}); import package.module",
        ],
        check=True,
        capture_output=True,
    )
    assert run.stdout == b"42\n"


def test_more_members_than_sixteen_bits_count(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.touch()
    given = [Member(path=f"{n:05}", source=source, size=0, executable=False) for n in range(65_536)]
    write_zip(tmp_path / "many.zip", given, jobs=1)
    with zipfile.ZipFile(tmp_path / "many.zip") as zipped:
        assert len(zipped.namelist()) == 65_536
    assert b"PK\6\6" in (tmp_path / "many.zip").read_bytes()[-98:]
    if shutil.which("zipinfo"):
        run = subprocess.run(["zipinfo", "-h", tmp_path / "many.zip"], check=True, capture_output=True)
        assert b"65536" in run.stdout


def test_offsets_past_four_gibibytes(tmp_path: Path) -> None:
    # given an archive with a hole of five GiB, which takes no room on disk
    entry = archive._Entry(
        member=Member(path="far", source=tmp_path, size=3, executable=False),
        name=b"far",
        offset=5 * 2**30,
        method=0,
        crc=zlib.crc32(b"abc"),
        packed_size=3,
    )
    path = tmp_path / "far.zip"
    with path.open("wb") as file:
        file.seek(entry.offset)
        file.write(archive._local_header(entry) + b"abc")
        start = file.tell()
        file.write(archive._central_header(entry))
        file.write(archive._end(1, start=start, size=file.tell() - start))
    # when it is read, then the member is found
    with zipfile.ZipFile(path) as zipped:
        assert zipped.getinfo("far").header_offset == 5 * 2**30
        assert zipped.read("far") == b"abc"
    if shutil.which("unzip"):
        # 1: Info-ZIP warns of the bytes in front of the first member
        run = subprocess.run(["unzip", "-tqq", path], check=False, capture_output=True)
        assert run.returncode in (0, 1)


@pytest.mark.heavy
def test_a_member_of_more_than_four_gibibytes(tmp_path: Path) -> None:
    size = 2**32 + 10
    with (tmp_path / "zeros").open("wb") as file:
        file.truncate(size)
    given = [
        Member(path="a", source=tmp_path / "zeros", size=size, executable=False),
        *members(tmp_path, {"b": b"after"}),
    ]
    write_zip(tmp_path / "huge.zip", given, jobs=2)
    with zipfile.ZipFile(tmp_path / "huge.zip") as zipped:
        assert zipped.getinfo("a").file_size == size
        assert zipped.getinfo("a").extract_version == 45
        assert zipped.getinfo("b").extra == b""
        assert zipped.read("b") == b"after"
    if shutil.which("unzip"):
        subprocess.run(["unzip", "-tqq", tmp_path / "huge.zip"], check=True)


def test_memory_does_not_grow_with_the_members(tmp_path: Path) -> None:
    source = tmp_path / "zeros"
    with source.open("wb") as file:
        file.truncate(64 * MIB)
    tracemalloc.start()
    try:
        write_zip(
            tmp_path / "bundle.zip",
            [Member(path="zeros", source=source, size=64 * MIB, executable=False)],
            jobs=2,
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 * MIB


def test_a_previous_archive_is_overwritten_whole(tmp_path: Path) -> None:
    destination = tmp_path / "bundle.zip"
    destination.write_bytes(noise(10_000))
    write_zip(destination, [], jobs=1)
    assert destination.stat().st_size == 22


@pytest.mark.parametrize("content", [b"shorter", b"a longer one than it is said to be"])
def test_a_file_that_changed_its_size_is_a_fault(tmp_path: Path, content: bytes) -> None:
    (member,) = members(tmp_path, {"changed.py": b"what it was said to be"})
    member.source.write_bytes(content)
    with pytest.raises(BooksError) as caught:
        write_zip(tmp_path / "bundle.zip", [member], jobs=1)
    assert caught.value.where == str(member.source)
    assert not (tmp_path / "bundle.zip").exists()


def test_a_file_that_is_gone_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    given = members(tmp_path, {"first.py": prose(2 * MIB), "gone.py": b"x" * 10})
    given[1].source.unlink()
    with pytest.raises(OutputError, match="cannot be read") as caught:
        write_zip(tmp_path / "bundle.zip", given, jobs=2)
    assert caught.value.where == str(given[1].source)
    assert not (tmp_path / "bundle.zip").exists()


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    source = tmp_path / os.fsdecode(b"caf\xe9.py")
    source.write_bytes(b"pass\n")
    with pytest.raises(OutputError, match="no Unicode"):
        write_zip(
            tmp_path / "bundle.zip",
            [Member(path=source.name, source=source, size=5, executable=False)],
            jobs=1,
        )
    assert not (tmp_path / "bundle.zip").exists()


def test_a_folder_that_does_not_exist_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        write_zip(tmp_path / "missing" / "bundle.zip", [], jobs=1)
    assert caught.value.where == str(tmp_path / "missing" / "bundle.zip")


@pytest.mark.parametrize("room", [10, 100_000], ids=["at the end", "on the way"])
def test_nothing_is_left_when_there_is_no_room(tmp_path: Path, room: int) -> None:
    given = members(tmp_path, {"noise": noise(room + 1)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(OutputError) as caught:
            write_zip(tmp_path / "bundle.zip", given, jobs=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.where == str(tmp_path / "bundle.zip")
    assert caught.value.fix
    assert not (tmp_path / "bundle.zip").exists()
