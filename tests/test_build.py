"""The whole pipeline on tiny wheels, as a user runs it; nothing is downloaded."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from typing import TYPE_CHECKING

import pytest
from shop import RUNTIME, Shop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import MakeElf, MakeWheel


@pytest.fixture
def numeric(shop: Shop, make_wheel: MakeWheel, make_elf: MakeElf) -> Shop:
    """A shop with something like numpy before 2.3: its testing module needs one module of its tests."""
    library = make_elf(
        "int answer(void) { return 42; }", "-shared", "-fPIC", "-g", name="libanswer.so"
    ).read_bytes()
    shop.stock(
        make_wheel(
            "numpy",
            "2.2.6",
            {
                "numpy/__init__.py": "from . import testing\n",
                "numpy/testing/__init__.py": "from numpy._core.tests._natype import pd_NA\n",
                "numpy/_core/__init__.py": "",
                "numpy/_core/answer.so": library,
                "numpy/_core/include/numpy/a.h": "int a;\n",
                "numpy/_core/tests/__init__.py": "",
                "numpy/_core/tests/_natype.py": "pd_NA = 1\n",
                "numpy/_core/tests/test_a.py": "import pytest\n",
            },
        ),
        make_wheel(
            "helper", "1.0", {"helper.py": "import numpy\nX = numpy.testing.pd_NA\n"}, requires=("numpy",)
        ),
    )
    shop.require("helper")
    return shop


def test_a_bundle_has_what_is_needed_and_its_account_balances(numeric: Shop) -> None:
    done = numeric.build()

    assert (done.code, numeric.left()) == (0, ["cache", "out", "requirements.txt", "wheels"])
    assert sorted(path.name for path in (numeric.folder / "out").iterdir()) == [
        "app.manifest.json",
        "app.zip",
        "pylock.app.toml",
    ]
    manifest, files = numeric.manifest(), numeric.files()
    assert files["numpy/_core/tests/test_a.py"]["decision"] == "removed"
    assert files["numpy/_core/tests/test_a.py"]["rule"] == "numpy/tests"
    assert files["numpy/_core/include/numpy/a.h"]["rule"] == "common/headers"
    assert files["numpy/_core/answer.so"]["decision"] == "compacted"
    kept = files["numpy/_core/tests/_natype.py"]
    assert kept["decision"] == "kept"
    assert kept["overruled"]["rule"] == "numpy/tests"
    assert kept["overruled"]["by"]["path"] == "numpy/testing/__init__.py"
    assert kept["overruled"]["by"]["line"] == 1
    with zipfile.ZipFile(numeric.folder / "out/app.zip") as bundle:
        sizes = {info.filename: info.file_size for info in bundle.infolist()}
    assert sizes == {
        path: file["size_after"] for path, file in files.items() if file["decision"] != "removed"
    }
    assert sum(sizes.values()) == manifest["totals"]["size_after"]
    assert manifest["totals"]["archive_size"] == (numeric.folder / "out/app.zip").stat().st_size
    assert "numpy/testing/__init__.py:1 (import of numpy._core.tests._natype)" in " ".join(done.out.split())


def test_the_bundle_works_where_nothing_else_is(numeric: Shop) -> None:
    numeric.build()
    with zipfile.ZipFile(numeric.folder / "out/app.zip") as bundle:
        bundle.extractall(numeric.folder / "task")

    code = (
        "import sys; sys.path.insert(0, 'task'); import ctypes, helper;"
        "print(helper.X, ctypes.CDLL('task/numpy/_core/answer.so').answer())"
    )
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        cwd=numeric.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "1 42\n"


def test_the_same_inputs_give_the_same_zip_wherever_and_however_it_is_built(
    numeric: Shop, tmp_path: Path
) -> None:
    first = numeric.build("--no-cache")
    other = tmp_path / "another place"
    shutil.copytree(numeric.folder, other, ignore=shutil.ignore_patterns("out", "cache"))
    elsewhere = Shop.__new__(Shop)
    elsewhere.folder, elsewhere.environment = other, numeric.environment
    for wheel in (other / "wheels").iterdir():
        os.utime(wheel, (1, 1))
    previous = os.umask(0o077)
    try:
        second = elsewhere.build(
            "--no-cache", "--jobs", "1", PYTHONHASHSEED="7", TZ="Asia/Tokyo", HOME=str(tmp_path)
        )
    finally:
        os.umask(previous)

    assert (first.code, second.code) == (0, 0)
    zips = [(folder / "out/app.zip").read_bytes() for folder in (numeric.folder, other)]
    assert hashlib.sha256(zips[0]).digest() == hashlib.sha256(zips[1]).digest()
    assert numeric.manifest() == elsewhere.manifest()


def test_a_second_build_comes_from_the_cache_and_any_changed_option_does_not(numeric: Shop) -> None:
    numeric.build()
    before = (numeric.folder / "out/app.zip").read_bytes()

    again = numeric.build()
    changed = numeric.build("--no-compact")

    assert "(from the cache)" in again.out
    assert "(still fits" in again.out
    assert "(from the cache)" not in changed.out
    assert numeric.files()["numpy/_core/answer.so"]["decision"] == "kept"
    numeric.build()
    assert (numeric.folder / "out/app.zip").read_bytes() == before


def test_building_from_the_lock_resolves_nothing_and_gives_the_same_bundle(numeric: Shop) -> None:
    numeric.build()
    before = (numeric.folder / "out/app.zip").read_bytes()
    shutil.copy(numeric.folder / "out/pylock.app.toml", numeric.folder / "out/pylock.kept.toml")
    (numeric.folder / "requirements.txt").unlink()

    done = numeric.run(
        "build", "out/pylock.kept.toml", "--runtime", RUNTIME, "-o", "out/again.zip", "--no-cache"
    )

    assert done.code == 0, done.err
    assert (numeric.folder / "out/again.zip").read_bytes() == before


def test_a_directory_has_plain_modes_whatever_the_umask(numeric: Shop) -> None:
    previous = os.umask(0o077)
    try:
        numeric.run("build", "requirements.txt", "--runtime", RUNTIME, "-o", "out/app")
    finally:
        os.umask(previous)

    folder = numeric.folder / "out/app"
    assert {oct(path.stat().st_mode & 0o777) for path in folder.rglob("*") if path.is_dir()} == {"0o755"}
    assert {oct(path.stat().st_mode & 0o777) for path in folder.rglob("*") if path.is_file()} == {"0o644"}
    assert numeric.manifest("out/app.manifest.json")["format"] == "directory"


def test_the_apps_source_goes_along_without_what_git_ignores(numeric: Shop) -> None:
    source = numeric.folder / "src"
    (source / "__pycache__").mkdir(parents=True)
    (source / "__pycache__" / "app.pyc").write_text("x")
    (source / "app.py").write_text("import numpy._core.tests.test_a\n")
    (source / "secret.env").write_text("x")
    (source / ".gitignore").write_text("*.env\n")

    numeric.build("--source", "src")

    assert "app.py" in numeric.names()
    assert not [name for name in numeric.names() if "secret" in name or "pyc" in name]
    assert numeric.files()["app.py"]["owner"] == "(app)"
    assert numeric.files()["numpy/_core/tests/test_a.py"]["overruled"]["by"]["path"] == "app.py"


def test_output_among_the_apps_own_files_is_no_part_of_the_next_bundle(numeric: Shop) -> None:
    source = numeric.folder / "src"
    source.mkdir()
    (source / "app.py").write_text("")
    args = ("build", "requirements.txt", "--runtime", RUNTIME, "--source", "src", "-o", "src/dist/app.zip")
    numeric.run(*args)
    first = (source / "dist/app.zip").read_bytes()
    numeric.run(*args)

    assert (source / "dist/app.zip").read_bytes() == first


def test_a_truncated_library_is_left_as_it_was(shop: Shop, make_wheel: MakeWheel, make_elf: MakeElf) -> None:
    library = make_elf("int a;", "-shared", "-fPIC", name="liba.so").read_bytes()
    shop.stock(make_wheel("cut", "1.0", {f"cut/l{size}.so": library[:size] for size in (4, 63, 200, 5000)}))
    shop.require("cut")
    done = shop.build()

    assert done.code in {0, 1}
    assert {file["size_after"] for path, file in shop.files().items() if path.endswith(".so")} == {
        4,
        63,
        200,
        5000,
    }


def test_what_nobody_foresaw_is_no_breached_limit(numeric: Shop) -> None:
    numeric.build()
    with open("/dev/full", "w") as full:  # noqa: PTH123 -- a device
        done = subprocess.run(
            numeric.command("report", "out/app.manifest.json"),
            cwd=numeric.folder,
            env=numeric.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 2
    assert done.stderr.startswith("error:")


def test_gpu_code_is_cleared_where_there_is_no_gpu(
    shop: Shop, make_wheel: MakeWheel, make_elf: MakeElf
) -> None:
    # given a library with compiled kernels
    kernels = '__asm__(".section .nv_fatbin,\\"a\\"\\n.fill 1000000,1,7\\n.text\\n"); int answer(void) { return 42; }'
    library = make_elf(kernels, "-shared", "-fPIC", name="libboost.so").read_bytes()
    shop.stock(make_wheel("boost", "1.0", {"boost/libboost.so": library}))
    shop.require("boost")
    path = "boost/libboost.so"

    # when
    done = shop.build()

    # then the bundle has the library without them, and says so
    file = shop.files()[path]
    assert (file["decision"], file.get("rule"), file["cleared_by"]) == ("compacted", None, "common/gpu-code")
    assert 990_000 < file["cleared"] <= 1_000_000
    assert file["size_before"] - file["size_after"] > file["cleared"] - 2 * 4096
    rule = next(one for one in shop.manifest()["rules"] if one["id"] == "common/gpu-code")
    assert (rule["files"], rule["bytes"]) == (1, file["cleared"])
    assert "common/gpu-code" in done.out
    explained = shop.run("explain", path, "--manifest", "out/app.manifest.json").out
    assert "cleared by common/gpu-code: Compiled CUDA kernels" in " ".join(explained.split())

    # and it has them where there may be a GPU, and where the user wants them
    for options in (
        ("--kind", "greengrass"),
        ("--keep", path),
        ("--disable", "common/gpu-code"),
        ("--no-compact",),
    ):
        shop.build(*options)
        assert shop.files()[path]["size_after"] > 1_000_000, options
        assert "cleared_by" not in shop.files()[path]


def test_a_layer_has_its_files_below_python(numeric: Shop) -> None:
    numeric.build("--layer")

    assert {name.split("/")[0] for name in numeric.names()} == {"python"}


def test_over_the_limit_it_exits_with_1_and_leaves_bundle_and_manifest(numeric: Shop) -> None:
    done = numeric.build("--max-size", "1000")

    assert done.code == 1
    assert "OVER the limit" in done.out
    assert "What would help" in done.out
    assert (numeric.folder / "out/app.zip").exists()
    assert [one["code"] for one in numeric.manifest()["findings"]] == ["SLP301"]


def test_a_dry_run_writes_nothing(numeric: Shop) -> None:
    done = numeric.build("--dry-run")

    assert done.code == 0
    assert "numpy" in done.out
    assert not (numeric.folder / "out").exists() or not list((numeric.folder / "out").iterdir())


def test_a_library_under_a_mangled_name_is_placed_where_the_loader_looks(
    shop: Shop, make_wheel: MakeWheel, make_elf: MakeElf
) -> None:
    mangled = "libgomp-a34b3233.so.1.0.0"
    gomp = make_elf("int omp(void) { return 7; }", "-shared", "-fPIC", f"-Wl,-soname,{mangled}", name=mangled)
    plain = make_elf(
        "int omp(void) { return 7; }", "-shared", "-fPIC", "-Wl,-soname,libgomp.so.1", name="libgomp.so.1"
    )
    needer = make_elf(
        "int omp(void); int go(void) { return omp(); }",
        "-shared",
        "-fPIC",
        str(plain),
        name="lib_lightgbm.so",
    )
    shop.stock(
        make_wheel(
            "lightgbm", "4.6.0", {"lightgbm/__init__.py": "", "lightgbm/lib_lightgbm.so": needer.read_bytes()}
        ),
        make_wheel(
            "scikit-learn",
            "1.9",
            {"sklearn/__init__.py": "", f"scikit_learn.libs/{mangled}": gomp.read_bytes()},
        ),
    )
    shop.require("lightgbm", "scikit-learn")
    assert shop.build().code == 0
    assert shop.files()["lib/libgomp.so.1"]["decision"] == "added"
    assert "lib/libgomp.so.1" in shop.names()

    shop.require("lightgbm")
    alone = shop.build("--upgrade")
    assert alone.code == 1
    assert "SLP101" in alone.out
    assert "libgomp.so.1" in alone.out
    assert "lightgbm/lib_lightgbm.so" in alone.out


def test_explain_and_report_answer_from_the_manifest_alone(numeric: Shop) -> None:
    built = numeric.build()
    (numeric.folder / "out/app.zip").unlink()

    report = numeric.run("report", "out/app.manifest.json")
    explained = numeric.run("explain", "numpy/_core/tests/_natype.py", "-m", "out/app.manifest.json")
    removed = numeric.run("explain", "numpy/_core/tests/test_a.py", "-m", "out/app.manifest.json")
    as_json = numeric.run("explain", "*.h", "-m", "out/app.manifest.json", "--json")
    nothing = numeric.run("explain", "no/such/file", "-m", "out/app.manifest.json")

    assert report.out.splitlines()[1:] == built.out.split("\nbundle ")[0].splitlines()[1:]
    assert "kept, because kept code needs it: numpy/testing/__init__.py:1" in explained.out
    assert "removed" in removed.out
    assert "--keep /numpy/_core/tests/test_a.py" in removed.out
    assert [file["path"] for file in json.loads(as_json.out)] == ["numpy/_core/include/numpy/a.h"]
    assert (nothing.code, "matches no file" in nothing.err) == (2, True)


def test_json_is_on_stdout_and_progress_on_stderr(numeric: Shop) -> None:
    done = numeric.build("--json")

    assert json.loads(done.out) == numeric.manifest()
    assert "resolving" in done.err


def test_the_configuration_sets_what_the_command_line_does_not(numeric: Shop) -> None:
    (numeric.folder / "slimpack.toml").write_text(
        f'runtime = "{RUNTIME}"\noutput = "out/app.zip"\nkeep = ["*.h"]\n'
        'disable = ["numpy/tests", "common/test-modules"]\n'
    )
    assert numeric.run("build", "requirements.txt").code == 0
    assert numeric.files()["numpy/_core/include/numpy/a.h"]["rule"] == "config:keep"
    assert numeric.files()["numpy/_core/tests/test_a.py"]["decision"] == "kept"

    assert numeric.run("build", "requirements.txt", "--disable", "common/headers").code == 0
    assert numeric.files()["numpy/_core/tests/test_a.py"]["decision"] == "removed"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def corrupt(path: Path) -> None:
    with zipfile.ZipFile(path) as wheel:
        offset = wheel.getinfo("helper.py").header_offset + 30 + len("helper.py") + 3
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(bytes(content))


def write_rule(folder: Path, text: str, name: str = "x.toml", content: str | None = None) -> None:
    folder.mkdir()
    (folder / name).write_text(text if content is None else content)


@pytest.mark.parametrize(
    ("prepare", "args", "words"),
    [
        (lambda shop: (shop / "requirements.txt").unlink(), (), "requirements.txt"),
        (lambda shop: (shop / "requirements.txt").write_text(""), (), "requirements.txt"),
        (lambda shop: (shop / "requirements.txt").write_text("a\n==broken\n"), (), "requirements.txt:2"),
        (lambda shop: (shop / "requirements.txt").write_text("--no-index\nnot-there\n"), (), "not-there"),
        (
            lambda shop: (shop / "requirements.txt").write_text(
                "--no-index\n--find-links wheels\nhelper\nnumpy<2\n"
            ),
            (),
            "numpy",
        ),
        (lambda shop: truncate(shop / "wheels/helper-1.0-py3-none-any.whl"), (), "helper"),
        (lambda shop: corrupt(shop / "wheels/helper-1.0-py3-none-any.whl"), (), "helper"),
        (lambda _: None, ("--runtime", "python2.7"), "unknown runtime 'python2.7'"),
        (lambda _: None, ("--kind", "custom"), "glibc"),
        (lambda _: None, ("--max-size", "big"), "'big' is no size"),
        (lambda _: None, ("--source", "nowhere"), "nowhere"),
        (lambda _: None, ("--rules", "nowhere"), "no such folder"),
        (lambda _: None, ("--enable", "numpy/everything"), "numpy/everything"),
        (lambda _: None, ("--report", "x.pdf"), "x.pdf"),
        (lambda _: None, ("--keep", "!"), "is no pattern"),
        (lambda _: None, ("--report", "nowhere/x.json"), "nowhere/x.json"),
        (lambda _: None, ("--max-size", "1.5.5MB"), "is no size"),
        (
            lambda shop: write_rule(shop / "src", "", ".gitignore", "[z-a]\n"),
            ("--source", "src"),
            ".gitignore:1",
        ),
        (lambda shop: (shop / "slimpack.toml").write_text('runtim = "x"'), (), "did you mean 'runtime'?"),
        (lambda shop: (shop / "out").write_text("in the way"), (), "out"),
        (
            lambda shop: (shop / "bad").mkdir() or (shop / "bad/x.toml").write_text("[[rule]]\nnam = 1"),
            ("--rules", "bad"),
            "bad/x.toml",
        ),
    ],
    ids=[
        "missing requirements",
        "empty requirements",
        "syntax error",
        "unknown package",
        "conflict",
        "truncated wheel",
        "damaged wheel",
        "unknown runtime",
        "custom without glibc",
        "bad size",
        "missing source",
        "missing rules",
        "unknown rule",
        "unknown report",
        "bad pattern",
        "report nowhere",
        "odd size",
        "bad ignore file",
        "typo in the configuration",
        "output in the way",
        "bad rule file",
    ],
)
def test_bad_input_gives_one_clear_error_and_leaves_nothing(
    numeric: Shop,
    prepare: Callable[[Path], object],
    args: tuple[str, ...],
    words: str,
) -> None:
    prepare(numeric.folder)
    before = {
        path: path.stat().st_mtime_ns for path in numeric.folder.rglob("*") if "cache" not in path.parts
    }

    done = numeric.build(*args)

    assert done.code == 2, done.out + done.err
    assert words in done.err
    assert len([line for line in done.err.splitlines() if line.startswith("error:")]) == 1
    after = {path: path.stat().st_mtime_ns for path in numeric.folder.rglob("*") if "cache" not in path.parts}
    assert set(after) == set(before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing_half_written(
    numeric: Shop, make_wheel: MakeWheel, number: signal.Signals
) -> None:
    numeric.stock(make_wheel("big", "1.0", {f"big/m{n}.bin": os.urandom(2_000_000) for n in range(40)}))
    numeric.require("helper", "big")
    child = subprocess.Popen(
        numeric.command("build", "requirements.txt", "--runtime", RUNTIME, "-o", "out/app.zip"),
        cwd=numeric.folder,
        env=numeric.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while (
        not list(numeric.folder.glob("out/.*/**/big"))
        and time.monotonic() < deadline
        and child.poll() is None
    ):
        time.sleep(0.02)
    child.send_signal(number)
    _, err = child.communicate(timeout=60)

    assert child.returncode == 2, err
    assert "error:" in err
    assert "Traceback" not in err
    assert not (numeric.folder / "out").exists() or not list((numeric.folder / "out").iterdir())


def test_two_builds_to_one_output_do_not_mix(numeric: Shop) -> None:
    children = [
        subprocess.Popen(
            numeric.command(
                "build", "requirements.txt", "--runtime", RUNTIME, "-o", "out/app.zip", "--no-cache"
            ),
            cwd=numeric.folder,
            env=numeric.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    ends = [(child.communicate(timeout=120), child.returncode) for child in children]

    assert sorted(code for _, code in ends) in ([0, 2], [0, 0]), ends
    for (_, err), code in ends:
        assert code == 0 or "another build" in err
    with zipfile.ZipFile(numeric.folder / "out/app.zip") as bundle:
        assert bundle.testzip() is None


def test_credentials_reach_no_output(numeric: Shop) -> None:
    numeric.require("helper", "--extra-index-url https://user:hunter2@index.example/simple")
    done = numeric.build()
    numeric.require("nothing-like-it", "--extra-index-url https://user:hunter2@index.example/simple")
    wrong = subprocess.run(
        numeric.command("build", "requirements.txt", "--runtime", RUNTIME, "-o", "out/no.zip", "--debug"),
        cwd=numeric.folder,
        env=numeric.environment,
        capture_output=True,
        text=True,
        check=False,
    )

    written = "".join(
        path.read_text() for path in (numeric.folder / "out").glob("*.*") if path.suffix != ".zip"
    )
    assert (done.code, wrong.returncode, "Traceback" in wrong.stderr) == (0, 2, True)
    for text in (done.out, done.err, wrong.stdout, wrong.stderr, written):
        assert "hunter2" not in text


def test_an_executable_keeps_its_mode_and_still_runs(
    shop: Shop, make_wheel: MakeWheel, make_elf: MakeElf
) -> None:
    program = make_elf(
        '#include <stdio.h>\nint main(void) { puts("ran"); return 0; }', "-g", name="model.bin"
    )
    shop.stock(
        make_wheel(
            "prophet", "1.0", {"prophet/model.bin": program.read_bytes()}, executable=("prophet/model.bin",)
        )
    )
    shop.require("prophet")
    shop.run("build", "requirements.txt", "--runtime", RUNTIME, "-o", "out/app", "--max-size", "1MiB")

    built = shop.folder / "out/app/prophet/model.bin"
    assert built.stat().st_mode & 0o777 == 0o755
    assert built.stat().st_size < program.stat().st_size
    assert subprocess.run([built], capture_output=True, text=True, check=True).stdout == "ran\n"


def test_an_old_namespace_package_gets_the_init_that_its_pth_file_would_have_made(
    shop: Shop, make_wheel: MakeWheel
) -> None:
    shop.stock(
        make_wheel(
            "zope.one",
            "1.0",
            {
                "zope/one/__init__.py": "X = 1\n",
                "zope_one-1.0.dist-info/namespace_packages.txt": "zope\n",
                "zope.one-1.0-nspkg.pth": "import sys\n",
            },
        )
    )
    shop.require("zope.one")
    shop.build()

    assert shop.files()["zope/__init__.py"]["decision"] == "added"
    with zipfile.ZipFile(shop.folder / "out/app.zip") as bundle:
        assert b"extend_path" in bundle.read("zope/__init__.py")


def test_the_help_of_every_verb_names_its_options(shop: Shop) -> None:
    overview = shop.run("--help")
    for verb in ("build", "cache", "explain", "report", "rule"):
        assert verb in overview.out
        assert shop.run(verb, "--help").code == 0
    assert textwrap.dedent(overview.out).startswith("Usage: ")


def test_a_rule_is_explained_by_its_id_and_a_finding_by_its_code(shop: Shop) -> None:
    rule = shop.run("rule", "numpy/tests")
    finding = shop.run("rule", "slp101")
    unknown = shop.run("rule", "numpy/test")

    assert "Evidence" in rule.out
    assert "--disable numpy/tests" in rule.out
    assert "missing-library" in finding.out
    assert (unknown.code, "did you mean 'numpy/tests'?" in unknown.err) == (2, True)
    assert len(json.loads(shop.run("rule", "--json").out)) > 30
