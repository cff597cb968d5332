"""The profile: merging, ranges, JSON and its schema."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpack import profile
from slimpack.errors import ProfileError
from slimpack.profile import (
    FileRecord,
    LibraryRecord,
    ModuleRecord,
    NotRecorded,
    Pages,
    Profile,
    RunRecord,
    SegmentRecord,
    from_json,
    merge,
    ranges,
    to_json,
)


def library(
    *, init: tuple[Pages, ...] = (), invoke: tuple[Pages, ...] = (), sha256: str = "c0"
) -> LibraryRecord:
    segment = SegmentRecord(address=4096, pages=100, executable=True, init=init, invoke=invoke)
    return LibraryRecord(path="pkg/lib.so", sha256=sha256, init=1, invoke=0, segments=(segment,))


def module(name: str, seconds: float, *, init: bool = True) -> ModuleRecord:
    return ModuleRecord(
        name=name,
        file=f"{name}.py",
        sha256=name,
        init=int(init),
        invoke=int(not init),
        own=(seconds,),
        whole=(2 * seconds,),
    )


def file(path: str, *, sha256: str = "f0") -> FileRecord:
    return FileRecord(path=path, sha256=sha256, size=7, init=1, invoke=0)


def one(
    *,
    modules: tuple[ModuleRecord, ...] = (),
    files: tuple[FileRecord, ...] = (),
    libraries: tuple[LibraryRecord, ...] = (),
    bundle: str = "b0",
    not_recorded: tuple[NotRecorded, ...] = (),
) -> Profile:
    return Profile(
        schema_version=1,
        slimpack="1.0",
        runtime="python3.13",
        architecture="x86_64",
        runs=(RunRecord(bundle=bundle, handler="app.handler", events=("e.json",), times=1),),
        modules=modules,
        files=files,
        libraries=libraries,
        not_recorded=not_recorded,
    )


def test_merging_keeps_what_any_run_used_and_counts_the_runs() -> None:
    merged = merge(
        [
            one(modules=(module("a", 1.0), module("b", 1.0)), files=(file("x"),)),
            one(modules=(module("c", 1.0), module("a", 3.0, init=False)), files=(file("x"), file("y"))),
            one(modules=(module("a", 1.5),)),
        ]
    )

    assert merged.times == 3
    assert [run.times for run in merged.runs] == [3]
    assert [(one.name, one.init, one.invoke) for one in merged.modules] == [
        ("a", 2, 1),
        ("b", 1, 0),
        ("c", 1, 0),
    ]
    assert [(one.path, one.init) for one in merged.files] == [("x", 2), ("y", 1)]


def test_times_are_medians_over_all_runs_however_they_were_merged() -> None:
    runs = [one(modules=(module("a", seconds),)) for seconds in (1.0, 9.0, 2.0)]

    at_once, in_turn = merge(runs), merge([merge(runs[:2]), runs[2]])

    assert at_once == in_turn
    assert (at_once.modules[0].own_seconds, at_once.modules[0].whole_seconds) == (2.0, 4.0)


def test_one_profile_merged_alone_is_itself() -> None:
    alone = one(modules=(module("a", 1.0),), libraries=(library(init=((1, 2, 1), (7, 1, 1))),))

    assert merge([alone]) == alone


def test_pages_are_counted_page_by_page() -> None:
    merged = merge(
        [
            one(libraries=(library(init=((0, 10, 1),)),)),
            one(libraries=(library(init=((5, 10, 1),), invoke=((20, 1, 1),)),)),
        ]
    )

    (segment,) = merged.libraries[0].segments
    assert segment.init == ((0, 5, 1), (5, 5, 2), (10, 5, 1))
    assert segment.invoke == ((20, 1, 1),)
    assert segment.touched == 16


def test_a_page_touched_in_init_in_one_run_and_later_in_another_is_touched_once() -> None:
    merged = merge(
        [one(libraries=(library(init=((3, 2, 1),)),)), one(libraries=(library(invoke=((4, 2, 1),)),))]
    )

    assert merged.libraries[0].segments[0].touched == 3


def test_libraries_and_files_of_another_content_are_others() -> None:
    merged = merge(
        [
            one(libraries=(library(sha256="c0"),), files=(file("x", sha256="1"),), bundle="b0"),
            one(libraries=(library(sha256="c1"),), files=(file("x", sha256="2"),), bundle="b1"),
        ]
    )

    assert [one.sha256 for one in merged.libraries] == ["c0", "c1"]
    assert [one.sha256 for one in merged.files] == ["1", "2"]
    assert [run.bundle for run in merged.runs] == ["b0", "b1"]


def test_what_was_not_recorded_is_told_once() -> None:
    missing = NotRecorded(what="touched pages", reason="too old a kernel")

    assert merge([one(not_recorded=(missing,)), one(not_recorded=(missing,))]).not_recorded == (missing,)


def test_profiles_of_different_runtimes_or_processors_are_not_merged() -> None:
    for other in (replace(one(), runtime="python3.12"), replace(one(), architecture="arm64")):
        with pytest.raises(ProfileError, match="cannot be one"):
            merge([one(), other])


@given(st.sets(st.integers(0, 200)))
def test_ranges_hold_exactly_the_pages(pages: set[int]) -> None:
    found = ranges(sorted(pages))

    assert {page for first, length, _ in found for page in range(first, first + length)} == pages
    assert all(one[0] + one[1] < other[0] for one, other in pairwise(found))


@given(st.lists(st.sets(st.integers(0, 60)), min_size=1, max_size=6))
def test_merged_pages_have_the_number_of_runs_that_touched_them(runs: list[set[int]]) -> None:
    merged = merge([one(libraries=(library(init=ranges(sorted(pages))),)) for pages in runs])

    counts = {
        page: count
        for first, length, count in merged.libraries[0].segments[0].init
        for page in range(first, first + length)
    }
    assert counts == {page: sum(page in run for run in runs) for page in set().union(*runs)}


FULL = one(
    modules=(module("a", 0.001), replace(module("sys_ü", 0.5), file=None, sha256=None)),
    files=(file("x\ny"),),
    libraries=(library(init=((0, 100, 1),)),),
    not_recorded=(NotRecorded(what="files", reason="no inotify"),),
)


def test_json_gives_the_same_profile_back_and_fits_its_schema() -> None:
    text = to_json(FULL)

    assert from_json(text, where="p.json") == FULL
    jsonschema.validate(json.loads(text), profile.json_schema())
    assert to_json(one()).count("[]") == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no JSON"),
        ("[]", "no slimpack profile"),
        ("[" * 100_000, "no JSON"),
        ('{"schema_version": 1}', "no slimpack profile"),
        (to_json(FULL).replace('"schema_version": 1', '"schema_version": 2'), "profile of schema 2"),
        (to_json(FULL).replace('"runtime"', '"runtme"'), "runtime"),
        (to_json(FULL).replace("[[0, 100, 1]]", "[[0, 101, 1]]"), "beyond its segment"),
        (to_json(FULL).replace("[[0, 100, 1]]", "[[-1, 5, 1]]"), "greater than or equal to 0"),
        (to_json(FULL).replace("0.001", "1e999"), "finite"),
    ],
)
def test_what_is_no_profile_is_refused(text: str, words: str) -> None:
    with pytest.raises(ProfileError, match=words) as caught:
        from_json(text, where="p.json")

    assert caught.value.where == "p.json"
    assert caught.value.fix
