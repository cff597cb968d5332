from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest

from slimpack.model import EntryPoint, Need
from slimpack.references import Needles, entry_points, imported, module_name, read, read_elf

if TYPE_CHECKING:
    from conftest import MakeElf

NEEDLES = Needles(
    words=frozenset({b"tests", b"gone"}),
    modules=frozenset({b"pkg.tests", b"pkg.tests.deep", b"gone"}),
    names=frozenset({b"data.h", b"Tensor"}),
    folders=frozenset({b"far", b"near"}),
    groups=frozenset({b"host.plugins"}),
)


def found(source: str, path: str = "pkg/sub/mod.py") -> set[tuple[Need, str]]:
    return {(one.need, one.target) for one in read(source.encode(), path=path, needles=NEEDLES)}


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("import gone", "gone"),
        ("import gone.deep as g", "gone.deep"),
        ("from gone.deep import name", "gone.deep.name"),
        ("from .tests import name", "pkg.sub.tests"),
        ("from . import tests", "pkg.sub.tests"),
        ("from ..tests._x import y", "pkg.tests._x"),
        ("class A:\n    import gone", "gone"),
        ("if True:\n    import gone", "gone"),
        ("with a:\n    import gone", "gone"),
        ("for a in b:\n    import gone", "gone"),
        ("try:\n    import gone\nfinally:\n    pass", "gone"),
        ("try:\n    import gone\nexcept ValueError:\n    pass", "gone"),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import gone", "gone"),
        ("x = __import__('gone')", "gone"),
        ("def f(a=__import__('gone')): pass", "gone"),
        ("match a:\n    case 1:\n        import gone", "gone"),
    ],
)
def test_imports_that_run_at_import_time_are_found(source: str, target: str) -> None:
    assert (Need.IMPORT, target) in found(source)


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    import gone",
        "async def f():\n    import gone",
        "class A:\n    def f(self):\n        import gone",
        "f = lambda: __import__('gone')",
        "try:\n    import gone\nexcept ImportError:\n    gone = None",
        "try:\n    import gone\nexcept (ValueError, ModuleNotFoundError):\n    gone = None",
        "try:\n    import gone\nexcept Exception:\n    gone = None",
        "try:\n    import gone\nexcept:\n    gone = None",
        "try:\n    import other\nexcept ImportError:\n    import gone",
        "import importlib\nimportlib.import_module('gone')",
        "import importlib\ndef f():\n    importlib.import_module('gone')",
    ],
)
def test_imports_that_may_never_run_are_found_as_lazy(source: str) -> None:
    assert (Need.LAZY_IMPORT, "gone") in found(source)
    assert (Need.IMPORT, "gone") not in found(source)


@pytest.mark.parametrize(
    "source",
    [
        "if TYPE_CHECKING:\n    import gone",
        "import typing\nif typing.TYPE_CHECKING:\n    from gone import x",
        "if False:\n    import gone",
        "# import gone",
        "'''import gone'''",
        "gone = 1",
        "import other",
        "from ......gone import x",
    ],
)
def test_what_never_runs_is_no_reference(source: str) -> None:
    assert found(source) == set()


def test_relative_imports_of_a_package_start_at_the_package() -> None:
    assert (Need.IMPORT, "pkg.tests") in found("from . import tests", path="pkg/__init__.py")
    assert (Need.IMPORT, "pkg.tests.a") in found("from .tests import a", path="pkg/__init__.py")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("import importlib.metadata\nimportlib.metadata.version('Some-Thing')", "Some-Thing:METADATA"),
        ("from importlib.metadata import files\nfiles('x')", "x:RECORD"),
        ("import importlib_metadata\nimportlib_metadata.packages_distributions()", "*:RECORD"),
        ("import importlib.metadata as m\nm.distribution('x').read_text('WHEEL')", "*:WHEEL"),
        ("import pkg_resources\npkg_resources.get_distribution('x')", "x:METADATA"),
        ("import importlib.metadata as m\n[f for f in m.distribution('x').files]", "*:RECORD"),
        ("from importlib.metadata import version as v\nv('x')", "x:METADATA"),
        ("import importlib.metadata as m\nm.distribution('x').entry_points", "x:entry_points.txt"),
        (
            "import pkg_resources\nd = pkg_resources.require('x')\nd[0].get_entry_map('g')",
            "x:entry_points.txt",
        ),
        ("import pkg_resources\npkg_resources.load_entry_point('x', 'g', 'n')", "x:entry_points.txt"),
    ],
)
def test_metadata_that_is_asked_for_is_found(source: str, target: str) -> None:
    assert (Need.METADATA, target) in found(source)


@pytest.mark.parametrize(
    "source",
    [
        "from importlib.resources import files\nfiles('x')",
        "import importlib.resources\nimportlib.resources.files('x')",
        "import importlib\nother.version('x')",
        "import importlib\nclass A:\n    def f(self):\n        return self.read_text('RECORD')",
    ],
)
def test_functions_of_the_same_name_elsewhere_read_no_metadata(source: str) -> None:
    assert found(source) == set()


def test_a_stub_that_is_read_at_run_time_is_found() -> None:
    source = "import lazy_loader as lazy\na, b, c = lazy.attach_stub(__name__, __file__)"

    assert (Need.STUB, "pkg/__init__.pyi") in found(source, path="pkg/__init__.py")


def test_file_names_in_strings_are_found_and_longer_texts_are_not() -> None:
    assert (Need.MENTION, "data.h") in found("p = 'data.h'")
    assert (Need.MENTION, "include/data.h") in found("def f():\n    return open('include/data.h')")
    assert found('x = "#include <data.h> and more"') == set()


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("from gone \\\n  import name", "gone.name"),
        ("from . import \\\r\n  gone", "pkg.sub.gone"),
        ("from . import (  # not (this)\n  other,\n  gone,\n)", "pkg.sub.gone"),
        ("if True: import other; import gone", "gone"),
        ("__import__(\n  'gone'\n)", "gone"),
    ],
)
def test_an_import_is_found_however_it_is_laid_out(source: str, target: str) -> None:
    assert (Need.IMPORT, target) in found(source)


def test_a_relative_import_need_not_name_the_removed_package_that_it_stands_in() -> None:
    assert (Need.IMPORT, "pkg.tests._data") in found("from . import _data", "pkg/tests/unit.py")


@pytest.mark.parametrize(
    "text",
    [
        "'data.h'",
        "'a/data.h'",
        "f'{a}data.h'",
        "f'{a}/data.h'",
        "f'data.h{a}'",
        "'a\\\\data.h'",
        "'pkg.gone'",
    ],
)
def test_a_string_that_may_name_what_was_removed_makes_a_source_worth_parsing(text: str) -> None:
    assert NEEDLES.occur_in(f"x = {text}".encode(), "pkg/a.py")


@pytest.mark.parametrize(
    "source", ["gone = tests", "# see data.h and pkg.gone", "x = 'all tests are gone'", "import other"]
)
def test_words_that_name_nothing_do_not(source: str) -> None:
    assert not NEEDLES.occur_in(source.encode(), "pkg/a.py")


@pytest.mark.parametrize("source", [b"import gone\nprint 'python 2'\n", b"def f[T](a: T): (\nimport gone\n"])
def test_syntax_that_this_python_does_not_know_is_read_by_line(source: bytes) -> None:
    references = read(source, path="pkg/mod.py", needles=NEEDLES)

    assert [(one.need, one.target) for one in references] == [(Need.IMPORT, "gone")]


@pytest.mark.parametrize(
    "source",
    [
        b"\0import gone",
        b"\xff\xfe gone",
        b"(" * 100_000 + b"gone",
        b"gone = " + b"-" * 100_000 + b"1",
        b"from gone import (\n" * 100_000,
        b"import gone\n" * 100_000 + b"print 'python 2'",
    ],
    ids=["null", "no text", "parentheses", "signs", "open imports", "imports"],
)
def test_hostile_sources_do_no_harm(source: bytes) -> None:
    assert isinstance(read(source, path="pkg/mod.py", needles=NEEDLES), tuple)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b.py", "a.b"),
        ("a/__init__.py", "a"),
        ("a/b.cpython-312-x86_64-linux-gnu.so", "a.b"),
        ("a/b.abi3.so", "a.b"),
        ("b.py", "b"),
        ("__init__.py", None),
        ("a.libs/libx-1234.so", None),
        ("a/b.txt", None),
        ("a-b/c.py", None),
    ],
)
def test_module_names_come_from_paths(path: str, name: str | None) -> None:
    assert module_name(path) == name


def test_names_of_an_import_statement_are_absolute() -> None:
    assert list(imported("b", ["c", "*"], 1, ("a",))) == ["a.b", "a.b.c"]
    assert list(imported(None, ["c"], 2, ("a", "x"))) == ["a", "a.c"]
    assert list(imported("b", ["c"], 5, ("a",))) == []


def test_who_asks_for_a_version_or_for_a_group_asks_for_no_entry_points_of_one_distribution() -> None:
    source = "import importlib.metadata as m\nm.version('x')\nm.entry_points(group='g')"

    assert found(source) == {(Need.METADATA, "x:METADATA")}


@pytest.mark.parametrize(
    "source",
    [
        "__all__ = ['gone']",
        "__all__: list[str] = ['gone']",
        "__all__ = []\n__all__ += ['gone']",
        "__all__ = []\n__all__.append('gone')",
        "if sys.platform == 'linux':\n    __all__ = ['gone']",
        "lazy = {'gone'}\n__all__ = [*lazy, 'f']",
        "lazy = ['gone']\n__all__ = sorted(lazy + ['f'])",
        "__getattr__, __dir__, __all__ = lazy.attach(__name__, submodules=['gone'])",
    ],
)
def test_what_the_all_of_a_package_may_name_is_found(source: str) -> None:
    assert (Need.EXPORT, "pkg.sub.gone") in found(source, "pkg/sub/__init__.py")


def test_submodules_in_other_lists_of_a_package_are_found_as_lazy() -> None:
    source = "names = {'gone': 1}\ndef __getattr__(name):\n    return import_module('.' + name, __name__)"

    assert found(source, "pkg/__init__.py") == {(Need.LAZY_IMPORT, "pkg.gone")}


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("__all__ = ['gone']", "pkg/mod.py"),
        ("def __dir__():\n    return {'gone'}", "pkg/__init__.py"),
        ("print('gone')", "pkg/__init__.py"),
        ("__all__ = ['f']\n__all__.remove('gone')", "pkg/__init__.py"),
        ("'gone'", "pkg/__init__.py"),
    ],
    ids=["no package", "inside a function", "an argument", "taken away", "a docstring"],
)
def test_strings_that_no_list_of_a_package_has_are_no_submodules(source: str, path: str) -> None:
    assert found(source, path) == set()


def test_the_all_of_a_package_is_found_in_syntax_that_this_python_does_not_know() -> None:
    assert (Need.EXPORT, "pkg.gone") in found("__all__ = ['gone']\nprint 1", "pkg/__init__.py")


def test_a_stub_is_read_as_what_may_be_loaded_later() -> None:
    assert (Need.LAZY_IMPORT, "pkg.gone") in found("from . import gone as gone", "pkg/__init__.pyi")


@pytest.mark.parametrize(
    "source",
    [
        "import importlib.metadata as m\nm.entry_points(group='host.plugins')",
        "GROUP = 'host.plugins'",
        "GROUP = 'host.plugins'\nprint 'python 2'",
    ],
)
def test_a_group_of_removed_entry_points_is_found(source: str) -> None:
    assert found(source) == {(Need.ENTRY_POINT, "[host.plugins]")}


@pytest.mark.parametrize("source", ["x = 'host.plugins.other'", "# host.plugins", "import host.plugins"])
def test_what_only_contains_the_name_of_a_group_is_not(source: str) -> None:
    assert found(source) == set()


@pytest.mark.parametrize(
    "known",
    ["import far.sub", "from far import x", "get_data('far', 'x')", "files('far.data')"],
)
def test_a_file_name_is_found_in_each_other_package_that_the_module_names(known: str) -> None:
    assert found(f"{known}\np = 'data.h'") >= {(Need.MENTION, "data.h"), (Need.MENTION, "far/**/data.h")}


@pytest.mark.parametrize(
    ("source", "path"),
    [("import near\np = 'data.h'", "near/mod.py"), ("import near\np = 'Tensor'", "pkg/mod.py")],
    ids=["its own package", "a plain word"],
)
def test_other_names_are_found_only_once(source: str, path: str) -> None:
    assert [need for need, _ in found(source, path)] == [Need.MENTION]


def test_entry_points_are_read_with_their_lines() -> None:
    text = """
[console_scripts]
run = pkg.cli:main

# a comment = a:b
[host.plugins]
one=pkg.one : Plugin.make [extra]
two = pkg.two
not one of them
three = not a module
"""

    assert entry_points(text, path="p/entry_points.txt") == tuple(
        EntryPoint(path="p/entry_points.txt", line=line, group=group, module=module)
        for line, group, module in [
            (3, "console_scripts", "pkg.cli"),
            (7, "host.plugins", "pkg.one"),
            (8, "host.plugins", "pkg.two"),
        ]
    )
    assert entry_points("", path="p") == ()


def compiled(make_elf: MakeElf, *strings: bytes) -> bytes:
    arrays = "".join(
        f"const char s{i}[] = {{{','.join(map(str, text))}}};\n" for i, text in enumerate(strings)
    )
    return make_elf(arrays, "-shared", "-fPIC", name="made.so").read_bytes()


def test_removed_modules_that_a_compiled_file_names_are_found_as_lazy(make_elf: MakeElf) -> None:
    content = compiled(make_elf, b"pkg.tests.deep\0", b"pkg.mod\0")

    assert [
        (one.need, one.line, one.target) for one in read_elf(content, path="pkg/m.so", needles=NEEDLES)
    ] == [
        (Need.LAZY_IMPORT, None, "pkg.tests"),
        (Need.LAZY_IMPORT, None, "pkg.tests.deep"),
    ]
    assert read_elf(compiled(make_elf, b"pkg.mod\0"), path="pkg/m.so", needles=NEEDLES) == ()
    assert read_elf(content, path="pkg/m.so", needles=Needles()) == ()


def test_they_are_found_in_the_compressed_strings_of_a_cython_module(make_elf: MakeElf) -> None:
    table = zlib.compress(b"itemsjoinpkg.modpkg.tests.deepset_name")
    content = compiled(make_elf, b"CYTHON_COMPRESS_STRINGS\0", table)

    assert "pkg.tests.deep" in {one.target for one in read_elf(content, path="pkg/m.so", needles=NEEDLES)}


@pytest.mark.parametrize(
    "content",
    [b"", b"pkg." * 100_000, b"CYTHON_COMPRESS_STRINGS" + b"\x78\x9c" * 10_000 + b"pkg.tests"],
    ids=["nothing", "beginnings", "no streams"],
)
def test_hostile_compiled_files_do_no_harm(content: bytes) -> None:
    assert isinstance(read_elf(content, path="pkg/m.so", needles=NEEDLES), tuple)
