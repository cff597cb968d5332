"""Real stacks, built tightly by a profile: what the profile has not seen is answered as a plain install does."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from handlers import STACKS, Stack

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.network, pytest.mark.heavy, pytest.mark.suites]

LIMIT = 262_144_000
"""Bytes that a function may have."""

REPEAT = 20
"""Cold runs that are compared with a plain install."""

PAGE = 4096
MIB = 2**20

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A stack in a folder, and what slimpack does with it."""

    stack: Stack
    folder: Path

    def build(self, output: str, *options: str) -> dict[str, Any]:
        """Builds a bundle that has to fit, and returns its manifest."""
        given = ("requirements.txt", "--source", "app", "--runtime", "python3.12", "--output", output)
        kept = (part for one in self.stack.keep for part in ("--keep", one))
        done = self.slimpack("build", *given, *kept, *self.stack.options, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return self.read(f"{output.removesuffix('.zip')}.manifest.json")

    def trace(self, bundle: str, kind: str) -> dict[str, Any]:
        """Runs a bundle once over some events, and returns the profile."""
        output = f"{kind}.profile.json"
        given = (*self.stack.options, *self.events(kind))
        done = self.slimpack("trace", bundle, *given, "--output", output, "--quiet")
        assert done.returncode == 0, done.stdout + done.stderr
        return self.read(output)

    def compare(self, bundle: str, kind: str, *, repeat: int) -> dict[str, Any]:
        """Runs a bundle over some events, and a plain install of its lock; returns what came of it."""
        wanted = ("--against", "plain", "--repeat", str(repeat), "--json", "--quiet")
        done = self.slimpack("invoke", bundle, *self.stack.options, *self.events(kind), *wanted)
        assert done.stdout, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == int(told["failed"])
        return told

    def events(self, kind: str) -> tuple[str, ...]:
        """Returns the options that give the handler those that the profile sees, or those that are held back."""
        paths = sorted(self.folder.glob(f"{kind}-??.json"))
        return tuple(part for path in paths for part in ("--event", path.name))

    def read(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return content

    def slimpack(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "slimpack", *arguments],
            cwd=self.folder,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )


def imported(profile: dict[str, Any]) -> set[str]:
    """Returns the files of the modules that were imported."""
    return {one["file"] for one in profile["modules"] if one["file"]}


def touched(profile: dict[str, Any]) -> set[tuple[str, int]]:
    """Returns the pages of code that were touched: shared object, and address in it."""
    return {
        (library["path"], segment["address"] + (first + number) * PAGE)
        for library in profile["libraries"]
        for segment in library["segments"]
        if segment["executable"]
        for first, count, _ in (*segment["init"], *segment["invoke"])
        for number in range(count)
    }


@pytest.mark.parametrize("name", STACKS)
def test_what_a_profile_has_not_seen_is_answered_as_by_a_plain_install(name: str, tmp_path: Path) -> None:
    # given a bundle with room for some of what the profile has seen to be quick, and for little else
    desk = Desk(stack=STACKS[name], folder=tmp_path)
    desk.stack.put(tmp_path)
    smallest = desk.build("smallest", "--pack", "all", "--no-verify")
    seen = desk.trace("smallest", "seen")
    room = int(smallest["totals"]["size_after"] * 1.05) + 2 * len(touched(seen)) * PAGE + MIB
    tight = ("--pack", "auto", "--profile", "seen.profile.json", "--reserve", str(LIMIT - room))
    built = desk.build("tight.zip", *tight)

    # when
    told = desk.compare("tight.zip", "held-back", repeat=REPEAT)

    # then
    comparison = told["against"]["comparison"]
    assert comparison["parting"] is None
    assert not [one for one in comparison["unsteady"] if "the answer" in one]  # logs may tell the time
    assert not told["failed"], told
    answers = [[one["answer"] for one in run["outcomes"]] for run in told["runs"]]
    assert [len(one) for one in answers] == [len(desk.stack.held_back)] * REPEAT

    # and that was a test: of the code that was needed, some is packed, and the profile has not seen it
    forms = {one["path"]: one["form"] for one in built["fit"]["choices"]}
    assert built["fit"]["usage"] == "a profile of 1 run"
    packed = {path for path, form in forms.items() if form not in {"plain", "compiled"}}
    later = desk.trace("tight.zip", "held-back")
    modules = (imported(later) - imported(seen)) & packed
    pages = {one for one in touched(later) - touched(seen) if one[0] in packed}
    assert modules or pages
    LOG.info("%s: %s", name, dict(Counter(forms.values())))
    LOG.info(
        "%s bytes of %s; %s packed modules and %s pages of packed code that the profile has not seen; init %s s",
        built["totals"]["size_after"],
        room,
        len(modules),
        len(pages),
        told["medians"]["init_seconds"],
    )


def test_events_that_are_held_back_need_what_the_profile_has_not_seen(tmp_path: Path) -> None:
    # given
    desk = Desk(stack=STACKS["pillow"], folder=tmp_path)
    desk.stack.put(tmp_path)
    desk.build("smallest", "--pack", "all", "--no-verify")
    desk.trace("smallest", "seen")

    # when what it has not seen is removed
    desk.build("risky.zip", "--profile", "seen.profile.json", "--drop-cold", *desk.events("seen"))
    seen, later = (desk.compare("risky.zip", kind, repeat=1) for kind in ("seen", "held-back"))

    # then
    assert seen["against"]["comparison"]["parting"] is None
    assert later["against"]["comparison"]["parting"] is not None
