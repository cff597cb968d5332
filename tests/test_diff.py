from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from accounts import account, accounts, package, record
from hypothesis import given
from samples import LAMBDA, account_of, book, file, inventory, rules, target

from slimpack.account import OTHER, of_manifest
from slimpack.diff import diff, of_another_commit
from slimpack.errors import BooksError
from slimpack.model import APP, SLIMPACK, PackedFile

if TYPE_CHECKING:
    from slimpack.account import Account
    from slimpack.diff import Diff, FileChange, PackageChange
    from slimpack.manifest import FileRecord, Manifest


def of(found: Diff, name: str) -> PackageChange:
    return next(one for one in found.packages if one.name == name)


def one_file(before: FileRecord | None, after: FileRecord | None, *, version: str = "1.0") -> FileChange:
    """Returns the change of one file of ``pkg``."""
    base = account([package("pkg", at=("r:1",))], [one for one in (before,) if one])
    head = account([package("pkg", version=version, at=("r:1",))], [one for one in (after,) if one])
    (change,) = diff(base, head).files
    return change


def kept(path: str = "pkg/a.so", size: int = 100, **changes: Any) -> FileRecord:  # noqa: ANN401 -- fields
    return record(path, "pkg", size, **changes)


def test_what_has_not_changed_is_unchanged() -> None:
    bundle = account([package("pkg", at=("r:1",))], {"pkg": 5, APP: 7})

    found = diff(bundle, bundle)

    assert (found.delta, found.files, found.changed, found.notes) == (0, (), (), ())
    assert [(one.name, one.kind, one.before, one.after) for one in found.packages] == [
        ("(app)", "unchanged", 7, 7),
        ("pkg", "unchanged", 5, 5),
    ]


def test_packages_come_by_size_of_change_and_add_up() -> None:
    base = account([package("a", at=("r:1",)), package("b", at=("r:2",))], {"a": 10, "b": 500, APP: 3})
    head = account(
        [package("a", version="1.1", at=("r:1",)), package("c", at=("r:2",))], {"a": 20, "c": 200, APP: 3}
    )

    found = diff(base, head)

    assert [(one.name, one.kind, one.delta, one.causes) for one in found.packages] == [
        ("b", "removed", -500, ("dropped",)),
        ("c", "added", 200, ("requested",)),
        ("a", "changed", 10, ("upgrade",)),
        ("(app)", "unchanged", 0, ()),
    ]
    assert found.delta == sum(one.delta for one in found.packages) == head.size - base.size
    assert (of(found, "a").version_before, of(found, "a").version_after) == ("1.0", "1.1")


def test_a_new_dependency_has_the_way_that_leads_to_it() -> None:
    base = account(
        [package("root", at=("r:1",)), package("gone"), package("mid", "gone")], {"root": 1, "gone": 9}
    )
    head = account(
        [package("root", "mid", at=("r:1",)), package("mid", "new"), package("new")], {"root": 1, "new": 9}
    )

    found = diff(base, head)

    assert (of(found, "new").causes, of(found, "new").via) == (("dependency",), ("root", "mid", "new"))
    assert (of(found, "gone").causes, of(found, "gone").via) == (("dropped",), ("mid", "gone"))


@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [
        ("1.9", "1.10", "upgrade"),
        ("2.0", "2.0rc1", "downgrade"),
        ("1.0", "1.0+cpu", "upgrade"),
        ("1.0", "1.0.0", "content"),
        ("1.0", "not a version", "upgrade"),
        ("1.0", "1.0", "content"),
    ],
)
def test_versions_are_compared_as_versions(before: str, after: str, cause: str) -> None:
    found = diff(
        account([package("p", version=before, at=("r:1",))], {"p": 1}),
        account([package("p", version=after, at=("r:1",))], {"p": 2}),
    )

    assert of(found, "p").causes == (cause,)
    assert found.files[0].cause == cause


def test_another_version_of_the_same_size_has_changed() -> None:
    found = diff(
        account([package("p", at=("r:1",))], {"p": 1}),
        account([package("p", version="2", at=("r:1",))], {"p": 1}),
    )

    assert (of(found, "p").kind, of(found, "p").causes, of(found, "p").delta) == ("changed", ("upgrade",), 0)


PACKED = PackedFile(size_before=100, stored=20, loaded=80)


@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [
        (kept(sha256="aa"), kept(sha256="bb"), "content"),
        (kept(), kept(size=60, size_before=100, decision="packed", packed=PACKED), "packing"),
        (
            kept(size=60, size_before=100, decision="packed", packed=PACKED),
            kept(size=50, size_before=100, decision="packed", packed=PACKED),
            "packing",
        ),
        (  # in blocks of another size
            kept(size=60, size_before=100, decision="packed", packed=PACKED),
            kept(size=60, size_before=100, decision="packed", packed=replace(PACKED, stored=19)),
            "packing",
        ),
        (kept(), kept(size=0, size_before=100, decision="removed", rule="pkg/x"), "rules"),
        (kept(size=0, size_before=100, decision="removed", rule="pkg/x"), kept(), "rules"),
        (kept(), kept(size=70, size_before=100, cleared_by="pkg/clear"), "rules"),
        (None, kept(decision="added", size_before=0, rule="pkg/stub"), "rules"),
        (kept(), kept(size=70, size_before=100, decision="compacted"), "compaction"),
        (kept(size=70, size_before=100, decision="compacted"), kept(), "compaction"),
        (None, kept("pkg/__pycache__/a.cpython-312.pyc"), "bytecode"),
        (kept(), None, "content"),
        (kept(), kept(size=99), "content"),
    ],
)
def test_a_file_of_the_same_version_says_what_was_done_to_it(
    before: FileRecord | None, after: FileRecord | None, cause: str
) -> None:
    assert one_file(before, after).cause == cause


@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [
        (kept(), kept(size=120), "upgrade"),
        (kept(), kept(size=60, size_before=120, decision="packed", packed=PACKED), "packing"),
        (kept("a.pyc"), kept("a.pyc", 120), "upgrade"),
        (None, kept("a.pyc"), "upgrade"),
        (kept(size=0, size_before=100, decision="removed", rule="pkg/x"), kept(), "upgrade"),
    ],
)
def test_a_file_of_another_version_is_an_upgrade_unless_it_was_packed_or_compiled(
    before: FileRecord | None, after: FileRecord | None, cause: str
) -> None:
    assert one_file(before, after, version="1.1").cause == cause


def test_bytecode_whose_source_is_in_both_has_come_or_gone_by_itself() -> None:
    sources = [kept("pkg/a.py"), kept("pkg/new.py")]
    compiled = [kept("pkg/__pycache__/a.cpython-311.pyc"), kept("pkg/__pycache__/old.cpython-311.pyc")]
    base = account([package("pkg", at=("r:1",))], [sources[0], *compiled])
    head = account([package("pkg", version="2", at=("r:1",))], sources)

    assert {one.path: one.cause for one in diff(base, head).files} == {
        "pkg/__pycache__/a.cpython-311.pyc": "bytecode",
        "pkg/__pycache__/old.cpython-311.pyc": "upgrade",
        "pkg/new.py": "upgrade",
    }


def test_a_package_has_all_causes_the_one_of_most_bytes_first() -> None:
    base = account([package("pkg", at=("r:1",))], [kept(), kept("pkg/b.py", 10)])
    head = account(
        [package("pkg", version="2", at=("r:1",))],
        [kept(size=10, size_before=100, decision="packed", packed=PACKED), kept("pkg/b.py", 11)],
    )

    assert of(diff(base, head), "pkg").causes == ("packing", "upgrade")


def test_files_of_no_package_say_whose_they_are() -> None:
    base = account([], [record("app.py", APP, 1), record("x", OTHER, 1)])
    head = account(
        [],
        [
            record("app.py", APP, 2),
            record("x", OTHER, 2),
            record("slimpack.libs/pager", SLIMPACK, 3, decision="added", rule="pack"),
            record("google/__init__.py", SLIMPACK, 4, decision="added", rule="repair/namespace"),
            record("__pycache__/app.cpython-312.pyc", APP, 5, decision="added", rule="bytecode"),
        ],
    )

    found = diff(base, head)

    assert {one.path: one.cause for one in found.files} == {
        "app.py": "source",
        "x": "content",
        "slimpack.libs/pager": "packing",
        "google/__init__.py": "rules",
        "__pycache__/app.cpython-312.pyc": "bytecode",
    }


def test_what_packed_modules_take_in_their_archive_counts_for_their_owner() -> None:
    plain = [package("pkg", at=("r:1",))], [record("pkg/a.py", "pkg", 1000)]
    packed = PackedFile(size_before=1000, stored=0, loaded=1000, archived=300)
    module = record("pkg/a.py", "pkg", 50, size_before=1000, decision="packed", packed=packed)
    archive = record("slimpack.libs/modules", SLIMPACK, 310, decision="added", rule="modules")

    found = diff(account(*plain), account(plain[0], [module, archive]))

    assert of(found, "pkg").delta == 350 - 1000
    assert of(found, SLIMPACK).delta == 10
    assert {one.path: one.after - one.before for one in found.files} == {
        "pkg/a.py": -950,
        "slimpack.libs/modules": 310,
    }
    assert of(found, "pkg").causes == ("packing",)


def test_a_file_whose_name_has_its_build_in_it_is_one_file() -> None:
    base = account(
        [package("np", at=("r:1",))],
        [
            record("np.libs/libblas-0123abcd.so", "np", 100),
            record("np/core.cpython-311-x86_64-linux-gnu.so", "np", 50),
            record("np-1.0.dist-info/METADATA", "np", 7),
        ],
    )
    head = account(
        [package("np", version="1.1", at=("r:1",))],
        [
            record("np.libs/libblas-89abcdef.so", "np", 110),
            record("np/core.cpython-312-x86_64-linux-gnu.so", "np", 50),
            record("np-1.1.dist-info/METADATA", "np", 8),
        ],
    )

    assert [(one.path, one.before, one.after) for one in diff(base, head).files] == [
        ("np.libs/libblas-89abcdef.so", 100, 110),
        ("np-1.1.dist-info/METADATA", 7, 8),
    ]


def test_of_several_builds_of_one_file_each_is_a_file() -> None:
    base = account([], [record("l/lib-0123abcd.so", OTHER, 1), record("l/lib-89abcdef.so", OTHER, 2)])
    head = account([], [record("l/lib-0123abcd.so", OTHER, 1), record("l/lib-00000000.so", OTHER, 3)])

    assert [(one.path, one.before, one.after) for one in diff(base, head).files] == [
        ("l/lib-00000000.so", 0, 3),
        ("l/lib-89abcdef.so", 2, 0),
    ]


def built(*, size: int = 10, **changes: Any) -> Manifest:  # noqa: ANN401 -- fields of a target
    stock = inventory(file("pkg/a.py", size=size), file("pkg/tests/b.py", size=20))
    return account_of(stock, book(), runs_on=target(**changes) if changes else LAMBDA)


def test_a_layer_is_compared_with_a_function_file_by_file() -> None:
    function, layer = (of_manifest(built(kind=kind), name=kind) for kind in ("lambda", "lambda-layer"))

    found = diff(function, layer)

    assert (found.files, found.delta) == ((), 0)
    assert found.notes == ("The base is for lambda, the head for lambda-layer.",)


def test_what_limits_the_comparison_is_noted() -> None:
    base = of_manifest(built(), name="base.zip")
    other = built(runtime="python3.13", architecture="arm64")
    head = of_manifest(dataclasses.replace(other, slimpack="9", rules_sha256="ff"), name="head.zip")

    assert diff(base, head).notes == (
        "The base is for python3.12, the head for python3.13.",
        "The base is for x86_64, the head for arm64.",
        "The base was built by slimpack 0, the head by slimpack 9.",
        "The rules of the two builds are not the same.",
    )
    assert diff(base, base).notes == ()


def test_a_side_without_a_manifest_is_noted() -> None:
    built_one = of_manifest(built(), name="base.zip")
    foreign = dataclasses.replace(account([package("pkg")], {"pkg": 30}), notes=("It tells little.",))

    assert diff(built_one, foreign).notes == (
        "The head has no manifest: what was removed from it, and why, nobody can tell.",
        "The head: It tells little.",
    )
    assert diff(foreign, foreign).notes == ("The base: It tells little.", "The head: It tells little.")


def test_a_package_that_a_rule_takes_whole_is_gone_by_rules() -> None:
    stock = inventory(file("pkg/a.py", size=10), file("other/b.py", "other", size=20))
    dropping = rules(
        '[[rule]]\nname = "whole"\npaths = ["other/"]\nexamples = { match = ["other/b.py"] }', "other"
    )
    base = of_manifest(account_of(stock, book()), name="base")
    head = of_manifest(account_of(stock, book(dropping)), name="head")

    gone, back = of(diff(base, head), "other"), of(diff(head, base), "other")

    assert (gone.kind, gone.causes, gone.delta) == ("removed", ("rules",), -20)
    assert (back.kind, back.causes, back.delta) == ("added", ("rules",), 20)


@pytest.mark.parametrize(
    ("base", "merge_base", "another"),
    [
        ("abc123", "abc123", False),
        ("ABC123def", "abc123", False),
        ("abc123", "abd", True),
        ("abc", "abc1", False),
    ],
)
def test_a_base_from_another_commit_than_the_branch_begins_at_is_told(
    base: str, merge_base: str, *, another: bool
) -> None:
    note = of_another_commit(base, merge_base)

    assert (note is not None) == another
    if note is not None:
        assert base in note
        assert merge_base in note


@given(accounts(), accounts())
def test_every_byte_of_both_bundles_is_accounted_for(base: Account, head: Account) -> None:
    found = diff(base, head)

    assert sum(one.before for one in found.packages) == base.size
    assert sum(one.after for one in found.packages) == head.size
    assert sum(one.after - one.before for one in found.files) == found.delta
    assert {one.name: one.before for one in found.packages if one.before} == base.sizes()
    assert {one.name: one.after for one in found.packages if one.after} == head.sizes()
    assert all(one.causes for one in found.changed)
    assert all(
        one.before == one.after and not one.causes for one in found.packages if one.kind == "unchanged"
    )
    assert len({one.path for one in found.files}) <= len(found.files)


@given(accounts(), accounts())
def test_a_diff_read_backwards_is_the_opposite(base: Account, head: Account) -> None:
    there, back = diff(base, head), diff(head, base)
    opposite = {"added": "removed", "removed": "added", "changed": "changed", "unchanged": "unchanged"}

    assert there.delta == -back.delta
    assert {one.name: (opposite[one.kind], -one.delta) for one in there.packages} == {
        one.name: (one.kind, one.delta) for one in back.packages
    }
    assert len(there.files) == len(back.files)


@given(accounts())
def test_a_bundle_is_no_different_from_itself(bundle: Account) -> None:
    found = diff(bundle, bundle)

    assert (found.delta, found.files, found.changed) == (0, (), ())


def test_accounts_that_do_not_balance_are_a_fault_of_ours() -> None:
    wrong = dataclasses.replace(account([package("p")], {"p": 5}), size=6)

    with pytest.raises(BooksError, match="do not add up"):
        diff(wrong, account([], {}))
