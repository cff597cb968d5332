"""Modules in a build: all bytecode where there is room, packed modules where there is not, and every byte told."""

from __future__ import annotations

import json
import marshal
import shutil
import subprocess
import sys
import zipfile
from contextlib import nullcontext
from copy import copy
from dataclasses import replace
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from shop import RUNTIME, Shop, write_wheel

from slimpack import prices, target
from slimpack.bytecode import HEADER, place
from slimpack.model import Staged
from slimpack.modules.archive import LOADER, PLACE, read
from slimpack.modules.reach import reached
from slimpack.prices import Ratios
from slimpack.settle import Room, Settled, settle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from types import CodeType

    from shop import Done

    from slimpack.modules.archive import Module

PYTHON = (sys.version_info[0], sys.version_info[1])
if f"python{PYTHON[0]}.{PYTHON[1]}" != RUNTIME:
    pytest.skip("Lambda has no runtime of this Python", allow_module_level=True)


def long(text: str, functions: int = 300) -> str:
    """Returns a module that is worth packing."""
    more = "".join(
        f'\n\ndef f{i}(x):\n    """Returns it {i} higher."""\n    return x + {i}\n' for i in range(functions)
    )
    return f"{text}\n{more}"


UNITS = {
    "units/__init__.py": long(
        "from units.tables import TABLE\n\ndef cm(inch):\n    return inch * TABLE['inch']"
    ),
    "units/tables.py": long("TABLE = {'inch': 2.54}"),
    "units/lazy.py": long("NAME = 'lazy'"),
    "units/later.py": long("NAME = 'later'"),
    "units/unused.py": long("NAME = 'unused'", 500),
    "units/old.py": long("print 'Python 2'"),
    "units/short.py": "NAME = 'short'\n",
    "units/data.txt": "data\n" * 2000,
}

APP = long("""
import units

def handler(event, context):
    from units import lazy
    return [units.cm(event["inch"]), lazy.NAME]
""")

MODULES = [*sorted(path for path in UNITS if path.endswith(".py")), "app.py"]
COMPILED = [path for path in MODULES if path != "units/old.py"]

ALL = ("--bytecode", "auto", "--pack", "all", "--handler", "app.handler")


class Counter:
    """Makes bundles, each only once, and keeps what was made; wheels are resolved once, and nothing is verified."""

    def __init__(self, folder: Path) -> None:
        self.made: dict[tuple[str, ...], tuple[Shop, Done]] = {}
        self.shop = Shop(folder)
        write_wheel(folder / "wheels", "units", "1", UNITS)
        self.shop.require("units")
        (folder / "app").mkdir()
        (folder / "app" / "app.py").write_text(APP)

    def build(self, *args: str) -> tuple[Shop, Done]:
        if args not in self.made:
            done = self.shop.build("--source", "app", "--jobs", "1", *args)
            assert done.code == 0, done.out + done.err
            kept = copy(self.shop)
            kept.folder = self.shop.folder / f"kept{len(self.made)}"
            shutil.copytree(self.shop.folder / "out", kept.folder / "out")
            self.made[args] = kept, done
        return self.made[args]

    def bundle(self, *args: str) -> Shop:
        return self.build(*args)[0]

    def size(self, *args: str) -> int:
        size: int = self.bundle(*args).manifest()["totals"]["size_after"]
        return size


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Counter:
    return Counter(tmp_path_factory.mktemp("counter"))


def beside(shop: Shop) -> list[str]:
    """Returns the sources with bytecode beside them."""
    names = set(shop.names())
    return [path for path in MODULES if place(path, PYTHON) in names]


def packed(shop: Shop) -> dict[str, dict[str, Any]]:
    return {path: file for path, file in shop.files().items() if file["decision"] == "packed"}


def unzipped(shop: Shop) -> Path:
    folder = shop.folder / "task"
    with zipfile.ZipFile(shop.folder / "out/app.zip") as bundle:
        bundle.extractall(folder)
    return folder


ASK = """
import inspect, json, sys
import app, units.tables
code = units.f7.__code__
print(json.dumps([app.handler({"inch": 2}, None), inspect.getsource(units.cm), units.f7.__doc__, code.co_filename]))
"""


def answer(root: Path) -> list[Any]:
    """Returns what the app says in a tree, where nothing is written."""
    run = subprocess.run(
        [sys.executable, "-B", "-c", ASK], cwd=root, capture_output=True, text=True, check=True
    )
    told: list[Any] = json.loads(run.stdout.replace(str(root), "ROOT"))
    return told


def test_where_there_is_room_all_modules_have_their_bytecode_beside_them(counter: Counter) -> None:
    shop, done = counter.build("--bytecode", "auto")

    assert beside(shop) == COMPILED
    assert packed(shop) == {}
    files = shop.files()
    with zipfile.ZipFile(shop.folder / "out/app.zip") as bundle:
        content = bundle.read(place("units/tables.py", PYTHON))
    assert content[:8] == MAGIC_NUMBER + b"\1\0\0\0"
    code: CodeType = marshal.loads(content[HEADER:])  # noqa: S302 -- made here
    assert code.co_filename == "/var/task/units/tables.py"
    pyc = files[place("units/tables.py", PYTHON)]
    assert (pyc["owner"], pyc["decision"], pyc["rule"]) == ("units", "added", "bytecode")
    assert files[place("app.py", PYTHON)]["owner"] == "(app)"
    assert files["units/old.py"]["note"].startswith("no bytecode: Missing parentheses")
    record = shop.manifest()["bytecode"]
    assert (record["lies"], record["compiler"]) == ("beside", f"CPython {sys.version.split()[0]}")
    assert "beside the sources of 7 modules" in done.out
    assert "Repairs" not in done.out
    assert answer(unzipped(shop))[0] == [5.08, "lazy"]


def test_none_leaves_modules_as_they_are(counter: Counter) -> None:
    shop, done = counter.build("--bytecode", "none", "--pack", "all")

    assert beside(shop) == []
    assert packed(shop) == {}
    assert shop.manifest().get("bytecode") is None
    assert "Bytecode" not in done.out


def test_where_there_is_no_room_modules_are_packed_and_answer_as_plain_ones(counter: Counter) -> None:
    # given
    none = ("--bytecode", "none", "--pack", "all")
    size, plain = counter.size(*none), answer(unzipped(counter.bundle(*none)))

    # when
    limit = ("--max-size", str(size))
    shop, done = counter.build("--bytecode", "auto", "--handler", "app.handler", *limit)

    # then
    files = packed(shop)
    assert set(files) == {path for path in UNITS if path.endswith(".py")} - {"units/old.py", "units/short.py"}
    assert shop.manifest()["totals"]["size_after"] < size
    assert {"app.py"} <= set(beside(shop)) <= {"units/short.py", "app.py"}
    forms = {one["path"]: one["form"] for one in shop.manifest()["fit"]["choices"]}
    assert {forms["units/__init__.py"], forms["units/tables.py"], forms["units/lazy.py"]} <= {"raw", "hot"}
    task = unzipped(shop)
    assert answer(task) == plain
    assert (task / "app.py").read_text() == APP
    for path, file in files.items():
        assert (task / path).stat().st_size == file["size_after"] < 200
        assert file["packed"]["loaded"] == file["packed"]["size_before"] == len(UNITS[path])
    assert "packed with the sources of 5 modules" in done.out
    assert "starts soonest below the limit, judged by what app imports" in " ".join(done.out.split())
    told = shop.run("explain", "units/tables.py", "-m", "out/app.manifest.json").out
    assert "source and bytecode take" in " ".join(told.split())
    assert shop.files()["units/short.py"]["note"] == "not packed: it is too small"


def test_what_modules_take_in_the_archive_is_counted_with_their_distribution(counter: Counter) -> None:
    shop = counter.bundle(*ALL)

    files, (units,) = shop.files(), shop.manifest()["distributions"]
    archived = sum(file["packed"]["archived"] for file in packed(shop).values())
    own = sum(file["size_after"] for file in files.values() if file["owner"] == "units")
    assert units["size_after"] == own + archived
    assert 0 < files[PLACE]["size_after"] - archived < 500  # head and index
    assert files[LOADER]["owner"] == files[PLACE]["owner"] == "(slimpack)"


def test_what_the_handler_imports_comes_first_in_the_archive(counter: Counter) -> None:
    modules = [one.path for one in read((unzipped(counter.bundle(*ALL)) / PLACE).read_bytes())]

    assert modules[:3] == ["units/__init__.py", "units/tables.py", "units/lazy.py"]
    assert modules[3:] == ["units/later.py", "units/unused.py"]


def test_what_the_user_keeps_is_not_packed(counter: Counter) -> None:
    shop = counter.bundle(*ALL, "--keep", "units/tables.py")

    assert shop.files()["units/tables.py"]["decision"] == "kept"
    assert shop.files()["units/tables.py"]["note"] == "not packed: the configuration keeps it"
    assert beside(shop) == ["units/short.py", "units/tables.py", "app.py"]


def test_what_a_rule_keeps_is_not_packed_and_explain_says_so(counter: Counter) -> None:
    # given a rule by which a module and data stay
    folder = counter.shop.folder / "rules"
    folder.mkdir()
    (folder / "units.toml").write_text("""
[[rule]]
name = "configuration"
action = "keep"
paths = ["units/later.py", "units/data.txt"]
reason = "It is read as text, by a name that is computed."
examples = { match = ["units/later.py"] }
evidence = [{ version = "1", files = 2, bytes = 9, shown = "Seen." }]
""")

    # when
    shop = counter.bundle(*ALL, "--rules", "rules")

    # then
    assert shop.files()["units/later.py"]["decision"] == "kept"
    assert (unzipped(shop) / "units/later.py").read_text() == UNITS["units/later.py"]
    assert beside(shop) == ["units/later.py", "units/short.py", "app.py"]
    told = shop.run("explain", "units/later.py", "-m", "out/app.manifest.json").out
    assert "by units/configuration: It is read as text" in " ".join(told.split())
    assert "not packed: a rule keeps it" in told
    assert "units/tables.py" in packed(shop)


def test_where_nothing_may_be_packed_what_the_handler_imports_comes_first(counter: Counter) -> None:
    # given
    whole = counter.size("--bytecode", "auto")
    imported = ("--bytecode", "hot", "--handler", "app.handler")
    some = counter.size(*imported)
    options = ("--bytecode", "auto", "--pack", "never", "--handler", "app.handler", "--max-size")

    # when
    first = counter.bundle(*options, str(whole))
    second = counter.bundle(*options, str(some))

    # then
    wanted = ["units/__init__.py", "units/lazy.py", "units/tables.py", "app.py"]
    assert beside(counter.bundle(*imported)) == wanted
    assert set(wanted) < set(beside(first)) < set(COMPILED)
    assert first.manifest()["totals"]["size_after"] < whole
    assert set(beside(second)) < set(wanted)
    assert second.manifest()["totals"]["size_after"] < some
    assert not [one for one in second.manifest()["findings"] if one["code"] == "SLP114"]


def test_a_larger_limit_never_makes_a_slower_start_and_what_can_fit_does(counter: Counter) -> None:
    # given limits from the smallest that packing comes below to one that all fits in
    options = ("--bytecode", "auto", "--handler", "app.handler", "--max-size")
    least, most = counter.size(*options, str(counter.size(*ALL))), counter.size("--bytecode", "auto")
    limits = [least + 1, *range(least + 200, most, (most - least) // 8), most, most + 1]

    # when
    found = [counter.bundle(*options, str(limit)).manifest() for limit in limits]

    # then
    assert all(one["totals"]["size_after"] < limit for one, limit in zip(found, limits, strict=True))
    expected = [one["fit"]["milliseconds"] for one in found]
    assert expected == sorted(expected, reverse=True)
    assert expected[0] > expected[-1]
    assert {one["form"] for one in found[-1]["fit"]["choices"]} == {"compiled"}


def test_where_there_is_no_room_for_any_bytecode_the_build_says_so(counter: Counter) -> None:
    plain = counter.size("--bytecode", "none", "--pack", "all")

    shop = counter.bundle("--bytecode", "auto", "--pack", "never", "--max-size", str(plain + 1))

    assert beside(shop) == []
    (finding,) = (one for one in shop.manifest()["findings"] if one["code"] == "SLP114")
    assert "no room for it" in finding["message"]


def test_the_same_inputs_make_the_same_zip_by_any_number_of_processes(counter: Counter) -> None:
    one, two = (
        (shop.folder / "out/app.zip").read_bytes()
        for shop in (counter.bundle(*ALL), counter.bundle(*ALL, "--no-cache", "--jobs", "2"))
    )

    assert one == two


def test_another_choice_is_another_bundle_of_the_cache(counter: Counter) -> None:
    counter.build("--bytecode", "auto")
    again = counter.shop.build("--source", "app", "--jobs", "2", "--bytecode", "auto")

    assert "(from the cache)" in again.out
    counter.build("--bytecode", "none", "--pack", "all")
    assert not any("(from the cache)" in done.out for _, done in counter.made.values())


def test_a_layer_has_its_archive_where_its_modules_are(counter: Counter) -> None:
    shop = counter.bundle("--bytecode", "auto", "--pack", "all", "--layer")

    assert {f"python/{PLACE}", f"python/{LOADER}", f"python/{place(LOADER, PYTHON)}"} <= set(shop.names())
    assert answer(unzipped(shop) / "python")[0] == [5.08, "lazy"]


def test_what_no_run_has_used_goes_if_one_insists_and_is_told(counter: Counter) -> None:
    # given a run that used some of what there is
    run = ("--handler", "app.handler", "--event", "event.json")
    tried = ("--source", "app", "--jobs", "1", *run, "--verify")
    shop = counter.shop
    (shop.folder / "event.json").write_text('{"inch": 2}')
    assert shop.build(*tried).code == 0
    traced = shop.run("trace", "out/app.zip", *run, "-o", "seen.json")
    assert traced.code == 0, traced.err
    profile = ("--profile", "seen.json")

    # when
    done = shop.build(*tried, *profile, "--drop-cold")

    # then
    assert done.code == 0, done.err
    files = {path for path, file in shop.files().items() if file["decision"] != "removed"}
    assert {"units/__init__.py", "units/tables.py", "units/lazy.py", "app.py"} <= files
    assert not {"units/later.py", "units/unused.py", "units/data.txt", "units/old.py"} & files
    (finding,) = (one for one in shop.manifest()["findings"] if one["code"] == "SLP203")
    assert finding["severity"] == "warning"
    assert "no run of the profile" in finding["message"]
    assert "profile/cold" in done.out
    # and without insisting all of it is there
    shop.build(*tried, *profile)
    assert {"units/later.py", "units/unused.py", "units/data.txt"} <= set(shop.names())
    # and not without a run that tries it
    assert shop.build("--source", "app", *profile, "--drop-cold", "--no-verify").code == 2


def test_explained_is_what_is_asked_for_and_whose_milliseconds_are_shown(counter: Counter) -> None:
    shop = counter.bundle("--bytecode", "auto")
    manifest = ("-m", "out/app.manifest.json")

    whole, part = (shop.run("explain", "--fit", *some, *manifest) for some in ((), ("units/t*",)))
    data = shop.run("explain", "--fit", "units/t*", "--json", *manifest)
    nothing = [shop.run("explain", "--fit", "nix/**", *some, *manifest) for some in ((), ("--json",))]

    expected = "all modules and shared objects of the bundle are expected to take"
    assert all(expected in " ".join(one.out.split()) for one in (whole, part))
    assert "Shown: 1 of the 7 that could have another form" in " ".join(part.out.split())
    assert "Shown:" not in whole.out
    assert "units/tables.py" in part.out
    assert "units/lazy.py" not in part.out
    assert [one["path"] for one in json.loads(data.out)["choices"]] == ["units/tables.py"]
    for one in nothing:
        assert (one.code, one.out) == (2, "")
        assert "'nix/**' matches no file of the bundle that could have another form" in " ".join(
            one.err.split()
        )


class Silent:
    def phase(self, text: str) -> AbstractContextManager[None]:  # noqa: ARG002 -- nobody is told
        return nullcontext()

    def advance(self, done: int, total: int) -> None: ...

    def tell(self, words: str) -> None: ...


def room(root: Path, text: str, compiler: Path | None) -> Room:
    """Returns a bundle of one module."""
    (root / "a.py").write_text(text)
    return Room(
        root=root,
        staged={"a.py": Staged(path="a.py", size=len(text), sha256="", compacted=False)},
        owners={"a.py": "a"},
        kept={},
        target=target.make(runtime=RUNTIME),
        others={},
        added=0,
        handler="",
        compiler=compiler,
    )


def test_where_nothing_can_be_packed_bytecode_lies_beside(tmp_path: Path) -> None:
    settled = settle(
        room(tmp_path, "x = 1\n", Path(sys.executable)), "auto", "all", jobs=1, progress=Silent()
    )

    assert [one.path for one in settled.additions] == [place("a.py", PYTHON)]
    assert settled.staged["a.py"].packed is None
    assert settled.findings == ()


def built(root: Path, limit: int, functions: Sequence[int]) -> tuple[int, Settled]:
    """Returns the bytes of a bundle of modules with so many functions, and how they were settled."""
    root.mkdir()
    staged = {}
    for number, many in enumerate(functions):
        text = long(f"NAME = {number}", many)
        (root / f"m{number}.py").write_text(text)
        staged[f"m{number}.py"] = Staged(path=f"m{number}.py", size=len(text), sha256="", compacted=False)
    some = replace(
        room(root, "", Path(sys.executable)),
        staged=staged,
        owners=dict.fromkeys(staged, "m"),
        target=target.make(runtime=RUNTIME, size_limit=limit),
    )
    settled = settle(some, "auto", "auto", jobs=1, progress=Silent())
    added = sum(len(one.content or b"") for one in settled.additions)
    return sum(one.size for one in settled.staged.values()) + added, settled


def test_no_more_is_left_free_for_a_larger_limit_than_it_is_larger(tmp_path: Path) -> None:
    # given modules of which one form is smaller than another by more than a megabyte
    functions = [1000] * 8
    least, _ = built(tmp_path / "least", 1000, functions)

    # when
    found = [built(tmp_path / str(more), least + more, functions) for more in (900_000, 1_100_000)]

    # then
    little, much = (settled.fit.milliseconds for _, settled in found if settled.fit)
    assert little >= much
    assert found[0][0] < least + 900_000


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_where_the_archive_is_larger_than_expected_what_can_fit_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    # given modules that are expected to become smaller than they do
    honest = prices.ratios

    def lie(modules: Sequence[Module]) -> Ratios:
        told = honest(modules)
        return Ratios(
            code={tier: ratio * share for tier, ratio in told.code.items()},
            source={read: ratio * share for read, ratio in told.source.items()},
        )

    monkeypatch.setattr(prices, "ratios", lie)

    def size(limit: int) -> tuple[int, str]:
        """Returns the bytes that a build with a limit has, and what it says of itself."""
        taken, settled = built(tmp_path / str(limit), limit, [40 * number for number in range(8)])
        return taken, settled.bytecode.reason if settled.bytecode else ""

    # when
    least, reason = size(1000)

    # then
    assert least > 1000
    assert "over its limit" in reason
    for limit in (least + 1, least + 100, least + 2000, least + 20_000):
        taken, reason = size(limit)
        assert taken < limit
        assert "over its limit" not in reason


def test_without_an_interpreter_there_is_no_bytecode_and_the_build_says_so(tmp_path: Path) -> None:
    settled = settle(room(tmp_path, APP, None), "all", "all", jobs=1, progress=Silent())

    assert (settled.additions, settled.bytecode) == ((), None)
    assert settled.staged["a.py"].packed is None
    (finding,) = settled.findings
    assert (finding.code, finding.severity) == ("SLP114", "note")
    assert finding.message == f"no interpreter of Python {PYTHON[0]}.{PYTHON[1]} was found"


SOURCES = {
    "app.py": "import a.b\nfrom a import c as d\nif TYPE_CHECKING:\n    import a.types\nelse:\n    import e\n",
    "a/__init__.py": "",
    "a/b.py": "from . import f\nfrom .g.h import *\n",
    "a/c.py": "try:\n    import missing\nexcept ImportError:\n    import app\n",
    "a/f.py": "class C:\n    def m(self):\n        def n():\n            import i\n",
    "a/g/__init__.py": "",
    "a/g/h.py": "import broken",
    "a/types.py": "",
    "broken.py": "import e,\n",
    "e.py": "",
    "i.py": "async def f():\n    match x:\n        case 1:\n            import a.lazy\n",
    "a/lazy.py": "",
    "other.py": "",
}


def test_imports_are_followed_packages_first_into_functions_and_branches() -> None:
    order = reached("app", SOURCES, lambda path: SOURCES[path].encode())

    assert order[:4] == ("app.py", "a/__init__.py", "a/b.py", "a/f.py")
    assert set(order) == {*SOURCES} - {"other.py", "a/types.py"}
    assert order.index("a/g/__init__.py") < order.index("a/g/h.py")


def test_of_a_module_that_is_not_there_nothing_is_reached() -> None:
    assert reached("nothing", SOURCES, lambda path: SOURCES[path].encode()) == ()
