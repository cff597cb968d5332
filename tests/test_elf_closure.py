from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from samples import target

from slimpack.elf.closure import Closure, check
from slimpack.model import Addition, ElfFacts, Finding, Severity, SymbolVersion, Target

if TYPE_CHECKING:
    from collections.abc import Mapping

LAMBDA = target(runtime="python3.12")
OLD_LAMBDA = target(runtime="python3.11")
LAYER = target(runtime="python3.12", kind="lambda-layer")


def facts(path: str, *needed: str, **more: object) -> ElfFacts:
    standard = ElfFacts(
        path=path,
        type="DYN",
        machine="x86_64",
        soname=None,
        needed=needed,
        search_path=(),
        versions=(),
        interpreter=None,
    )
    return replace(standard, **more)  # type: ignore[arg-type]


def versions(library: str, *names: str) -> tuple[SymbolVersion, ...]:
    return tuple(SymbolVersion(library=library, version=name) for name in names)


def checked(
    *those: ElfFacts,
    on: Target = LAMBDA,
    files: tuple[str, ...] = (),
    optional: Mapping[str, tuple[str, ...]] | None = None,
) -> Closure:
    return check(those, on, files=[*(one.path for one in those), *files], optional=optional or {})


def only(closure: Closure) -> Finding:
    (finding,) = closure.findings
    return finding


def test_a_bundle_that_needs_only_the_base_system_is_closed() -> None:
    closure = checked(facts("pkg/a.so", "libc.so.6", "libstdc++.so.6", "ld-linux-x86-64.so.2"))

    assert closure == Closure(findings=(), repairs=())


def test_a_library_that_is_nowhere_is_one_error_naming_all_who_need_it() -> None:
    finding = only(checked(*(facts(f"pkg/{name}.so", "libfoo.so.1") for name in "edcba")))

    assert (finding.code, finding.severity, finding.place) == ("SLP101", Severity.ERROR, "pkg/a.so")
    assert finding.message == (
        "libfoo.so.1 is neither in the bundle nor in Amazon Linux 2023; "
        "needed by pkg/a.so, pkg/b.so, pkg/c.so and 2 more"
    )


@pytest.mark.parametrize(
    ("search_path", "library"),
    [
        (("$ORIGIN/../other.libs",), "other.libs/libfoo.so.1"),
        (("${ORIGIN}",), "pkg/libfoo.so.1"),
        (("$ORIGIN/nothing", "$ORIGIN/sub/.."), "pkg/libfoo.so.1"),
        ((), "libfoo.so.1"),
        ((), "lib/libfoo.so.1"),
        ((), "pkg/elsewhere/libfoo.so.1"),
        ((), "pkg.libs/libfoo.so.1"),
        ((), "other/libfoo.so.1"),
    ],
)
def test_a_library_of_the_bundle_is_found(search_path: tuple[str, ...], library: str) -> None:
    assert checked(facts("pkg/a.so", "libfoo.so.1", search_path=search_path), facts(library)).findings == ()


def test_a_library_is_found_by_its_soname_where_its_file_has_another_name() -> None:
    library = facts("pkg/libfoo.so.1.2.3", soname="libfoo.so.1")

    assert checked(facts("pkg/a.so", "libfoo.so.1"), library).findings == ()


def test_a_library_that_nobody_could_parse_is_found_by_its_path() -> None:
    closure = checked(facts("pkg/a.so", "libfoo.so.1"), files=("lib/libfoo.so.1",))

    assert closure.findings == ()


@pytest.mark.parametrize("entry", ["$ORIGIN/../../../lib2", "/pkg/lib2", "lib2", "$ORIGINAL"])
def test_search_folders_outside_the_bundle_are_not_taken_for_folders_in_it(entry: str) -> None:
    closure = checked(facts("pkg/a.so", "libgomp.so.1", search_path=(entry,)), files=("lib2/libgomp.so.1",))

    assert only(closure).code == "SLP101"


def test_what_a_package_can_do_without_is_a_note_and_an_error_for_others() -> None:
    pool, other = facts("numba/tbbpool.so", "libtbb.so.12"), facts("other/a.so", "libtbb.so.12")
    optional = {"numba/tbbpool.so": ("libtbb.so.12",)}

    note = only(checked(pool, optional=optional))
    both = checked(pool, other, optional=optional)

    assert (note.code, note.severity, note.place) == ("SLP106", Severity.NOTE, "numba/tbbpool.so")
    assert [one.code for one in both.findings] == ["SLP101", "SLP106"]
    assert "numba" not in both.findings[0].message


PAGER = facts("slimpack.libs/libslimpager.so.1", "libc.so.6", soname="libslimpager.so.1")
PACKED = facts("pkg/a.so", "libslimpager.so.1", search_path=("$ORIGIN/../slimpack.libs",))


@pytest.mark.parametrize("on", [LAMBDA, LAYER, target(runtime="python3.12", architecture="arm64")])
def test_what_was_added_is_found_where_the_loader_looks_and_nowhere_else(on: Target) -> None:
    pager, packed = (replace(one, machine=on.machine) for one in (PAGER, PACKED))
    wrong = replace(packed, search_path=("$ORIGIN/slimpack.libs",))

    def found(*those: ElfFacts, **added: ElfFacts) -> Closure:
        places = {on.prefix + one.path: one for one in added.values()}
        return check(those, on, files=[one.path for one in those], optional={}, added=places)

    assert found(packed, pager=pager) == Closure(findings=(), repairs=())
    missing, misplaced = only(found(packed)), only(found(wrong, pager=pager))
    assert (missing.code, missing.severity, missing.place) == ("SLP101", Severity.ERROR, "pkg/a.so")
    assert "is neither in the bundle" in missing.message
    assert (misplaced.code, misplaced.place) == ("SLP101", "pkg/a.so")
    assert f"is in the bundle as {on.prefix}slimpack.libs/libslimpager.so.1" in misplaced.message
    needy = replace(pager, needed=("libfoo.so.1",), versions=versions("libc.so.6", "GLIBC_2.99"))
    assert [one.code for one in found(packed, pager=needy).findings] == ["SLP101", "SLP102"]


LIGHTGBM = facts(
    "lightgbm/lib/lib_lightgbm.so", "libgomp.so.1", versions=versions("libgomp.so.1", "GOMP_1.0", "GOMP_4.0")
)
MANGLED = facts(
    "scikit_learn.libs/libgomp-a34b3233.so.1.0.0",
    "libc.so.6",
    soname="libgomp-a34b3233.so.1.0.0",
    provides=("OMP_1.0", "GOMP_1.0", "GOMP_4.0"),
)


@pytest.mark.parametrize("on", [LAMBDA, LAYER])
def test_a_library_under_auditwheels_name_is_copied_to_where_the_loader_looks(on: Target) -> None:
    closure = checked(LIGHTGBM, MANGLED, on=on)

    assert closure.findings == ()
    assert closure.repairs == (
        Addition(
            path="lib/libgomp.so.1",
            rule="repair/libgomp.so.1",
            reason="Amazon Linux 2023 has no libgomp.so.1, and the loader would not find the bundle's own; "
            "needed by lightgbm/lib/lib_lightgbm.so",
            copy_of="scikit_learn.libs/libgomp-a34b3233.so.1.0.0",
            absolute=True,
        ),
    )


@pytest.mark.parametrize("on", [LAMBDA, LAYER])
def test_a_copy_goes_on_standing_for_a_library_that_was_packed_since(on: Target) -> None:
    (repair,) = checked(LIGHTGBM, MANGLED, on=on).repairs
    hook = {"needed": ("libc.so.6", "libslimpager.so.1"), "search_path": ("$ORIGIN/../slimpack.libs",)}
    packed = replace(MANGLED, **hook)  # type: ignore[arg-type]
    added = {repair.path: replace(MANGLED, path=repair.path), on.prefix + PAGER.path: PAGER}

    closure = check((LIGHTGBM, packed), on, files=[LIGHTGBM.path, packed.path], optional={}, added=added)

    assert closure == Closure(findings=(), repairs=())


def test_nothing_is_copied_that_nobody_needs_under_its_own_name() -> None:
    needer = facts("sklearn/a.so", "libgomp-a34b3233.so.1.0.0", search_path=("$ORIGIN/../scikit_learn.libs",))

    assert checked(needer, MANGLED) == Closure(findings=(), repairs=())


def test_a_candidate_without_the_needed_symbol_versions_repairs_nothing() -> None:
    closure = checked(LIGHTGBM, replace(MANGLED, provides=("GOMP_1.0",)))

    assert only(closure).message.startswith("libgomp.so.1 is neither in the bundle nor in Amazon Linux 2023")
    assert closure.repairs == ()


@pytest.mark.parametrize(
    "file",
    ["libgomp-a34b3233.so.2.0.0", "libgomp.so.1-a34b3233", "libgomp-plugin-a34b3233.so.1", "libgomp-1.so.1"],
)
def test_a_library_that_only_sounds_alike_repairs_nothing(file: str) -> None:
    closure = checked(facts("pkg/a.so", "libgomp.so.1"), facts(f"other.libs/{file}"))

    assert (only(closure).code, closure.repairs) == ("SLP101", ())


def test_of_several_candidates_the_one_with_the_most_versions_is_taken_whatever_their_order() -> None:
    newer = replace(
        MANGLED, path="xgboost.libs/libgomp-e985bcbb.so.1.0.0", provides=(*MANGLED.provides, "GOMP_5.0")
    )

    for those in ([LIGHTGBM, MANGLED, newer], [newer, MANGLED, LIGHTGBM]):
        assert [one.copy_of for one in checked(*those).repairs] == [newer.path]


def test_a_copy_brings_what_it_needs_itself_by_its_mangled_name() -> None:
    closure = checked(
        facts("pkg/a.so", "libgfortran.so.5"),
        facts(
            "scipy.libs/libgfortran-040039e1-0352e75f.so.5.0.0",
            "libquadmath-96973f99.so.0.0.0",
            search_path=("$ORIGIN",),
        ),
        facts("scipy.libs/libquadmath-96973f99.so.0.0.0"),
    )

    assert closure.findings == ()
    assert {one.path: one.copy_of for one in closure.repairs} == {
        "lib/libgfortran.so.5": "scipy.libs/libgfortran-040039e1-0352e75f.so.5.0.0",
        "lib/libquadmath-96973f99.so.0.0.0": "scipy.libs/libquadmath-96973f99.so.0.0.0",
    }


def test_a_compilers_library_of_another_package_is_copied_but_that_of_the_same_is_left_alone() -> None:
    library = facts("torch/lib/libgomp.so.1")

    assert [one.copy_of for one in checked(facts("lightgbm/a.so", "libgomp.so.1"), library).repairs] == [
        library.path
    ]
    assert checked(facts("torch/b.so", "libgomp.so.1"), library).repairs == ()


@pytest.mark.parametrize(
    ("library", "version", "on", "fits"),
    [
        ("libc.so.6", "GLIBC_2.26", OLD_LAMBDA, True),
        ("libc.so.6", "GLIBC_2.2.5", OLD_LAMBDA, True),
        ("libc.so.6", "GLIBC_2.27", OLD_LAMBDA, False),
        ("libm.so.6", "GLIBC_2.34", LAMBDA, True),
        ("libm.so.6", "GLIBC_2.35", LAMBDA, False),
        ("libstdc++.so.6", "GLIBCXX_3.4.9", LAMBDA, True),
        ("libstdc++.so.6", "GLIBCXX_3.4.29", LAMBDA, True),
        ("libstdc++.so.6", "GLIBCXX_3.4.30", LAMBDA, False),
        ("libstdc++.so.6", "CXXABI_1.3.13", LAMBDA, True),
        ("libstdc++.so.6", "CXXABI_1.3.14", LAMBDA, False),
        ("libstdc++.so.6", "CXXABI_TM_1", LAMBDA, True),
        ("libgcc_s.so.1", "GCC_12.0.0", LAMBDA, False),
        ("libc.so.6", "GLIBC_PRIVATE", LAMBDA, True),
        ("libc.so.6", "GLIBC_ABI_DT_RELR", LAMBDA, False),
        ("libz.so.1", "ZLIB_1.2.9", LAMBDA, True),
        ("libfoo.so.1", "GLIBC_9.9", LAMBDA, True),
    ],
)
def test_symbol_versions_are_compared_as_numbers_with_the_base_system(
    library: str, version: str, on: Target, *, fits: bool
) -> None:
    closure = checked(facts("pkg/a.so", versions=versions(library, version)), on=on)

    assert [one.code for one in closure.findings] == ([] if fits else ["SLP102"])


def test_versions_above_the_ceiling_are_one_error_for_each_library_naming_the_newest() -> None:
    finding = only(
        checked(
            facts("pkg/a.so", versions=versions("libc.so.6", "GLIBC_2.28", "GLIBC_2.14")),
            facts("pkg/b.so", versions=versions("libc.so.6", "GLIBC_2.29", "GLIBC_2.28")),
            on=OLD_LAMBDA,
        )
    )

    assert finding.severity is Severity.ERROR
    assert finding.message == (
        "libc.so.6 of Amazon Linux 2 is too old to have GLIBC_2.29; needed by pkg/a.so, pkg/b.so"
    )


@pytest.mark.parametrize(
    ("first", "provides", "fits"),
    [
        (True, "GLIBCXX_3.4.32", True),
        (True, "GLIBCXX_3.4.31", False),
        (False, "GLIBCXX_3.4.32", False),
    ],
)
def test_a_bundled_standard_library_counts_only_where_rpath_leads_to_it(
    first: bool,
    provides: str,
    *,
    fits: bool,
) -> None:
    needer = facts(
        "pkg/a.so",
        "libstdc++.so.6",
        versions=versions("libstdc++.so.6", "GLIBCXX_3.4.32"),
        search_path=("$ORIGIN/lib",),
        search_path_first=first,
    )
    own = facts("pkg/lib/libstdc++.so.6", soname="libstdc++.so.6", provides=(provides,))

    assert (checked(needer, own).findings == ()) is fits


def test_a_needed_library_for_another_machine_is_an_error_that_names_the_needer() -> None:
    finding = only(checked(facts("pkg/a.so", "libfoo.so.1"), facts("lib/libfoo.so.1", machine="aarch64")))

    # one error, at the library; that it is foreign needs no second mention
    assert (finding.code, finding.place) == ("SLP103", "lib/libfoo.so.1")
    assert finding.message == "this libfoo.so.1 is for aarch64, not for x86_64; needed by pkg/a.so"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("pkg/a.cpython-312-x86_64-linux-gnu.so", "SLP103"),
        ("pkg/a.abi3.so", "SLP103"),
        ("pkg/a.so", "SLP103"),
        ("pkg/attach_linux_aarch64.so", "SLP104"),
        ("pkg/data/a.so", "SLP104"),
        ("pkg/libfoo.so.1", "SLP104"),
        ("pkg/two.cpython-312-aarch64-linux-gnu.so", "SLP104"),
    ],
)
def test_a_foreign_file_is_an_error_only_if_python_would_import_it(path: str, code: str) -> None:
    native = facts("pkg/two.cpython-312-x86_64-linux-gnu.so")

    finding = only(checked(facts(path, machine="aarch64"), native, files=("pkg/__init__.py",)))

    assert (finding.code, finding.place) == (code, path)


def test_an_x86_64_file_is_foreign_on_arm64() -> None:
    finding = only(checked(facts("pkg/a.abi3.so"), on=target(runtime="python3.12", architecture="arm64")))

    assert finding.message == "this extension module is for x86_64, not for aarch64"


@pytest.mark.parametrize(
    ("interpreter", "fits"), [("/lib64/ld-linux-x86-64.so.2", True), ("/lib/ld-musl-x86_64.so.1", False)]
)
def test_an_executable_needs_an_interpreter_that_the_base_system_has(interpreter: str, *, fits: bool) -> None:
    closure = checked(facts("pkg/bin/run", interpreter=interpreter))

    assert [one.code for one in closure.findings] == ([] if fits else ["SLP101"])


def test_object_files_are_nobodys_concern() -> None:
    assert checked(facts("pkg/a.o", "libfoo.so.1", type="REL", machine="aarch64")).findings == ()
