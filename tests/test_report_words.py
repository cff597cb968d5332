from __future__ import annotations

import json

import pytest

from slimpack.report.words import clipped, escaped, mebibytes, safe

HOSTILE = "a\x1b[2J\r\n\x9b31m\u202e\u2028\ud800\x85b"


def test_a_name_cannot_steer_the_terminal() -> None:
    assert safe(HOSTILE) == "a?[2J???31m????b".replace("?", "\N{REPLACEMENT CHARACTER}")
    assert safe("plain [bold] ünïcödé 数") == "plain [bold] ünïcödé 数"


@pytest.mark.parametrize("longest", [3, 4, 10, 99])
def test_of_a_long_name_both_ends_are_shown(longest: int) -> None:
    name = "a" + "x" * 200 + "z"

    assert len(clipped(name, longest)) == longest
    assert clipped(name, longest)[0] + clipped(name, longest)[-1] == "az"
    assert clipped("abc", longest) == "abc"
    assert clipped(HOSTILE, 99) == safe(HOSTILE)


def test_json_keeps_its_meaning_without_anything_raw() -> None:
    text = json.dumps(
        {"path": HOSTILE, "emoji": "\U0001f600", "tag": "\U000e0001"}, ensure_ascii=False, indent=1
    )

    shown = escaped(text)

    assert json.loads(shown) == json.loads(text)
    assert all(line.isprintable() for line in shown.split("\n"))
    assert "\U0001f600" in shown


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (5, "5 B"),
        (103, "0.1 KiB"),
        (1024, "1.0 KiB"),
        (2**20, "1.0 MiB"),
        (5 * 2**30, "5,120.0 MiB"),
    ],
)
def test_sizes_are_in_mebibytes_until_that_hides_them(size: int, words: str) -> None:
    assert mebibytes(size) == words
