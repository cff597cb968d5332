"""Packed modules: whatever a program asks, the answer is that of the plain files; run by real interpreters."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from packed_tree import Python, pack_tree, write_tree

from slimpack import bytecode
from slimpack.modules.archive import LOADER, PLACE, Module, Tier, read, stub, write
from slimpack.modules.choose import left_alone, mentions
from slimpack.modules.reads import readings
from slimpack.resolve import interpreters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from _pytest.mark import ParameterSet
    from packed_tree import PackedTree

VERSIONS = [(3, minor) for minor in range(10, 15)]

PADDING = "# what is smaller than a stub is not worth packing\n" * 8

TREE: dict[str, str | bytes] = {
    "shapes/__init__.py": f'''"""Shapes of the plane.

The second line of it.
"""
from __future__ import annotations

import warnings

from . import area, circle
from .area import Square

sides: int = 4
warnings.warn("shapes is old", DeprecationWarning, stacklevel=2)
{PADDING}''',
    "shapes/area.py": f'''# a comment first, so that no line is where it would be by chance
import sys
from . import circle  # which imports this module
from dataclasses import dataclass

ANNOTATED: "list[int]" = [1]
CALLER = sys._getframe(0).f_code.co_filename
NAMES_AT_START = sorted(globals())


@dataclass
class Square:
    """A square."""

    side: int = 2

    def area(self) -> int:
        # a comment inside
        return self.side ** 2

    def fail(self):
        raise ValueError("no square")


def outer():
    def inner(x, *, y=(1, 2)):
        return [x for _ in y]  # ünïcödé
    return inner


triple = lambda x: x * 3
{PADDING}''',
    "shapes/circle.py": f"""
import shapes.area
from importlib import resources

def data():
    return resources.files(__package__).joinpath("data.txt").read_text()

def square():
    return shapes.area.Square(3)
{PADDING}""",
    "shapes/data.txt": "round\n",
    "shapes/latin.py": f"""# -*- coding: latin-1 -*-
NAME = 'caf\xe9'

def name():
    return 'caf\xe9'
{PADDING}""".encode("latin-1"),
    "shapes/windows.py": f"\ufeffX = 1\r\n\r\ndef lines():\r\n    return '''a\r\nb'''\r\n{PADDING}".encode(),
    "shapes/future.py": f"from __future__ import annotations\ndef f(x: Missing) -> Unknown: ...\n{PADDING}",
    "shapes/broken.py": f"""import sys

def start():
    raise RuntimeError("while importing")

start()
{PADDING}""",
    "shapes/lacking.py": f"import shapes.area\nimport no_such_module\n{PADDING}",
    "shapes/odd.py": f"x = 1\n\nassert x == 2, 'odd'\n{PADDING}",
    "shapes/asserts.py": f"""'Doc.'
HELD = True
try:
    assert False
    HELD = False
except AssertionError:
    pass
{PADDING}""",
    "shapes/__main__.py": f"""import sys
from shapes import area
print(__name__, __package__, sys.argv, __spec__.name, __file__, area.Square().area())
{PADDING}""",
    "shapes/tool.py": f"""import sys, pickle
class Thing:
    pass
if __name__ == "__main__":
    print(__name__, __package__, sys.argv[1:], __spec__ and __spec__.name, pickle.dumps(Thing())[-20:])
    raise SystemExit(3)
{PADDING}""",
    "space/one/__init__.py": f"ONE = 1\n{PADDING}",
    "first.py": f'''"""It is imported first, so its stub is executed."""
import sys
import warnings
warnings.warn("first is old", DeprecationWarning, stacklevel=2)
NAMES_AT_START = sorted(globals())
FRAMES = []
frame = sys._getframe(1)
while frame:
    if "importlib" not in frame.f_code.co_filename:
        FRAMES.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
    frame = frame.f_back
del frame
import shapes.area
{PADDING}''',
    "first_broken.py": f"""import sys

def start():
    raise RuntimeError("while importing")

start()
{PADDING}""",
    "version_file.py": f"__version__ = '1.2'\nALSO = {{}}\n{PADDING}",
    "small.py": "S = 1\n",
}


def pythons() -> list[ParameterSet]:
    """Returns the interpreters that are here; those between the oldest and the newest take their time."""
    found = [
        Python(version=version, executable=path)
        for version in VERSIONS
        if (path := interpreters.find(version))
    ]
    return [
        pytest.param(
            one,
            id=f"{one.version[0]}.{one.version[1]}",
            marks=() if one in (found[0], found[-1]) else pytest.mark.heavy,
        )
        for one in found
    ]


ASKS = {
    "attributes": """
import importlib, json, warnings
warnings.simplefilter("ignore")
told = {}
for name in ("first", "shapes", "shapes.area", "shapes.circle", "shapes.latin", "shapes.windows", "shapes.future",
             "space.one", "small"):
    module = importlib.import_module(name)
    spec = module.__spec__
    told[name] = {
        "names": list(vars(module)),
        "doc": module.__doc__, "file": module.__file__, "cached": module.__cached__, "package": module.__package__,
        "path": getattr(module, "__path__", None) and list(module.__path__), "name": module.__name__,
        "loader": [type(module.__loader__).__qualname__, module.__loader__.name, module.__loader__.path],
        "same": module.__loader__ is spec.loader,
        "spec": [spec.name, spec.origin, spec.cached, spec.parent, spec.has_location, spec.loader_state,
                 spec.submodule_search_locations and list(spec.submodule_search_locations), spec._initializing],
        "annotations": str(getattr(module, "__annotations__", None)), "repr": repr(module),
    }
print(json.dumps(told))
""",
    "names at the start, and frames": """
import json, warnings
warnings.simplefilter("ignore")
import first, shapes.area
print(json.dumps([first.NAMES_AT_START, first.FRAMES, shapes.area.NAMES_AT_START, shapes.area.CALLER]))
""",
    "lines that run": """
import json, sys, warnings
warnings.simplefilter("ignore")
import re, dataclasses, importlib.resources, version_file
seen = []
def trace(frame, event, argument):
    if "/shapes/" in frame.f_code.co_filename:
        seen.append([frame.f_code.co_filename, frame.f_code.co_name, event, frame.f_lineno])
    return trace
sys.settrace(trace)
import shapes.circle
shapes.circle.square()
sys.settrace(None)
print(json.dumps(seen))
""",
    "warnings": """
import json, warnings
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    import first, shapes
print(json.dumps([[str(one.message), one.filename, one.lineno] for one in seen]))
""",
    "sources": """
import inspect, json, warnings
warnings.simplefilter("ignore")
import shapes.latin, shapes.windows
from shapes import area
told = [inspect.getsource(one) for one in (
    area, area.Square, area.Square.area, area.outer, area.outer(), area.triple, shapes, shapes.latin,
    shapes.latin.name, shapes.windows.lines)]
told += [inspect.getsourcelines(area.outer), inspect.getsourcefile(area.Square), inspect.getfile(area.outer),
         inspect.getcomments(area), inspect.getdoc(area.Square), area.outer.__code__.co_firstlineno,
         area.outer().__code__.co_filename, list(area.outer.__code__.co_lines())]
print(json.dumps(told))
""",
    "sources by another thread, after everything was forgotten": """
import inspect, json, linecache, threading, warnings
warnings.simplefilter("ignore")
from shapes import area
told = []
def ask():
    linecache.clearcache()
    told.append(inspect.getsource(area.outer))
    linecache.checkcache()
    told.append(linecache.getline(area.__file__, 12))
    linecache.cache.pop(area.__file__)
    told.append(linecache.getlines(area.__file__, vars(area))[:4])
    told.append(linecache.updatecache(area.__file__)[:2])
    told.append(linecache.getlines("shapes/future.py")[:2])
thread = threading.Thread(target=ask)
thread.start(), thread.join()
print(json.dumps(told))
""",
    "loaders": """
import importlib.util, inspect, json, pkgutil, warnings
warnings.simplefilter("ignore")
import shapes.area
loader = shapes.area.__loader__
code = loader.get_code("shapes.area")
told = [loader.get_source("shapes.area"), loader.get_data(shapes.area.__file__).decode(), code.co_filename,
        loader.get_filename("shapes.area"), loader.is_package("shapes.area"),
        shapes.__loader__.is_package("shapes"),
        sorted(c.co_name for c in code.co_consts if inspect.iscode(c)),
        pkgutil.get_data("shapes", "data.txt").decode(), pkgutil.get_data("shapes", "area.py").decode(),
        shapes.__loader__.get_resource_reader("shapes").is_resource("data.txt"),
        importlib.util.find_spec("shapes.future").loader.get_source("shapes.future")]
for wrong in ("get_code", "get_source"):
    try:
        getattr(loader, wrong)("shapes.other")
    except ImportError as error:
        told.append(str(error))
print(json.dumps(told))
""",
    "listings": """
import json, os, pkgutil, warnings
from importlib import resources
warnings.simplefilter("ignore")
import shapes
print(json.dumps([
    sorted(os.listdir("shapes")), sorted(one.name for one in pkgutil.iter_modules(shapes.__path__)),
    sorted(one.name for one in resources.files(shapes).iterdir()), shapes.circle.data(),
    sorted(os.listdir("space/one")), [list(__import__("space").__path__), __import__("space").__spec__.origin],
]))
""",
    "pickles, reloads and circles": """
import importlib, json, pickle, sys, warnings
warnings.simplefilter("ignore")
import shapes.area, shapes.circle
square = shapes.area.Square(5)
again = pickle.loads(pickle.dumps(square))
before = shapes.area.Square
shapes.area.left = 1
module = importlib.reload(shapes.area)
print(json.dumps([str(again), module is shapes.area, before is not module.Square,
                  module.left, shapes.circle.square().area(), shapes.area is sys.modules["shapes.area"]]))
""",
    "tracebacks": """
import json, sys, traceback, warnings
warnings.simplefilter("ignore")
import shapes.area
told = []
def tell(call):
    try:
        call()
    except Exception as error:
        told.append(traceback.format_exc().splitlines())
def broken(): import shapes.broken
def lacking(): import shapes.lacking
def odd(): import shapes.odd
def loaded():
    import importlib
    importlib.import_module("shapes.odd")
def direct():
    import importlib.util
    spec = importlib.util.spec_from_file_location("elsewhere", "shapes/broken.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
for one in (shapes.area.Square().fail, broken, lacking, odd, loaded, direct):
    tell(one)
print(json.dumps([told, "shapes.broken" in sys.modules, "elsewhere" in sys.modules]))
""",
    "the traceback of the first import": """
import json, traceback
def call():
    import first_broken
try:
    call()
except RuntimeError as error:
    print(json.dumps(traceback.format_exc().splitlines()))
""",
    "files run by others": """
import importlib.util, json, runpy, warnings
warnings.simplefilter("ignore")
told = []
found = {}
exec(open("version_file.py").read(), found)
told.append(sorted(found))
outer, local = {}, {}
exec(open("version_file.py").read(), outer, local)
told.append([sorted(outer), sorted(local)])
told.append(sorted(runpy.run_path("version_file.py")))
told.append(runpy.run_path("version_file.py")["__file__"])
told.append(runpy.run_module("shapes.tool")["__name__"])
spec = importlib.util.spec_from_file_location("renamed", "shapes/future.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
told.append([module.__name__, module.f.__module__, module.f.__annotations__, module.__file__])
print(json.dumps(told))
""",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """The same modules, plain and packed in every way, and what programs were told in each."""

    python: Python
    roots: Mapping[str, Path]
    outcomes: Mapping[str, PackedTree]
    told: Mapping[str, Mapping[str, str]]


@pytest.fixture(params=pythons(), scope="module")
def trees(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trees:
    python: Python = request.param
    folder = tmp_path_factory.mktemp("trees")
    roots = {
        kind: write_tree(folder / kind / "task", TREE)
        for kind in ("plain", "raw", "hot", "cold", "uncompiled")
    }
    outcomes = {
        "hot": pack_tree(roots["hot"], python),
        "raw": pack_tree(roots["raw"], python, tier=Tier.RAW),
        "cold": pack_tree(roots["cold"], python, tier=Tier.COLD),
        "uncompiled": pack_tree(roots["uncompiled"], python, compiled=False),
    }
    told = {kind: python.answers(root, ASKS) for kind, root in roots.items()}
    return Trees(python=python, roots=roots, outcomes=outcomes, told=told)


@pytest.mark.parametrize("kind", ["raw", "hot", "cold", "uncompiled"])
@pytest.mark.parametrize("asked", ASKS)
def test_programs_find_the_same_as_in_plain_modules(asked: str, kind: str, trees: Trees) -> None:
    told = trees.told[kind][asked]

    assert told == trees.told["plain"][asked]
    json.loads(told)  # it was no traceback


def test_in_place_of_a_module_lies_one_line(trees: Trees) -> None:
    root, outcome = trees.roots["hot"], trees.outcomes["hot"]
    packed = set(outcome.packed)

    assert packed == {path for path in TREE if path.endswith(".py")} - {"small.py"}
    assert outcome.left == {"small.py": "it is too small"}
    for path in packed:
        text = TREE[path]
        line = stub(Module(path=path, source=text.encode() if isinstance(text, str) else text, code=b""))
        assert (root / path).read_bytes() == line
        assert outcome.packed[path].size == len(line)
    assert {one.path for one in outcome.additions} == {
        PLACE,
        LOADER,
        bytecode.place(LOADER, trees.python.version),
    }


COMPILED = """
import sys
seen = []
sys.addaudithook(lambda event, details: event == "compile" and seen.append(str(details[1])))
import first, shapes.windows
print(sorted(one.rpartition("/")[2] for one in seen if "/task/" in one))
"""


def test_nothing_but_the_first_stub_is_compiled_at_a_start(trees: Trees) -> None:
    told = {
        kind: trees.python.run(trees.roots[kind], "-W", "ignore", "-c", COMPILED).stdout
        for kind in ("plain", "raw", "hot", "cold")
    }
    assert told["raw"] == told["hot"] == told["cold"] == "['first.py']\n"
    assert "area.py" in told["plain"]


@pytest.mark.parametrize(
    "args",
    [
        ["-m", "shapes", "a"],
        ["-m", "shapes.tool", "a"],
        ["-m", "version_file"],
        ["shapes/tool.py", "b"],
        ["-O", "-c", "import shapes.asserts; print(shapes.asserts.HELD, shapes.asserts.__doc__)"],
        ["-OO", "-c", "import shapes.asserts; print(shapes.asserts.HELD, shapes.asserts.__doc__)"],
    ],
    ids=" ".join,
)
def test_programs_start_as_they_do_from_plain_modules(args: list[str], trees: Trees) -> None:
    plain, packed = (trees.python.run(trees.roots[kind], "-W", "ignore", *args) for kind in ("plain", "hot"))

    assert packed.stdout.replace("/hot/", "/plain/") == plain.stdout
    assert packed.returncode == plain.returncode
    assert packed.stderr == plain.stderr == ""


def test_a_program_is_run_by_its_path_where_its_tree_is_not_on_the_search_path(trees: Trees) -> None:
    program = str(trees.roots["hot"] / "shapes/tool.py")

    told = trees.python.run(trees.roots["plain"].parent, "-I", program, "a")

    assert (told.returncode, told.stderr) == (3, "")
    assert told.stdout.startswith("__main__ None ['a'] None")


def test_an_uncaught_error_ends_a_program_as_it_does_in_a_plain_module(trees: Trees) -> None:
    # CPython before 3.13 reads the lines of such a traceback from the file itself: there they are not shown
    plain, packed = (
        trees.python.run(trees.roots[kind], "-c", "import shapes.broken") for kind in ("plain", "hot")
    )

    def places(text: str) -> list[str]:
        return [
            line
            for line in text.replace("/hot/", "/plain/").splitlines()
            if line.startswith(("  File", "Run"))
        ]

    assert packed.returncode == plain.returncode == 1
    assert places(packed.stderr) == places(plain.stderr)
    if trees.python.version >= (3, 13):
        assert packed.stderr.replace("/hot/", "/plain/") == plain.stderr


@pytest.fixture
def python() -> Python:
    newest = pythons()[-1].values[0]
    assert isinstance(newest, Python)
    return newest


def test_a_file_that_is_no_stub_any_more_is_taken_as_it_is(python: Python, tmp_path: Path) -> None:
    root = write_tree(tmp_path, TREE)
    pack_tree(root, python)
    (root / "version_file.py").write_text("__version__ = 'edited'\n")

    told = python.run(
        root, "-W", "ignore", "-c", "import first, version_file; print(version_file.__version__)"
    )

    assert told.stdout == "edited\n"


def test_bytecode_of_another_python_is_not_run(python: Python, tmp_path: Path) -> None:
    root = write_tree(tmp_path / "task", TREE)
    pack_tree(root, python)
    content = bytearray((root / PLACE).read_bytes())
    content[8] ^= 1
    (root / PLACE).write_bytes(content)

    told = python.run(root, "-W", "ignore", "-c", COMPILED)

    assert "area.py" in told.stdout
    assert told.returncode == 0


SHADOWED = f"""
import sys
added = set(sys.modules) - BEFORE
def fail():
    raise ValueError("no tool")  # this line
sys.path[:] = [one for one in sys.path if "tools" not in one]
import traceback
try:
    fail()
except ValueError:
    print("# this line" in traceback.format_exc(), *sorted(added))
{PADDING}"""


@pytest.mark.parametrize("python", pythons())
def test_modules_beside_a_program_do_not_take_the_places_of_those_of_python(
    python: Python, tmp_path: Path
) -> None:
    shadows = ("token", "tokenize", "linecache", "struct", "lzma", "_compression", "re", "functools")
    files = {f"tools/{name}.py": f"raise RuntimeError(__file__)\n{PADDING}" for name in shadows}
    root = write_tree(tmp_path, files | {"tools/task.py": SHADOWED})
    pack_tree(root, python, tier=Tier.COLD)
    start = f"import sys; sys.path.insert(0, {str(root / 'tools')!r}); BEFORE = {{*sys.modules}}"
    task = str(root / "tools/task.py")

    told = python.run(root, "-c", f"{start}; exec(compile(open({task!r}).read(), {task!r}, 'exec'))")

    assert told.stderr == ""
    found, *added = told.stdout.split()
    assert found == "True"
    assert {"_slimpack1"} <= set(added) <= {"_slimpack1", "__future__", "_struct", "mmap", "zlib", "_lzma"}


LAZY = """
import importlib.util, sys
for name in [one for one in sys.modules if one in {"linecache", "traceback"}]:
    del sys.modules[name]
spec = importlib.util.find_spec("linecache")
spec.loader = importlib.util.LazyLoader(spec.loader)
sys.modules["linecache"] = linecache = importlib.util.module_from_spec(spec)
spec.loader.exec_module(linecache)
import version_file, space.one
print(type(linecache) is type(sys), linecache.getline(version_file.__file__, 1).strip())
"""


@pytest.mark.parametrize("python", pythons())
def test_a_module_that_is_to_be_imported_when_it_is_used_is_not_woken(python: Python, tmp_path: Path) -> None:
    root = write_tree(tmp_path, TREE)
    pack_tree(root, python)

    told = python.run(root, "-W", "ignore", "-c", LAZY)

    assert told.stdout == "False __version__ = '1.2'\n", told.stderr


def test_a_program_with_a_module_named_like_one_of_python_is_run_by_its_path(
    python: Python, tmp_path: Path
) -> None:
    files = {
        "tools/token.py": f"NAMES = 1\n{PADDING}",
        "tools/__main__.py": f"import sys\nprint('linecache' in sys.modules)\n{PADDING}",
    }
    root = write_tree(tmp_path, files)
    plain = python.run(root, "tools/__main__.py")
    pack_tree(root, python)

    told = python.run(root, "tools/__main__.py")

    assert (told.stdout, told.stderr) == (plain.stdout, "")


LINES = """
import linecache, sys, traceback
for path in sys.argv[1:]:
    print(linecache.getlines(path))
try:
    exec(compile("1 / 0", sys.argv[1], "exec"))
except ZeroDivisionError:
    print(any(line.strip() == 'x = "_slimpack1"' for line in traceback.format_exc().splitlines()))
"""


def test_lines_of_files_that_only_look_like_stubs_are_theirs(python: Python, tmp_path: Path) -> None:
    line = stub(Module(path="gone.py", source=b"", code=b"")).decode()
    root = write_tree(
        tmp_path, TREE | {"no.txt": 'x = "_slimpack1"\n', "gone.txt": line, "more.txt": f"x = {line}"}
    )
    pack_tree(root, python)

    told = python.run(
        root, "-c", f"import version_file\n{LINES}", "no.txt", "gone.txt", "more.txt", "shapes/tool.py"
    )

    assert told.stderr == ""
    no, gone, more, tool, last = told.stdout.splitlines()
    assert (no, gone) == (repr(['x = "_slimpack1"\n']), repr([line]))
    assert more == repr([f"x = {line}"])
    assert tool.startswith("['import sys, pickle")
    assert last == "True"


@pytest.mark.parametrize("content", [None, b"", b"SLPKMOD1"], ids=["missing", "empty", "cut"])
def test_where_the_archive_cannot_be_read_lines_are_those_of_the_stub(
    content: bytes | None, python: Python, tmp_path: Path
) -> None:
    good = {"version_file.py": TREE["version_file.py"]}
    roots = [write_tree(tmp_path / "good", good), write_tree(tmp_path / "bad", TREE)]
    for root in roots:
        pack_tree(root, python)
    (roots[1] / PLACE).unlink()
    if content is not None:
        (roots[1] / PLACE).write_bytes(content)
    path = roots[1] / "shapes/odd.py"

    told = python.run(roots[0], "-c", f"import version_file\n{LINES}", str(path))

    assert told.stderr == ""
    assert told.stdout.splitlines()[0] == repr([path.read_text()])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "slimpack.libs/modules is missing"),
        (b"SLPKMOD9" + bytes(64), "no archive of packed modules"),
        (b"", "slimpack.libs/modules is damaged"),
        (b"SLPKMOD1", "slimpack.libs/modules is damaged"),
        (b"SLPKMOD1" + bytes(64), "slimpack.libs/modules is damaged"),
    ],
    ids=["missing", "newer", "empty", "cut", "zeros"],
)
def test_without_its_archive_a_module_says_so(
    content: bytes | None, expected: str, python: Python, tmp_path: Path
) -> None:
    root = write_tree(tmp_path, TREE)
    pack_tree(root, python)
    (root / PLACE).unlink()
    if content is not None:
        (root / PLACE).write_bytes(content)

    told = python.run(root, "-c", "import version_file")

    assert told.returncode == 1
    assert told.stderr.splitlines()[-1].startswith("ImportError: ")
    assert expected in told.stderr


@pytest.mark.parametrize("tier", Tier, ids=lambda tier: tier.name.lower())
def test_an_archive_that_is_damaged_is_named_wherever_that_shows(
    tier: Tier, python: Python, tmp_path: Path
) -> None:
    files = {f"m{i}.py": f"{PADDING * 8}\nX = {list(range(i, i + 999))}\n" for i in range(3)}
    root = write_tree(tmp_path, files)
    pack_tree(root, python, tier=tier)
    good = (root / PLACE).read_bytes()
    for cut in range(16, len(good), len(good) // 9):
        (root / PLACE).write_bytes(good[:cut])

        told = python.run(root, "-c", "import m1")

        last = told.stderr.splitlines()[-1]
        assert last.startswith(f"ImportError: {root / PLACE} is damaged: "), told.stderr
    start = 16 + int.from_bytes(good[12:16], "little")
    (root / PLACE).write_bytes(good[:start] + bytes(len(good) - start))

    told = python.run(root, "-c", "import m1")

    assert told.stderr.splitlines()[-1].startswith(f"ImportError: {root / PLACE} is damaged: "), told.stderr


def test_a_function_and_its_layer_both_have_packed_modules(python: Python, tmp_path: Path) -> None:
    function = write_tree(
        tmp_path / "task", {"app.py": f"import shapes.circle\nimport version_file\n{PADDING}"}
    )
    layer = write_tree(tmp_path / "layer", TREE | {"version_file.py": f"__version__ = 'layer'\n{PADDING}"})
    for root in (function, layer):
        pack_tree(root, python)
    program = "import app; print(app.version_file.__version__, app.shapes.circle.data(), app.shapes.__file__)"

    told = python.run(function, "-W", "ignore", "-c", program, PYTHONPATH=f"{function}:{layer}")

    assert told.stdout == f"layer round\n {layer}/shapes/__init__.py\n", told.stderr


THREADS = """
import importlib, os, sys, threading
os.closerange(3, 100)
names = [f"many.m{i}" for i in range(60)]
threads = [threading.Thread(target=lambda part=part: [importlib.import_module(one) for one in names[part::7] + names])
           for part in range(7)]
for one in threads: one.start()
for one in threads: one.join()
print(sum(sys.modules[one].X for one in names), {importlib.import_module(one).text() for one in names})
"""


def test_threads_import_side_by_side_and_open_files_are_nobodys_business(
    python: Python, tmp_path: Path
) -> None:
    big = "\n".join(f"v{i} = {i!r} * 3" for i in range(300))
    root = write_tree(
        tmp_path,
        {
            f"many/m{i}.py": f"import many.m{(i + 1) % 60}\nX = {i}\ndef text():\n    return 'same'\n{big}\n{PADDING}"
            for i in range(60)
        },
    )
    pack_tree(root, python)

    told = python.run(root, "-c", f"import many.m3\n{THREADS}")

    assert told.stdout == f"{sum(range(60))} {{'same'}}\n", told.stderr


INSTRUMENTED = """
import importlib.machinery, sys
class Loader(importlib.machinery.SourceFileLoader):
    def source_to_code(self, data, path, **options):
        return super().source_to_code(data.replace(b"'1.2'", b"'instrumented'"), path, **options)
details = [(Loader, [".py"])]
import small, first
sys.path_hooks.insert(0, importlib.machinery.FileFinder.path_hook(*details))
sys.path_importer_cache.clear()
import version_file
print(version_file.__version__)
"""


def test_a_loader_that_changes_sources_gets_the_source(python: Python, tmp_path: Path) -> None:
    root = write_tree(tmp_path, TREE)
    pack_tree(root, python)

    told = python.run(root, "-W", "ignore", "-c", INSTRUMENTED)

    assert told.stdout == "instrumented\n", told.stderr


def test_an_archive_is_the_same_for_any_number_of_jobs_and_gives_back_what_it_got() -> None:
    modules = [
        Module(
            path=f"p/m{i}.py",
            source=b"x = %d\n" % i * (i * 999 + 1),
            code=bytes([i]) * 70_000 if i % 4 else b"",
            tier=list(Tier)[i % 3],
            read=i % 2 == 0,
        )
        for i in range(40)
    ]
    archive = write(modules, magic=b"\x01\x02\r\n", jobs=1)

    assert write(modules, magic=b"\x01\x02\r\n", jobs=2) == archive
    assert [(one.path, one.source, one.code) for one in read(archive)] == [
        (one.path, one.source, one.code) for one in modules
    ]


@pytest.mark.parametrize(
    ("path", "source", "reason"),
    [
        ("a/b.py", PADDING, None),
        ("a/b.py", "x = 1\n", "it is too small"),
        ("a-b/c.py", PADDING, "its path is no module's name"),
        ("a/0001_first.py", PADDING, "its path is no module's name"),
        ("a/b.pyw", PADDING, "its path is no module's name"),
        ("bin/tool.py", PADDING, "it is a program"),
        ("a/conf/app_template/models.py", PADDING, "it is a template"),
        ("a/own.py", f"text = open(__file__).read()\n{PADDING}", "it may read its own file"),
        ("a/own.py", f"text = Path(__file__).resolve().read_text()\n{PADDING}", "it may read its own file"),
        (
            "a/own.py",
            f"text = open(os.path.join(os.path.dirname(__file__), 'data'))\n{PADDING}",
            "it may read its own file",
        ),
        ("a/own.py", f"text = files(__package__).joinpath('data').read_text()\n{PADDING}", None),
        ("a/worker.py", PADDING, "a kept module names its file"),
        ("b/deep/worker.py", PADDING, "a kept module names its file"),
        ("b/deep/other.py", PADDING, "a kept module names its file"),
        ("other.py", PADDING, None),
        ("a/__init__.py", PADDING, None),
    ],
)
def test_what_is_read_as_a_file_is_left_alone(path: str, source: str, reason: str | None) -> None:
    text = """
        subprocess.run([sys.executable, os.path.join(here, "worker.py")])
        f"{here}/deep/other.py"
        name.endswith("__init__.py"); ".py"; "no file.py here"; no.py
    """
    named = frozenset(mentions(text.encode()))
    read = frozenset(readings(path, source.encode()))

    assert left_alone(path, source.encode(), mentioned=named, read=read, executable=False) == reason


def test_a_program_with_execute_bits_is_left_alone() -> None:
    source = f"#!/usr/bin/env python\n{PADDING}".encode()

    def left(*, executable: bool) -> str | None:
        return left_alone("a/b.py", source, mentioned=frozenset(), read=frozenset(), executable=executable)

    assert left(executable=True) == "it is a program"
    assert left(executable=False) is None


@pytest.mark.parametrize("compiled", [True, False])
def test_what_the_target_cannot_compile_stays_as_it_is(
    compiled: bool, python: Python, tmp_path: Path
) -> None:
    root = write_tree(tmp_path, {"old.py": f"print 'old'\n{PADDING}", "new.py": f"x = 1\n{PADDING}"})
    outcome = pack_tree(root, python, compiled=compiled)

    assert "old.py" in outcome.left
    assert (root / "old.py").read_text().startswith("print 'old'")
    assert (root / "new.py").read_bytes() == stub(Module(path="new.py", source=b"x", code=b""))
    assert list(outcome.packed) == ["new.py"]


SELF_READING = {
    "plugins/__init__.py": f"""from pathlib import Path
HERE = Path(__file__).resolve().parent
NAMES = [one.name for one in sorted(HERE.glob("*.py")) if "# a plugin" in one.read_text()]
{PADDING}""",
    "plugins/one.py": f"# a plugin\n{PADDING}",
    "plugins/two.py": f"X = 1\n{PADDING}",
    "own.py": f"import os\nSOURCE = os.path.abspath(__file__)\nLINES = len(open(SOURCE).readlines())\n{PADDING}",
    "other.py": f"import own, plugins\nprint(own.LINES, plugins.NAMES)\n{PADDING}",
}


def test_modules_that_read_themselves_or_their_folder_find_there_what_they_do_in_plain_trees(
    python: Python, tmp_path: Path
) -> None:
    root = write_tree(tmp_path, SELF_READING)
    plain = python.run(root, "-c", "import other")

    packed = pack_tree(root, python)

    assert set(packed.packed) == {"other.py"}
    assert python.run(root, "-c", "import other").stdout == plain.stdout == "11 ['__init__.py', 'one.py']\n"


def test_the_same_tree_packs_to_the_same_bytes(python: Python, tmp_path: Path) -> None:
    one, two = (pack_tree(write_tree(tmp_path / name, TREE), python) for name in ("one", "two"))

    assert [(a.path, a.content) for a in one.additions] == [(a.path, a.content) for a in two.additions]
