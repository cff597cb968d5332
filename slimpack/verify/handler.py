"""Handler: whether the module and the function that Lambda is to call are in a bundle. Pure; nothing is imported."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from slimpack import findings
from slimpack.references import module_name
from slimpack.schema import suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from slimpack.model import Finding


_HIDERS = frozenset({"exec", "eval", "globals", "locals", "setattr", "vars"})
"""With these a module can get names that its source does not show."""


def check(
    handler: str, paths: Collection[str], source: Callable[[str], bytes], *, runs: bool = False
) -> tuple[Finding, ...]:
    """Returns what keeps Lambda from finding a handler.

    Args:
        handler: As in the function's configuration: ``module.function``, the module with dots or slashes.
        paths: Places of the bundle's files, from where the handler's module is looked for.
        source: Returns the content of one of them.
        runs: Whether it is run afterwards, which shows better than the source whether the module has the function.
    """
    module, dot, function = handler.rpartition(".")
    if not dot or not module or not function:
        return (findings.NO_HANDLER.at("handler", f"{handler!r} is no handler: write it as module.function"),)
    module = module.replace("/", ".")
    files = {name: path for path in sorted(paths, key=_preference) if (name := module_name(path))}
    if module not in files:
        own = [name for name in files if name.count(".") == module.count(".")]
        return (
            findings.NO_HANDLER.at(
                "handler",
                f"the bundle has no module {module!r}{suggest(module, own)}: Lambda would not find it",
            ),
        )
    path = files[module]
    if runs or not path.endswith(".py"):
        return ()
    try:
        tree = ast.parse(source(path))
    except (SyntaxError, ValueError, RecursionError) as problem:
        line = getattr(problem, "lineno", None)
        place = path if line is None else f"{path}:{line}"
        return (findings.NO_HANDLER.at(place, f"the handler's module cannot be read: {problem}"),)
    names = set(_names(tree.body))
    if function in names or "*" in names or "__getattr__" in names:
        return ()
    return (
        findings.NO_HANDLER.at(
            path, f"the module has no function {function!r}{suggest(function, sorted(names))}"
        ),
    )


def _preference(path: str) -> tuple[bool, bool, str]:
    """Returns what sorts the file last that Python imports of several for one name (``FileFinder.find_spec``)."""
    return path.endswith("/__init__.py"), path.endswith(".so"), path


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Yields the names that a statement assigns to; ``*`` if it may bind any."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Name) and node.id in _HIDERS:
            yield "*"


def _names(body: list[ast.stmt]) -> Iterator[str]:
    """Yields the names that statements of a module bind, branches and loops included; ``*`` for any."""
    for statement in body:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
                continue
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                for alias in aliases:
                    yield alias.asname or alias.name.split(".")[0]
                continue
        yield from _bound(statement)
        for inner in ("body", "orelse", "finalbody"):
            yield from _names(getattr(statement, inner, []))
        for handler in getattr(statement, "handlers", []):
            yield from _names(handler.body)
        for case in getattr(statement, "cases", []):
            yield from _names(case.body)
