from __future__ import annotations

import pytest
from samples import distribution, file

from slimpack.errors import WheelError
from slimpack.inventory import collect, install_order
from slimpack.model import APP


def test_files_of_all_wheels_and_of_the_app_are_in_it_once_and_in_order() -> None:
    one, other = distribution("one"), distribution("other")
    stock = collect({other: [file("b", "other")], one: [file("a", "one")]}, [file("c", APP)])

    assert [item.path for item in stock.files] == ["a", "b", "c"]
    assert [item.name for item in stock.distributions] == ["one", "other"]
    assert stock.findings == ()


def test_two_wheels_may_install_the_same_content() -> None:
    stock = collect(
        {distribution("one"): [file("x", "one")], distribution("other"): [file("x", "other")]},
    )

    assert len(stock.files) == 1
    assert stock.findings == ()


def test_of_different_contents_the_one_that_pip_installs_last_wins_and_both_are_named() -> None:
    needed, needing = distribution("a-needed"), distribution("z-needing", requires=("a-needed",))
    stock = collect(
        {
            needing: [file("x", "z-needing", sha256="1")],
            needed: [file("x", "a-needed", sha256="2")],
        }
    )

    assert stock.files[0].owner == "z-needing"
    assert [(one.code, one.place) for one in stock.findings] == [("SLP107", "x")]
    assert "a-needed and z-needing" in stock.findings[0].message


def test_the_apps_own_file_wins() -> None:
    stock = collect({distribution("one"): [file("x", "one", sha256="1")]}, [file("x", APP, sha256="2")])

    assert stock.files[0].owner == APP
    assert stock.findings[0].code == "SLP107"


def test_a_file_where_another_wheel_needs_a_folder_is_refused() -> None:
    with pytest.raises(WheelError, match="other needs a folder where one installs a file"):
        collect({distribution("one"): [file("x", "one")], distribution("other"): [file("x/y", "other")]})


def test_what_others_need_is_installed_first_and_circles_do_no_harm() -> None:
    order = install_order(
        [
            distribution("app", requires=("lib", "ring-a")),
            distribution("lib", requires=("base",)),
            distribution("base"),
            distribution("ring-a", requires=("ring-b",)),
            distribution("ring-b", requires=("ring-a",)),
        ]
    )
    names = [one.name for one in order]

    assert names.index("base") < names.index("lib") < names.index("app")
    assert names[-1] == "app"
