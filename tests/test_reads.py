"""What modules read as text: their own file, or those of a folder; by their sources alone."""

from __future__ import annotations

import pytest

from slimpack.modules.choose import left_alone
from slimpack.modules.reads import readings

SELF_READERS = [
    "open(__file__)",
    "def read(path):\n    return open(path).read()\nread(__file__)",
    "class A:\n    path = __file__\n    def read(self):\n        return tokenize.open(self.path)",
    "Path(__file__).with_suffix('.py').read_text()",
    "Path(__path__[0], '__init__.py').read_bytes()",
    "io.FileIO(__spec__.origin)",
    "open(sys.modules[__name__].__file__)",
    "[open(getter(x)) for getter in (inspect.getfile(x),)]",
    "open(inspect.getsourcefile(x))",
    "io.open_code(getabsfile(x))",
    "os.path.getmtime(__file__)",
    "Path(__file__).stat()",
    "runpy.run_path(__file__)",
    "import shutil\nshutil.copy(__file__, 'x')",
    "from shutil import copytree\ncopytree(os.path.dirname(__file__), 'x')",
    "def f():\n    async with aiofiles.open(__file__) as g: pass",
    "open(os.path.join(os.path.dirname(__file__), 'data'))",
    "for p in Path(__file__).parent.glob('*.json'):\n    p.read_text()",
]
"""Modules that may read their own file, and two that read what lies beside it: where paths go is not followed."""

OTHERS = [
    "for f in os.listdir(os.path.dirname(__file__)):\n    if f.endswith('.py'): importlib.import_module(f[:-3])",
    "files(__package__).joinpath('data').read_text()",
    "print(__file__)",
    "open('x')",
    "open(module.__file__)",
    "open(__spec__.name)",
    "'open(__file__)'",
]
"""Modules that read nothing of their own."""

FOLDER_READERS = [
    ("for p in Path(__file__).parent.glob('*.py'):\n    p.read_text()", "a/b/"),
    ("for p in Path(__file__).parent.glob('op_?.py'):\n    p.read_text()", "a/b/"),
    (
        (
            "HERE = os.path.dirname(os.path.abspath(__file__))\n"
            "for n in os.listdir(HERE):\n"
            "    if n.endswith('.py'):\n"
            "        with open(os.path.join(HERE, n)) as f: pass"
        ),
        "a/b/",
    ),
    (
        (
            "class Plugins:\n"
            "    def load(self):\n"
            "        for r, d, fs in os.walk(os.path.dirname(__file__)):\n"
            "            for f in fs:\n"
            "                if f.endswith('.py'):\n"
            "                    open(os.path.join(r, f))"
        ),
        "a/b/",
    ),
    (
        (
            "def read(p):\n"
            "    return p.read_text()\n"
            "found = sorted(Path(__file__).parent.rglob('*.py'))\n"
            "print([read(x) for x in found])"
        ),
        "a/b/",
    ),
    ("for f in glob.glob(os.path.join(os.path.dirname(__file__), 'sub', '*.py')):\n    open(f)", "a/b/"),
    ("for f in glob.glob(f'{os.path.dirname(__file__)}/*.py'):\n    open(f)", "a/b/"),
    ("for f in (Path(__file__).parents[1] / 'ops').glob('*.py'):\n    f.read_bytes()", "a/"),
    ("for f in glob.glob(os.path.join(dirname(__file__), '..', 'ops', '*.py')):\n    open(f)", "a/"),
    ("for f in glob.glob(join(dirname(__file__), os.pardir, 'ops', '*.py')):\n    open(f)", "a/"),
    ("[x.read_text() for x in files(__package__).iterdir() if x.name.endswith('.py')]", "a/b/"),
    (
        "for p in __path__:\n    for f in os.listdir(p):\n        if f.endswith('.py'): open(join(p, f))",
        "a/b/",
    ),
    (
        (
            "HERE: Path = Path(__file__).parent\n"
            "PACKAGE = HERE.parent\n"
            "def names():\n"
            "    return [p.read_text() for p in PACKAGE.rglob('*.py')]"
        ),
        "a/",
    ),
    (
        (
            "def names():\n"
            "    home = os.path.dirname(inspect.getfile(names))\n"
            "    return [open(n) for n in os.listdir(home) if n.endswith('.py')]"
        ),
        "a/b/",
    ),
    (
        (
            "ROOT = Path(__file__).parent.parent.parent\n"
            "x = '../../../x.json'\n"
            "for p in Path(__file__).parent.glob('*.py'): node.parent.parent.parent.add(p.read_text())"
        ),
        "a/b/",
    ),
]
"""Modules that read those of a folder, and below which one all stays for it."""

FOLDERS_OF_OTHERS = [
    (
        "def data():\n    return open(Path(__file__).parent / 'x')\n"
        "def listed(path):\n    return [n for n in os.listdir(path) if n.endswith('.py')]"
    ),
    (
        "def data():\n    return open(Path(__file__).parent / 'x')\n"
        "def nodes(tree):\n    return [__file__, '.py', ast.walk(tree)]"
    ),
    "for p in Path(__file__).parent.parent.parent.rglob('*.py'): p.read_text()",
]
"""Modules that say where they lie and list Python files of somewhere else, or of the whole tree."""

MODULE = b"# what is smaller than a stub is not worth packing\n" * 8


@pytest.mark.parametrize("source", SELF_READERS)
def test_a_module_that_says_where_it_lies_and_reads_files_may_read_itself(source: str) -> None:
    assert set(readings("a/b/c.py", source.encode())) == {"a/b/c.py"}


@pytest.mark.parametrize("source", OTHERS)
def test_a_module_that_does_one_of_both_does_not(source: str) -> None:
    assert set(readings("a/b/c.py", source.encode())) == set()


@pytest.mark.parametrize(("source", "folder"), FOLDER_READERS)
def test_a_module_that_reads_the_modules_of_a_folder_is_found(source: str, folder: str) -> None:
    assert set(readings("a/b/c.py", source.encode())) - {"a/b/c.py"} == {folder}


@pytest.mark.parametrize("source", FOLDERS_OF_OTHERS)
def test_folders_that_are_not_the_modules_own_are_not_left_alone(source: str) -> None:
    assert set(readings("a/b/c.py", source.encode())) == {"a/b/c.py"}


def test_what_lies_below_a_folder_that_is_read_is_left_alone() -> None:
    paths = ["a/b/x.py", "a/b/c/x.py", "a/x.py", "x.py"]
    reasons = [
        left_alone(path, MODULE, mentioned=frozenset(), read=frozenset({"a/b/"}), executable=False)
        for path in paths
    ]

    reason = "a kept module may read the files of its folder"
    assert reasons == [reason, reason, None, None]


def test_tests_that_read_all_of_their_package_do_not_keep_it_from_being_packed() -> None:
    source = b"for p in Path(__file__).parent.parent.rglob('*.py'): p.read_text()"

    assert set(readings("a/b/c.py", source)) == {"a/b/c.py", "a/"}
    assert set(readings("a/tests/test_all.py", source)) == {"a/tests/test_all.py"}
    assert set(readings("a/b.py", source)) == {"a/b.py"}  # all there is
    assert set(readings("b.py", b"[open(n) for n in glob(dirname(__file__) + '/*.py')]")) == {"b.py"}


@pytest.mark.parametrize(
    "source", [f"open(__file__)\nx = {'-' * 90_000}1\n", "open(__file__", "open(__file__)\0"]
)
def test_a_module_that_cannot_be_looked_into_may_read_itself(source: str) -> None:
    assert set(readings("a/b.py", source.encode())) == {"a/b.py"}


@pytest.mark.parametrize(
    "expression", ["x" + ".parent" * 2900, "'a'" + "+'a'" * 2900, "'" + "*" * 200_000 + "'"]
)
def test_hostile_modules_are_looked_through_once(expression: str) -> None:
    source = f"{expression}\nfor p in Path(__file__).parent.glob('*.py'): p.read_text()"

    assert "a/b.py" in set(readings("a/b.py", source.encode()))
