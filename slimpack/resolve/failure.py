"""Failure: what a resolver's output means for a person. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from slimpack.errors import OutputError, ResolutionError, SlimpackError, WheelError
from slimpack.resolve.candidate import tag_names, version_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packaging.version import Version

    from slimpack.model import Target
    from slimpack.resolve.candidate import Fit

_LONGEST = 700
"""Characters of an explanation; what is longer is cut here and whole under ``--debug``."""

_TAGS_SHOWN = 8
"""Tags of one release that an error names."""

_RELEASES_SHOWN = 3
"""Releases of a distribution that an error names."""

_FRAMES = "[\N{MULTIPLICATION SIGN}\u2570\u2500\u25b6\u2502]"
"""Characters that pip and uv draw beside an error."""

_NO_MATCH = re.compile(
    r"(?:No matching distribution found for|has no matching distributions? available for your environment:?"
    r"|no matching distributions available for your environment:)\s+(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)"
    r"(?P<specifier>\s?[=<>!~][^\s()]*)?"
)

_OTHER_PYTHON = re.compile(r"(?P<version>[^\s;:]+) Requires-Python (?P<python>[^;\n]+)")
"""What pip says of a release that it passes over."""

_UNREACHABLE = re.compile(
    r"Failed to connect to|Failed to resolve|NewConnectionError|NameResolutionError|ConnectTimeoutError"
    r"|ReadTimeoutError|ProxyError|client error \(Connect\)|operation timed out|error sending request"
    r"|: connection error: "
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoMatch:
    """A distribution for which a resolver found no file."""

    name: str
    """Canonical name."""
    specifier: SpecifierSet
    """What was asked for; empty for any release."""
    other_python: tuple[tuple[str, str], ...] = ()
    """Releases that do not support the target's Python, each with what it does support (``>=3.13``)."""

    @classmethod
    def of(
        cls, name: str, specifiers: Iterable[str] = (), other_python: Iterable[tuple[str, str]] = ()
    ) -> NoMatch:
        """Returns one from a name as somebody wrote it, and PEP 440 specifiers."""
        try:
            specifier = SpecifierSet(",".join(specifiers))
        except InvalidSpecifier:
            specifier = SpecifierSet()
        return cls(name=canonicalize_name(name), specifier=specifier, other_python=tuple(other_python))

    def exists(self, files: Iterable[str]) -> bool:
        """Returns whether one of the files of the distribution is of a release that was asked for."""
        versions = (version_of(name) for name in files)
        return any(one is not None and self.specifier.contains(one, prereleases=True) for one in versions)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sign:
    """Words of a resolver, and what they mean."""

    pattern: re.Pattern[str]
    what: str
    """Sentence with the pattern's groups in braces."""
    fix: str
    error: type[SlimpackError] = ResolutionError


def _sign(pattern: str, what: str, fix: str, error: type[SlimpackError] = ResolutionError) -> _Sign:
    return _Sign(pattern=re.compile(pattern, re.DOTALL | re.MULTILINE), what=what, fix=fix, error=error)


_REQUIREMENTS_FIX = "Loosen or take out one of the requirements that contradict each other."

_SIGNS = (
    _sign(
        r"No space left on device",
        "no space is left on the device",
        "Free some space, or set TMPDIR and the cache to a folder on another file system.",
        OutputError,
    ),
    _sign(
        r"THESE PACKAGES DO NOT MATCH THE HASHES.*?^\s+(?P<name>\S+).*?Expected (?P<expected>\S+ \S+)"
        r".*?Got\s+(?P<got>\S+)",
        "{name} is not what its hash says: {expected} was expected, {got} came",
        "Find out which is right before you change the hash: the file may have been tampered with.",
    ),
    _sign(
        r"Hashes are required in --require-hashes mode, but they are missing.*?:\s*^\s+(?P<list>\S+)",
        "one requirement has a hash, so all need one: {list} has none",
        "Add a --hash to it and pin it with ==, or take all hashes out.",
    ),
    _sign(
        r"In --require-hashes mode, all requirements must have their versions pinned with ==.*?:\s*^\s+(?P<list>\S+)",
        "a requirement with a hash pins its version with ==, and so must all others: {list} does not",
        "Pin it with == and add its hash, or take all hashes out.",
    ),
    _sign(
        r"conflict is caused by:\s*\n(?P<why>(?:[ \t]+\S.*?\n)+)",
        "the requirements contradict each other: {why}",
        _REQUIREMENTS_FIX,
    ),
    _sign(
        r"Cannot install (?P<why>.*? because these package versions have conflicting dependencies)",
        "the requirements contradict each other: cannot install {why}",
        _REQUIREMENTS_FIX,
    ),
    _sign(
        r"(?:HTTP error|status client error) \(?(?P<code>401|403)\D.*?(?P<url>(?:https?|file)://[^\s)`]+)",
        "the server refuses access to {url} (HTTP {code})",
        "Give the credentials in pip's configuration, in .netrc or in a keyring.",
    ),
    _sign(
        r"(?:HTTP error|status (?:client|server) error) \(?(?P<code>\d{3}).*?(?P<url>(?:https?|file)://[^\s)`]+)",
        "{url} cannot be had (HTTP {code})",
        "Correct the URL, or take it out.",
    ),
    _sign(
        r"Distribution not found at: (?P<url>\S+)|No such file or directory: '(?P<path>[^']+)'",
        "there is no file {url}{path}",
        "Correct the path.",
    ),
    _sign(
        r"(?P<file>\S+\.whl) is not a supported wheel on this platform",
        "{file} does not fit the target",
        "Name a wheel whose tags fit; a linux_x86_64 one can be made one with auditwheel repair.",
    ),
    _sign(
        r"Wheel '(?P<name>[^']+)' located at (?P<file>\S+) is invalid"
        r"|Failed to extract archive: (?P<archive>\S+)",
        "the wheel {file}{archive} is damaged",
        "Get it again; if it stays so, take another release and tell the package's maintainers.",
        WheelError,
    ),
    _sign(
        r"Cloning (?P<url>\S+).*?Running command git (?:clone|fetch|checkout|submodule)[^\n]*\n"
        r"\s*(?:fatal|error): (?P<why>[^\n]+)",
        "git cannot get {url}: {why}",
        "Correct the URL and what stands behind its @; if the repository is private, give git its credentials.",
    ),
    _sign(
        r"CERTIFICATE_VERIFY_FAILED|invalid peer certificate|error: ssl-verification-failed",
        "the package index shows a certificate that is not trusted",
        "Name the right certificates with pip config set global.cert, or SSL_CERT_FILE.",
    ),
    _sign(
        rf"(?:{_UNREACHABLE.pattern})(?:.*?(?P<url>https?://[^\s)`'\"]+[^\s)`'\":.,;]))",
        "{url} cannot be reached",
        "Correct the URL; check network, proxy and index settings (pip config list).",
    ),
    _sign(
        _UNREACHABLE.pattern,
        "the package index cannot be reached",
        "Check network, proxy and index settings (pip config list).",
    ),
    _sign(
        r"(?:Failed building wheel for|Failed to build|Failed to build installable wheels for) `?(?P<name>[\w.-]+)",
        "building {name} from source failed",
        "Build its wheel by hand, where you see all messages (or use --debug), and name the file in the requirements.",
    ),
    _sign(
        r"(?:subprocess-exited-with-error|metadata-generation-failed|Failed to build)",
        "a package exists only as source, and building it failed",
        "Build its wheel by hand, where you see all messages (or use --debug), and name the file in the requirements.",
    ),
    _sign(
        r"requires a different Python: (?P<why>[^\n]+)",
        "a package does not support the target's Python: {why}",
        "Choose another release of it, or another --runtime.",
    ),
    _sign(
        r"Because (?P<name>[\w.-]+) was not found in the",
        "no index has a package called {name}",
        "Check the spelling, or add the index that has it (--extra-index-url).",
    ),
    _sign(
        r"No solution found.*?(?P<why>Because .*?requires Python .*?)(?:\n\s*\n|\Z)",
        "a package does not support the target's Python: {why}",
        "Choose another release of it, or another --runtime.",
    ),
    _sign(
        r"No solution found.*?(?P<why>Because there is no version of .*?)(?:\n\s*\n|\Z)",
        "something requires a release that does not exist: {why}",
        "Choose another release of what requires it, or add the index that has it (--extra-index-url).",
    ),
    _sign(
        r"No solution found.*?(?P<why>(?:Because|you require) .*?)(?:\n\s*\n|\Z)",
        "the requirements contradict each other: {why}",
        _REQUIREMENTS_FIX,
    ),
    _sign(
        r"Invalid requirement: (?P<why>[^\n]+)|Couldn't parse requirement in [^\n]*\n(?P<reason>[^\n]+)",
        "no requirement: {why}{reason}",
        "Correct the line.",
    ),
)


def explain(output: str) -> SlimpackError:
    """Returns the error that a resolver's output stands for.

    Args:
        output: All that pip or uv said, without credentials.
    """
    for sign in _SIGNS:
        if match := sign.pattern.search(output):
            words = {name: _short(group or "") for name, group in match.groupdict().items()}
            return sign.error(sign.what.format(**words), fix=sign.fix)
    complaints = [
        line for line in output.splitlines() if re.match(rf"\s*(?:ERROR|error|cause|{_FRAMES})", line)
    ]
    return ResolutionError(
        f"the resolver failed: {_short(' '.join(complaints) or output[-_LONGEST:])}",
        fix="Run with --debug to see all that it said.",
    )


def no_match(output: str) -> NoMatch | None:
    """Returns what pip found no file of, if that is why it failed. Without a network it finds no file of anything."""
    match = _NO_MATCH.search(output)
    if match is None or _UNREACHABLE.search(output):
        return None
    ignored = ((one["version"], one["python"]) for one in _OTHER_PYTHON.finditer(output))
    return NoMatch.of(match["name"], [match["specifier"] or ""], ignored)


def is_unsolvable(output: str) -> bool:
    """Returns whether uv found no solution, whatever the reason."""
    return "No solution found" in output


def is_conflict(output: str) -> bool:
    """Returns whether pip found requirements that contradict each other."""
    return "The conflict is caused by" in output


def has_source(files: Iterable[str]) -> bool:
    """Returns whether there is a source archive among the files of a distribution."""
    return any(not name.endswith(".whl") for name in files)


def newest_is_source(files: Sequence[str], fit: Fit) -> bool:
    """Returns whether the newest release of a distribution has a source archive and no wheel that fits."""
    versions = {name: version for name in files if (version := version_of(name)) is not None}
    newest = max((one for one in versions.values() if not one.is_prerelease), default=None)
    own = [name for name, version in versions.items() if version == newest]
    return has_source(own) and all(fit.rank(name) is None for name in own)


def without_wheel(
    missing: Mapping[NoMatch, Sequence[str]], target: Target, fit: Fit, *, where: str | None
) -> ResolutionError:
    """Returns the one error about all distributions without a fitting wheel.

    Args:
        missing: Names of the files that the indexes have, by distribution.
        target: What is being built for.
        fit: Which wheels fit it.
        where: Places in the requirements, if they are known.
    """
    cases = [_Case.of(wanted, files, fit) for wanted, files in missing.items()]
    what = "; ".join(case.sentence for case in cases)
    if any(case.lacks_wheel for case in cases):
        glibc = ".".join(map(str, target.glibc))
        what = f"no wheel fits {target.runtime} on {target.architecture} (glibc {glibc}): {what}"
    pins = [
        f"{case.wanted.name}=={case.newest_fitting}"
        for case in cases
        if case.newest_fitting and not case.fits and (where or case.release)
    ]
    if pins:
        fix = f"Require {', '.join(dict.fromkeys(pins))}: the newest with a wheel that fits."
    elif where is None and all(case.files and case.release is None for case in cases):
        fix = "Choose another release of what requires it, or add the index that has it (--extra-index-url)."
    elif all(not case.files for case in cases):
        fix = "Check the spelling, or add the index that has it (--extra-index-url)."
    elif all(case.fits for case in cases):
        fix = _REQUIREMENTS_FIX
    else:
        fix = (
            "Choose another --runtime or --arch, or build a wheel on a machine like the target (pip wheel) "
            "and name its file in the requirements."
        )
    return ResolutionError(what, where=where, fix=fix)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What there is of a distribution without a fitting wheel."""

    wanted: NoMatch
    files: tuple[str, ...]
    release: Version | None
    """The newest release that was asked for."""
    newest: tuple[Version, ...]
    """The newest releases, the newest first."""
    newest_fitting: Version | None
    """The newest release with a wheel that fits."""
    newest_asked_fitting: Version | None
    """The newest such release that was asked for."""

    @classmethod
    def of(cls, wanted: NoMatch, files: Sequence[str], fit: Fit) -> _Case:
        releases = {name: version for name in files if (version := version_of(name)) is not None}
        final = {name: version for name, version in releases.items() if not version.is_prerelease} or releases
        other_python = {version for version, _ in wanted.other_python}
        fitting = [
            version
            for name, version in final.items()
            if fit.rank(name) is not None and str(version) not in other_python
        ]

        def newest_asked(versions: Iterable[Version]) -> Version | None:
            return max(
                (one for one in versions if wanted.specifier.contains(one, prereleases=True)), default=None
            )

        return cls(
            wanted=wanted,
            files=tuple(files),
            release=newest_asked(final.values()),
            newest=tuple(sorted(set(final.values()), reverse=True)[:_RELEASES_SHOWN]),
            newest_fitting=max(fitting, default=None),
            newest_asked_fitting=newest_asked(fitting),
        )

    @property
    def wheels(self) -> list[str]:
        """Wheels of the newest release that was asked for."""
        return [one for one in self.files if one.endswith(".whl") and version_of(one) == self.release]

    @property
    def lacks_wheel(self) -> bool:
        """Whether there is such a release, without a wheel that fits."""
        return self.release is not None and not self.fits

    @property
    def fits(self) -> bool:
        """Whether that release has a wheel that fits."""
        return self.release is not None and self.newest_asked_fitting == self.release

    @property
    def sentence(self) -> str:
        """What there is, for a person."""
        name = self.wanted.name
        if not self.files:
            return f"no index has a package called {name}"
        if self.release is None:
            *others, last = map(str, self.newest)
            newest = f"the newest are {', '.join(others)} and {last}" if others else f"there is only {last}"
            return f"no version of {name} is {self.wanted.specifier}; {newest}"
        if self.fits:
            return f"{name} {self.release} would fit, but something else that is required rules it out"
        if python := dict(self.wanted.other_python).get(str(self.release)):
            return f"{name} {self.release} requires Python {python}"
        if not self.wheels:
            return f"{name} {self.release} exists only as source"
        tags = tag_names(self.wheels)
        more = f" and {len(tags) - _TAGS_SHOWN} more" if len(tags) > _TAGS_SHOWN else ""
        return f"{name} {self.release} has wheels for {', '.join(tags[:_TAGS_SHOWN])}{more}"


def _short(text: str) -> str:
    """Returns text on one line, without the frames that uv draws, cut to a length that can be read."""
    line = " ".join(re.sub(rf"{_FRAMES}|\bcause:", " ", text).split())
    line = re.sub(r",? we can conclude that your requirements are unsatisfiable\.?$", "", line)
    line = re.sub(r"^Because\b", "because", line)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
