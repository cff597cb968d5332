from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from samples import LAMBDA, account_of, book, distribution, file, inventory, reference, rules

from slimpack import findings
from slimpack.manifest import from_json, to_json
from slimpack.model import APP
from slimpack.plan import Wishes
from slimpack.report.text import text

if TYPE_CHECKING:
    from slimpack.manifest import Manifest

RULES = rules(
    '[[rule]]\nname = "tests"\npaths = ["tests/"]\nexamples = { match = ["tests/a"] }\n'
    '[[rule]]\nname = "namespace"\naction = "add"\npaths = ["pkg/__init__.py"]\ncontent = "x"\n'
    'reason = "It has none."\n'
    '[[rule]]\nname = "web"\nrisk = "opt-in"\nbreaks = "the web page"\npaths = ["web/"]\n'
    'examples = { match = ["web/a"] }'
)
MIB = 2**20


def sample(*, library: int = 40 * MIB) -> Manifest:
    return account_of(
        inventory(
            file("pkg/a.py", size=10 * MIB),
            file("pkg/tests/b.py", size=20 * MIB),
            file("pkg/tests/c.py", size=MIB),
            file("pkg/c.so", size=library + 5 * MIB),
            file("web/page.html", size=3 * MIB),
            file("app.py", APP, size=512),
            distributions=(
                distribution("pkg", "2.0", requested=False),
                distribution("parent", requires=("pkg",)),
            ),
        ),
        book(RULES),
        sizes={"pkg/c.so": library},
        references=[reference("pkg.tests.c")],
        findings=(findings.INSTALL_CONFLICT.at("x/y", "one and other differ"),),
    )


def test_the_report_tells_packages_rules_overrules_repairs_findings_and_the_verdict() -> None:
    shown = text(sample(), name="app.zip")

    for words in (
        "app.zip for lambda, python3.12, x86_64, Amazon Linux 2023",
        "pkg              2.0       79.0 MiB   54.0 MiB   25.0 MiB",
        "pkg/tests                     1   20.0 MiB",
        "compaction of ELF files       1    5.0 MiB",
        "pkg/tests/c.py <- pkg/tests: pkg/a.py:3 (import of pkg.tests.c)",
        "+ pkg/__init__.py (pkg/namespace): It has none.",
        "warning SLP107 x/y: one and other differ",
        "fits, 196.0 MiB left",
        "must stay below 262,144,000",
    ):
        assert words in shown


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 100])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    for manifest in (sample(), sample(library=3000 * MIB)):
        shown = text(manifest, name="app.zip", width=width)
        assert max(len(line) for line in shown.splitlines()) <= width


def test_the_narrower_the_terminal_the_fewer_columns() -> None:
    def columns(width: int) -> list[str]:
        return text(sample(), name="app.zip", width=width).splitlines()[3 if width < 60 else 2].split()

    assert columns(80) == ["Package", "Version", "Before", "After", "Saved", "Share"]
    assert columns(60) == ["Package", "Version", "Before", "After", "Saved"]
    assert columns(40) == ["Package", "Before", "After"]


def test_an_empty_bundle_does_not_fit() -> None:
    nothing = account_of(inventory(file("a")), book(()), wishes=Wishes(remove=("*",)))

    assert "EMPTY: not one file is left in the bundle" in text(nothing, name="x")
    assert "fits" not in text(nothing, name="x")


def test_over_the_limit_it_says_by_how_much_and_what_would_help() -> None:
    shown = text(sample(library=300 * MIB), name="app.zip")

    assert "OVER the limit by" in shown
    assert "The largest packages: pkg 314.0 MiB" in shown
    assert "pkg is here for parent." in shown
    assert "--enable pkg/web takes up to 3.0 MiB more, and changes behaviour: the web page" in " ".join(
        shown.split()
    )


def test_exactly_the_limit_is_over_it() -> None:
    exactly = account_of(inventory(file("a", size=LAMBDA.size_limit)), book(()))
    below = account_of(inventory(file("a", size=LAMBDA.size_limit - 1)), book(()))

    assert exactly.failed
    assert "OVER the limit by 1 B" in text(exactly, name="x")
    assert not below.failed
    assert "fits, 1 B left" in text(below, name="x")


def test_a_large_zip_comes_with_the_commands_that_deploy_it() -> None:
    manifest = sample()
    large = dataclasses.replace(manifest, totals=dataclasses.replace(manifest.totals, archive_size=60 * MIB))
    small = dataclasses.replace(manifest, totals=dataclasses.replace(manifest.totals, archive_size=50 * MIB))

    assert "aws s3 cp app.zip s3://BUCKET/app.zip" in text(large, name="app.zip")
    shown = text(large, name="app.zip").splitlines()
    assert shown[-4:] == [
        "  aws lambda update-function-code \\",
        "    --function-name NAME \\",
        "    --s3-bucket BUCKET \\",
        "    --s3-key app.zip",
    ]
    assert "aws s3 cp" not in text(small, name="app.zip")


def test_colours_are_only_there_when_they_are_asked_for() -> None:
    assert "\x1b" not in text(sample(), name="x")
    assert "\x1b[" in text(sample(), name="x", color=True)


def test_no_string_of_a_manifest_can_steer_the_terminal() -> None:
    def spoil(value: Any) -> Any:  # noqa: ANN401 -- JSON
        if isinstance(value, dict):
            fixed = {
                "schema_version",
                "kind",
                "architecture",
                "format",
                "decision",
                "risk",
                "severity",
                "need",
            }
            return {key: one if key in fixed else spoil(one) for key, one in value.items()}
        if isinstance(value, list):
            return [spoil(one) for one in value]
        return f"{value}\x1b[2J\x9b[bold]\n\u202e\ud800" if isinstance(value, str) else value

    manifest = sample(library=300 * MIB)
    hostile = from_json(json.dumps(spoil(json.loads(to_json(manifest)))), where="")
    shown = text(hostile, name="\x1b]0;title\x07[red]x")

    assert "[2J" in shown
    assert "[red]x" in shown
    assert all(line.isprintable() for line in shown.split("\n"))


def test_small_packages_share_a_row_and_stay_in_the_totals() -> None:
    many = inventory(*(file(f"{n}/a", f"p{n:02}", size=n * MIB) for n in range(1, 31)))
    shown = text(account_of(many, book(())), name="x")

    assert "15 smaller" in shown
    assert f"{sum(range(1, 31)):.1f} MiB" in shown
