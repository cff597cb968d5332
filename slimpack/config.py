"""The user's configuration: ``[tool.slimpack]`` of ``pyproject.toml``, or ``slimpack.toml``."""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Literal

from packaging.utils import canonicalize_name
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from slimpack import schema
from slimpack.errors import ConfigError, UsageError
from slimpack.gate import Increase
from slimpack.model import Architecture, Kind  # noqa: TC001 -- pydantic reads the annotations at run time

if TYPE_CHECKING:
    from pathlib import Path

FILES = ("slimpack.toml", "pyproject.toml")
"""Where the configuration is looked for in the folder the command runs in; the first that has it counts."""

TABLE = "slimpack"
"""Name of our table below ``[tool]`` of a ``pyproject.toml``."""

_PATHS = ("source", "rules", "output", "cache_dir", "event", "expect", "interpreter", "profile", "baseline")
"""Options that name files; in a configuration file they are relative to it."""

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}

_GROWTH_FIX = "Write it like 5%, 2MiB, or 5%,2MiB."

_LOOKS_LIKE = 0.8
"""Likeness from which the name of a table is taken for a misspelling of ours."""


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


def increase(text: str, *, where: str) -> Increase:
    """Returns a growth.

    Args:
        text: A share such as ``5%``, a size, or both with a comma between them.
        where: The option, for the message.

    Raises:
        UsageError: It is none.
    """
    percent, least = 0.0, 0
    parts = [part.strip() for part in text.split(",")]
    shares = [part for part in parts if part.endswith("%")]
    sizes = [part for part in parts if part and part[-1].isalpha()]  # a bare number could be meant as either
    if len(shares) > 1 or len(sizes) > 1 or len(shares) + len(sizes) != len(parts):
        raise UsageError(f"{text!r} is no growth", where=where, fix=_GROWTH_FIX)
    for share in shares:
        found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)\s*%", share, re.ASCII)
        if found is None:
            raise UsageError(f"{share!r} is no share", where=where, fix=_GROWTH_FIX)
        percent = float(found[1])
    for one in sizes:
        least = size(one, where=where)
    return Increase(percent=percent, bytes=least)


def package(name: str, *, where: str) -> str:
    """Returns the canonical form (PEP 503) of a package's name, or of a shell pattern over names.

    Args:
        name: The name or pattern.
        where: The option, for the message.

    Raises:
        UsageError: No package can have such a name.
    """
    if not re.fullmatch(r"[A-Za-z0-9._*?\[\]!-]+|\((?:app|slimpack|other)\)", name, re.ASCII):
        raise UsageError(
            f"{name!r} is no name of a package", where=where, fix="Write it like numpy, or nvidia-*."
        )
    return canonicalize_name(name)


def _bytes(value: object) -> object:
    """Reads a size for pydantic."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise PydanticCustomError("size", "a size is a number of bytes, or a text such as '200MiB'")
    try:
        return size(value, where="")
    except UsageError as problem:
        sentence = "{what}: write it like '200MiB', or in bytes"
        raise PydanticCustomError("size", sentence, {"what": problem.what}) from problem


def _growth(value: object) -> object:
    """Reads a growth for pydantic."""
    if not isinstance(value, str):
        raise PydanticCustomError("growth", "a growth is a text such as '5%', '2MiB' or '5%, 2MiB'")
    try:
        return increase(value, where="")
    except UsageError as problem:
        sentence = "{what}: write it like '5%', '2MiB' or '5%, 2MiB'"
        raise PydanticCustomError("growth", sentence, {"what": problem.what}) from problem


def _package(value: str) -> str:
    """Reads for pydantic the name of a package, or a pattern over names."""
    try:
        return package(value, where="")
    except UsageError as problem:
        raise PydanticCustomError("package", "{what}", {"what": problem.what}) from problem


def _once(value: object) -> object:
    """Refuses for pydantic two budgets of one package, in two spellings."""
    if isinstance(value, dict):
        spelt: dict[str, str] = {}
        for name in value:
            other = spelt.setdefault(canonicalize_name(name), name)
            if other != name:
                names = {"one": other, "other": name}
                raise PydanticCustomError("twice", "'{one}' and '{other}' are one package", names)
    return value


def _failing(value: object) -> object:
    """Takes for pydantic a budget that is no table for one that fails."""
    return value if isinstance(value, dict) else {"fail": value}


def _listed(value: object) -> object:
    """Refuses for pydantic, in TOML's words, what is no list."""
    if not isinstance(value, list | tuple):
        raise PydanticCustomError("list", "this is a list: write it as ['…', '…']")
    return value


_Text = Annotated[str, Field(min_length=1)]
_Texts = Annotated[tuple[_Text, ...], BeforeValidator(_listed)]
_Size = Annotated[int, BeforeValidator(_bytes)]
_Number = Annotated[int, Strict()]  # or else true would be 1
_Growth = Annotated[Increase, BeforeValidator(_growth)]
_Package = Annotated[str, AfterValidator(_package)]


def _key(name: str) -> str:
    return name.replace("_", "-")


_CHECKED = ConfigDict(**schema.STRICT, alias_generator=_key, populate_by_name=True)


@dataclass(frozen=True, slots=True, kw_only=True, config=_CHECKED)
class Levels:
    """A budget of a size: a table with one of these or both, or only the size that fails."""

    warn: _Size | None = None
    """Bytes beyond which there is a warning."""
    fail: _Size | None = None
    """Bytes beyond which the gate fails."""

    def __post_init__(self) -> None:
        if self.warn is None and self.fail is None:
            raise PydanticCustomError("levels", "a budget has a warn, a fail, or both")
        if self.warn is not None and self.fail is not None and self.warn > self.fail:
            raise PydanticCustomError("levels", "warn is above fail, so that it would never warn")


@dataclass(frozen=True, slots=True, kw_only=True, config=_CHECKED)
class Growths:
    """A budget of growth: a table with one of these or both, or only the growth that fails."""

    warn: _Growth | None = None
    """Growth that is warned of."""
    fail: _Growth | None = None
    """Growth that fails."""

    def __post_init__(self) -> None:
        if self.warn is None and self.fail is None:
            raise PydanticCustomError("levels", "a budget has a warn, a fail, or both")
        if self.warn is not None and self.fail is not None:
            warn, fail = self.warn, self.fail
            if warn.percent >= fail.percent and warn.bytes >= fail.bytes and warn != fail:
                raise PydanticCustomError("levels", "warn is above fail, so that it would never warn")


@dataclass(frozen=True, slots=True, kw_only=True, config=_CHECKED)
class BudgetTable:
    """What the gate asks of a bundle, the table ``budget``."""

    total: Annotated[Levels, BeforeValidator(_failing)] | None = None
    """Of the whole bundle."""
    increase: Annotated[Growths, BeforeValidator(_failing)] | None = None
    """Of its growth against the baseline."""
    packages: Annotated[
        dict[_Package, Annotated[Levels, BeforeValidator(_failing)]], BeforeValidator(_once)
    ] = dataclasses.field(default_factory=dict)
    """By name of the package, or by shell pattern over names."""
    headroom: _Growth | None = None
    """What ``slimpack baseline update`` leaves free: a share of the size, a least size, or the larger of both."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_CHECKED)
class Config:
    """The options of the verbs that a file can set; None and empty mean unset.

    In the file the words of a key are joined by hyphens: ``max-size``.
    """

    runtime: _Text | None = None
    """Lambda's identifier, such as ``python3.13``."""
    arch: Architecture | None = None
    """The processor."""
    kind: Kind | None = None
    """What imports the bundle."""
    glibc: _Text | None = None
    """Newest glibc symbol version of a custom target."""
    max_size: _Size | None = None
    """Unzipped size to stay below in bytes; in the file also a number with a unit such as ``200MiB``."""
    source: _Text | None = None
    """Folder with the app's own code and data."""
    output: _Text | None = None
    """The zip or directory to write."""
    resolver: Literal["auto", "pip", "uv"] | None = None
    """Who resolves."""
    compact: Annotated[bool, Strict()] | None = None
    """Whether ELF files are compacted."""
    bytecode: Literal["auto", "all", "none", "hot"] | None = None
    """Which Python modules get bytecode."""
    pack: Literal["auto", "never", "all"] | None = None
    """Whether shared objects are packed, and modules to make room for bytecode."""
    profile: _Texts = ()
    """Files with profiles of the handler."""
    prune: Annotated[bool, Strict()] | None = None
    """Whether exports that nobody in the bundle needs are taken from what is packed."""
    max_wheel_size: _Size | None = None
    """Unzipped size that a wheel may have, as ``max_size``."""
    max_wheel_ratio: Annotated[_Number, Field(ge=1)] | None = None
    """How many times its compressed size a large file of a wheel may have."""
    jobs: Annotated[_Number, Field(ge=1, le=256)] | None = None
    """Worker processes."""
    cache_dir: _Text | None = None
    """Folder of the cache."""
    cache_limit: _Size | None = None
    """Size the cache is pruned to, as ``max_size``."""
    handler: _Text | None = None
    """What Lambda calls: ``module.function``."""
    event: _Texts = ()
    """Files with events that the handler is given before a bundle is handed over."""
    expect: _Texts = ()
    """Files with what is expected, one for each event."""
    float_tolerance: Annotated[float, Strict(), Field(ge=0, le=1)] | None = None
    """How much numbers with a fraction may differ from that, relative to the larger."""
    interpreter: _Text | None = None
    """Python that runs the bundle."""
    memory: Annotated[_Number, Field(ge=128, le=10240)] | None = None
    """Memory of the function in MB."""
    timeout: Annotated[float, Field(gt=0, le=900)] | None = None
    """Time for an event in seconds."""
    env: _Texts = ()
    """Variables of the function: ``NAME=VALUE``."""
    verify: Annotated[bool, Strict()] | None = None
    """Whether a bundle is run before it is handed over."""
    repair_rules: Annotated[bool, Strict()] | None = None
    """Whether what a run misses comes back."""
    rules: _Texts = ()
    """Folders with rule files of one's own."""
    keep: _Texts = ()
    """Gitignore-style patterns of files that stay whatever the rules say."""
    remove: _Texts = ()
    """Gitignore-style patterns of files that go."""
    enable: _Texts = ()
    """Ids of opt-in rules to apply."""
    disable: _Texts = ()
    """Ids of rules not to apply."""
    reserve: _Size | None = None
    """Size of attached layers, which count towards the limit, as ``max_size``."""
    baseline: _Text | None = None
    """What growth is judged against: a manifest, or a bundle."""
    forbid: Annotated[tuple[_Package, ...], BeforeValidator(_listed)] = ()
    """Names of packages that must not be in the bundle, or shell patterns over names."""
    budget: BudgetTable | None = None
    """What the gate asks of a bundle."""

    def options(self) -> dict[str, Any]:
        """Returns what is set, by option name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None and value != ()}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A configuration and where it was found."""

    config: Config
    """What it says."""
    file: Path | None
    """The file; None if there is none."""


def load(path: Path | None, *, folder: Path) -> Found:
    """Returns the configuration.

    Args:
        path: The file the user named; None to look for one.
        folder: Where to look.

    Raises:
        ConfigError: The file cannot be read, has a key that does not exist, or a value of the wrong type.
    """
    if path is not None:
        return Found(config=_read(path, required=True), file=path)
    for name in FILES:
        file = folder / name
        if file.is_file():
            config = _read(file, required=False)
            if config.options():
                return Found(config=config, file=file)
    return Found(config=Config(), file=None)


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
        table = _table(data, path)
        if table is None:
            if required:
                raise ConfigError(f"no [tool.{TABLE}] in it", where=str(path), fix="Add the table.")
            return Config()
        if not isinstance(table, dict):
            raise ConfigError(f"[tool.{TABLE}] is no table", where=str(path), fix="Make it one.")
    else:
        _refuse_tables(data, path)
    keys = [_key(field.name) for field in dataclasses.fields(Config)]
    for key in table:
        if _key(key) not in keys:
            raise ConfigError(
                f"unknown key {key!r}{schema.suggest(_key(key), keys)}",
                where=str(path),
                fix="Correct the key or take it out.",
            )
    config = schema.read(
        Config, {_key(key): value for key, value in table.items()}, where=str(path), error=ConfigError
    )
    return dataclasses.replace(config, **_anchored(config, path.parent))


def _table(data: dict[str, Any], path: Path) -> Any:  # noqa: ANN401 -- what the file has there
    """Returns our table of a ``pyproject.toml``, None if it has none; refuses what was meant to be it."""
    if TABLE in data:
        raise ConfigError(
            f"the table [{TABLE}] is out of place", where=str(path), fix=f"Call it [tool.{TABLE}]."
        )
    tools = data.get("tool", {})
    if not isinstance(tools, dict):
        return None
    known = {name.lower(): name for name in tools if name != TABLE}
    for close in difflib.get_close_matches(TABLE, known, n=1, cutoff=_LOOKS_LIKE):
        raise ConfigError(
            f"[tool.{known[close]}]: did you mean [tool.{TABLE}]?",
            where=str(path),
            fix="Correct the name of the table.",
        )
    return tools.get(TABLE)


def _refuse_tables(data: dict[str, Any], path: Path) -> None:
    """Refuses, in a file that is ours alone, the table that ours is in elsewhere."""
    tools = data.get("tool")
    nested = f"tool.{TABLE}" if isinstance(tools, dict) and TABLE in tools else TABLE
    if nested != TABLE or TABLE in data:
        raise ConfigError(
            f"the keys belong at the top of this file, not into [{nested}]",
            where=str(path),
            fix=f"Take the line [{nested}] out.",
        )


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
