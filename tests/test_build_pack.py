"""Packing in a build: what is packed loads and answers as before, and no more is packed than is wanted."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from shop import RUNTIME

from slimpack import packing
from slimpack.elf.packed import read_packed
from slimpack.elf.symbols import exchange
from slimpack.elf.unpack import unpack

if TYPE_CHECKING:
    from conftest import Cli, MakeElf, MakeWheel
    from shop import Shop

FUNCTIONS = 1500


def code(seed: int) -> str:
    """Returns C source that compiles to some hundred kilobytes of code, no two functions alike."""
    lines = [
        f"int f{i}(int x) {{ for (int i = 0; i < (x & 7); i++) x = x * {seed * 7919 + i * i + 3}"
        f" ^ (x >> {i % 13 + 1}); return x + {i}; }}"
        for i in range(FUNCTIONS)
    ]
    table = "".join(f"f{i}," for i in range(FUNCTIONS))
    calls = (
        f"static int (*table[])(int) = {{{table}}};",
        "int call(int i, int x) { return table[i](x); }",
    )
    return "\n".join([*lines, *calls])


CALL = """
import ctypes, json, sys
library = ctypes.CDLL(sys.argv[1])
print(json.dumps([library.call(i, 12345) for i in range(0, 1500, 7)]))
"""


def answers(library: Path) -> list[int]:
    run = subprocess.run([sys.executable, "-c", CALL, library], capture_output=True, check=True, text=True)
    numbers: list[int] = json.loads(run.stdout)
    return numbers


@pytest.fixture
def coded(shop: Shop, make_wheel: MakeWheel, make_elf: MakeElf) -> Shop:
    files: dict[str, bytes | str] = {"big/__init__.py": ""}
    for number, name in enumerate(("big/one.so", "big/deep/two.so")):
        path = make_elf(code(number), "-shared", "-fPIC", "-O1", "-g", name=f"lib{number}.so")
        files[name] = path.read_bytes()
        (shop.folder / f"plain{number}.so").write_bytes(path.read_bytes())
    shop.stock(make_wheel("big", "1.0", files))
    shop.require("big")
    return shop


def unzipped(shop: Shop) -> Path:
    folder = shop.folder / "task"
    with zipfile.ZipFile(shop.folder / "out/app.zip") as bundle:
        bundle.extractall(folder)
    return folder


def test_what_is_packed_answers_as_before_and_is_accounted_for(coded: Shop) -> None:
    coded.build()
    compacted = {path: file["size_after"] for path, file in coded.files().items()}
    done = coded.build("--pack", "all")

    assert done.code == 0
    files = coded.files()
    task = unzipped(coded)
    for number, path in enumerate(("big/one.so", "big/deep/two.so")):
        file = files[path]
        assert (file["decision"], file["packed"]["size_before"]) == ("packed", compacted[path])
        assert file["size_after"] < 0.7 * compacted[path]
        assert (packed := read_packed((task / path).read_bytes())) is not None
        assert packed.ranges
        assert len(unpack((task / path).read_bytes())) == compacted[path]
        assert answers(task / path) == answers(coded.folder / f"plain{number}.so")
    assert files["slimpack.libs/libslimpager.so.1"]["decision"] == "added"
    assert "packing of shared objects" in done.out
    assert "packed from" in coded.run("explain", "big/one.so", "-m", "out/app.manifest.json").out


def test_the_same_inputs_pack_to_the_same_zip(coded: Shop) -> None:
    coded.build("--pack", "all", "--no-cache", "--jobs", "1")
    first = (coded.folder / "out/app.zip").read_bytes()
    coded.build("--pack", "all", "--no-cache", "--jobs", "2")

    assert (coded.folder / "out/app.zip").read_bytes() == first


def test_auto_packs_nothing_where_the_bundle_fits(coded: Shop) -> None:
    coded.build("--pack", "auto")

    assert {file["decision"] for file in coded.files().values()} <= {"kept", "compacted", "removed"}
    assert "slimpack.libs/libslimpager.so.1" not in coded.files()


def test_auto_packs_no_more_than_it_takes_to_fit(coded: Shop) -> None:
    # given a limit that one packed library is enough for
    coded.build()
    size = coded.manifest()["totals"]["size_after"]
    done = coded.build("--pack", "auto", "--max-size", str(size), "--jobs", "1")

    assert done.code == 1 or coded.manifest()["totals"]["size_after"] < size
    decisions = [file["decision"] for path, file in coded.files().items() if path.endswith(".so")]
    assert "packed" in decisions


def test_code_that_a_profile_has_seen_stays_raw(coded: Shop) -> None:
    # given runs that touched the first pages of one library's code
    coded.build("--pack", "all")
    whole = coded.files()["big/one.so"]["size_after"]
    with zipfile.ZipFile(coded.folder / "out/app.zip") as bundle:
        image = bundle.read("big/one.so")
    code = next(one for one in read_packed(image).ranges if one.filter == "x86_64")  # type: ignore[union-attr]
    segment = {"address": code.address, "pages": 64, "executable": True, "init": [[0, 8, 3]], "invoke": []}
    library = {"path": "big/one.so", "sha256": None, "init": 3, "invoke": 0, "segments": [segment]}
    profile = {
        "schema_version": 1,
        "slimpack": "0",
        "runtime": coded.manifest()["target"]["runtime"],
        "architecture": "x86_64",
        "runs": [{"bundle": "", "handler": "app.handler", "events": [], "times": 3}],
        "modules": [],
        "files": [],
        "libraries": [library],
        "not_recorded": [],
    }
    (coded.folder / "seen.json").write_text(json.dumps(profile))

    # when
    done = coded.build("--pack", "all", "--profile", "seen.json")

    # then
    assert done.code == 0, done.err
    files = coded.files()
    assert whole < files["big/one.so"]["size_after"] < files["big/one.so"]["packed"]["size_before"]
    forms = {one["path"]: one["form"] for one in coded.manifest()["fit"]["choices"]}
    assert (forms["big/one.so"], forms.get("big/deep/two.so", "packed")) == ("warm", "packed")
    assert answers(unzipped(coded) / "big/one.so") == answers(coded.folder / "plain0.so")
    told = coded.run("explain", "--fit", "-m", "out/app.manifest.json")
    assert "a profile of 3 runs" in told.out
    assert "packed but for what is touched" in " ".join(told.out.split())


def test_what_others_take_of_the_limit_is_left_to_them(coded: Shop) -> None:
    coded.build("--pack", "never")
    size = coded.manifest()["totals"]["size_after"]

    fits = coded.build("--pack", "never", "--max-size", "10MiB", "--reserve", str(10 * 2**20 - size - 1))
    over = coded.build("--pack", "never", "--max-size", "10MiB", "--reserve", str(10 * 2**20 - size))
    packs = coded.build("--pack", "auto", "--max-size", "10MiB", "--reserve", str(10 * 2**20 - size))

    assert (fits.code, over.code, packs.code) == (0, 1, 0)
    assert "being reserved" in " ".join(over.out.split())
    assert coded.manifest()["totals"]["size_after"] < size
    nothing = coded.build("--max-size", "1MiB", "--reserve", "1MiB")
    assert nothing.code == 2
    assert "--reserve" in nothing.err


def test_where_nothing_is_packed_no_room_is_left_for_what_unpacks(coded: Shop, make_wheel: MakeWheel) -> None:
    # given libraries that could be packed, modules, and a limit that all but comes below
    module = "".join(f"def f{i}(x):\n    return x + {i}\n\n" for i in range(50))
    coded.stock(make_wheel("more", "1.0", {f"more/m{number}.py": module for number in range(20)}))
    coded.require("big", "more")
    options = ("--pack", "never", "--bytecode", "auto")
    coded.build(*options)
    size = coded.manifest()["totals"]["size_after"]

    # when
    coded.build(*options, "--max-size", str(size))

    # then
    taken = coded.manifest()["totals"]["size_after"]
    code = max(one["size_after"] for path, one in coded.files().items() if path.endswith(".pyc"))
    assert size - size // 64 - 2 * code < taken < size


def test_a_profile_of_another_runtime_is_refused(coded: Shop) -> None:
    (coded.folder / "bad.json").write_text("{}")

    done = coded.build("--profile", "bad.json")

    assert done.code == 2
    assert "no slimpack profile" in done.err


def test_a_file_that_the_user_keeps_is_not_packed(coded: Shop) -> None:
    coded.build("--pack", "all", "--keep", "big/one.so")

    assert [coded.files()[path]["decision"] for path in ("big/one.so", "big/deep/two.so")] == [
        "compacted",
        "packed",
    ]


@pytest.mark.parametrize(
    ("name", "said"), [("FOLDER", "as moved/libslimpager.so.1"), ("PAGER", "neither in the bundle")]
)
def test_a_packed_file_that_would_not_find_the_pager_is_an_error(
    coded: Shop, cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    # given a pager that is put where packed files, which other processes make, do not look for it
    monkeypatch.chdir(coded.folder)
    monkeypatch.setattr(packing, name, "moved")
    options = (
        "--runtime",
        RUNTIME,
        "--no-verify",
        "--bytecode",
        "none",
        "--no-cache",
        "--pack",
        "all",
        "--json",
    )

    # when
    code, out, _ = cli("build", "requirements.txt", *options)

    # then
    assert code == 1
    (found,) = json.loads(out)["findings"]
    assert (found["code"], found["severity"], found["place"]) == ("SLP101", "error", "big/deep/two.so")
    assert "libslimpager.so.1 is" in found["message"]
    assert said in found["message"]
    assert found["message"].endswith("needed by big/deep/two.so, big/one.so")


NAMES = [f"_ZN4demo8internal33A_function_with_a_long_name_{i:04}_Ev" for i in range(FUNCTIONS)]


@pytest.fixture
def exporting(shop: Shop, make_wheel: MakeWheel, make_elf: MakeElf) -> Shop:
    """A wheel with a library that exports C++ names, one that uses the first, and a module that looks the second up."""
    renamed = "".join(f'int f{i}(int) __asm__("{name}");\n' for i, name in enumerate(NAMES))
    library = make_elf(
        renamed + code(1), "-shared", "-fPIC", "-O1", "-s", "-Wl,-soname,libcxx.so", name="libcxx.so"
    )
    user = f'extern int f(int) __asm__("{NAMES[0]}"); int g(int x) {{ return f(x); }}'
    linked = ("-shared", "-fPIC", "-s", "-Wl,-rpath,$ORIGIN", str(library))
    files: dict[str, bytes | str] = {
        "cxx/__init__.py": f"NAME = '{NAMES[1]}'\n" + "# large enough to be packed itself\n" * 20,
        "cxx/libcxx.so": library.read_bytes(),
        "cxx/user.so": make_elf(user, *linked, name="user.so").read_bytes(),
    }
    (shop.folder / "plain.so").write_bytes(library.read_bytes())
    shop.stock(make_wheel("cxx", "1.0", files))
    shop.require("cxx")
    return shop


def test_what_is_packed_exports_no_more_than_the_bundle_needs(exporting: Shop) -> None:
    done = exporting.build("--pack", "all")

    assert done.code == 0
    packed = exporting.files()["cxx/libcxx.so"]["packed"]
    assert packed["symbols"] == FUNCTIONS - 2
    assert packed["pruned"] > 100_000
    path = unzipped(exporting) / "cxx/libcxx.so"
    assert {name.decode() for name in exchange(path.read_bytes()).offered} == {"call", *NAMES[:2]}
    assert answers(path) == answers(exporting.folder / "plain.so")
    use = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).g(5))"
    run = subprocess.run(
        [sys.executable, "-c", use, path.with_name("user.so")], capture_output=True, check=True
    )
    assert run.stdout
    shown = exporting.run("elf", "show", str(path)).out
    assert f"{FUNCTIONS - 2:,} symbols pruned" in shown
    assert (
        "exports that nobody" in exporting.run("explain", "cxx/libcxx.so", "-m", "out/app.manifest.json").out
    )


def test_what_a_packed_module_mentions_stays(exporting: Shop) -> None:
    exporting.build("--pack", "all", "--bytecode", "all")

    files = exporting.files()
    assert files["cxx/__init__.py"]["decision"] == "packed"
    assert files["cxx/libcxx.so"]["packed"]["symbols"] == FUNCTIONS - 2


@pytest.mark.parametrize("options", [("--no-prune",), ("--kind", "lambda-layer")])
def test_exports_stay_if_that_is_wanted_or_others_may_load_the_library(
    exporting: Shop, options: tuple[str, ...]
) -> None:
    exporting.build("--pack", "all", *options)

    (packed,) = (file["packed"] for path, file in exporting.files().items() if path.endswith("cxx/libcxx.so"))
    assert (packed["symbols"], packed["pruned"]) == (0, 0)


def test_where_nothing_fits_otherwise_blocks_are_larger(shop: Shop, make_wheel: MakeWheel) -> None:
    # given a real library with code for many blocks, and a limit that packing comes just up to
    found = subprocess.run(["gcc", "-print-file-name=libstdc++.so.6"], capture_output=True, check=True)
    library = Path(found.stdout.decode().strip())
    shop.stock(make_wheel("wide", "1.0", {"wide/wide.so": library.read_bytes()}))
    shop.require("wide")
    custom = ("--kind", "custom", "--glibc", "2.41", "--max-size")
    shop.build(*custom, "64KiB", "--pack", "all")  # too little, so that nothing stays raw to be quick
    packed = shop.manifest()["totals"]["size_after"]
    first = unzipped(shop) / "wide/wide.so"
    whole = unpack(first.read_bytes())

    # when
    done = shop.build(*custom, str(packed))

    # then
    assert done.code == 0, done.out
    assert shop.manifest()["totals"]["size_after"] < packed
    (choice,) = shop.manifest()["fit"]["choices"]
    assert (choice["path"], choice["form"]) == ("wide/wide.so", "dense")
    assert unpack((unzipped(shop) / "wide/wide.so").read_bytes()) == whole
    load = "import ctypes, sys; assert ctypes.CDLL(sys.argv[1])._ZSt9terminatev"
    subprocess.run([sys.executable, "-c", load, first], check=True)
