from __future__ import annotations

import base64
import dataclasses
import hashlib
import html as markup
import json
import random
import zlib
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest
from samples import account_of, book, distribution, file, inventory, reference, rules

from slimpack import findings, gate
from slimpack.account import Account, of_manifest
from slimpack.gate import Budget, Budgets, Check, Increase, Review, Verdict
from slimpack.manifest import FileRecord, by_owner
from slimpack.model import APP, Finding, Severity
from slimpack.report.html import LARGEST, html

MIB = 2**20
RULES = rules(
    '[[rule]]\nname = "tests"\npaths = ["tests/"]\nreason = "`pkg.tests` is for its makers."\n'
    'examples = { match = ["tests/a"] }\n'
    '[[rule]]\nname = "web"\nrisk = "opt-in"\nbreaks = "the web page"\npaths = ["web/"]\n'
    'examples = { match = ["web/a"] }'
)
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "'\"><svg/onload=alert(1)>",
    "&lt;b&gt; ${version} $version {0}",
    "\x1b[31mred\x1b[0m\x07",
    "two\nlines\r\u2028and\u2029more",
    "gpj.\u202eexe",
    "\ud800lone\udfff",
    "*/ body { display: none } /*",
    "<!-- ]]> --!>",
)
VOID = {"meta", "input"}


class Page(HTMLParser):
    """What a page is made of; fails where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"style": [], "script": []}
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID and not (self.stack and self.stack[-1] == "svg"):
            self.stack.append(tag)
        if tag in self.raw:
            self.raw[tag].append("")
        if tag == "tr":
            self.rows.append([])
        if tag in {"th", "td"}:
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] in self.raw:
            self.raw[self.stack[-1]][-1] += data
            return
        self.words.append(data)
        if {"th", "td"} & set(self.stack):
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def data(self) -> dict[str, Any]:
        tree: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(self.raw["script"][0])))
        return tree

    def shape(self) -> Counter[str]:
        """Returns how many there are of each tag with its attributes, whatever their values."""
        return Counter(" ".join((tag, *sorted(those))) for tag, those in self.tags)


def bundle(*, library: int = 40 * MIB, name: str = "app.zip", more: int = 0) -> Account:
    manifest = account_of(
        inventory(
            file("pkg/a.py", size=10 * MIB),
            file("pkg/tests/b.py", size=20 * MIB),
            file("pkg/tests/c.py", size=MIB),
            file("pkg/c.so", size=library + 5 * MIB),
            file("web/page.html", size=3 * MIB),
            file("app.py", APP, size=512),
            *(file(f"more/{number:05}.py", "more", size=number) for number in range(more)),
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
    return of_manifest(manifest, name=name)


def foreign(files: tuple[FileRecord, ...], *, name: str = "package") -> Account:
    return Account(
        name=name,
        origin="directory",
        distributions=(),
        files=files,
        size=sum(one.size_after for one in files),
    )


def record(path: str, size: int, owner: str = "pkg") -> FileRecord:
    return FileRecord(path=path, owner=owner, decision="kept", size_before=size, size_after=size)


def told(account: Account, *found: Finding) -> Review:
    return Review(account=account, verdict=Verdict(status="fail", findings=found, budget_only=False))


def test_the_verdict_and_the_findings_come_first() -> None:
    budgets = Budgets(packages={"pkg": Budget(warn=MIB, fail=60 * MIB)})

    page = Page(html(gate.review(bundle(), budgets)))

    assert page.text.index("warn 54.0 MiB of 250.0 MiB, 196.0 MiB left") < page.text.index("warning SLP002")
    assert page.text.index("warning SLP002 ") < page.text.index("warning SLP107 x/y: one and other differ")
    assert page.text.index("SLP107") < page.text.index("Largest first")
    assert ["pkg", "54.0 MiB", "1.0 MiB", "60.0 MiB", "warn"] in page.rows


def test_a_bundle_over_the_limit_is_said_to_be_over_it_by_how_much() -> None:
    account = bundle(library=300 * MIB)

    words = Page(html(gate.review(account))).text

    assert "fail 314.0 MiB, over the limit of 250.0 MiB by 64.0 MiB" in words
    assert f"{account.size:,} bytes, must stay below 262,144,000" in words


def test_a_byte_too_much_is_shown_in_bytes() -> None:
    account = bundle()

    words = Page(html(gate.review(account, Budgets(limit=account.size - 1)))).text

    assert f"{account.size:,} bytes, over the limit of {account.size - 1:,} bytes by 2 B" in words


def test_the_packages_are_a_table_without_any_script() -> None:
    page = Page(html(gate.review(bundle())))

    assert ["Package", "Version", "Before", "After", "Saved", "Share", "Why"] in page.rows
    assert ["pkg", "2.0", "79.0 MiB", "54.0 MiB", "25.0 MiB", "100.0 %", "needed by parent"] in page.rows
    assert ["(app)", "", "0.5 KiB", "0.5 KiB", "0 B", "0.0 %", "the app's own files"] in page.rows
    assert ["total", "", "79.0 MiB", "54.0 MiB", "25.0 MiB", "100.0 %", ""] in page.rows
    assert ["pkg/tests", "1", "20.0 MiB", "pkg.tests is for its makers."] in page.rows


def test_with_a_base_there_is_a_table_of_what_has_changed() -> None:
    both = gate.review(bundle(library=50 * MIB), baseline=bundle(name="main.zip"))

    page = Page(html(both))

    assert [
        "pkg",
        "2.0",
        "54.0 MiB",
        "64.0 MiB",
        "+10.0 MiB",
        "+18.5 %",
        "content; parent > pkg",
    ] in page.rows
    assert ["pkg/c.so", "40.0 MiB", "50.0 MiB", "+10.0 MiB", "+25.0 %", "pkg: content"] in page.rows
    assert ["1 unchanged", "", "0.5 KiB", "0.5 KiB", "0 B", "+0.0 %", ""] in page.rows
    assert "Against main.zip, largest change first" in page.text
    assert "Changes" not in Page(html(gate.review(bundle()))).text


def test_a_bundle_without_a_manifest_shows_what_it_has() -> None:
    account = dataclasses.replace(
        foreign((record("a/b.py", MIB), record("c.so", 3 * MIB, "x"))), notes=("A note.",)
    )

    page = Page(html(gate.review(account)))

    assert ["Package", "Version", "Size", "Share", "Why"] in page.rows
    assert ["x", "", "3.0 MiB", "75.0 %", ""] in page.rows
    assert "pass 4.0 MiB, 4,194,304 bytes unzipped" in page.text
    assert "A note." in page.text
    assert "which has no manifest" in page.text
    assert page.data["measures"] == ["after"]
    assert "Plain install" not in page.text


@pytest.mark.parametrize("files", [(), (record("empty", 0),)])
def test_a_bundle_of_no_bytes_has_a_page(files: tuple[FileRecord, ...]) -> None:
    page = Page(html(gate.review(foreign(files))))

    assert "0 B, 0 bytes unzipped" in page.text
    assert sum(page.data["sizes"]["after"]) == 0


def test_the_page_is_the_same_each_time() -> None:
    def once() -> str:
        return html(gate.review(bundle(library=50 * MIB), baseline=bundle(more=300)))

    assert once() == once()


def test_the_page_loads_nothing_and_its_policy_forbids_it() -> None:
    text = html(gate.review(bundle(library=50 * MIB), Budgets(increase_fail=Increase()), baseline=bundle()))
    page = Page(text)

    policy = next(
        a["content"] or "" for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; ")
    for name, content in (("style", page.raw["style"][0]), ("script", page.raw["script"][1])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}';" in policy
    assert policy.endswith("; base-uri 'none'; form-action 'none'")
    assert "unsafe" not in policy
    attributes = [(name, value) for _, those in page.tags for name, value in those.items()]
    assert {value for name, value in attributes if name == "href"} == {"#packages", "#map"}
    assert not {name for name, _ in attributes} & {
        "src",
        "srcset",
        "action",
        "style",
        "xlink:href",
        "data",
        "poster",
    }
    assert not [name for name, _ in attributes if name.startswith("on")]
    for outside in ("http:", "https:", "//", "url(", "@import"):
        assert outside not in text.replace("// ", "").replace(page.raw["script"][0], "")


def test_the_data_has_all_files_and_sums_up_to_the_totals() -> None:
    account = bundle(more=200)
    manifest = account.manifest
    assert manifest is not None

    data = Page(html(gate.review(account))).data

    assert sum(data["sizes"]["after"]) == account.size
    assert sum(data["sizes"]["before"]) == manifest.totals.size_before
    assert data["files"] == [1] * len(account.files)
    assert {"a.py", "00007.py"} <= set(data["names"])
    lines, leaves = len(data["names"]), len(data["files"])
    assert sum(data["inside"]) == lines - 1
    assert [data["inside"].count(0), len(data["what"]), len(data["why"])] == [leaves] * 3


def test_the_data_tells_why() -> None:
    data = Page(html(gate.review(bundle()))).data

    assert "by pkg/tests: `pkg.tests` is for its makers." in data["reasons"]
    assert any("pkg/a.py:3 (import of pkg.tests.c)" in reason for reason in data["reasons"])


def test_the_data_of_a_comparison_sums_up_to_the_base_too() -> None:
    both = gate.review(bundle(library=50 * MIB), baseline=bundle(more=300))
    assert both.diff is not None

    data = Page(html(both)).data

    assert sum(data["sizes"]["base"]) == both.diff.base.size
    assert data["measures"] == ["after", "before", "saved", "base", "change"]
    assert data["colours"][0] == "change"


def hostile(*, marks: tuple[str, ...]) -> Review:
    """Returns a review in which a stranger has written everything that a stranger can write."""
    files = tuple(
        record(f"{number:02}{one}/{other}", 10**12 + number, one)
        for number, one in enumerate(marks)
        for other in marks
    )
    base = foreign(files[::2], name=marks[0])
    head = foreign(files[1:], name=marks[-1])
    found = [Finding(code=one, severity=Severity.ERROR, message=one, place=one, fix=one) for one in marks]
    both = gate.review(head, baseline=base)
    checks = tuple(Check(kind="package", name=one, actual=1) for one in marks)
    verdict = dataclasses.replace(both.verdict, findings=tuple(found), checks=checks)
    return dataclasses.replace(both, verdict=verdict)


def test_names_of_strangers_are_words_and_nothing_else() -> None:
    harmless = Page(html(hostile(marks=tuple(f"name{number}" for number in range(len(HOSTILE))))))

    text = html(hostile(marks=HOSTILE))
    page = Page(text)

    assert page.shape() == harmless.shape()
    assert "<script>alert(1)</script>: <script>alert(1)</script>" in page.text
    assert "&lt;b&gt; ${version} $version {0}" in page.text
    assert markup.escape(HOSTILE[2]) in text
    assert text.encode("utf-8")
    assert all(character.isprintable() or character == "\n" for character in text)
    assert page.raw["script"][1] == harmless.raw["script"][1]
    assert "".join(page.data["names"]).isprintable()


def test_terabytes_are_counted_to_the_byte() -> None:
    both = hostile(marks=HOSTILE)

    page = Page(html(both))

    assert sum(page.data["sizes"]["after"]) == both.account.size > 10**12
    assert f"{both.account.size:,} bytes unzipped" in page.text


def test_fifteen_thousand_files_are_all_in_the_data() -> None:
    names = random.Random(1)  # noqa: S311 -- the same names each time
    folders = [f"{names.randrange(99)}/{names.randrange(99):x}" for _ in range(600)]
    files = tuple(
        record(
            f"pkg{n % 30}/{folders[n % 600]}/module_{n}_{names.randrange(10**6)}.py",
            names.randrange(10**5),
            f"p{n % 30}",
        )
        for n in range(15_000)
    )

    text = html(gate.review(foreign(files)))

    assert len(text.encode()) < LARGEST
    assert Page(text).data["files"] == [1] * 15_000


def test_a_million_files_are_rolled_up_until_the_page_is_small_enough() -> None:
    some = (record(f"{n // 100:04}/{n:05x}", n, f"p{n // 100 % 7}") for n in range(10**5))
    files = tuple(one for one in some for _ in range(10))  # to make a million takes longer than to show them

    text = html(gate.review(foreign(files)))
    data = Page(text).data

    assert len(text.encode()) < LARGEST
    assert sum(data["files"]) == 10**6
    assert sum(data["sizes"]["after"]) == sum(one.size_after for one in files)
    assert len(data["files"]) > 1000
    assert any(name.endswith(" smaller)") for name in data["names"])


def test_whatever_there_is_the_page_stays_small() -> None:
    noise = random.Random(2)  # noqa: S311 -- the same names each time

    def name() -> str:
        return "".join(chr(noise.randrange(0x4E00, 0x9FFF)) for _ in range(250))

    files = tuple(record(f"{name()}/&<>\"'" + name(), n, name()) for n in range(3000))
    found = [
        Finding(code="SLP999", severity=Severity.NOTE, message="&" * 9999, place=name()) for _ in range(900)
    ]
    base, head = foreign(files[:1500]), foreign(files[1500:])
    both = gate.review(head, baseline=base)

    text = html(dataclasses.replace(both, verdict=dataclasses.replace(both.verdict, findings=tuple(found))))
    page = Page(text)

    assert len(text.encode()) < LARGEST
    assert sum(page.data["sizes"]["after"]) == head.size
    assert "smaller" in page.text
    totals = [cells for cells in page.rows if cells[0] == "total"]
    assert totals[-1][2] == f"{sum(after for _, after in by_owner(head.files).values()) / MIB:,.1f} MiB"


def test_findings_without_end_are_counted() -> None:
    page = Page(html(told(bundle(), *(findings.NOT_PACKED.at(f"lib{n}.so", "x" * 500) for n in range(5000)))))

    shown = page.shape()["li class"]
    assert 0 < shown < 5000
    assert f"and {5000 + 1 - shown:,} more" in page.text
