"""Against: whether a bundle did the same as another tree over the same events. Pure.

Of the other tree there are two runs, one before and one after all of the bundle's. What they differ in themselves, such
as the times in a log, is chance, and no difference if a bundle differs in it as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slimpack.compare import difference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from slimpack.runtime.api import Fault
    from slimpack.runtime.invoke import Outcome, Run, Start

_WORD = re.compile(r"\s+|\S+")
"""What chance may put another in the place of: all between two spaces, so that a time is one."""

_REQUEST = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""The id that slimpack gives a request, in what the client and the Runtime API say of it."""

_FOLDER = "/var/task"
"""What stands in for the folder that a tree was at."""

_SHOWN = 300
"""Characters of a line that a difference shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """The first thing in which a bundle did otherwise."""

    where: str
    """Such as ``run 3, the answer to event.json, at $.votes``; the run is told where there are several."""
    other: str
    """What the other tree did."""
    bundle: str
    """What the bundle did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How a bundle's runs compare with those of another tree."""

    parting: Parting | None
    """The first difference; None if there is none."""
    unsteady: tuple[str, ...]
    """What could be compared in parts only, or not at all, because the other tree's own runs differ in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """Something that a run said, as lines, or its answer."""

    where: str
    """Which of its words."""
    lines: tuple[str, ...]
    """The words."""
    is_answer: bool = False
    """Whether they are JSON, in one line."""


def compare(
    bundle: Sequence[Run], others: tuple[Run, Run], *, events: Sequence[str], folders: Sequence[str]
) -> Comparison:
    """Compares answers, exceptions and everything that was printed, in the order in which it came.

    Args:
        bundle: What the bundle did, in each of its runs.
        others: What the other tree did before and after them.
        events: Names of the events.
        folders: Where the trees are, which the functions may have seen and told.
    """
    one, again = (list(_said(run, events, folders)) for run in others)
    partings = (_parting(list(_said(run, events, folders)), one, again) for run in bundle)
    number, parting = next(((at, found) for at, found in enumerate(partings, 1) if found), (0, None))
    if parting is not None and len(bundle) > 1:
        parting = replace(parting, where=f"run {number}, {parting.where}")
    return Comparison(
        parting=parting,
        unsteady=tuple(
            said.where for said, later in zip(one, again, strict=True) if said.lines != later.lines
        ),
    )


def _parting(given: Sequence[_Said], one: Sequence[_Said], again: Sequence[_Said]) -> Parting | None:
    """Returns the first thing in which a run of the bundle did otherwise."""
    found = (
        _answers(*said) if said[0].is_answer else _texts(*said)
        for said in zip(given, one, again, strict=True)
    )
    return next(filter(None, found), None)


def _said(run: Run, events: Sequence[str], folders: Sequence[str]) -> Iterator[_Said]:
    """Yields what a run said, the same kinds of things for each run over the same events."""
    first: Start = run.starts[0]
    yield _fault("init", first.fault, folders)
    yield _Said(where="the log of init", lines=_lines(first.log.text, folders))
    for name, outcome in zip(events, run.outcomes, strict=True):
        yield _fault(name, outcome.fault, folders)
        yield _answer(name, outcome)
        yield _Said(where=f"the log of {name}", lines=_lines(outcome.log.text, folders))


def _fault(name: str, fault: Fault | None, folders: Sequence[str]) -> _Said:
    words = "" if fault is None else "\n".join((f"{fault.type}: {fault.message}", *fault.stack))
    return _Said(where=f"the failure of {name}", lines=_lines(words, folders))


def _answer(name: str, outcome: Outcome) -> _Said:
    lines = () if outcome.answer is None else (outcome.answer,)
    return _Said(where=f"the answer to {name}", lines=lines, is_answer=True)


def _lines(text: str, folders: Iterable[str]) -> tuple[str, ...]:
    for folder in folders:
        text = text.replace(folder, _FOLDER)
    return tuple(_REQUEST.sub("(request)", text).splitlines())


def _answers(given: _Said, one: _Said, again: _Said) -> Parting | None:
    if not (given.lines and one.lines and again.lines):
        return _texts(given, one, again)
    if difference(one.lines[0], again.lines[0]) is not None:
        return None
    found = difference(one.lines[0], given.lines[0])
    if found is None:
        return None
    return Parting(where=f"{one.where}, at {found.path}", other=found.expected, bundle=found.given)


def _texts(given: _Said, one: _Said, again: _Said) -> Parting | None:
    """Returns the first line that differs, what is chance in it left out."""
    if len(one.lines) != len(again.lines):  # nobody can tell which of them belong together
        return None
    for index in range(max(len(one.lines), len(given.lines))):
        left, right = (said.lines[index : index + 1] for said in (one, given))
        if left and right and _same(right[0], left[0], again.lines[index]):
            continue
        shown = [line[0][:_SHOWN] if line else "nothing" for line in (left, right)]
        return Parting(where=f"{one.where}, line {index + 1}", other=shown[0], bundle=shown[1])
    return None


def _same(given: str, one: str, again: str) -> bool:
    """Whether a line is that of the other tree, but for the words in which its own two runs differ."""
    if given == one:
        return True
    mine, first, second = (_WORD.findall(line) for line in (given, one, again))
    if len(first) != len(second):  # nobody can tell which of them belong together
        return True
    return len(mine) == len(first) and all(
        word == theirs or theirs != later for word, theirs, later in zip(mine, first, second, strict=True)
    )
