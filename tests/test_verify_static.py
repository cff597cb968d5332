from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from runtimes import make_tree
from samples import book, rules, target

from slimpack.verify import static

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeElf

    from slimpack.model import Finding
    from slimpack.rules import RuleBook

LAYER = target(kind="lambda-layer")
APP = {"app.py": "def handler(event, context): ...\n"}


def check(tree: Path, *, layer: bool = False, rule_book: RuleBook | None = None) -> list[Finding]:
    found = static.check(
        tree,
        LAYER if layer else target(),
        handler="app.handler",
        manifest=None,
        book=rule_book or book(),
        jobs=1,
    )
    assert found.lost == ()
    return list(found.findings)


@pytest.fixture
def tree(tmp_path: Path, make_elf: MakeElf) -> Path:
    """A bundle whose extension needs a library that lies, under auditwheel's name, where no loader looks."""
    root = make_tree(tmp_path / "tree", APP)
    make_tree(root / "pkg.libs", {})
    make_tree(root / "other", {})
    gomp = make_elf(
        "int omp(void) { return 1; }", "-shared", "-fPIC", "-Wl,-soname,libgomp.so.1", name="g.so"
    )
    source = "int omp(void); int f(void) { return omp(); }"
    native = make_elf(source, "-shared", "-fPIC", str(gomp), name="n.so")
    gomp.rename(root / "pkg.libs" / "libgomp-a34b3233.so.1.0.0")
    native.rename(root / "other" / "native.so")
    return root


def test_a_bundle_without_fault_is_told_nothing_of(tmp_path: Path) -> None:
    assert check(make_tree(tmp_path / "tree", APP)) == []


def test_a_layers_handler_lies_below_its_folder(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "tree", {f"python/{path}": text for path, text in APP.items()})

    assert check(root, layer=True) == []
    assert [one.code for one in check(root)] == ["SLP401"]


def test_a_library_that_a_build_would_copy_is_an_error_with_the_place_for_the_copy(tree: Path) -> None:
    (found,) = check(tree)

    assert (found.code, found.place) == ("SLP101", "pkg.libs/libgomp-a34b3233.so.1.0.0")
    assert "this is libgomp.so.1, and the loader of Amazon Linux 2023 does not find it here" in found.message
    assert found.fix == "Copy it to lib/libgomp.so.1; `slimpack build` does."


def test_a_pager_that_is_not_where_packed_files_look_for_it_is_an_error(
    tmp_path: Path, make_elf: MakeElf
) -> None:
    root = make_tree(tmp_path / "tree", APP)
    make_tree(root / "moved.libs", {})
    make_tree(root / "slimpack.libs", {})
    make_tree(root / "pkg", {})
    source, options = "int attach(void) { return 1; }", ("-shared", "-fPIC")
    pager = make_elf(source, *options, "-Wl,-soname,libslimpager.so.1", name="libslimpager.so.1")
    linked = ("-Wl,-rpath,$ORIGIN/../slimpack.libs", str(pager))
    packed = make_elf("int attach(void); int f(void) { return attach(); }", *options, *linked, name="a.so")
    packed.rename(root / "pkg" / "a.so")
    pager.rename(root / "moved.libs" / "libslimpager.so.1")

    (found,) = check(root)

    assert (found.code, found.place) == ("SLP101", "moved.libs/libslimpager.so.1")
    (root / found.place).rename(root / "slimpack.libs" / "libslimpager.so.1")
    assert check(root) == []


def test_a_library_in_its_place_is_found_also_in_a_layer(tree: Path, tmp_path: Path) -> None:
    (tree / "pkg.libs" / "libgomp-a34b3233.so.1.0.0").rename(tree / "libgomp.so.1")
    layer = tmp_path / "layer"
    layer.mkdir()
    (tree).rename(layer / "python")
    (layer / "lib").mkdir()
    (layer / "python/libgomp.so.1").rename(layer / "lib/libgomp.so.1")

    assert check(layer, layer=True) == []


def test_a_library_that_a_rule_calls_optional_is_a_note(tree: Path) -> None:
    (tree / "pkg.libs" / "libgomp-a34b3233.so.1.0.0").unlink()
    optional = """[[rule]]
        name = "native"
        action = "keep"
        paths = ["other/"]
        optional_libraries = ["libgomp.so.1"]
        examples = { match = ["other/native.so"] }"""

    assert [one.code for one in check(tree)] == ["SLP101"]
    assert [one.code for one in check(tree, rule_book=book(rules(optional, stem="other")))] == ["SLP106"]


def test_a_file_that_only_looks_like_elf_is_noted(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "tree", APP)
    (root / "broken.so").write_bytes(b"\x7fELF" + bytes(100))

    (found,) = check(root)

    assert (found.code, found.place) == ("SLP405", "broken.so")
