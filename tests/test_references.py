from __future__ import annotations

import pytest

from slimpack.model import Need
from slimpack.references import Needles, imported, module_name, read

NEEDLES = Needles(words=frozenset({b"tests", b"gone"}), names=frozenset({b"data.h"}))


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
    assert NEEDLES.occur_in(f"x = {text}".encode(), ("pkg",))


@pytest.mark.parametrize(
    "source", ["gone = tests", "# see data.h and pkg.gone", "x = 'all tests are gone'", "import other"]
)
def test_words_that_name_nothing_do_not(source: str) -> None:
    assert not NEEDLES.occur_in(source.encode(), ("pkg",))


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
