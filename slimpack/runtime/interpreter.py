"""Interpreter: a Python of the target's version, what it is, and how it is started."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimpack.errors import RuntimeRoomError
from slimpack.resolve import interpreters

if TYPE_CHECKING:
    from slimpack.model import Target

_QUESTION = """
import json, os, site, sys
print(json.dumps({
    "executable": os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
    "prefix": sys.base_prefix,
    "version": sys.version_info[:2],
    "implementation": sys.implementation.name,
    "machine": os.uname().machine,
    "packages": site.getsitepackages([sys.base_prefix, sys.base_exec_prefix]),
}))
"""

_PATIENCE = 60.0
"""Seconds that it may take to answer; under emulation it is slow."""

_ELF_MACHINE = {62: "x86_64", 183: "aarch64"}
"""``e_machine`` (ELF specification): EM_X86_64 and EM_AARCH64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulator:
    """A qemu-user: it runs programs for another processor."""

    program: Path
    """Its file."""
    libraries: Path | None
    """Root of a tree with the other processor's system libraries (``QEMU_LD_PREFIX``); None if qemu knows one."""

    def command(self, program: str | Path, libraries: str | Path | None) -> tuple[str, ...]:
        """Returns how it is called, by the places that it and the libraries have for the caller.

        Args:
            program: Its own place.
            libraries: The place of ``libraries``, if there are any.
        """
        return (str(program), *(() if libraries is None else ("-L", str(libraries))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python that can run a bundle."""

    executable: Path
    """Its file, no symbolic link."""
    prefix: Path
    """``sys.base_prefix``: the folder with its standard library below."""
    packages: tuple[Path, ...]
    """Folders with packages of its own, which a function must not see."""
    emulator: Emulator | None = None
    """What runs it; None where the processor does."""


def choose(target: Target, named: Path | None) -> Interpreter:
    """Returns the interpreter to run a bundle with.

    Args:
        target: What the bundle was built for.
        named: The one that the user names; None to look for one.

    Raises:
        RuntimeRoomError: There is none, or it is none of the target's.
    """
    wanted = f"{target.runtime} on {target.architecture}"
    if named is None:
        found = interpreters.find(target.python) if interpreters.is_host(target) else None
        if found is None:
            here = "" if interpreters.is_host(target) else f", and this machine is {platform.machine()}"
            raise RuntimeRoomError(
                f"not checked: no interpreter for {wanted} was found{here}",
                fix="Name one with --interpreter; for another processor, qemu-user has to be there too.",
            )
        named = found
    machine = _machine_of(named)
    emulator = None if machine == platform.machine() else _emulator(machine, named)
    told = _ask(named, emulator)
    if told["implementation"] != "cpython" or tuple(told["version"]) != target.python:
        raise RuntimeRoomError(
            f"is {told['implementation']} {told['version'][0]}.{told['version'][1]}, not what {target.runtime} has",
            where=str(named),
            fix="Name one of the same version with --interpreter.",
        )
    if machine != target.machine:
        raise RuntimeRoomError(
            f"is for {machine}, the bundle for {target.machine}",
            where=str(named),
            fix="Name an interpreter for the bundle's processor with --interpreter.",
        )
    return Interpreter(
        executable=Path(told["executable"]),
        prefix=Path(told["prefix"]),
        packages=tuple(Path(one) for one in told["packages"]),
        emulator=emulator,
    )


def _ask(path: Path, emulator: Emulator | None) -> dict[str, Any]:
    prefix = () if emulator is None else emulator.command(emulator.program, emulator.libraries)
    try:
        run = subprocess.run(
            [*prefix, str(path.absolute()), "-I", "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": os.defpath},
            timeout=_PATIENCE,
            check=True,
        )
        return dict(json.loads(run.stdout))
    except (OSError, ValueError, subprocess.SubprocessError) as problem:
        raise RuntimeRoomError(
            f"is no Python interpreter that runs here: {problem}",
            where=str(path),
            fix="Name a CPython with --interpreter.",
        ) from problem


def _machine_of(path: Path) -> str:
    """Returns the processor that a program is for; a script counts as this machine's."""
    try:
        with path.open("rb") as file:
            header = file.read(20)
    except OSError as problem:
        raise RuntimeRoomError(
            f"cannot be read: {problem.strerror}", where=str(path), fix="Name a CPython with --interpreter."
        ) from problem
    if header[:4] != b"\x7fELF":
        return platform.machine()
    return _ELF_MACHINE.get(int.from_bytes(header[18:20], "little"), "another processor")


def _emulator(machine: str, interpreter: Path) -> Emulator:
    program = shutil.which(f"qemu-{machine}") or shutil.which(f"qemu-{machine}-static")
    if program is None:
        raise RuntimeRoomError(
            f"is for {machine}, and qemu-{machine} is not on the PATH",
            where=str(interpreter),
            fix="Install qemu-user, or run this on such a machine.",
        )
    named = os.environ.get("QEMU_LD_PREFIX")
    return Emulator(program=Path(program).resolve(), libraries=Path(named).resolve() if named else None)
