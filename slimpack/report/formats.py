"""Formats: in what forms a review can be had; each is a function of a review in a module of its own."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from slimpack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from slimpack.gate import Review


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A form of a review."""

    name: str
    """What ``--format`` calls it."""
    what: str
    """What it is for."""
    suffixes: tuple[str, ...]
    """Ends of file names that ask for it, in lower case."""
    function: str
    """``module.function`` below ``slimpack.report``; it is imported when it is used."""

    def render(self, review: Review) -> str:
        """Returns a review in this form."""
        module, function = self.function.split(".")
        found = getattr(import_module(f"slimpack.report.{module}"), function)
        return cast("Callable[[Review], str]", found)(review)


FORMATS = {
    one.name: one
    for one in (
        Format(name="text", what="for a terminal", suffixes=(".txt",), function="review.text"),
        Format(name="json", what="all of it, as data", suffixes=(".json",), function="data.data"),
        Format(
            name="markdown",
            what="for a comment on a pull request",
            suffixes=(".md", ".markdown"),
            function="markdown.comment",
        ),
        Format(
            name="html", what="a page to look around in", suffixes=(".html", ".htm"), function="html.html"
        ),
        Format(
            name="github",
            what="annotations of GitHub Actions",
            suffixes=(),
            function="github.commands",
        ),
        Format(
            name="summary",
            what="a step summary of GitHub Actions",
            suffixes=("summary.md",),
            function="github.summary",
        ),
        Format(
            name="gitlab",
            what="a code quality report of GitLab",
            suffixes=("codequality.json", "code-quality.json", "code-quality-report.json"),
            function="gitlab.code_quality",
        ),
        Format(
            name="metrics",
            what="OpenMetrics, also a metrics report of GitLab",
            suffixes=("metrics.txt", ".prom"),
            function="gitlab.metrics",
        ),
        Format(name="junit", what="test cases", suffixes=(".xml",), function="junit.junit"),
        Format(
            name="sarif", what="code scanning", suffixes=(".sarif", ".sarif.json"), function="sarif.sarif"
        ),
    )
}
"""All formats by name."""


def requested(words: str) -> tuple[Format, str]:
    """Returns the format and the file that ``--report`` asks for.

    Args:
        words: A file, whose name tells the format; or ``FORMAT=FILE``.

    Raises:
        UsageError: The name tells no format, or there is no file.
    """
    name, separator, file = words.partition("=")
    if separator and name in FORMATS:
        if not file:
            raise UsageError("the path is empty", where="--report", fix=f"Write it as {name}=FILE.")
        return FORMATS[name], file
    found = [
        (len(suffix), one.name)
        for one in FORMATS.values()
        for suffix in one.suffixes
        if words.lower().endswith(suffix)
    ]
    if not found:
        raise UsageError(
            f"no report of this kind: {words}",
            where="--report",
            fix=f"Name the format, as in junit=FILE: {', '.join(FORMATS)}; or end the file with one of "
            f"{', '.join(one.suffixes[0] for one in FORMATS.values() if one.suffixes)}.",
        )
    return FORMATS[max(found)[1]], words
