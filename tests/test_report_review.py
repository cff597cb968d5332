from __future__ import annotations

import pytest
from reviews import HARM, HEAD, MIB, account, crowd, review, usual
from rich.cells import cell_len
from samples import account_of, book, file, inventory

from slimpack.account import of_manifest
from slimpack.report.review import text
from slimpack.report.text import text as of_build


def test_of_a_bundle_that_slimpack_built_it_is_the_report_of_the_build() -> None:
    manifest = account_of(inventory(file("a.py", size=MIB)), book())

    assert text(review(of_manifest(manifest, name="app.zip"))) == of_build(manifest, name="app.zip")


def test_of_any_other_it_tells_packages_verdict_and_changes() -> None:
    shown = text(usual())

    for words in (
        "scipy     1.0        60.0 MiB    45 %",
        "error SLP002 requirements.txt:7: pandas takes 40.0 MiB of 30.0 MiB",
        "FAIL app.zip: 134.0 MiB",
        "base.zip → app.zip: +44.0 MiB",
    ):
        assert words in shown
    assert "→" not in text(review(HEAD))


def test_small_packages_share_a_row_and_nothing_is_lost() -> None:
    assert "4,985 smaller" in text(crowd(found=0))


def test_what_a_bundle_could_not_tell_is_said() -> None:
    assert "note Nobody owns them." in text(review(account({"six": 1}, notes=("Nobody owns them.",))))


@pytest.mark.parametrize("width", [20, 40, 80, 100])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    for one in (usual(), crowd(found=0), review(account(dict.fromkeys(HARM, MIB), name=HARM[7]))):
        assert max(map(cell_len, text(one, width=width).splitlines())) <= width


def test_colours_are_only_there_when_they_are_asked_for() -> None:
    assert "\x1b" not in text(usual())
    assert "\x1b[" in text(usual(), color=True)
