from __future__ import annotations

import ctypes
import hashlib
import random
import struct
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from slimpack.elf import inspect as inspect_module
from slimpack.elf.compact import Compaction, compact
from slimpack.elf.inspect import Treated, inspect, layout_problems, treat
from slimpack.elf.layout import PT_LOAD, ElfError, read
from slimpack.model import SymbolVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from _typeshed import ReadableBuffer
    from conftest import MakeElf

SOURCE = '#include <stdio.h>\nint answer(void) { puts("asked"); return 42; }\n'
PROGRAM = "int main(void) { return 0; }\n"
SHARED = ("-shared", "-fPIC", "-g")


def test_a_library_states_its_name_its_needs_and_what_it_provides(make_elf: MakeElf, tmp_path: Path) -> None:
    # given a library with a version script that needs another one of the bundle
    needed = make_elf("int other;", *SHARED, "-Wl,-soname,libother.so.2", name="libother.so")
    script = tmp_path / "versions"
    script.write_text("FOO_1.0 { answer; }; FOO_2.0 { other_answer; } FOO_1.0;")
    path = make_elf(
        SOURCE + "int other_answer(void) { return 43; }",
        *SHARED,
        "-Wl,-soname,libfoo.so.1",
        "-Wl,--no-as-needed",
        str(needed),
        "-Wl,--enable-new-dtags,-rpath,$ORIGIN:$ORIGIN/../foo.libs",
        f"-Wl,--version-script={script}",
    )

    # when
    facts = inspect(path, "foo/libfoo.so.1")

    # then
    assert (facts.path, facts.type, facts.machine) == ("foo/libfoo.so.1", "DYN", "x86_64")
    assert facts.soname == "libfoo.so.1"
    assert facts.needed == ("libother.so.2", "libc.so.6")
    assert facts.search_path == ("$ORIGIN", "$ORIGIN/../foo.libs")
    assert not facts.search_path_first
    assert SymbolVersion(library="libc.so.6", version="GLIBC_2.2.5") in facts.versions
    assert facts.provides == ("FOO_1.0", "FOO_2.0")
    assert facts.interpreter is None


def test_rpath_is_told_from_runpath(make_elf: MakeElf) -> None:
    facts = inspect(make_elf(SOURCE, *SHARED, "-Wl,--disable-new-dtags,-rpath,$ORIGIN/a"), "a.so")

    assert (facts.search_path, facts.search_path_first) == (("$ORIGIN/a",), True)


def test_a_plain_library_states_little(make_elf: MakeElf) -> None:
    facts = inspect(make_elf("int x;", *SHARED, "-nostdlib"), "x.so")

    assert (facts.soname, facts.needed, facts.versions, facts.provides) == (None, (), (), ())
    assert (facts.search_path, facts.search_path_first) == ((), False)


def test_executables_name_their_interpreter(make_elf: MakeElf) -> None:
    assert inspect(make_elf(PROGRAM), "run").interpreter == "/lib64/ld-linux-x86-64.so.2"
    assert inspect(make_elf(PROGRAM, "-no-pie"), "run").type == "EXEC"
    assert inspect(make_elf(PROGRAM, "-static"), "run").interpreter is None
    assert inspect(make_elf(PROGRAM, "-c"), "run.o").type == "REL"


def test_content_is_read_as_a_file_is(make_elf: MakeElf) -> None:
    path = make_elf(SOURCE, *SHARED)

    assert inspect(path.read_bytes(), "a.so") == inspect(path, "a.so")
    assert layout_problems(path.read_bytes()) == layout_problems(path) == ()


@pytest.mark.parametrize(
    ("offset", "code", "value", "machine"),
    [(18, "H", 183, "aarch64"), (18, "H", 0xBEEF, "machine 48879"), (5, "B", 1, "x86_64")],
)
def test_other_machines_are_named(
    make_elf: MakeElf, offset: int, code: str, value: int, machine: str
) -> None:
    image = bytearray(make_elf(SOURCE, *SHARED).read_bytes())
    struct.pack_into(f"<{code}", image, offset, value)

    assert inspect(image, "a.so").machine == machine


@pytest.mark.parametrize("content", [b"\x7fELF", b"\x7fELF" + b"\xff" * 100, b"no ELF file", b""])
def test_what_lief_does_not_understand_has_a_reason(content: bytes) -> None:
    with pytest.raises(ElfError, match="LIEF does not understand it"):
        inspect(content, "a.so")


def test_damaged_files_raise_nothing_but_an_elf_error(make_elf: MakeElf) -> None:
    whole = make_elf(SOURCE, *SHARED, "-Wl,-soname,libfoo.so.1").read_bytes()
    dynamic_strings = next(section for section in read(whole).sections if section.name == ".dynstr")
    chance = random.Random(0)  # noqa: S311 -- repeatable damage

    for _ in range(200):
        image = bytearray(whole)
        for _ in range(4):
            image[chance.choice([chance.randrange(64 + 11 * 56), chance.randrange(len(image))])] = 0xFF
        image[dynamic_strings.offset + chance.randrange(dynamic_strings.size)] = 0xFF
        layout_problems(image)
        with suppress(ElfError):
            inspect(image, "a.so")


@pytest.mark.parametrize(
    "give", [lambda content: content, lambda content: lambda: content], ids=["bytes", "function"]
)
def test_a_library_is_written_compacted_and_accounted_for(
    make_elf: MakeElf, tmp_path: Path, give: Callable[[bytes], bytes]
) -> None:
    image = make_elf(SOURCE, *SHARED).read_bytes()
    destination = tmp_path / "libcompacted.so"

    treated = treat(give(image), "pkg/a.so", destination)

    written = destination.read_bytes()
    assert written == b"".join(compact(image).chunks)
    assert treated == Treated(
        facts=inspect(image, "pkg/a.so"),
        size=len(written),
        sha256=hashlib.sha256(written).hexdigest(),
        dropped=compact(image).dropped,
        cleared=0,
        left_as_it_was=None,
        problems=(),
    )
    assert ctypes.CDLL(str(destination)).answer() == 42


def test_on_request_a_library_is_written_as_it_is(make_elf: MakeElf, tmp_path: Path) -> None:
    image = make_elf(SOURCE, *SHARED).read_bytes()

    treated = treat(image, "pkg/a.so", tmp_path / "out", compact=False)

    assert (tmp_path / "out").read_bytes() == image
    assert (treated.dropped, treated.left_as_it_was, treated.size) == ((), None, len(image))
    assert treated.facts == inspect(image, "pkg/a.so")


@pytest.mark.parametrize(
    ("args", "appended", "reason"),
    [
        (("-c",), b"", "it is neither an executable nor a shared object"),
        (("-shared", "-fPIC"), b"PK archive", "it holds 10 bytes behind what its headers describe"),
    ],
)
def test_what_is_not_compacted_says_why(
    make_elf: MakeElf, tmp_path: Path, args: tuple[str, ...], appended: bytes, reason: str
) -> None:
    image = make_elf(SOURCE, *args).read_bytes() + appended

    treated = treat(image, "pkg/a", tmp_path / "out")

    assert (tmp_path / "out").read_bytes() == image
    assert (treated.left_as_it_was, treated.problems) == (reason, ())
    assert treated.facts is not None


def test_what_nobody_understands_is_written_as_it_is(tmp_path: Path) -> None:
    treated = treat(b"\x7fELF", "pkg/a", tmp_path / "out")

    assert (tmp_path / "out").read_bytes() == b"\x7fELF"
    assert (treated.facts, treated.left_as_it_was) == (None, "it ends inside its ELF header")
    assert treated.problems == ("LIEF does not understand it",)


def with_alignment(image: ReadableBuffer, alignment: int) -> bytes:
    """Returns the file with another ``p_align`` in its first PT_LOAD segment."""
    layout = read(image)
    number = next(number for number, segment in enumerate(layout.segments) if segment.type == PT_LOAD)
    changed = bytearray(image)
    struct.pack_into("<Q", changed, layout.header.segments_offset + number * 56 + 48, alignment)
    return bytes(changed)


def test_an_outcome_that_the_loader_would_refuse_is_replaced_by_the_original(
    make_elf: MakeElf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a compaction that goes wrong
    image = make_elf(SOURCE, *SHARED).read_bytes()

    def wrong(image: ReadableBuffer, *, clear: Collection[str]) -> Compaction:
        compaction = compact(image, clear=clear)
        return replace(compaction, chunks=(with_alignment(b"".join(compaction.chunks), 0x800),))

    monkeypatch.setattr(inspect_module, "compact_image", wrong)

    # when
    treated = treat(lambda: image, "pkg/a.so", tmp_path / "out")

    # then
    assert (tmp_path / "out").read_bytes() == image
    assert (treated.size, treated.dropped, treated.problems) == (len(image), (), ())
    assert treated.left_as_it_was == (
        "compacted, the PT_LOAD segment at 0x0 has an alignment of 0x800, which is no power of two of whole pages"
    )
    assert treated.facts == inspect(image, "pkg/a.so")


def test_an_outcome_that_differs_in_memory_is_replaced_by_the_original(
    make_elf: MakeElf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make_elf(SOURCE, *SHARED).read_bytes()

    def wrong(image: ReadableBuffer, *, clear: Collection[str]) -> Compaction:
        compaction = compact(image, clear=clear)
        return replace(compaction, chunks=(b"".join(compaction.chunks).replace(b"asked", b"ASKED"),))

    monkeypatch.setattr(inspect_module, "compact_image", wrong)

    treated = treat(image, "pkg/a.so", tmp_path / "out")

    assert (tmp_path / "out").read_bytes() == image
    assert treated.left_as_it_was == "compacted, it would differ in memory"


def test_a_problem_that_the_original_had_is_told_and_stops_nothing(make_elf: MakeElf, tmp_path: Path) -> None:
    image = with_alignment(make_elf(SOURCE, *SHARED).read_bytes(), 0x800)

    treated = treat(image, "pkg/a.so", tmp_path / "out")

    assert treated.dropped
    assert treated.left_as_it_was is None
    assert [problem.partition(" has ")[0] for problem in treated.problems] == ["the PT_LOAD segment at 0x0"]


def test_a_destination_that_cannot_be_written_is_an_error_of_the_system(
    make_elf: MakeElf, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        treat(make_elf(SOURCE, *SHARED).read_bytes(), "pkg/a.so", tmp_path / "missing" / "out")
