from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slimpack.account import Account
from slimpack.diff import diff
from slimpack.manifest import FileRecord, by_owner
from slimpack.model import SLIMPACK, PackedFile
from slimpack.report.tree import Leaf, Node, Tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slimpack.diff import Diff


def record(path: str, size: int, owner: str = "pkg", **changes: object) -> FileRecord:
    values = {"decision": "kept", "size_before": size, "size_after": size, **changes}
    return FileRecord(path=path, owner=owner, **values)  # type: ignore[arg-type]


def account(*files: FileRecord, name: str = "app.zip") -> Account:
    return Account(
        name=name,
        origin="zip",
        distributions=(),
        files=tuple(sorted(files, key=lambda one: one.path)),
        size=sum(file.size_after for file in files),
    )


def outline(nodes: Sequence[Node]) -> list[str]:
    """Returns the lines of a tree, indented by what they are inside of."""
    open_: list[int] = []
    lines = []
    for node in nodes:
        lines.append("  " * len(open_) + node.name)
        if open_:
            open_[-1] -= 1
        open_.append(node.inside)
        while open_ and not open_[-1]:
            open_.pop()
    return lines


def tree(bundle: Account, both: Diff | None, *, most: int) -> tuple[Node, ...]:
    return Tree.of(bundle, both).lines(most)


def leaves(nodes: Sequence[Node]) -> list[Leaf]:
    return [node.leaf for node in nodes if node.leaf is not None]


def by_package(nodes: Sequence[Node]) -> Mapping[str, tuple[int, int]]:
    """Returns bytes before and after by package, summed up from the leaves."""
    sums: dict[str, tuple[int, int]] = {}
    lines = outline(nodes)
    package = ""
    for line, node in zip(lines, nodes, strict=True):
        if line.startswith("  ") and not line.startswith("   "):
            package = node.name
        if node.leaf is not None:
            before, after = sums.get(package, (0, 0))
            sums[package] = before + node.leaf.before, after + node.leaf.after
    return sums


def test_a_bundle_is_packages_folders_and_files() -> None:
    files = (
        record("pkg/a.py", 1),
        record("pkg/data/b.bin", 2),
        record("pkg/data/c.bin", 3),
        record("other/d.py", 4, "other"),
    )

    assert outline(tree(account(*files), None, most=100)) == [
        "app.zip",
        "  other",
        "  pkg",
        "    pkg",
        "      a.py",
        "      data",
        "        b.bin",
        "        c.bin",
    ]


def test_a_package_of_one_file_is_a_leaf_with_its_record() -> None:
    (leaf,) = leaves(tree(account(record("a/b/c.py", 7)), None, most=100))

    assert (leaf.files, leaf.after, leaf.what) == (1, 7, "kept")
    assert leaf.record is not None
    assert leaf.record.path == "a/b/c.py"


def test_folders_with_one_thing_inside_are_one_line_with_it() -> None:
    files = (record("pkg/one/two/a.py", 1), record("pkg/one/two/b.py", 2), record("pkg/three/four/c.py", 3))

    assert outline(tree(account(*files), None, most=100))[1:] == [
        "  pkg",
        "    pkg",
        "      one/two",
        "        a.py",
        "        b.py",
        "      three/four/c.py",
    ]


def test_a_folder_and_the_files_whose_names_begin_like_it_are_told_apart() -> None:
    files = (record(name, 1) for name in ("b", "b-c", "b.py", "bb", "b/x", "b/y", "b0/z"))

    lines = outline(tree(account(*files), None, most=100))

    assert lines[2:] == ["    b", "    b-c", "    b.py", "    b", "      x", "      y", "    b0/z", "    bb"]


def every_kind() -> Iterator[FileRecord]:
    module = PackedFile(size_before=90, stored=0, loaded=90, archived=40)
    library = PackedFile(size_before=800, stored=200, loaded=500)
    yield record("pkg/a.py", 100, decision="packed", size_after=10, packed=module)
    yield record("pkg/b.py", 90, decision="packed", size_after=10, packed=module)
    yield record("pkg/c.so", 1000, decision="packed", size_after=300, packed=library)
    yield record("pkg/d.h", 500, decision="removed", size_after=0)
    yield record("slimpack.libs/modules", 0, SLIMPACK, decision="added", size_after=95, rule="pack")
    yield record("slimpack.py", 0, SLIMPACK, decision="added", size_after=9, rule="pack")
    yield from (record(f"pkg/lib/{n}/{m}.py", n * m) for n in range(9) for m in range(7))


@pytest.mark.parametrize("most", [1, 2, 3, 5, 10, 20, 1000])
def test_sums_are_kept_however_little_room_there_is(most: int) -> None:
    bundle = account(*every_kind())

    nodes = tree(bundle, None, most=most)
    found = leaves(nodes)

    assert sum(leaf.after for leaf in found) == bundle.size
    assert sum(leaf.before for leaf in found) == sum(file.size_before for file in bundle.files)
    assert sum(leaf.packed for leaf in found) == (90 - 10 - 40) * 2 + (800 - 300)
    assert sum(leaf.files for leaf in found) == len(bundle.files)
    assert len(nodes) <= 2 * most + 1
    assert outline(nodes)[0] == "app.zip"


def test_packages_have_the_sizes_that_the_account_gives_them() -> None:
    bundle = account(*every_kind())

    assert by_package(tree(bundle, None, most=1000)) == by_owner(bundle.files)


def test_the_heaviest_are_shown_and_the_rest_of_a_folder_is_one_leaf() -> None:
    files = (*(record(f"{size}", size) for size in (5, 50, 500)), record("small", 1, "small"))

    nodes = tree(account(*files), None, most=2)

    assert outline(nodes) == ["app.zip", "  pkg", "    500", "    (2 smaller)", "  (1 smaller)"]
    assert [leaf.after for leaf in leaves(nodes)] == [500, 55, 1]


def test_what_stands_for_files_of_one_fate_has_it_and_else_says_several() -> None:
    gone = [record(f"gone/{n}", 9, decision="removed", size_after=0) for n in range(3)]
    mixed = [record("mixed/a", 9, decision="removed", size_after=0), record("mixed/b", 10)]

    nodes = tree(account(*gone, *mixed), None, most=3)

    assert {node.name: node.leaf and node.leaf.what for node in nodes} == {
        "app.zip": None,
        "pkg": None,
        "gone": "removed",
        "mixed": "several",
    }


def test_folders_without_end_are_rolled_up() -> None:
    deep = [record("a/" * depth + "file", 1) for depth in range(1, 3000)]

    nodes = tree(account(*deep), None, most=100_000)

    assert len(nodes) < 100
    assert sum(leaf.after for leaf in leaves(nodes)) == len(deep)


def compared() -> Diff:
    base = account(
        record("pkg/a.py", 10),
        record("pkg/gone.py", 20),
        record("pkg/lib-0123abcd.so", 30),
        record("pkg/same.py", 5),
        record("old/x.py", 7, "old"),
    )
    head = account(
        record("pkg/a.py", 15),
        record("pkg/new.py", 8),
        record("pkg/lib-4567abcd.so", 31),
        record("pkg/same.py", 5),
    )
    return diff(base, head)


def test_with_a_base_each_leaf_has_its_size_there() -> None:
    both = compared()

    nodes = tree(both.head, both, most=100)
    found = {node.name: (node.leaf.base, node.leaf.after, node.leaf.what) for node in nodes if node.leaf}

    assert found == {
        "a.py": (10, 15, "kept"),
        "gone.py": (20, 0, "gone"),
        "lib-4567abcd.so": (30, 31, "kept"),
        "new.py": (0, 8, "kept"),
        "same.py": (5, 5, "kept"),
        "old": (7, 0, "gone"),
    }


def test_a_packed_module_has_what_it_takes_in_the_archive_on_both_sides() -> None:
    def packed(archived: int) -> Account:
        module = PackedFile(size_before=90, stored=0, loaded=90, archived=archived)
        return account(
            record("pkg/a.py", 100, decision="packed", size_after=10, packed=module),
            record(
                "slimpack.libs/modules", 0, SLIMPACK, decision="added", size_after=archived + 7, rule="pack"
            ),
        )

    base, head = packed(40), packed(45)

    found = leaves(tree(head, diff(base, head), most=100))

    assert [(leaf.base, leaf.after) for leaf in found] == [(7, 7), (50, 55)]


@pytest.mark.parametrize("most", [1, 2, 4, 100])
def test_with_a_base_its_sums_are_kept_as_well(most: int) -> None:
    packed = [*every_kind()]
    base, head = account(*packed[1:]), account(*packed[:-3], record("pkg/new.py", 77))
    both = diff(base, head)

    found = leaves(tree(head, both, most=most))

    assert sum(leaf.base for leaf in found) == base.size
    assert sum(leaf.after for leaf in found) == head.size
