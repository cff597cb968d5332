"""Usage: what a start needs, from runs that were seen and from imports."""

from __future__ import annotations

from slimpack.model import ElfFacts
from slimpack.profile import (
    PAGE,
    SCHEMA_VERSION,
    FileRecord,
    LibraryRecord,
    ModuleRecord,
    Profile,
    RunRecord,
    SegmentRecord,
)
from slimpack.usage import of_handler, of_profile


def imported(name: str, file: str | None, init: int, invoke: int = 0) -> ModuleRecord:
    return ModuleRecord(name=name, file=file, sha256=None, init=init, invoke=invoke, own=(), whole=())


def opened(path: str) -> FileRecord:
    return FileRecord(path=path, sha256=None, size=1, init=1, invoke=0)


def loaded(path: str, *segments: SegmentRecord) -> LibraryRecord:
    return LibraryRecord(path=path, sha256=None, init=4, invoke=0, segments=segments)


def code(address: int, *pages: tuple[int, int], executable: bool = True) -> SegmentRecord:
    touched = tuple((first, count, 4) for first, count in pages)
    return SegmentRecord(address=address, pages=100_000, executable=executable, init=touched, invoke=())


def profile(
    *modules: ModuleRecord, files: tuple[FileRecord, ...] = (), libraries: tuple[LibraryRecord, ...] = ()
) -> Profile:
    return Profile(
        schema_version=SCHEMA_VERSION,
        slimpack="1",
        runtime="python3.13",
        architecture="x86_64",
        runs=(RunRecord(bundle="", handler="app.handler", events=(), times=4),),
        modules=modules,
        files=files,
        libraries=libraries,
        not_recorded=(),
    )


def test_a_share_is_that_of_the_runs_and_what_none_needed_is_next_to_nothing() -> None:
    used = of_profile(
        profile(imported("a", "a.py", 4), imported("b", "b.py", 1, 1), imported("sys", None, 4)), prefix=""
    )

    assert (used.module("a.py"), used.module("b.py")) == (1.0, 0.5)
    assert 0 < used.module("never.py") < 0.02
    assert used.order == ("a.py", "b.py")
    assert used.source == "a profile of 4 runs"


def test_of_a_layer_paths_are_those_of_its_tree_and_what_lies_elsewhere_is_no_part_of_it() -> None:
    used = of_profile(profile(imported("a", "python/a.py", 4), imported("b", "b.py", 4)), prefix="python/")

    assert used.module("a.py") == 1.0
    assert used.order == ("a.py",)


def test_sources_that_a_start_opens_are_read_unless_it_opens_most_of_them_to_compile() -> None:
    modules = [imported(f"m{i}", f"m{i}.py", 4) for i in range(4)]

    some = of_profile(profile(*modules, files=(opened("m1.py"), opened("data.txt"))), prefix="")
    most = of_profile(profile(*modules, files=tuple(opened(f"m{i}.py") for i in range(3))), prefix="")

    assert some.read == {"m1.py"}
    assert most.read == frozenset()


def test_touched_code_is_told_by_the_addresses_of_its_pages() -> None:
    library = loaded("a.so", code(0x1000, (5, 1), (0, 2)), code(0x9000000, (0, 9), executable=False))

    used = of_profile(profile(libraries=(library,)), prefix="")

    assert used.touched == {"a.so": (0x1000, 0x1000 + PAGE, 0x1000 + 5 * PAGE)}
    assert used.library("a.so") == 1.0


def facts(path: str, *needed: str, soname: str | None = None) -> ElfFacts:
    return ElfFacts(
        path=path,
        type="DYN",
        machine="x86_64",
        soname=soname,
        needed=needed,
        search_path=(),
        versions=(),
        interpreter=None,
    )


def test_a_handler_needs_what_it_imports_and_what_that_links_to() -> None:
    sources = {"app.py": b"import a.fast\n", "a/__init__.py": b"", "other.py": b""}
    elf = (
        facts("a/fast.cpython-313-x86_64-linux-gnu.so", "libmath.so.1", "libc.so.6"),
        facts("a.libs/libmath-1f.so.1", "libdeep.so", soname="libmath.so.1"),
        facts("a.libs/libdeep.so"),
        facts("a/slow.so"),
    )

    used = of_handler("app.handler", [*sources, *(one.path for one in elf)], elf, sources.__getitem__)

    assert used.order == ("app.py", "a/__init__.py")
    assert [used.library(one.path) for one in elf] == [1.0, 1.0, 1.0, 0.2]
    assert used.module("other.py") < used.module("app.py") == 1.0
    assert used.source == "what app imports"


def test_without_a_handler_everything_counts_as_needed() -> None:
    for handler in ("", "missing.handler"):
        used = of_handler(handler, ["a.py"], (), {"a.py": b""}.__getitem__)

        assert used.module("a.py") == used.library("b.so") == 1.0
