"""Rules: ``rules/*.toml`` as values that obey the laws of rules; ``docs/rules.md`` has the format."""

from __future__ import annotations

import fnmatch
import hashlib
import re
import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore import GitIgnorePatternError
from pydantic.dataclasses import dataclass as checked_dataclass

from slimpack import schema, target
from slimpack.errors import RuleError
from slimpack.model import Action, Evidence, Examples, Need, Risk, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from importlib.resources.abc import Traversable

    from slimpack.model import Target

COMMON = "common"
"""Stem of the file whose rules hold for any wheel; a distribution's own rule goes before them."""

NAMESPACE = "{namespace}"
"""Placeholder in the path of an added file: each namespace package that wheels declare and leave empty."""

TOO_MANY_STARS = "has more than 4 stars between two slashes"
"""What is wrong with a pattern of which ``has_too_many_stars`` holds, a phrase to put after it."""

_MOST_STARS = 4
_ESCAPED = re.compile(r"\\.")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_TOLERABLE = {Need.ENTRY_POINT, Need.LAZY_IMPORT, Need.MENTION}
_CONTEXTS = {"lambda", "lambda-layer", "greengrass", "custom", "x86_64", "arm64"}


@checked_dataclass(frozen=True, slots=True, kw_only=True, config=schema.STRICT)
class _Evidence:
    version: str
    files: int
    bytes: int
    shown: str


@checked_dataclass(frozen=True, slots=True, kw_only=True, config=schema.STRICT)
class _Examples:
    match: tuple[str, ...] = ()
    miss: tuple[str, ...] = ()


@checked_dataclass(frozen=True, slots=True, kw_only=True, config=schema.STRICT)
class _Rule:
    name: str
    action: Action
    reason: str
    evidence: tuple[_Evidence, ...] = ()
    paths: tuple[str, ...] = ()
    whole: bool = False
    versions: str = ""
    targets: tuple[str, ...] = ()
    risk: Risk = Risk.SAFE
    breaks: str | None = None
    required_by: tuple[str, ...] = ()
    tolerates: tuple[Need, ...] = ()
    provided: bool = False
    optional_libraries: tuple[str, ...] = ()
    content: str | None = None
    sections: tuple[str, ...] = ()
    probe: str | None = None
    examples: _Examples = field(default_factory=_Examples)


@checked_dataclass(frozen=True, slots=True, kw_only=True, config=schema.STRICT)
class _File:
    rule: tuple[_Rule, ...]
    distributions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RuleBook:
    """All rules of a build, in the order of their files and in them."""

    rules: tuple[Rule, ...]
    """The rules; ids are unique."""
    digest: str
    """SHA-256 over the text of all rule files, hexadecimal."""

    @cached_property
    def by_id(self) -> Mapping[str, Rule]:
        """The rules by id."""
        return {rule.id: rule for rule in self.rules}

    @cached_property
    def specs(self) -> Mapping[str, GitIgnoreSpec]:
        """The compiled patterns by rule id."""
        return {rule.id: patterns(rule.paths, where=rule.origin) for rule in self.rules}

    def with_rule(self, rule: Rule) -> RuleBook:
        """Returns a book that has another rule besides."""
        return RuleBook(rules=(*self.rules, rule), digest=self.digest)

    def matching(self, wanted: str) -> tuple[Rule, ...]:
        """Returns the rules with an id, or whose id a shell wildcard matches."""
        return tuple(rule for rule in self.rules if fnmatch.fnmatchcase(rule.id, wanted))


def load_rules(folders: Sequence[Path] = ()) -> RuleBook:
    """Returns the shipped rules and those of further folders.

    Args:
        folders: Folders with ``*.toml`` files of the user's own.

    Raises:
        RuleError: A file that breaks a law: unknown keys, a bad pattern, an id used twice, examples that do
            not hold, no reason, no evidence.
    """
    texts = [(f"rules/{item.name}", item.name, item.read_bytes()) for item in _toml_files(_shipped())]
    for folder in folders:
        if not folder.is_dir():
            raise RuleError("no such folder of rules", where=str(folder), fix="Correct the path.")
        names = [item.name for item in _toml_files(folder)]
        texts += [(str(folder / name), name, _content(folder / name)) for name in names]
    rules: list[Rule] = []
    digest = hashlib.sha256()
    for origin, name, text in texts:
        rules += parse(text, stem=name.removesuffix(".toml"), origin=origin)
        digest.update(f"{name}\0{len(text)}\0".encode() + text)
    seen: dict[str, Rule] = {}
    for rule in rules:
        if rule.id in seen:
            raise RuleError(
                f"the id {rule.id!r} is used twice, first in {seen[rule.id].origin}",
                where=rule.origin,
                fix="Give one of the rules another name.",
            )
        seen[rule.id] = rule
    return RuleBook(rules=tuple(rules), digest=digest.hexdigest())


def parse(text: bytes, *, stem: str, origin: str) -> tuple[Rule, ...]:
    """Returns the rules of one file.

    Args:
        text: TOML in UTF-8.
        stem: The file's name without suffix: a canonical distribution name, or ``common``.
        origin: The file, for messages.

    Raises:
        RuleError: The text breaks a law.
    """
    try:
        data = tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise RuleError(f"no valid TOML: {problem}", where=origin, fix="Correct the syntax.") from problem
    file = schema.read(_File, data, where=origin, error=RuleError)
    if canonicalize_name(stem) != stem:
        raise RuleError(
            f"the file name {stem!r} is no canonical distribution name",
            where=origin,
            fix=f"Call it {canonicalize_name(stem)}.toml.",
        )
    distributions = file.distributions or (("*",) if stem == COMMON else (stem,))
    rules = tuple(_rule(raw, stem=stem, distributions=distributions, origin=origin) for raw in file.rule)
    for rule in rules:
        broken = next(_broken_laws(rule), None)
        if broken:
            raise RuleError(f"rule {rule.id!r}: {broken}", where=origin, fix="docs/rules.md has the format.")
    return rules


def patterns(lines: Iterable[str], *, where: str) -> GitIgnoreSpec:
    """Returns gitignore-style patterns, compiled: the one matcher that is used everywhere.

    Args:
        lines: Patterns as in a ``.gitignore``.
        where: The file or option, for the message.

    Raises:
        RuleError: A line is no pattern.
    """
    lines = list(lines)
    for line in lines:
        if not line.strip() or line.strip() in {"!", "/"} or "\0" in line or line.startswith("#"):
            raise RuleError(f"{line!r} is no pattern", where=where, fix="Write it as in a .gitignore.")
        if has_too_many_stars(line):
            raise RuleError(f"{line!r} {TOO_MANY_STARS}", where=where, fix="Write it with fewer.")
    try:
        return GitIgnoreSpec.from_lines(lines)
    except (GitIgnorePatternError, re.error) as problem:
        raise RuleError(
            f"bad pattern: {problem}", where=where, fix="Write it as in a .gitignore."
        ) from problem


def has_too_many_stars(line: str) -> bool:
    """Returns whether a pattern could keep the matcher busy for ages.

    A pattern becomes a regular expression, in which every star of a part of the path multiplies the ways to
    match that part by its length.
    """
    return any(part.count("*") > _MOST_STARS for part in _ESCAPED.sub("", line).split("/"))


def speaks_of(rule: Rule, *, name: str, version: str, runs_on: Target) -> bool:
    """Returns whether a rule holds for a release of a distribution on a target.

    Args:
        rule: The rule.
        name: Canonical distribution name.
        version: PEP 440 version.
        runs_on: The target.
    """
    return (
        any(fnmatch.fnmatchcase(name, wanted) for wanted in rule.distributions)
        and SpecifierSet(rule.versions, prereleases=True).contains(version)
        and (
            not rule.targets
            or any(word in rule.targets for word in (runs_on.kind, runs_on.runtime, runs_on.architecture))
        )
    )


def _shipped() -> Traversable:
    """Returns the folder of the shipped rules: inside the package when installed, beside it in a checkout."""
    inside = resources.files("slimpack").joinpath("shipped_rules")
    return inside if inside.is_dir() else Path(__file__).parent.parent / "rules"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise RuleError(
            f"cannot be read: {problem.strerror}", where=str(path), fix="Make it a file that you can read."
        ) from problem


def _toml_files(folder: Traversable) -> list[Traversable]:
    return sorted((item for item in folder.iterdir() if item.name.endswith(".toml")), key=lambda i: i.name)


def _rule(raw: _Rule, *, stem: str, distributions: tuple[str, ...], origin: str) -> Rule:
    return Rule(
        id=f"{stem}/{raw.name}",
        distributions=distributions,
        action=raw.action,
        paths=raw.paths,
        whole=raw.whole,
        versions=raw.versions,
        targets=raw.targets,
        risk=raw.risk,
        breaks=" ".join(raw.breaks.split()) if raw.breaks is not None else None,
        reason=" ".join(raw.reason.split()),
        required_by=raw.required_by,
        tolerates=raw.tolerates,
        provided=raw.provided,
        optional_libraries=raw.optional_libraries,
        content=raw.content,
        sections=raw.sections,
        probe=raw.probe,
        evidence=tuple(
            Evidence(
                version=item.version,
                files=item.files,
                bytes=item.bytes,
                shown=" ".join(item.shown.split()),
            )
            for item in raw.evidence
        ),
        examples=Examples(match=raw.examples.match, miss=raw.examples.miss),
        origin=origin,
    )


def _broken_laws(rule: Rule) -> Iterator[str]:
    """Yields what is wrong with a rule, most basic first."""
    yield from _broken_words(rule)
    yield from _broken_switches(rule)
    yield from _broken_additions(rule) if rule.action is Action.ADD else _broken_examples(rule)


def _broken_words(rule: Rule) -> Iterator[str]:
    if not _NAME.fullmatch(rule.id.split("/", 1)[1]):
        yield "the name is not in kebab-case"
    if not rule.reason:
        yield "no reason"
    if not rule.evidence:
        yield "no evidence"
    if bool(rule.paths) == rule.whole:
        yield "either paths or whole = true is needed, not both"
    try:
        SpecifierSet(rule.versions)
    except InvalidSpecifier:
        yield f"versions = {rule.versions!r} is no PEP 440 specifier"
    unknown = set(rule.targets) - _CONTEXTS - set(target.runtimes())
    if unknown:
        yield f"unknown targets: {', '.join(sorted(unknown))}"


def _broken_switches(rule: Rule) -> Iterator[str]:
    if rule.risk is Risk.OPT_IN and not rule.breaks:
        yield "opt-in, but it does not say what it breaks"
    if rule.risk is Risk.SAFE and rule.breaks:
        yield "safe, but it says that something breaks"
    if (rule.content is not None) != (rule.action is Action.ADD):
        yield "content goes with action = 'add', and is needed there"
    if bool(rule.sections) != (rule.action is Action.CLEAR) or (rule.sections and rule.whole):
        yield "sections go with action = 'clear' and paths, and are needed there"
    if rule.required_by and not rule.whole:
        yield "required_by goes with whole = true"
    if rule.optional_libraries and rule.action is not Action.KEEP:
        yield "optional_libraries go with action = 'keep'"
    if not set(rule.tolerates) <= _TOLERABLE:
        yield "only 'entry-point', 'lazy-import' and 'mention' can be tolerated"


def _broken_additions(rule: Rule) -> Iterator[str]:
    for path in rule.paths:
        parts = path.removeprefix(f"{NAMESPACE}/").split("/")
        if any(part in {"", ".", ".."} or set(part) & set("*?[]{}\\") for part in parts):
            yield f"{path!r} is no plain path to add"


def _broken_examples(rule: Rule) -> Iterator[str]:
    if rule.whole:
        return
    spec = patterns(rule.paths, where=rule.origin)
    for path in rule.examples.match:
        if not spec.match_file(path):
            yield f"the example {path!r} should match"
    for path in rule.examples.miss:
        if spec.match_file(path):
            yield f"the example {path!r} should not match"
    if not rule.examples.match:
        yield "no example that must match"
