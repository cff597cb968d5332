from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from samples import account_of, book, file, inventory, reference, rules

from slimpack.report.explain import explanation

if TYPE_CHECKING:
    from slimpack.manifest import Manifest

RULES = rules(
    '[[rule]]\nname = "tests"\npaths = ["tests/"]\nreason = "Only developers run them, and none of them is here."\n'
    'examples = { match = ["tests/a"] }'
)


def sample() -> Manifest:
    stock = inventory(file("pkg/a.py", size=2048), file("pkg/tests/b.py", size=4096), file("pkg/tests/c.py"))
    return account_of(stock, book(RULES), references=[reference("pkg.tests.c")])


def test_each_file_has_its_reasons() -> None:
    manifest = sample()

    assert explanation(manifest, manifest.files, width=60, color=False) == (
        "pkg/a.py\n"
        "  kept: 2.0 KiB before, 2.0 KiB in the bundle, brought by\n"
        "  pkg\n"
        "  no rule speaks of it\n"
        "\n"
        "pkg/tests/b.py\n"
        "  removed: 4.0 KiB before, 0 B in the bundle, brought by pkg\n"
        "  by pkg/tests: Only developers run them, and none of them\n"
        "  is here.\n"
        "  to keep it: --keep /pkg/tests/b.py\n"
        "\n"
        "pkg/tests/c.py\n"
        "  kept: 100 B before, 100 B in the bundle, brought by pkg\n"
        "  pkg/tests would remove it: Only developers run them, and\n"
        "  none of them is here.\n"
        "  kept, because kept code needs it: pkg/a.py:3 (import of\n"
        "  pkg.tests.c)\n"
    )


def test_only_the_path_is_bold() -> None:
    manifest = sample()
    shown = explanation(manifest, manifest.files[:1], width=60, color=True)

    assert shown.splitlines()[0] == "\x1b[1mpkg/a.py\x1b[0m"
    assert shown.count("\x1b") == 2


def test_no_line_is_wider_than_the_terminal_whatever_the_names() -> None:
    manifest = sample()
    hostile = [
        dataclasses.replace(one, path=f"{one.path}/{'数' * 40}\x1b[2J\n{'x' * 90}", owner="o" * 90)
        for one in manifest.files
    ]

    shown = explanation(manifest, hostile, width=40, color=False)

    assert "\x1b" not in shown
    assert all(len(line) <= 40 for line in shown.splitlines())
