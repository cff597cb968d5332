"""The user's configuration: ``[tool.slimpack]`` of ``pyproject.toml``, or ``slimpack.toml``."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from typing import TYPE_CHECKING, Any, Literal

from pydantic.dataclasses import dataclass

from slimpack import schema
from slimpack.errors import ConfigError, UsageError
from slimpack.model import Architecture, Kind  # noqa: TC001 -- pydantic reads the annotations at run time

if TYPE_CHECKING:
    from pathlib import Path

FILES = ("slimpack.toml", "pyproject.toml")
"""Where the configuration is looked for in the folder the command runs in; the first that has it counts."""

_PATHS = ("source", "rules", "output", "cache_dir")
"""Options that name files; in a configuration file they are relative to it."""

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


@dataclass(frozen=True, slots=True, kw_only=True, config=schema.STRICT)
class Config:
    """The options of ``slimpack build`` that a file can set; None and empty mean unset.

    In the file the words of a key are joined by hyphens: ``max-size``.
    """

    runtime: str | None = None
    """Lambda's identifier, such as ``python3.13``."""
    arch: Architecture | None = None
    """The processor."""
    kind: Kind | None = None
    """What imports the bundle."""
    glibc: str | None = None
    """Newest glibc symbol version of a custom target."""
    max_size: str | int | None = None
    """Unzipped size to stay below: bytes, or a number with a unit such as ``200MiB``."""
    source: str | None = None
    """Folder with the app's own code and data."""
    output: str | None = None
    """The zip or directory to write."""
    resolver: Literal["auto", "pip", "uv"] | None = None
    """Who resolves."""
    compact: bool | None = None
    """Whether ELF files are compacted."""
    max_wheel_size: str | int | None = None
    """Unzipped size that a wheel may have."""
    max_wheel_ratio: int | None = None
    """How many times its compressed size a large file of a wheel may have."""
    jobs: int | None = None
    """Worker processes."""
    cache_dir: str | None = None
    """Folder of the cache."""
    cache_limit: str | int | None = None
    """Size the cache is pruned to."""
    rules: tuple[str, ...] = ()
    """Folders with rule files of one's own."""
    keep: tuple[str, ...] = ()
    """Gitignore-style patterns of files that stay whatever the rules say."""
    remove: tuple[str, ...] = ()
    """Gitignore-style patterns of files that go."""
    enable: tuple[str, ...] = ()
    """Ids of opt-in rules to apply."""
    disable: tuple[str, ...] = ()
    """Ids of rules not to apply."""

    def options(self) -> dict[str, Any]:
        """Returns what is set, by option name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None and value != ()}


def load(path: Path | None, *, folder: Path) -> Config:
    """Returns the configuration.

    Args:
        path: The file the user named; None to look for one.
        folder: Where to look.

    Raises:
        ConfigError: The file cannot be read, or has a key that does not exist.
    """
    if path is not None:
        return _read(path, required=True)
    for name in FILES:
        if (folder / name).is_file():
            found = _read(folder / name, required=False)
            if found.options():
                return found
    return Config()


def size(text: str | int, *, where: str) -> int:
    """Returns a size in bytes.

    Args:
        text: A number of bytes, or a number with a unit: KB, MB, GB (powers of ten), KiB, MiB, GiB.
        where: The option, for the message.

    Raises:
        UsageError: It is none.
    """
    found = re.fullmatch(r"(\d[\d_]{0,18}(?:\.\d{1,9})?)\s*([A-Za-z]*)", str(text).strip(), re.ASCII)
    unit = _UNITS.get(found[2].lower()) if found else None
    if found is None or unit is None:
        raise UsageError(f"{text!r} is no size", where=where, fix="Write it like 200MiB, or in bytes.")
    return int(float(found[1].replace("_", "")) * unit)


def _read(path: Path, *, required: bool) -> Config:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise ConfigError(
            f"cannot be read: {problem.strerror}", where=str(path), fix="Correct the path."
        ) from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise ConfigError(
            f"no valid TOML: {problem}", where=str(path), fix="Correct the syntax."
        ) from problem
    table: Any = data
    if path.name == "pyproject.toml":
        table = data.get("tool", {}).get("slimpack") if isinstance(data.get("tool", {}), dict) else None
        if table is None:
            if required:
                raise ConfigError("no [tool.slimpack] in it", where=str(path), fix="Add the table.")
            return Config()
    if not isinstance(table, dict):
        raise ConfigError("[tool.slimpack] is no table", where=str(path), fix="Make it one.")
    underscored = {key.replace("-", "_"): value for key, value in table.items()}
    config = schema.read(Config, underscored, where=str(path), error=ConfigError)
    return dataclasses.replace(config, **_anchored(config, path.parent))


def _anchored(config: Config, folder: Path) -> dict[str, Any]:
    """Returns the options that name files, relative to the folder of the configuration file."""
    moved: dict[str, Any] = {}
    for name in _PATHS:
        value = getattr(config, name)
        if isinstance(value, str):
            moved[name] = str(folder / value)
        elif value:
            moved[name] = tuple(str(folder / item) for item in value)
    return moved
