"""uv: the only module that speaks to it. It resolves for machines and Pythons that are not at hand."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.pylock import Pylock
from packaging.utils import canonicalize_name

from slimpack.errors import ResolutionError
from slimpack.resolve.candidate import Candidate
from slimpack.resolve.environment import full_version
from slimpack.resolve.process import ToolFailedError, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from slimpack.model import Target
    from slimpack.resolve.candidate import Fit
    from slimpack.resolve.indexes import Indexes
    from slimpack.resolve.requirements import Requirements

_PLATFORMS = (17, 28, *range(31, 41))
"""Minor glibc versions that uv has manylinux platforms for (``uv pip compile --python-platform``)."""

_ROUNDS = 40
"""Resolutions after which the search for fitting wheels ends; each rules out a release or a distribution."""

_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "retries": "UV_HTTP_RETRIES",
    "constraint": "UV_CONSTRAINT",
    "uploaded-prior-to": "UV_EXCLUDE_NEWER",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
}
"""uv's name for a setting of pip. They go by environment, so that no credential is on a command line."""

_OWN = ("UV_CACHE_DIR", "UV_NO_CACHE", "UV_OFFLINE", "UV_CONCURRENT_DOWNLOADS")
"""Variables of uv's own that cannot change what is resolved."""

_WITHOUT_WHEEL = re.compile(
    r"[Ww]heels are (?:required|available) for `(?P<hint>[^`]+)`"
    r"|Building source distributions for `(?P<disabled>[^`]+)` is disabled"
    r"|(?:^|\s)(?P<name>[A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?(?:\{[^}]*\})?(?:[=<>!~]=?\S+)? "  # name[extra]{marker}==1.0
    r"ha(?:s|ve) no (?:usable )?(?:wheels|source dist)"
)


class MissingWheelsError(Exception):
    """Distributions without a wheel that fits; uv has looked for all of them."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(", ".join(names))
        self.names = tuple(names)
        """Canonical names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uv:
    """A uv on this machine."""

    program: str
    """Its path."""
    version: str
    """Such as ``uv 0.9.1``."""

    def resolve(
        self,
        requirements: Requirements,
        target: Target,
        indexes: Indexes,
        *,
        fit: Fit,
        files: Callable[[str], Iterable[str]],
    ) -> list[Candidate]:
        """Returns the wheels that a target needs. No source is ever built or run.

        uv does not know every glibc version: it resolves for the next one that it knows. Where that chooses a
        release whose wheels need more than the target has, all such releases of the distribution are ruled out.

        Args:
            requirements: What is wanted.
            target: What is being built for.
            indexes: Where packages come from.
            fit: Which wheels fit the target.
            files: Returns the names of all files that the indexes have of a distribution.

        Raises:
            ToolFailedError: uv found no solution.
            MissingWheelsError: There is one, but for distributions that have no fitting wheel.
        """
        missing, unfit = set[str](), set[tuple[str, str]]()
        for _ in range(_ROUNDS):
            try:
                packages = self._compile(requirements, target, indexes, missing=missing, unfit=unfit)
            except ToolFailedError as problem:
                culprit = _without_wheel(problem.output, {name for name, _ in unfit})
                if culprit is None or culprit in missing:
                    raise
                missing.add(culprit)
                continue
            chosen = [(package, _best(package, fit, requirements)) for package in packages]
            over = {(package.name, package.version) for package, wheel in chosen if wheel is None}
            if not over:
                break
            with ThreadPoolExecutor() as threads:  # each of them waits for the index
                listed = threads.map(files, (name for name, _ in over))
            unfit |= over | {
                (name, version)
                for (name, _), names in zip(over, listed, strict=True)
                for version in fit.without(names)
            }
        else:
            missing.update(name for name, _ in unfit)
        if missing:
            raise MissingWheelsError(sorted(missing))
        return [wheel for _, wheel in chosen if wheel]

    def _compile(
        self,
        requirements: Requirements,
        target: Target,
        indexes: Indexes,
        *,
        missing: Iterable[str],
        unfit: Iterable[tuple[str, str]],
    ) -> list[_Package]:
        with tempfile.TemporaryDirectory(prefix="slimpack-") as name:
            folder = Path(name)
            wanted, narrowed = requirements.flat()
            included = "".join(f"-c {_absolute(one)}\n" for one in indexes.values("constraint"))
            ruled_out = "".join(f"{name}!={version}\n" for name, version in sorted(unfit))
            left_out = "".join(f"{name} ; sys_platform == 'none'\n" for name in sorted(missing))
            (folder / "requirements.txt").write_text(wanted, encoding="utf-8")
            (folder / "constraints.txt").write_text(narrowed + included + ruled_out, encoding="utf-8")
            (folder / "overrides.txt").write_text(left_out, encoding="utf-8")
            output = folder / "pylock.toml"
            command = (
                *(self.program, "pip", "compile", str(folder / "requirements.txt")),
                *("--constraints", str(folder / "constraints.txt")),
                *("--overrides", str(folder / "overrides.txt")),
                *("--output-file", str(output), "--format", "pylock.toml"),
                *("--python-version", full_version(target), "--python-platform", _platform(target)),
                *("--python", sys.executable, "--no-python-downloads"),
                *("--index-strategy", "unsafe-best-match"),  # all indexes are equal, as they are for pip
                *("--no-config", "--no-header", "--no-build", "--no-progress", "--color", "never"),
                *(("--no-index",) if indexes.flag("no-index") else ()),
            )
            run(command, environment=_environment(indexes), secrets=indexes.secrets)
            return _packages(output)


def find() -> Uv | None:
    """Returns the uv that is installed beside slimpack or on ``PATH``, or None."""
    beside = shutil.which("uv", path=str(Path(sys.executable).parent))
    program = beside or shutil.which("uv")
    if program is None:
        return None
    try:
        version = run((program, "--version"), environment=dict(os.environ))
    except ToolFailedError:
        return None
    return Uv(program=program, version=" ".join(version.split()[:2]))


def knows(target: Target) -> bool:
    """Returns whether uv has a platform with just the target's glibc, and need not search."""
    return target.glibc[1] in _PLATFORMS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Package:
    name: str
    version: str
    wheels: tuple[Candidate, ...]


def _packages(lock: Path) -> list[_Package]:
    """Reads the PEP 751 lock that uv writes; it lists every wheel of a release that fits uv's platform."""
    packages = Pylock.from_dict(tomllib.loads(lock.read_text(encoding="utf-8"))).packages
    return [
        _Package(
            name=package.name,
            version=str(package.version or ""),
            wheels=tuple(
                Candidate(
                    name=package.name,
                    version=str(package.version or ""),
                    link=file.url or (lock.parent / (file.path or "")).resolve().as_uri(),
                    hashes=file.hashes,
                    size=file.size,
                    index=package.index,
                )
                for file in (*(package.wheels or ()), *((package.archive,) if package.archive else ()))
            ),
        )
        for package in packages
    ]


def _best(package: _Package, fit: Fit, requirements: Requirements) -> Candidate | None:
    """Returns the best wheel that fits; None if none does.

    Raises:
        ResolutionError: The requirements allow none of the hashes. uv itself ignores them.
    """
    wheels = package.wheels
    asked = [one for one in requirements.requested if one.name == package.name]
    allowed = frozenset[str]().union(*(one.hashes for one in asked))
    if allowed or requirements.checks_hashes:
        wheels = tuple(one for one in wheels if f"sha256:{one.hashes.get('sha256')}" in allowed)
        if not wheels:
            raise ResolutionError(
                f"no wheel of {package.name} {package.version} has a hash that the requirements allow",
                where=asked[0].place if asked else package.name,
                fix=f"Add the right --hash=sha256:... to {package.name}, or take all hashes out.",
            )
    ranked = [(place, one.filename, one) for one in wheels if (place := fit.rank(one.filename)) is not None]
    return min(ranked, key=lambda entry: entry[:2])[2] if ranked else None


def _without_wheel(output: str, unfit: set[str]) -> str | None:
    """Returns the distribution whose lack of wheels uv complains about, if that is its complaint."""
    if match := _WITHOUT_WHEEL.search(" ".join(output.split())):
        return canonicalize_name(match["hint"] or match["name"] or match["disabled"])
    return next((name for name in sorted(unfit) if re.search(rf"\b{re.escape(name)}\b", output)), None)


def _platform(target: Target) -> str:
    """Returns uv's platform with all the wheels that the target may have, and perhaps a few more."""
    newest = next((minor for minor in _PLATFORMS if minor >= target.glibc[1]), _PLATFORMS[-1])
    return f"{target.machine}-manylinux_2_{newest}"


def _environment(indexes: Indexes) -> dict[str, str]:
    """Returns the whole environment of a uv: the user's own without settings for uv, then those of pip."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("UV_") or name in _OWN}
    options = indexes.options
    told = {variable: options[option] for option, variable in _VARIABLES.items() if option in options}
    if proxy := told.get("ALL_PROXY"):
        told |= {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy}
    if indexes.flag("pre"):
        told["UV_PRERELEASE"] = "allow"
    if options.get("keyring-provider") == "subprocess":
        told["UV_KEYRING_PROVIDER"] = "subprocess"
    places = map(_absolute, indexes.values("find-links"))
    told["UV_FIND_LINKS"] = ",".join(place for place in places if "://" in place or Path(place).exists())
    # pip trusts the system's certificates; uv would bring its own. The second name is for uv before 0.10.
    return own | told | {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1", "GIT_TERMINAL_PROMPT": "0"}


def _absolute(place: str) -> str:
    """Returns a path made absolute, a URL as it is: uv reads it in a file of another folder."""
    return place if "://" in place else str(Path(place).expanduser().absolute())
