from __future__ import annotations

import pytest

from slimpack.amounts import apart


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (2**20, 2 * 2**20, ("1.0 MiB", "2.0 MiB")),
        (2**20, 2**20 + 1, ("1,048,576 bytes", "1,048,577 bytes")),
        (2**20, 2**20, ("1.0 MiB", "1.0 MiB")),
        (0, 1, ("0 B", "1 B")),
        (-(2**20), -(2**20) - 1, ("-1,048,576 bytes", "-1,048,577 bytes")),
    ],
)
def test_two_sizes_that_differ_never_look_equal(first: int, second: int, words: tuple[str, str]) -> None:
    assert apart(first, second) == words
