"""What modules read as text: their own file, or those of a folder; by their sources alone."""

from __future__ import annotations

import pytest

from slimpack.modules.choose import left_alone
from slimpack.modules.reads import readings

SELF_READERS = [
    "open(__file__)",
    "open(os.path.abspath(__file__))",
    "io.open(os.path.realpath(__file__), 'rb')",
    ("HERE = __file__\nopen(HERE)"),
    ("p = Path(__file__).resolve()\nif x:\n    p.read_text()"),
    "open(inspect.getfile(x))",
    ("src = pathlib.Path(__file__).absolute()\ndef f():\n    return src.read_bytes()"),
    ("def f():\n    with tokenize.open(os.fspath(Path(__file__))) as g: pass"),
    ("def rd(p):\n    return open(p).read()\nrd(__file__)"),
    ("def here():\n    return Path(__file__)\nhere().open()"),
    ("class A:\n    f = __file__\n    def g(self):\n        return open(self.f)"),
    (
        "class A:\n"
        "    def __init__(self):\n"
        "        self.f = __file__\n"
        "    def g(self):\n"
        "        return open(self.f)"
    ),
    ("path = __file__\nif path.endswith('.pyc'):\n    path = path[:-1]\nopen(path)"),
    "open(os.path.splitext(__file__)[0] + '.py')",
    ("stem, e = os.path.splitext(__file__)\nopen(f'{stem}.py')"),
    "Path(__file__).with_suffix('.py').read_text()",
    "os.path.getmtime(__file__)",
    "Path(__file__).stat()",
    ("d, n = os.path.split(__file__)\nopen(os.path.join(d, n))"),
    "open(__file__.replace('.pyc', '.py'))",
    "open(sys.modules[__name__].__file__)",
    "open(__spec__.origin)",
    ("for f in [__file__]:\n    hash(open(f).read())"),
    "(lambda: open(__file__))()",
    ("def f(path=__file__):\n    open(path)"),
    ("async def f():\n    async with aiofiles.open(__file__) as g: pass"),
    "open(file=__file__)",
    "[open(p) for p in (__file__, 'x')]",
    "open(str(Path(__file__)))",
    ("try:\n    p = __file__\nexcept NameError:\n    p = ''\nopen(p)"),
    ("if (p := __file__):\n    open(p)"),
    ("match x:\n    case 1:\n        open(__file__)"),
    "shutil.copy(__file__, 'x')",
]
"""Modules that read their own file."""

OTHER_READERS = [
    "open(os.path.join(os.path.dirname(__file__), 'data'))",
    "Path(__file__).with_suffix('.json').read_text()",
    "path = __file__\ndef f(path):\n    open(path)",
    "for p in Path(__file__).parent.glob('*.json'):\n    p.read_text()",
    "for f in os.listdir(HERE):\n    open(os.path.join(HERE, f)); __file__",
    "open(f'{__file__}.x')",
]
"""Modules that read what lies beside them: too many ways lead from one to the other to tell them apart."""

NO_READERS = [
    "for f in os.listdir(os.path.dirname(__file__)):\n    if f.endswith('.py'): importlib.import_module(f[:-3])",
    "files(__package__).joinpath('data').read_text()",
    "print(__file__)",
    "open('x')",
    "open(module.__file__)",
    "open(__spec__.name)",
    "'open(__file__)'",
    "for node in ast.walk(tree): print(__file__, node.name.endswith('.py'))",
    "open(__file__",
]
"""Modules that read nothing of their own; the last is none."""

FOLDER_READERS = [
    ("for p in Path(__file__).parent.glob('*.py'):\n    p.read_text()", "a/b/"),
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
            "for r, d, fs in os.walk(os.path.dirname(__file__)):\n"
            "    for f in fs:\n"
            "        if f.endswith('.py'):\n"
            "            open(os.path.join(r, f))"
        ),
        "a/b/",
    ),
    (
        (
            "def read(p):\n"
            "    return p.read_text()\n"
            "files = sorted(Path(__file__).parent.rglob('*.py'))\n"
            "print([read(x) for x in files])"
        ),
        "a/b/",
    ),
    (
        ("for f in glob.glob(os.path.join(os.path.dirname(__file__), 'sub', '*.py')):\n    open(f)"),
        "a/b/",
    ),
    (("for f in glob.glob(os.path.dirname(__file__) + '/*.py'):\n    open(f)"), "a/b/"),
    (("for f in glob.glob(f'{os.path.dirname(__file__)}/*.py'):\n    open(f)"), "a/b/"),
    (("for f in (Path(__file__).parents[1] / 'ops').glob('*.py'):\n    f.read_bytes()"), "a/"),
    ("[x.read_text() for x in files(__package__).iterdir() if x.name.endswith('.py')]", "a/b/"),
    (
        (
            "with os.scandir(Path(__file__).parent) as it:\n"
            "    for e in it:\n"
            "        if e.name.endswith('.py'):\n"
            "            open(e.path)"
        ),
        "a/b/",
    ),
    (
        (
            "for p in __path__:\n"
            "    for f in os.listdir(p):\n"
            "        if f.endswith('.py'): open(os.path.join(p, f))"
        ),
        "a/b/",
    ),
    (
        (
            "for p in glob.glob(os.path.join(Path(__file__).parent,'**','*.py'), recursive=True):\n"
            "    Path(p).read_text()"
        ),
        "a/b/",
    ),
]
"""Modules that read those of a folder, and which."""

MODULE = b"# what is smaller than a stub is not worth packing\n" * 8


@pytest.mark.parametrize("source", SELF_READERS)
def test_a_module_that_reads_its_own_file_is_found_however_it_spells_that(source: str) -> None:
    assert set(readings("a/b/c.py", source.encode())) == {"a/b/c.py"}


@pytest.mark.parametrize("source", OTHER_READERS)
def test_a_module_that_reads_what_lies_beside_it_may_read_itself(source: str) -> None:
    assert set(readings("a/b/c.py", source.encode())) == {"a/b/c.py"}


@pytest.mark.parametrize("source", NO_READERS)
def test_a_module_that_reads_no_files_or_knows_no_place_of_its_own_is_none(source: str) -> None:
    assert set(readings("a/b/c.py", source.encode())) == set()


@pytest.mark.parametrize(("source", "folder"), FOLDER_READERS)
def test_a_module_that_reads_the_modules_of_a_folder_is_found(source: str, folder: str) -> None:
    assert set(readings("a/b/c.py", source.encode())) - {"a/b/c.py"} == {folder}


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
    assert set(readings("a/tests/test_all.py", source)) == {"a/tests/test_all.py", "a/tests/"}
    assert set(readings("a/b.py", source)) == {"a/b.py"}  # all there is


def test_a_module_too_deep_to_look_into_stays_as_it_is() -> None:
    source = f"open(__file__)\nx = {'-' * 90_000}1\n"

    assert set(readings("a/b.py", source.encode())) == {"a/b.py"}
