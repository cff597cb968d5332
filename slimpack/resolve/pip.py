"""pip: the only module that runs it. Our own pip drives other interpreters; they need none themselves."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from slimpack.errors import ConfigError
from slimpack.resolve.candidate import Candidate, filename_of
from slimpack.resolve.environment import full_version
from slimpack.resolve.process import ToolFailedError, run, silent
from slimpack.target import platforms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slimpack.model import Target
    from slimpack.resolve.indexes import Indexes
    from slimpack.resolve.process import Progress
    from slimpack.resolve.requirements import Requested, Requirements

# -P: the current folder is the user's, and none of its files is a module of pip.
_PIP = (sys.executable, "-P", "-m", "pip")

_QUIET = {
    "PIP_CONFIG_FILE": os.devnull,  # what it says has been read and is passed on as variables
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_COLOR": "1",
    "PIP_NO_INPUT": "1",
    "PIP_PROGRESS_BAR": "off",
    "PIP_ROOT_USER_ACTION": "ignore",
    "GIT_TERMINAL_PROMPT": "0",
    "PYTHONUTF8": "1",
}
_LINK = re.compile(r"(?:https?|file)://\S+?\.(?:whl|tar\.gz|zip)(?=[\s#,)]|$)")

# PEP 600: a module that an interpreter's owner provides to veto manylinux tags. It keeps pip below the target's glibc
# where --platform cannot be used, because sources are allowed.
_CEILING = "def manylinux_compatible(major, minor, arch):\n    return (major, minor) <= {glibc}\n"


def version() -> str:
    """Returns such as ``pip 26.0``."""
    return f"pip {metadata.version('pip')}"


def config_listing() -> str:
    """Returns what ``pip config list`` prints: files and environment, credentials included.

    Raises:
        ConfigError: pip cannot read its configuration.
    """
    try:
        return run(
            (*_PIP, "config", "list"), environment={**os.environ, "PYTHONUTF8": "1", "PIP_NO_COLOR": "1"}
        )
    except ToolFailedError as problem:
        raise ConfigError(
            "pip cannot read its configuration",
            where="pip config",
            fix="Run 'pip config debug' and correct the file that it names.",
        ) from problem


def resolve(
    requirements: Requirements, target: Target, indexes: Indexes, *, interpreter: Path, sources: bool
) -> list[Candidate]:
    """Returns what a target needs, as pip resolves it.

    Args:
        requirements: What is wanted; pip reads the file itself.
        target: Must be of the host's kind, because pip evaluates markers with the interpreter that runs it.
        indexes: Where packages come from.
        interpreter: One of the target's version.
        sources: Whether distributions without a fitting wheel may come as source. pip runs their build code to
            learn what they need.

    Raises:
        ToolFailedError: pip found no solution.
    """
    with tempfile.TemporaryDirectory(prefix="slimpack-") as folder:
        report = Path(folder, "report.json")
        environment = _environment(indexes)
        if sources:
            Path(folder, "_manylinux.py").write_text(_CEILING.format(glibc=target.glibc), encoding="utf-8")
            environment |= {"PYTHONPATH": folder, "PIP_PREFER_BINARY": "1"}
        else:
            environment |= _only_wheels(target, linux=any(map(_is_local_build, requirements.requested)))
        command = (
            "install",
            "--dry-run",
            "--ignore-installed",
            "--report",
            str(report),
            "-r",
            str(requirements.path),
        )
        run((*_for(interpreter), *command), environment=environment, secrets=indexes.secrets)
        return [_candidate(entry) for entry in json.loads(report.read_text(encoding="utf-8"))["install"]]


def build(source: Candidate, into: Path, indexes: Indexes, *, interpreter: Path) -> Path:
    """Builds a wheel from a source into an empty folder and returns it.

    Raises:
        ToolFailedError: The build failed.
    """
    environment = {
        "SOURCE_DATE_EPOCH": "315532800",
        **_environment(indexes),
    }  # 1980, the first date that a zip knows
    command = ("wheel", "--no-deps", "--wheel-dir", str(into), "-r", str(into / "source.txt"))
    digest = source.hashes.get("sha256")
    link = f"{source.link}#sha256={digest}" if digest and "#" not in source.link else source.link
    (into / "source.txt").write_text(indexes.with_credentials(link), encoding="utf-8")
    run((*_for(interpreter), *command), environment=environment, secrets=indexes.secrets)
    return next(into.glob("*.whl"))


def download(
    wheels: Mapping[str, str], into: Path, target: Target, indexes: Indexes, *, progress: Progress = silent
) -> None:
    """Downloads wheels into a folder, with pip's cache, credentials, proxies and retries.

    Args:
        wheels: Hash (``sha256:...``, or empty for none) by URL.
        into: Where they go, under the file names of their URLs.
        target: What they are for; need not be of the host's kind.
        indexes: Give the credentials of the URLs' hosts.
        progress: Hears which file is being downloaded.

    Raises:
        ToolFailedError: One is gone, or not what its hash says.
    """
    names = {link: filename_of(link).partition("-")[0] for link in wheels}
    lines = [f"{names[link]} @ {link}{f' --hash={told}' if told else ''}\n" for link, told in wheels.items()]
    told = into / "wheels.txt"
    told.write_text("".join(lines).replace("${", "%24%7B"), encoding="utf-8")
    environment = _environment(indexes) | _only_wheels(target, linux=True)
    # pip takes credentials for a host from the indexes only; nothing is looked up there, as every line has its URL.
    known = [*indexes.values("extra-index-url"), *indexes.values("find-links"), *indexes.private.values()]
    environment["PIP_EXTRA_INDEX_URL"] = " ".join(url for url in known if "@" in url)
    for option in ("PIP_NO_INDEX", "PIP_CONSTRAINT", "PIP_REQUIRE_HASHES"):
        environment.pop(option, None)

    def hear(line: str) -> None:
        if "Downloading" in line and ".whl" in line:
            progress(line.strip())

    command = ("download", "--no-deps", "--dest", str(into), "-r", str(told))
    run((*_PIP, *command), environment=environment, secrets=indexes.secrets, progress=hear)


def listed(name: str, indexes: Indexes) -> list[str]:
    """Returns the names of all files that the indexes have of a distribution; none if they do not know it.

    Raises:
        ToolFailedError: No index can be reached.
    """
    failed: ToolFailedError | None = None
    command = (*_PIP, "index", "versions", name, "-vv")
    try:
        output = run(command, environment=_environment(indexes), secrets=indexes.secrets)
    except ToolFailedError as problem:
        output, failed = problem.output, problem
    links = {match[0] for match in _LINK.finditer(output)}
    wanted = canonicalize_name(name)
    files = sorted({file for file in map(filename_of, links) if _is_of(file, wanted)})
    if failed and not files and ": connection error: " in output:
        raise failed
    return files


def _is_local_build(requested: Requested) -> bool:
    return requested.link is not None and "-linux_" in filename_of(requested.link)


def _is_of(filename: str, name: str) -> bool:
    own = filename.partition("-")[0] if filename.endswith(".whl") else filename.rpartition("-")[0]
    return canonicalize_name(own) == name


def _candidate(entry: Mapping[str, Any]) -> Candidate:
    """Reads an entry of the installation report: https://pip.pypa.io/en/stable/reference/installation-report/."""
    source, described = entry["download_info"], entry["metadata"]
    link = source["url"]
    if "vcs_info" in source:
        link = f"{source['vcs_info']['vcs']}+{link}@{source['vcs_info']['commit_id']}"
    if source.get("subdirectory"):
        link += f"#subdirectory={source['subdirectory']}"
    return Candidate(
        name=canonicalize_name(described["name"]),
        version=described["version"],
        link=link,
        hashes=source.get("archive_info", {}).get("hashes") or {},
    )


def _for(interpreter: Path) -> tuple[str, ...]:
    """Returns the command that runs our pip with an interpreter; its own needs no second start."""
    return _PIP if str(interpreter) == sys.executable else (*_PIP, "--python", str(interpreter))


def _only_wheels(target: Target, *, linux: bool) -> dict[str, str]:
    interpreter = f"cp{target.python[0]}{target.python[1]}"
    local = [f"linux_{target.machine}"] if linux else []
    return {
        "PIP_PLATFORM": " ".join([*platforms(target), *local]),
        "PIP_PYTHON_VERSION": full_version(target),
        "PIP_IMPLEMENTATION": "cp",
        "PIP_ABI": interpreter,
        "PIP_ONLY_BINARY": ":all:",
    }


def _environment(indexes: Indexes) -> dict[str, str]:
    """Returns the whole environment of a pip: the user's own without his options for pip, then the settings."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PIP_") and name not in {"PYTHONPATH", "PYTHONHOME"}
    }
    settings = {f"PIP_{option.upper().replace('-', '_')}": value for option, value in indexes.options.items()}
    return own | settings | _QUIET
