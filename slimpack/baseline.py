"""The baseline: budgets of a configuration, written anew as what a bundle takes now, plus headroom. Pure."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tomlkit
from packaging.utils import canonicalize_name
from tomlkit.items import InlineTable, Integer, String

from slimpack import config
from slimpack.errors import ConfigError
from slimpack.gate import Budget, Increase, governed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slimpack.account import Account
    from slimpack.config import BudgetTable

HEADROOM = Increase(percent=5)
"""What is left free unless somebody asks for more or less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A budget that is written anew."""

    name: str
    """The package or pattern; ``total`` for the whole bundle."""
    actual: int
    """Bytes that it takes; of a pattern those of the largest package that it governs."""
    before: Budget
    """As it was; without a level if it is new."""
    after: Budget
    """As it is now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What becomes of a configuration."""

    text: str
    """The file, comments, order and layout as they were."""
    changes: tuple[Change, ...]
    """The total, then packages as they are listed, then those that are new, largest first."""
    left: tuple[str, ...]
    """Names and patterns that match nothing; their budgets are as they were."""


def update(
    text: str,
    account: Account,
    *,
    nested: bool,
    table: BudgetTable,
    headroom: Increase = HEADROOM,
    largest: int = 0,
    where: str,
) -> Update:
    """Returns a configuration whose budgets are what a bundle takes, plus headroom.

    Anew are the total and the packages that have a budget. Where there is a size to warn of and one that fails,
    the former gets half of the headroom.

    Args:
        text: The configuration.
        account: The bundle.
        nested: Whether the budgets are below ``[tool.slimpack]``, as in a ``pyproject.toml``.
        table: The budgets that the configuration has.
        headroom: What is left free.
        largest: How many of the largest packages get a budget even if they have none yet.
        where: The file, for messages.

    Raises:
        ConfigError: It is laid out in a way that cannot be rewritten without loss.
    """
    changes = list(_changes(account, table, headroom, largest))
    document = tomlkit.parse(f"{text}\n" if text and not text.endswith("\n") else text)
    ours: Any = document
    for key in ("tool", "slimpack") if nested else ():
        ours = _table(ours, key)
    is_new = "budget" not in ours
    budget = last = _table(ours, "budget")
    for change in changes:
        if change.name == "total":
            _write(budget, "total", change.after)
        else:
            is_new = is_new or "packages" not in budget
            last = _table(budget, "packages")
            _write(last, _key(last, change.name), change.after)
    if is_new and not isinstance(last, InlineTable):
        last.add(tomlkit.nl())  # before the table that follows
    written = tomlkit.dumps(document)
    if is_new:
        written = f"{written.rstrip()}\n"
    if "\r\n" in text and not re.search(r"(?<!\r)\n", text):
        written = re.sub(r"(?<!\r)\n", "\r\n", written)
    _check(text, written, nested=nested, where=where)
    left = tuple(name for name, sizes in governed(account, table.packages).items() if sizes is None)
    return Update(text=written, changes=tuple(changes), left=left)


def _changes(account: Account, table: BudgetTable, headroom: Increase, largest: int) -> Iterator[Change]:
    before = Budget() if table.total is None else Budget(warn=table.total.warn, fail=table.total.fail)
    yield _change("total", account.size, before, headroom)
    for name, sizes in governed(account, table.packages).items():
        if sizes:
            levels = table.packages[name]
            yield _change(name, max(sizes.values()), Budget(warn=levels.warn, fail=levels.fail), headroom)
    sizes_of_all = account.sizes()
    packages = {one.name: sizes_of_all.get(one.name, 0) for one in account.distributions}
    for name in sorted(packages, key=lambda one: (-packages[one], one))[:largest]:
        if canonicalize_name(name) not in table.packages:
            yield _change(canonicalize_name(name), packages[name], Budget(), headroom)


def _change(name: str, actual: int, before: Budget, headroom: Increase) -> Change:
    room = headroom.allowed(actual)
    top = actual + room
    if before.fail is None and before.warn is not None:
        after = Budget(warn=_round(top))
    else:
        after = Budget(warn=None if before.warn is None else _round(actual + room // 2), fail=_round(top))
    return Change(name=name, actual=actual, before=before, after=after)


def _round(size: int) -> int:
    """Returns the size that a configuration has instead, which is no smaller."""
    return config.size(_words(size), where="headroom")


def _words(size: int) -> str:
    """Returns a size as one writes it: in tenths of a MiB, below one MiB in KiB, rounded up."""
    if size > 2**20 - 2**10:
        tenths = -(-size * 10 // 2**20)
        return f"{tenths // 10}.{tenths % 10}MiB".replace(".0MiB", "MiB")
    return f"{-(-size // 2**10)}KiB"


def _table(parent: Any, key: str) -> Any:  # noqa: ANN401 -- tomlkit's containers have no type in common
    """Returns a table of a TOML document, a new one if it has none."""
    if key not in parent:
        parent[key] = tomlkit.inline_table() if isinstance(parent, InlineTable) else tomlkit.table()
    return parent[key]


def _key(table: Any, name: str) -> str:  # noqa: ANN401 -- as above
    """Returns how a table spells a name."""
    return next((str(key) for key in table if canonicalize_name(key) == name), name)


def _write(table: Any, key: str, budget: Budget) -> None:  # noqa: ANN401 -- as above
    """Writes a budget, in the form in which the table has it."""
    old = table.get(key)
    if isinstance(old, dict):
        for name, level in (("warn", budget.warn), ("fail", budget.fail)):
            if level is not None:
                old[name] = _item(level, old.get(name))
    elif budget.fail is not None:
        table[key] = _item(budget.fail, old)


def _item(size: int, old: object) -> Integer | String:
    """Returns a size as a value, in the notation of what was there."""
    if isinstance(old, Integer):
        return tomlkit.integer(size)
    return tomlkit.string(_words(size), literal=isinstance(old, String) and old.as_string().startswith("'"))


def _check(old: str, new: str, *, nested: bool, where: str) -> None:
    """Makes sure that nothing but budgets has changed."""
    before, after = (_without_budgets(tomllib.loads(text), nested=nested) for text in (old, new))
    if before != after:
        raise ConfigError(
            "is laid out in a way that cannot be rewritten without loss",
            where=where,
            fix="Give the budgets a table [budget] of their own, or change them by hand.",
        )


def _without_budgets(data: dict[str, Any], *, nested: bool) -> dict[str, Any]:
    """Returns what a configuration says, without the budgets that are rewritten; tables that are empty then go."""
    ours = data.get("tool", {}).get("slimpack", {}) if nested else data
    budget = ours.get("budget", {})
    budget.pop("total", None)
    budget.pop("packages", None)
    if not budget:
        ours.pop("budget", None)
    if nested and not ours:
        data.get("tool", {}).pop("slimpack", None)
    return data
