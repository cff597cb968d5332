"""Reviews that the tests of formats share: of small bundles, of large ones, and of ones whose names mean harm."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from slimpack import findings
from slimpack.account import Account
from slimpack.diff import Diff, FileChange, PackageChange
from slimpack.gate import Check, Review, Verdict
from slimpack.manifest import DistributionRecord, FileRecord
from slimpack.model import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

MIB = 2**20
LIMIT = 262_144_000

HARM = (
    "a|b",
    "`code`",
    "@octocat",
    "#1 !2 ~3 $4 &5 %6 ^7 GH-8",
    "https://evil.example/x www.evil.example me@evil.example",
    "[x](https://evil.example)",
    "![x](https://evil.example)",
    "<script>alert(1)</script><img src=x onerror=y>",
    "</details><!-- slimpack:other -->",
    "-->",
    "]]>",
    "&lt;b&gt; &#64;octocat",
    "*a* **b** _c_ ~~d~~ \\*",
    "new\nline\r\n\r# heading",
    "\u2028- item\u2029\x0b\x0c\x85",
    "\x1b[31mred\x1b]8;;https://evil.example\x07",
    "\x00\x07\x9b2J",
    "\u202egnp.exe\u2066\u200b\ufeff",
    "half \ud800 and \udfff",
    "\ufffe\uffff",
    "::error::x ##[error]x %0A::set-output name=status::pass",
    "quote \" and ' and \\",
    "name=a,b:c;d",
    "{0} {{1}} %s ${x}",
    "/close",
    "",
    " ",
    "x" * 5000,
    "\N{PILE OF POO}" * 2000,
    "~" * 3000,
)
"""What names must not be able to do."""

names = (
    st.sampled_from(HARM) | st.text(max_size=60) | st.lists(st.sampled_from(HARM), max_size=3).map("".join)
)
"""Hostile names, halves of characters included."""

sizes = st.integers(0, 10**12)


def account(
    sizes: dict[str, int],
    *,
    name: str = "app.zip",
    version: str = "1.0",
    required_at: tuple[str, ...] = ("requirements.txt:3",),
    **changes: Any,  # noqa: ANN401 -- fields of an account
) -> Account:
    """Returns the account of a bundle in which each package has one file."""
    files = tuple(
        FileRecord(path=f"{one}/a.so", owner=one, decision="kept", size_before=size, size_after=size)
        for one, size in sizes.items()
    )
    distributions = tuple(
        DistributionRecord(
            name=one,
            version=version,
            wheel="",
            sha256="",
            size_before=size,
            size_after=size,
            requested=True,
            required_at=required_at,
        )
        for one, size in sizes.items()
    )
    return Account(
        **{
            "name": name,
            "origin": "zip",
            "distributions": distributions,
            "files": files,
            "size": sum(sizes.values()),
            "archive_size": sum(sizes.values()) // 3,
            "runtime": "python3.13",
            "architecture": "x86_64",
            **changes,
        }
    )


def diff(base: Account, head: Account, **changes: Any) -> Diff:  # noqa: ANN401 -- fields of a diff
    """Returns what has changed, each package an upgrade."""
    before, after = base.sizes(), head.sizes()
    packages = tuple(
        PackageChange(
            name=name,
            kind="unchanged"
            if before.get(name) == after.get(name)
            else "added"
            if name not in before
            else "removed"
            if name not in after
            else "changed",
            version_before="1.0" if name in before else "",
            version_after="2.0" if name in after else "",
            before=before.get(name, 0),
            after=after.get(name, 0),
            causes=("upgrade",),
            via=("root", name),
        )
        for name in sorted(
            before | after, key=lambda name: (-abs(after.get(name, 0) - before.get(name, 0)), name)
        )
    )
    files = tuple(
        FileChange(
            path=f"{one.name}/a.so", owner=one.name, before=one.before, after=one.after, cause="upgrade"
        )
        for one in packages
        if one.kind != "unchanged"
    )
    return Diff(**{"base": base, "head": head, "packages": packages, "files": files, **changes})


def review(
    head: Account,
    *,
    found: Sequence[Finding] = (),
    compared: Diff | None = None,
    checks: tuple[Check, ...] = (),
    **changes: Any,  # noqa: ANN401 -- fields of a review
) -> Review:
    """Returns a review with just these findings."""
    severities = {finding.severity for finding in found}
    status = "fail" if Severity.ERROR in severities else "warn" if Severity.WARNING in severities else "pass"
    verdict = Verdict(status=status, findings=tuple(found), budget_only=True, checks=checks)  # type: ignore[arg-type]
    return Review(**{"account": head, "verdict": verdict, "diff": compared, "limit": LIMIT, **changes})


BASE = account({"numpy": 30 * MIB, "scipy": 60 * MIB, "six": 30_000}, name="base.zip")
HEAD = account({"numpy": 34 * MIB, "scipy": 60 * MIB, "pandas": 40 * MIB})


def usual() -> Review:
    """Returns the review of a pull request that adds one package, upgrades another and drops a third."""
    return review(
        HEAD,
        found=(
            findings.PACKAGE_OVER_BUDGET.at(
                "requirements.txt:7", "pandas takes 40.0 MiB of 30.0 MiB", actual=40 * MIB, limit=30 * MIB
            ),
            findings.INSTALL_CONFLICT.at("numpy/a.so", "numpy and scipy differ"),
            findings.LEFT_AS_IT_WAS.at("scipy", "its layout is not understood"),
        ),
        compared=diff(BASE, HEAD),
        checks=(
            Check(kind="limit", name="app.zip", actual=HEAD.size, fail=LIMIT),
            Check(kind="package", name="pandas", actual=40 * MIB, fail=30 * MIB, status="fail"),
        ),
    )


@cache
def crowd(count: int = 5000, found: int = 3000) -> Review:
    """Returns the review of a bundle of very many packages, files and findings, a terabyte in all."""
    head = account({f"package-{number}": 10**12 // count for number in range(count)})
    base = account({f"package-{number}": 10**9 for number in range(0, count, 2)}, name="base.zip")
    errors = [findings.PACKAGE_OVER_BUDGET.at(f"package-{n}", f"package {n} is over") for n in range(found)]
    notes = [findings.LEFT_AS_IT_WAS.at(f"package-{n}/a.so", "it is odd") for n in range(found)]
    warnings = [findings.INSTALL_CONFLICT.at(f"package-{n}/a.so", "they differ") for n in range(found)]
    checks = tuple(
        Check(kind="package", name=f"package-{n}", actual=10**12, fail=1, status="fail") for n in range(found)
    )
    return review(
        head,
        found=[*errors, *warnings, *notes],
        compared=diff(base, head, notes=("a note",) * 100),
        checks=checks,
    )


@st.composite
def hostile(draw: st.DrawFn) -> Review:
    """Returns a review in which everything that a manifest, a zip or a requirements file can say means harm."""
    owners = draw(st.lists(names, max_size=6, unique=True))
    head = account(
        {owner: draw(sizes) for owner in owners},
        name=draw(names),
        version=draw(names),
        required_at=tuple(draw(st.lists(names | names.map(lambda name: f"{name}:7"), max_size=2))),
        runtime=draw(names | st.none()),
    )
    base = account(
        {owner: draw(sizes) for owner in owners[::2] + draw(st.lists(names, max_size=3))}, name=draw(names)
    )
    found = tuple(
        Finding(
            code=draw(st.sampled_from([*findings.CATALOGUE]) | names),
            severity=draw(st.sampled_from([*Severity])),
            message=draw(names),
            place=draw(names | st.sampled_from(owners or ["none"])),
            fix=draw(names | st.none()),
            actual=draw(sizes | st.none()),
            limit=draw(sizes | st.none()),
        )
        for _ in range(draw(st.integers(0, 4)))
    )
    checks = tuple(
        Check(
            kind=draw(st.sampled_from(["limit", "total", "package", "increase", "forbidden"])),
            name=draw(names),
            actual=draw(sizes),
            fail=draw(sizes | st.none()),
            warn=draw(sizes | st.none()),
            status=draw(st.sampled_from(["pass", "warn", "fail"])),
        )
        for _ in range(draw(st.integers(0, 2)))
    )
    compared = diff(base, head, notes=tuple(draw(st.lists(names, max_size=3))))
    return review(
        head,
        found=found,
        compared=draw(st.sampled_from([compared, None])),
        checks=checks,
        limit=draw(sizes | st.none()),
        folder=draw(names),
    )
