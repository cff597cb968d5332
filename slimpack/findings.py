"""The catalogue of findings: one code for each thing a build, a check or a run may have to say."""

from __future__ import annotations

from dataclasses import dataclass

from slimpack.model import Finding, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What all findings of one code have in common."""

    code: str
    """``SLP`` and three digits: 0xx budgets, 1xx the bundle's content, 2xx rules and configuration, 3xx the target,
    4xx runs."""
    name: str
    """Short name in kebab case."""
    severity: Severity
    """How much it matters."""
    what: str
    """What it means, in a sentence."""
    fix: str
    """What usually helps."""

    def at(
        self,
        place: str,
        message: str,
        fix: str | None = None,
        *,
        severity: Severity | None = None,
        actual: int | None = None,
        limit: int | None = None,
    ) -> Finding:
        """Returns a finding of this kind.

        Args:
            place: Where: a path, a package, a requirements line.
            message: What was found, one sentence.
            fix: What helps here, if it is narrower than the kind's own fix.
            severity: How much it matters here, if that is not the kind's own.
            actual: Bytes that there are.
            limit: Bytes that there may be.
        """
        return Finding(
            code=self.code,
            severity=severity or self.severity,
            message=message,
            place=place,
            fix=fix or self.fix,
            actual=actual,
            limit=limit,
        )


TOTAL_OVER_BUDGET = Kind(
    code="SLP001",
    name="total-over-budget",
    severity=Severity.ERROR,
    what="The unzipped bundle takes more than the budget that is set for it, whatever the target would allow.",
    fix="Drop what the handler does not need (`slimpack why NAME`), or raise the budget: `slimpack baseline update`.",
)
PACKAGE_OVER_BUDGET = Kind(
    code="SLP002",
    name="package-over-budget",
    severity=Severity.ERROR,
    what="A package takes more of the bundle than the budget that is set for it.",
    fix="Take a smaller release of it, or raise the budget: `slimpack baseline update`.",
)
GROWN_TOO_MUCH = Kind(
    code="SLP003",
    name="grown-too-much",
    severity=Severity.ERROR,
    what="The bundle has grown by more than is allowed, in percent of the baseline as well as in bytes.",
    fix="`slimpack diff BASE HEAD` tells what has grown, and why; undo that, or allow more in [budget] increase.",
)
FORBIDDEN_PACKAGE = Kind(
    code="SLP004",
    name="forbidden-package",
    severity=Severity.ERROR,
    what="The bundle has a package that the configuration, or --forbid, does not want in it.",
    fix="`slimpack why NAME` tells what needs it; require something else, or allow it.",
)
BUDGET_WITHOUT_MATCH = Kind(
    code="SLP005",
    name="budget-without-match",
    severity=Severity.ERROR,
    what="A budget names a package that is not in the bundle, so that it guards nothing.",
    fix="Correct the name or pattern, or take the budget out.",
)
NO_BASELINE = Kind(
    code="SLP006",
    name="no-baseline",
    severity=Severity.ERROR,
    what="Growth was to be judged, and there is no baseline that could be read.",
    fix="Give the manifest of a build of the base branch with --baseline FILE.",
)
STALE_BASELINE = Kind(
    code="SLP007",
    name="stale-baseline",
    severity=Severity.WARNING,
    what="The baseline is of another commit than the change begins at, or another version of slimpack built it: the "
    "comparison shows more than the change.",
    fix="Build the commit that the change begins at, with this version of slimpack.",
)
MISMATCHED_BASELINE = Kind(
    code="SLP008",
    name="mismatched-baseline",
    severity=Severity.ERROR,
    what="The baseline was built for another runtime, processor or kind of target, so that growth cannot be judged.",
    fix="Build the base again for the target of the bundle.",
)
MISSING_LIBRARY = Kind(
    code="SLP101",
    name="missing-library",
    severity=Severity.ERROR,
    what="A shared object needs a library that neither the bundle nor the target's base system has.",
    fix="Require a wheel that carries the library, or put the library into lib/ of the source folder.",
)
VERSION_ABOVE_CEILING = Kind(
    code="SLP102",
    name="version-above-ceiling",
    severity=Severity.ERROR,
    what="A shared object needs a newer symbol version than the target's base system has.",
    fix="Take a release with an older manylinux tag, or a runtime with a newer base system.",
)
WRONG_ARCHITECTURE = Kind(
    code="SLP103",
    name="wrong-architecture",
    severity=Severity.ERROR,
    what="A file that the bundle loads was built for another processor.",
    fix="Build with the --arch of the function, or take a wheel for it.",
)
FOREIGN_ELF = Kind(
    code="SLP104",
    name="foreign-elf",
    severity=Severity.NOTE,
    what="An ELF file for another processor lies in the bundle; nothing that was found loads it.",
    fix="Remove it with a pattern if nothing needs it.",
)
LEFT_AS_IT_WAS = Kind(
    code="SLP105",
    name="left-as-it-was",
    severity=Severity.NOTE,
    what="An ELF file was not compacted, because it could not be understood or the result failed a check.",
    fix="Nothing needs doing: the file is in the bundle unchanged.",
)
OPTIONAL_LIBRARY = Kind(
    code="SLP106",
    name="optional-library",
    severity=Severity.NOTE,
    what="A library that a package can use, and can do without, is not in the bundle.",
    fix="Nothing needs doing; add the library's own wheel to the requirements to use it.",
)
NOT_PACKED = Kind(
    code="SLP112",
    name="not-packed",
    severity=Severity.NOTE,
    what="A shared object could not be packed: its form is one that the pager does not serve.",
    fix="Nothing needs doing: the file is in the bundle as it is without packing.",
)
NOT_PRUNED = Kind(
    code="SLP113",
    name="not-pruned",
    severity=Severity.NOTE,
    what="A shared object keeps the exports that nobody needs: its tables of symbols were not understood.",
    fix="Nothing needs doing: it is packed all the same, and a little larger.",
)
NO_BYTECODE = Kind(
    code="SLP114",
    name="no-bytecode",
    severity=Severity.NOTE,
    what="The bundle has no bytecode, so that each start compiles the modules that it imports.",
    fix="Install a CPython of the target's version, or name one with --interpreter.",
)
INSTALL_CONFLICT = Kind(
    code="SLP107",
    name="install-conflict",
    severity=Severity.WARNING,
    what="Two wheels install one path with different content; the one that is installed last wins.",
    fix="Require only one of the two distributions.",
)
PTH_NOT_RUN = Kind(
    code="SLP108",
    name="pth-not-run",
    severity=Severity.WARNING,
    what="A .pth file does something at start-up, which only Lambda's managed runtimes let it do.",
    fix="Do what the file does at the top of the handler's module.",
)
LOADER_REFUSES = Kind(
    code="SLP109",
    name="loader-refuses",
    severity=Severity.WARNING,
    what="An ELF file breaks, as it came, a rule that the target's loader may insist on.",
    fix="Try it on the target; another release of the package may have been linked better.",
)
UNREADABLE = Kind(
    code="SLP110",
    name="unreadable",
    severity=Severity.ERROR,
    what="Only the owner of a file may read it, and on Lambda the function is somebody else.",
    fix="Give it mode 644 before it goes into the zip, or 755 if it is a program; `slimpack build` does.",
)
NOT_AS_BUILT = Kind(
    code="SLP111",
    name="not-as-built",
    severity=Severity.WARNING,
    what="A bundle is not as its manifest says: a file is missing, or has other content.",
    fix="Build it again; change the requirements or the configuration rather than the bundle.",
)
PATTERN_WITHOUT_MATCH = Kind(
    code="SLP201",
    name="pattern-without-match",
    severity=Severity.WARNING,
    what="A pattern or rule of the configuration matched nothing in this build.",
    fix="Correct it or take it out.",
)
REMOVED_BUT_NEEDED = Kind(
    code="SLP202",
    name="removed-but-needed",
    severity=Severity.WARNING,
    what="The configuration removes a file that kept code needs.",
    fix="Take the pattern out, unless you know that the code never runs.",
)
DROPPED_COLD = Kind(
    code="SLP203",
    name="dropped-cold",
    severity=Severity.WARNING,
    what="Files are gone that no run of the profile has used; an event that needs one of them fails.",
    fix="Trace more events, or build without --drop-cold.",
)
OVER_LIMIT = Kind(
    code="SLP301",
    name="over-limit",
    severity=Severity.ERROR,
    what="The unzipped bundle is not below the target's size limit.",
    fix="Drop the largest packages that the handler does not need.",
)
EMPTY_BUNDLE = Kind(
    code="SLP304",
    name="empty-bundle",
    severity=Severity.ERROR,
    what="Not one file is left in the bundle.",
    fix="Correct the patterns that remove files.",
)
UPLOAD_NEEDS_S3 = Kind(
    code="SLP302",
    name="upload-needs-s3",
    severity=Severity.NOTE,
    what="The zip is larger than a direct upload may be, so it has to go through S3.",
    fix="Upload it to a bucket and deploy it from there.",
)
RUNTIME_UNSUPPORTED = Kind(
    code="SLP303",
    name="runtime-end-of-support",
    severity=Severity.WARNING,
    what="The platform no longer supports the runtime.",
    fix="Move to a newer runtime.",
)
NO_HANDLER = Kind(
    code="SLP401",
    name="no-handler",
    severity=Severity.ERROR,
    what="The module or the function that Lambda is to call is not in the bundle.",
    fix="Correct --handler, or --source, the folder with the handler's module.",
)
IMPORT_FAILS = Kind(
    code="SLP402",
    name="import-fails",
    severity=Severity.ERROR,
    what="A package of the bundle cannot be imported as on Lambda, though a plain install of the same lock can.",
    fix="Please report it with the manifest; --disable a rule or --no-compact until then.",
)
EVENT_FAILS = Kind(
    code="SLP403",
    name="event-fails",
    severity=Severity.ERROR,
    what="The handler did not answer an event, or could not even be started.",
    fix="`slimpack invoke --against plain` shows the whole log, and whether a plain install of the same lock answers; "
    "if it does, please report it with the manifest.",
)
ANSWER_DIFFERS = Kind(
    code="SLP404",
    name="answer-differs",
    severity=Severity.ERROR,
    what="The handler's answer is not the expected one.",
    fix="Correct the expected answer, or the handler; --float-tolerance lets numbers differ a little.",
)
NOT_CHECKED = Kind(
    code="SLP405",
    name="not-checked",
    severity=Severity.NOTE,
    what="Something about the bundle could not be checked on this machine.",
    fix="Check it where it can be: `slimpack invoke` runs the handler.",
)
FAILS_PLAINLY = Kind(
    code="SLP406",
    name="fails-plainly",
    severity=Severity.NOTE,
    what="A package cannot be imported, and in a plain install of the same lock it cannot either.",
    fix="Nothing needs doing unless the handler uses it; it may need another package.",
)

CATALOGUE = {
    kind.code: kind
    for kind in (
        TOTAL_OVER_BUDGET,
        PACKAGE_OVER_BUDGET,
        GROWN_TOO_MUCH,
        FORBIDDEN_PACKAGE,
        BUDGET_WITHOUT_MATCH,
        NO_BASELINE,
        STALE_BASELINE,
        MISMATCHED_BASELINE,
        MISSING_LIBRARY,
        VERSION_ABOVE_CEILING,
        WRONG_ARCHITECTURE,
        FOREIGN_ELF,
        LEFT_AS_IT_WAS,
        OPTIONAL_LIBRARY,
        NOT_PACKED,
        NOT_PRUNED,
        NO_BYTECODE,
        INSTALL_CONFLICT,
        PTH_NOT_RUN,
        LOADER_REFUSES,
        UNREADABLE,
        NOT_AS_BUILT,
        PATTERN_WITHOUT_MATCH,
        REMOVED_BUT_NEEDED,
        DROPPED_COLD,
        OVER_LIMIT,
        UPLOAD_NEEDS_S3,
        RUNTIME_UNSUPPORTED,
        EMPTY_BUNDLE,
        NO_HANDLER,
        IMPORT_FAILS,
        EVENT_FAILS,
        ANSWER_DIFFERS,
        NOT_CHECKED,
        FAILS_PLAINLY,
    )
}
"""All kinds by code."""
