"""What a Python file refers to, read with ``ast``: imports, metadata, stubs, file names. Never imports it."""

from __future__ import annotations

import ast
import re
import string
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from slimpack.model import Need, Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def _only(kept: str) -> bytes:
    """Returns a ``bytes.translate`` table that blanks all but some characters and what is beyond ASCII."""
    ascii_only = 128
    return bytes(code if code >= ascii_only or chr(code) in kept else 32 for code in range(256))


_WORDS = _only(string.ascii_letters + string.digits + "_")
"""Leaves identifiers."""

_NAMES = _only(string.ascii_letters + string.digits + "_.-+")
"""Leaves file names."""

_SURVIVES = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
"""Exceptions whose handler survives a failed import."""

_ALWAYS_ASKED = {
    b"packages_distributions",
    b"attach_stub",
    b"importlib",
    b"importlib_metadata",
    b"pkg_resources",
}
"""Words that make a file worth parsing whatever was removed: it may read metadata or stubs."""

_METADATA_OF_ONE = {
    "version",
    "distribution",
    "metadata",
    "requires",
    "files",
    "entry_points",
    "get_distribution",
    "require",
}
"""Functions of the metadata modules that take a distribution's name."""

_METADATA_MODULES = {"importlib.metadata", "importlib_metadata", "pkg_resources"}
"""Modules that read what lies in dist-info folders."""

_IMPORT_LINE = re.compile(
    rb"""^[ \t]*(?:
        from[ \t]+(?P<from>[.\w]+)[ \t]+import[ \t]+(?P<names>\([^)]*\)|[^\n#;]+)
        |import[ \t]+(?P<import>[^\n#;]+)
    )""",
    re.MULTILINE | re.VERBOSE,
)
"""Import statements, for sources whose syntax is newer than the running Python's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needles:
    """What is worth finding: names of what the rules would remove."""

    words: frozenset[bytes]
    """Last parts of the dotted names of removed packages and modules."""
    names: frozenset[bytes]
    """File names of removed files that are no Python modules."""

    def occur_in(self, source: bytes) -> bool:
        """Returns whether a source can refer to anything that was removed."""
        tokens = source.translate(_WORDS).split()
        if not self.words.isdisjoint(tokens) or not _ALWAYS_ASKED.isdisjoint(tokens):
            return True
        return bool(self.names) and not self.names.isdisjoint(source.translate(_NAMES).split())


def read(source: bytes, *, path: str, needles: Needles) -> tuple[Reference, ...]:
    """Returns what a Python source refers to, as far as it may concern what was removed.

    Args:
        source: The content of a ``.py`` file.
        path: Its place in the installed tree; relative imports start there.
        needles: What is worth finding.
    """
    if not needles.occur_in(source):
        return ()
    package = package_of(path)
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        found: Iterable[Reference] = _by_lines(source, path=path, package=package)
    else:
        reader = _Reader(path=path, package=package, names=needles.names)
        reader.body(tree.body, Need.IMPORT)
        found = reader.found
    return tuple(dict.fromkeys(item for item in found if _concerns(item, needles)))


def package_of(path: str) -> tuple[str, ...]:
    """Returns the parts of the package that a module's relative imports start from."""
    return PurePosixPath(path).parent.parts


def module_name(path: str) -> str | None:
    """Returns the dotted name of a module file, extension modules included; None for any other file.

    Args:
        path: Place in the installed tree.
    """
    pure = PurePosixPath(path)
    if pure.suffix not in {".py", ".so"}:
        return None
    stem = pure.name.split(".", 1)[0]
    parts = pure.parent.parts if stem == "__init__" and pure.suffix == ".py" else (*pure.parent.parts, stem)
    return ".".join(parts) if parts and all(part.isidentifier() for part in parts) else None


def _concerns(item: Reference, needles: Needles) -> bool:
    if item.need in {Need.METADATA, Need.STUB, Need.MENTION}:
        return True
    return not needles.words.isdisjoint(part.encode() for part in item.target.split("."))


class _Reader:
    """Walks through a module's syntax tree and notes what it refers to, and when."""

    def __init__(self, *, path: str, package: tuple[str, ...], names: frozenset[bytes]) -> None:
        self.found: list[Reference] = []
        self._path = path
        self._package = package
        self._names = names
        self._metadata = {"metadata", "importlib_metadata", "pkg_resources"}
        """Names by which the module knows the metadata modules and what it imported from them."""

    def body(self, statements: Sequence[ast.AST], when: Need) -> None:
        """Reads statements that run at import time (``Need.IMPORT``) or perhaps never (``LAZY_IMPORT``)."""
        for statement in statements:
            self._node(statement, when)

    def _node(self, node: ast.AST, when: Need) -> None:
        match node:
            case ast.Import() | ast.ImportFrom():
                self._import(node, when)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                for part in (*node.decorator_list, node.args, node.returns):
                    if part is not None:
                        self._node(part, when)
                self.body(node.body, Need.LAZY_IMPORT)
            case ast.Lambda():
                self._node(node.args, when)
                self._node(node.body, Need.LAZY_IMPORT)
            case _:
                self._compound(node, when)

    def _import(self, node: ast.Import | ast.ImportFrom, when: Need) -> None:
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            names = list(imported(node.module, names, node.level, self._package))
        for name in names:
            self._note(when, node.lineno, name)
        module = node.module if isinstance(node, ast.ImportFrom) else None
        for alias in node.names:
            if {module, alias.name, f"{module}.{alias.name}"} & _METADATA_MODULES:
                self._metadata.add(alias.asname or alias.name.rpartition(".")[2])

    def _compound(self, node: ast.AST, when: Need) -> None:
        match node:
            case ast.If() if _is_type_checking(node.test):
                self.body(node.orelse, when)
            case ast.Try() | ast.TryStar():
                survived = any(_survives(handler) for handler in node.handlers)
                self.body(node.body, Need.LAZY_IMPORT if survived else when)
                for handler in node.handlers:
                    # It may never run, yet what it needs is needed all the same.
                    self.body(handler.body, Need.LAZY_IMPORT if survived else when)
                self.body(node.orelse, Need.LAZY_IMPORT if survived else when)
                self.body(node.finalbody, when)
            case ast.Call():
                self._call(node, when)
                self.body(list(ast.iter_child_nodes(node)), when)
            case ast.Constant(value=str(text)):
                self._text(text, node.lineno)
            case _:
                self.body(list(ast.iter_child_nodes(node)), when)

    def _call(self, node: ast.Call, when: Need) -> None:
        name = _last_name(node.func)
        first = node.args[0] if node.args else None
        text = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
        if name == "attach_stub":
            self._note(Need.STUB, node.lineno, self._path + "i")
        elif name == "packages_distributions":
            self._note(Need.METADATA, node.lineno, "*:RECORD")
        elif (
            name in _METADATA_OF_ONE and self._is_metadata(node.func) and text and _is_distribution_name(text)
        ):
            kind = "RECORD" if name == "files" else "METADATA"
            self._note(Need.METADATA, node.lineno, f"{text}:{kind}")
        elif (
            name == "read_text"
            and not _is_own_method(node.func)
            and text
            in {
                "RECORD",
                "WHEEL",
                "top_level.txt",
                "direct_url.json",
                "INSTALLER",
            }
        ):
            self._note(Need.METADATA, node.lineno, f"*:{text}")
        elif name in {"import_module", "__import__"} and text:
            level = len(text) - len(text.lstrip("."))
            for module in imported(text.lstrip(".") or None, [], level, self._package):
                self._note(when if name == "__import__" else Need.LAZY_IMPORT, node.lineno, module)

    def _is_metadata(self, function: ast.expr) -> bool:
        """Returns whether a function is one of the metadata modules'; ``importlib.resources`` has a ``files`` too."""
        owner = function.value if isinstance(function, ast.Attribute) else function
        return _last_name(owner) in self._metadata

    def _text(self, text: str, line: int) -> None:
        if len(text) < 4096 and text.rsplit("/", 1)[-1].encode("utf-8", "replace") in self._names:  # noqa: PLR2004 -- PATH_MAX
            self._note(Need.MENTION, line, text)

    def _note(self, need: Need, line: int, target: str) -> None:
        self.found.append(Reference(need=need, path=self._path, line=line, target=target))


def imported(module: str | None, names: Sequence[str], level: int, package: tuple[str, ...]) -> Iterator[str]:
    """Yields the absolute dotted names that an import statement may load.

    Args:
        module: What stands after ``from``, without leading dots; None for ``from . import name``.
        names: What stands after ``import``; a name may be a submodule or an attribute.
        level: Number of leading dots.
        package: Parts of the package that the statement stands in.
    """
    if level > len(package) + 1:
        return
    base = package[: len(package) - level + 1] if level else ()
    parent = ".".join((*base, *(module.split(".") if module else ())))
    if parent:
        yield parent
    for name in names:
        if name != "*":
            yield f"{parent}.{name}" if parent else name


def _by_lines(source: bytes, *, path: str, package: tuple[str, ...]) -> Iterator[Reference]:
    """Yields the imports of a source that ``ast`` cannot read, all of them as if they ran at import time."""
    for found in _IMPORT_LINE.finditer(source):
        line = source.count(b"\n", 0, found.start()) + 1
        if found["import"]:
            targets = [
                part.split()[0].decode("utf-8", "replace")
                for part in found["import"].split(b",")
                if part.split()
            ]
        else:
            module = found["from"].decode("utf-8", "replace")
            names = [
                part.split()[0].decode("utf-8", "replace")
                for part in found["names"].strip(b"() \t\r\n").split(b",")
                if part.split()
            ]
            level = len(module) - len(module.lstrip("."))
            targets = list(imported(module.lstrip(".") or None, names, level, package))
        for target in targets:
            yield Reference(need=Need.IMPORT, path=path, line=line, target=target)


def _is_own_method(function: ast.expr) -> bool:
    """Returns whether a call is to a method of ``self``: a copy of importlib.metadata, not a use of it."""
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "self"
    )


def _is_type_checking(test: ast.expr) -> bool:
    return _last_name(test) == "TYPE_CHECKING" or (isinstance(test, ast.Constant) and test.value is False)


def _survives(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(item is None or _last_name(item) in _SURVIVES for item in caught)


def _last_name(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return None


def _is_distribution_name(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,100}[A-Za-z0-9])?", text))
