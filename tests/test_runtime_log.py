from __future__ import annotations

import os

import pytest

from slimpack.runtime.log import Log


@pytest.fixture
def pipe() -> tuple[Log, int]:
    reading, writing = os.pipe()
    return Log(reading), writing


def test_a_cut_has_all_that_was_written_before_it(pipe: tuple[Log, int]) -> None:
    log, writing = pipe
    texts = []
    for number in range(200):
        os.write(writing, b"%d\n" % number)
        texts.append(log.cut().text)
    os.close(writing)
    log.close()

    assert texts == [f"{number}\n" for number in range(200)]


def test_of_much_the_beginning_and_the_end_are_kept_and_the_rest_is_counted(pipe: tuple[Log, int]) -> None:
    log, writing = pipe
    for _ in range(3000):
        os.write(writing, b"x" * 1024)
    os.write(writing, b"the end \xff")

    printed = log.cut()
    os.close(writing)
    log.close()

    assert printed.text.startswith("xxx")
    assert printed.text.endswith("the end \N{REPLACEMENT CHARACTER}")
    assert len(printed.text) < 400_000
    shown = printed.text.replace(f"\n… {printed.omitted_bytes:,} bytes left out …\n", "")
    assert len(shown) + printed.omitted_bytes == 3000 * 1024 + 9


def test_the_end_of_the_writer_does_not_end_the_log(pipe: tuple[Log, int]) -> None:
    log, writing = pipe
    os.write(writing, b"last words")
    os.close(writing)

    assert log.cut().text == "last words"
    assert log.cut().text == ""
    log.close()
