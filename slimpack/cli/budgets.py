"""Options that tell what the gate asks of a bundle, for the verbs that judge one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimpack.cli.inputs import FilePath, config_file, manifest_beside, option, read_account
from slimpack.errors import BundleError, ManifestError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    import click

    from slimpack.account import Account
    from slimpack.config import BudgetTable
    from slimpack.gate import Budget, Budgets, Increase, Missing

_OPTIONS = (
    option("--max-total", metavar="SIZE", help="Size of the whole bundle beyond which the gate fails."),
    option("--warn-total", metavar="SIZE", help="Size of it that is warned of."),
    option(
        "--max-package",
        multiple=True,
        metavar="NAME=SIZE",
        help="Size of a package, or of each that a pattern such as nvidia-* names, beyond which the gate fails; may be "
        "repeated, and goes before what the configuration says of that name.",
    ),
    option(
        "--max-increase",
        metavar="GROWTH",
        help="Growth against the baseline beyond which the gate fails: 5%, 2MiB, or 5%,2MiB, which has to exceed both.",
    ),
    option("--warn-increase", metavar="GROWTH", help="Growth that is warned of."),
    option(
        "--baseline",
        type=FilePath(),
        metavar="FILE",
        help="What growth is judged against: the manifest of a build, a bundle, or any zip or directory.",
    ),
    option("--base-commit", metavar="SHA", help="Commit that the baseline was built from."),
    option(
        "--merge-base",
        metavar="SHA",
        help="Commit that the change begins at, as `git merge-base` tells; with --base-commit, it is said if the "
        "baseline is of another one.",
    ),
    option(
        "--reserve",
        metavar="SIZE",
        help="Size of attached layers, which count towards the limit. [default: 0]",
    ),
    option(
        "--forbid",
        multiple=True,
        metavar="NAME",
        help="Package that must not be in the bundle, or a pattern over names; may be repeated.",
    ),
    option(
        "--max-size",
        metavar="SIZE",
        help="Unzipped size to stay below. [default: what the manifest says; without one, Lambda's]",
    ),
)


def budget_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a verb the options that tell what the gate asks of a bundle."""
    for one in reversed(_OPTIONS):
        command = one(command)
    return command


def budgets_of(context: click.Context, given: dict[str, Any]) -> Budgets:
    """Returns what is asked of a bundle: what the options say, and for the rest the configuration.

    Args:
        context: The verb's.
        given: The values of its options; those that it does not have are left to the configuration.

    Raises:
        UsageError: A value is none of its kind.
    """
    from slimpack import config
    from slimpack.gate import Budget, Budgets

    asked = {**(context.default_map or {}), **given}
    table: BudgetTable = asked.get("budget") or config.BudgetTable()
    packages = {name: Budget(warn=one.warn, fail=one.fail) for name, one in table.packages.items()}
    named = dict(_package(text) for text in asked.get("max_package", ()))
    total = table.total or Budget()
    warned, refused = (table.increase.warn, table.increase.fail) if table.increase else (None, None)
    warn, fail = asked.get("warn_increase"), asked.get("max_increase")
    return Budgets(
        total=Budget(
            warn=_size(asked, "warn_total", total.warn),
            fail=_size(asked, "max_total", total.fail),
        ),
        packages=packages | named,
        increase_warn=_growth(asked, "warn_increase", warned),
        increase_fail=_growth(asked, "max_increase", refused),
        reserve=_size(asked, "reserve") or 0,
        forbidden=tuple(config.package(name, where="--forbid") for name in asked.get("forbid", ())),
        limit=_size(asked, "max_size"),
        places={
            **dict.fromkeys(packages, config_file(context)),
            **dict.fromkeys(named, "--max-package"),
            "increase": "--max-increase" if fail else "--warn-increase" if warn else config_file(context),
        },
    )


def baseline_of(context: click.Context, given: dict[str, Any], *, subject: Path) -> Account | Missing | None:
    """Returns what a bundle is compared with; or why that is not there; None if nobody asks for it.

    Args:
        context: The verb's.
        given: The values of its options; a baseline that is not among them is left to the configuration.
        subject: The bundle, or its manifest.

    Raises:
        UsageError: It is the bundle itself, so that nothing could ever have grown.
    """
    from slimpack.gate import Missing

    told = {**(context.default_map or {}), **given}.get("baseline")
    if told is None:
        return None
    baseline = Path(told)
    if _told_by(baseline) == _told_by(subject):
        raise UsageError(
            f"{baseline} is the bundle itself",
            where="--baseline" if "baseline" in given else f"{config_file(context)}: baseline",
            fix="Name a manifest that its build does not write: a copy, or that of the base branch.",
        )
    try:
        return read_account(baseline)
    except (ManifestError, BundleError) as problem:
        return Missing(name=str(baseline), reason=problem.what)


def behind_of(given: dict[str, Any]) -> str | None:
    """Returns that the baseline is not of the commit that the change begins at, as a sentence; None if nothing tells.

    Args:
        given: The values of the options.

    Raises:
        UsageError: Only one of the two commits is told.
    """
    from slimpack.diff import of_another_commit

    base_commit, merge_base = given["base_commit"], given["merge_base"]
    if not base_commit and not merge_base:
        return None
    if not base_commit or not merge_base:
        missing, there = ("base-commit", "merge-base") if merge_base else ("merge-base", "base-commit")
        raise UsageError("nothing to compare it with", where=f"--{there}", fix=f"Give --{missing} as well.")
    return of_another_commit(base_commit, merge_base)


def for_target_of(account: Account, budgets: Budgets) -> Budgets:
    """Returns budgets with Lambda's own limit, where neither a manifest nor anybody else tells one."""
    from slimpack import target

    if account.manifest is not None or budgets.limit is not None:
        return budgets
    return replace(budgets, limit=target.make(runtime=target.default_runtime()).size_limit)


def _told_by(bundle: Path) -> Path:
    """Returns the file that tells what is in a bundle: its manifest, if there is one."""
    beside = manifest_beside(bundle.absolute())
    return (beside if beside.is_file() and bundle.suffix != ".json" else bundle).resolve()


def _size(asked: dict[str, Any], name: str, default: int | None = None) -> int | None:
    from slimpack import config

    value = asked.get(name)
    return default if value is None else config.size(value, where=_option(name))


def _growth(asked: dict[str, Any], name: str, default: Increase | None) -> Increase | None:
    from slimpack import config

    value = asked.get(name)
    return default if value is None else config.increase(value, where=_option(name))


def _package(text: str) -> tuple[str, Budget]:
    from slimpack import config
    from slimpack.gate import Budget

    name, separator, size = text.partition("=")
    if not separator:
        raise UsageError(f"{text!r} is no NAME=SIZE", where="--max-package", fix="Write it like scipy=60MiB.")
    place = "--max-package"
    return config.package(name.strip(), where=place), Budget(fail=config.size(size, where=place))


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
