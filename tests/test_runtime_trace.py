"""Tracing: real processes, with and without a room, and a library whose touched pages are known."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from runtimes import make_stage

from slimpack.runtime import client
from slimpack.runtime.invoke import run
from slimpack.runtime.native import build
from slimpack.runtime.opens import Opens
from slimpack.runtime.trace import _read_notes, trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from slimpack.profile import ModuleRecord, Profile, SegmentRecord
    from slimpack.runtime.stage import Stage
    from slimpack.runtime.trace import Traced

TABLE = """
__attribute__((aligned(4096))) const unsigned char table[2048 * 4096] = {1, 2, 3};
int get(int page) { return ((const volatile unsigned char *)table)[page * 4096]; }
"""
"""A library with a table of 2,048 pages, four times what the kernel may map at once, of which ``get`` reads one."""

LOADS = """
    import ctypes, os
    table = ctypes.CDLL(os.path.join(os.path.dirname(__file__), "native", "libtable.so"))
    table.get(3)
    def handler(event, context):
        return [table.get(page) for page in event]
"""


@pytest.fixture(params=[True, False], ids=["room", "open"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Stage]:
    """Makes a stage of files, with what traces a function beside the client."""

    def make(source: str, files: dict[str, str] | None = None, *, prefix: str = "") -> Stage:
        made = make_stage(
            tmp_path, {f"{prefix}app.py": source, **(files or {})}, room=request.param, timeout_seconds=60.0
        )
        client.add_guests(made.client, made.target)
        for place in (made.client, *made.client.rglob("*")):
            place.chmod(0o755)
        return made

    return make


def compiled(folder: Path, *options: str) -> int:
    """Compiles the library with the table; returns the table's address."""
    folder.mkdir()
    library = folder / "libtable.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", *options, "-x", "c", "-", "-o", str(library)],
        input=TABLE,
        encoding="ascii",
        check=True,
    )
    symbols = subprocess.run(["nm", str(library)], capture_output=True, encoding="ascii", check=True).stdout
    return next(int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(" table"))


def profile_of(traced: Traced) -> Profile:
    assert traced.profile is not None, traced.runs[-1]
    return traced.profile


def traced(stage: Stage, *events: object, repeat: int = 1) -> Profile:
    return profile_of(
        trace(
            stage,
            [(f"{i}.json", json.dumps(event).encode()) for i, event in enumerate(events)],
            repeat=repeat,
        )
    )


def named(profile: Profile, name: str) -> ModuleRecord:
    return next(module for module in profile.modules if module.name == name)


def watched(profile: Profile, path: str) -> tuple[SegmentRecord, ...]:
    """Returns the segments of a library, if this kernel lets their pages be watched."""
    refused = [one.reason for one in profile.not_recorded if one.what == "touched pages"]
    if refused:
        pytest.skip(refused[0])
    return next(one for one in profile.libraries if one.path == path).segments


def numbers(segments: tuple[SegmentRecord, ...], phase: str, table: int) -> list[int]:
    """Returns the pages of the table that were touched."""
    pages = {
        (segment.address - table) // 4096 + page
        for segment in segments
        for first, length, _ in getattr(segment, phase)
        for page in range(first, first + length)
    }
    return sorted(page for page in pages if 0 <= page < 2048)


def test_modules_are_told_in_order_with_phase_and_file(stage: Callable[..., Stage]) -> None:
    source = """
        import first
        def handler(event, context):
            import importlib
            return importlib.import_module("late").__name__
    """
    files = {
        "first.py": "import pkg.second\nimport _bisect",
        "pkg/__init__.py": "",
        "pkg/second.py": "",
        "late.py": "",
        "unused.py": "",
    }

    profile = traced(stage(source, files), 1, 2)

    own = [(one.name, one.file, one.init, one.invoke) for one in profile.modules if one.file is not None]
    assert own == [
        ("app", "app.py", 1, 0),
        ("first", "first.py", 1, 0),
        ("pkg.second", "pkg/second.py", 1, 0),
        ("pkg", "pkg/__init__.py", 1, 0),
        ("late", "late.py", 0, 1),
    ]
    assert named(profile, "awslambdaric").file is None
    assert named(profile, "first").sha256 == next(
        one.sha256 for one in profile.files if one.path == "first.py"
    )
    assert not [one for one in profile.modules if one.name == "unused"]


def test_the_time_of_a_module_holds_that_of_what_it_imports(stage: Callable[..., Stage]) -> None:
    files = {
        "outer.py": "import inner\ntry:\n    import broken\nexcept ValueError:\n    pass",
        "inner.py": "import time; time.sleep(0.05)",
        "broken.py": "import nested\nraise ValueError",
        "nested.py": "",
    }

    profile = traced(stage("import outer\ndef handler(event, context): pass", files))

    outer, inner = named(profile, "outer"), named(profile, "inner")
    assert inner.own == inner.whole
    assert inner.own_seconds >= 0.05
    assert outer.whole_seconds >= outer.own_seconds + inner.whole_seconds
    assert named(profile, "nested")
    assert not [one for one in profile.modules if one.name == "broken"]


def test_the_function_behaves_as_without_tracing(stage: Callable[..., Stage]) -> None:
    source = """
        import os, subprocess, sys, traceback, warnings
        def failure(name):
            try:
                __import__(name)
            except Exception:
                return traceback.format_exc()
        def handler(event, context):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                import warner
            return {
                "argv": sys.argv,
                "main": sorted(vars(sys.modules["__main__"])),
                "file": sys.modules["__main__"].__file__,
                "path": sys.path,
                "environment": sorted(os.environ),
                "modules": sorted(sys.modules),
                "missing": failure("nothing_there"),
                "raising": failure("raising"),
                "warned": [(str(one.message), one.filename) for one in caught],
                "descriptors": [one for one in range(20) if os.path.exists(f"/proc/self/fd/{one}")],
                "child": subprocess.run(
                    [sys.executable, "-S", "-c",
                     "import os; print(sorted(os.environ), sorted(os.listdir('/proc/self/fd')))"],
                    capture_output=True, text=True).stdout,
            }
    """
    files = {
        "raising.py": "import deeper",
        "deeper.py": "raise ValueError('deep')",
        "warner.py": "import warnings; warnings.warn('look', stacklevel=2)",
    }
    made = stage(source, files)

    plain = run(replace(made, copied=False), [b"1"])
    done = trace(made, [("1", b"1")])

    answers = [json.loads(one.outcomes[0].answer or "null") for one in (plain, done.runs[0])]
    assert answers[0] is not None
    assert answers[1] == answers[0]


def test_files_that_python_and_native_code_open_are_told_in_order(stage: Callable[..., Stage]) -> None:
    source = """
        import ctypes, os
        def handler(event, context):
            here = os.path.dirname(__file__)
            libc = ctypes.CDLL(None)
            libc.fopen.restype = ctypes.c_void_p
            assert libc.fopen(os.path.join(here, "data", "native.bin").encode(), b"r")
            open(os.path.join(here, "data", "python.txt")).read()
    """
    files = {"data/native.bin": "12345", "data/python.txt": "1", "data/unused.txt": "1"}

    profile = traced(stage(source, files), 1, 1)

    assert [(one.path, one.init, one.invoke, one.size) for one in profile.files if one.path != "app.py"] == [
        ("data/native.bin", 0, 1, 5),
        ("data/python.txt", 0, 1, 1),
    ]
    assert profile.files[0].path == "app.py"


@pytest.mark.parametrize("layout", ["separate-code", "noseparate-code"])
def test_exactly_the_touched_pages_are_told(stage: Callable[..., Stage], layout: str) -> None:
    made = stage(LOADS)
    table = compiled(made.tree / "native", f"-Wl,-z,{layout}")

    profile = traced(made, [5, 600, 601], [3, 2047])

    segments = watched(profile, "native/libtable.so")
    assert len(segments) == (3 if layout == "separate-code" else 1)
    assert numbers(segments, "init", table) == [3]
    assert numbers(segments, "invoke", table) == [5, 600, 601, 2047]
    assert 5 < sum(segment.touched for segment in segments) < 10  # headers, symbols and code besides


def test_a_library_of_a_layer_is_watched(stage: Callable[..., Stage]) -> None:
    made = stage(LOADS, prefix="python/")
    table = compiled(made.tree / "python" / "native")

    profile = traced(made, [7])

    segments = watched(profile, "python/native/libtable.so")
    assert (numbers(segments, "init", table), numbers(segments, "invoke", table)) == ([3], [7])
    assert named(profile, "app").file == "python/app.py"


def test_runs_are_merged(stage: Callable[..., Stage]) -> None:
    made = stage(LOADS)
    compiled(made.tree / "native")

    profile = traced(made, [9], repeat=3)

    assert [(run.times, run.events, run.handler) for run in profile.runs] == [(3, ("0.json",), "app.handler")]
    assert (named(profile, "app").init, len(named(profile, "app").own)) == (3, 3)
    assert next(one for one in profile.libraries if one.path == "native/libtable.so").init == 3
    data = max(watched(profile, "native/libtable.so"), key=lambda segment: segment.pages)
    assert (data.init, data.invoke) == (((3, 1, 3),), ((9, 1, 3),))


def test_the_hash_of_the_bundle_is_that_of_its_files(stage: Callable[..., Stage]) -> None:
    made = stage("def handler(event, context): pass", {"data": "1"})

    first = traced(made)
    (made.tree / "data").write_text("2", encoding="ascii")
    other = traced(made)

    assert first.runs[0].bundle != other.runs[0].bundle
    assert first.modules[-1].sha256 == other.modules[-1].sha256


def test_a_failing_handler_has_no_profile(stage: Callable[..., Stage]) -> None:
    done = trace(stage("def handler(event, context): raise ValueError"), [("1", b"1")], repeat=3)

    assert done.profile is None
    assert len(done.runs) == 1
    assert done.runs[0].outcomes[0].fault is not None


def missing(profile: Profile) -> set[str]:
    return {one.what for one in profile.not_recorded}


def test_a_function_that_closes_descriptors_is_told(stage: Callable[..., Stage]) -> None:
    made = stage(LOADS + "\n    os.closerange(1000, 1024)\n")
    compiled(made.tree / "native")

    profile = traced(made, [5])

    assert "modules and libraries" in missing(profile)
    assert missing(profile) & {"touched pages of native/libtable.so", "touched pages"}
    assert named(profile, "ctypes")


def test_child_processes_and_lines_that_are_not_ours_are_told(stage: Callable[..., Stage]) -> None:
    source = """
        import os, subprocess
        child = subprocess.Popen(["/bin/sleep", "60"])
        os.write(1023, b"X\\nM\\t[[[\\nL zz a\\n")
        def handler(event, context): pass
    """

    profile = traced(stage(source), 1)

    assert next(one.reason for one in profile.not_recorded if one.what == "notes").startswith("3 lines")
    assert missing(profile) & {"touched pages of child processes", "touched pages"}


def test_nothing_is_missing_where_everything_can_be_watched(stage: Callable[..., Stage]) -> None:
    made = stage(LOADS)
    compiled(made.tree / "native")

    profile = traced(made, [5])

    assert missing(profile) <= {"touched pages"}


def test_notes_that_pages_cannot_be_watched_name_the_cause() -> None:
    notes = _read_notes(b"U 26 userfaultfd\nL 7f00 /x/liba.so\n", lambda path: path)

    assert notes.problem == f"userfaultfd: {os.strerror(0x26)}"
    assert notes.objects == {"/x/liba.so": 0x7F00}


@pytest.mark.parametrize(
    "line",
    [b"M\t1\t2", b"M\t1\t1\t1\t(1,\t'x'", b"M\t1\t1\t1\t" + b"[" * 9999 + b"\t''", b"L 1", b"U x y", b"\xff"],
)
def test_hostile_notes_are_counted_only(line: bytes) -> None:
    assert _read_notes(line, lambda path: path).unread == 1


def test_opens_sees_each_file_once_and_nothing_that_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/one", "a/b/two", "three"):
        (tmp_path / name).write_text("1", encoding="ascii")

    with Opens(tmp_path) as opens:
        before = opens.cut()
        for name in ("a/b/two", "a/one", "a/b/two"):
            (tmp_path / name).read_bytes()
        (tmp_path / "three").stat()
        first, again = opens.cut(), opens.cut()

    assert (before, first, again) == ((), ("a/b/two", "a/one"), ())
    assert opens.refused is None
    assert not opens.lost


def test_opens_ends_its_thread_and_closes_its_descriptor(tmp_path: Path) -> None:
    descriptors, threads = len([*Path("/proc/self/fd").iterdir()]), threading.active_count()

    with Opens(tmp_path):
        pass

    assert (len([*Path("/proc/self/fd").iterdir()]), threading.active_count()) == (descriptors, threads)


def test_the_native_libraries_need_nothing() -> None:
    folder = Path(build.__file__).parent
    for machine in build.MACHINES:
        told = subprocess.run(
            ["readelf", "--wide", "--dynamic", "--dyn-syms", "--notes", str(folder / f"pages-{machine}.so")],
            capture_output=True,
            encoding="utf-8",
            check=True,
        ).stdout
        assert "NEEDED" not in told
        assert "Build ID" not in told
        assert [line.split()[-1] for line in told.splitlines() if "GLOBAL" in line] == [
            "la_version",
            "la_objopen",
        ]


@pytest.mark.skipif(util.find_spec("ziglang") is None, reason="zig is not installed")
def test_the_native_libraries_are_what_their_source_gives(tmp_path: Path) -> None:
    if metadata.version("ziglang") != build.ZIG:
        pytest.skip(f"they come from zig {build.ZIG}")
    source = tmp_path / "somewhere else"
    shutil.copytree(Path(build.__file__).parent, source)

    subprocess.run([sys.executable, str(source / "build.py"), str(tmp_path)], check=True, timeout=300)

    for machine in build.MACHINES:
        name = f"pages-{machine}.so"
        assert (tmp_path / name).read_bytes() == (Path(build.__file__).parent / name).read_bytes()


def test_the_auditing_library_does_no_harm_without_notes(tmp_path: Path) -> None:
    library = Path(build.__file__).with_name(f"pages-{platform.machine()}.so")

    done = subprocess.run(
        [sys.executable, "-I", "-c", "import _ctypes; print(1)"],
        env={"LD_AUDIT": str(library)},
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )

    assert (done.stdout, done.stderr) == ("1\n", "")
