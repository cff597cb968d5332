"""What a Python file refers to, read with ``ast``: imports, metadata, stubs, file names. Never imports it."""

from __future__ import annotations

import ast
import re
import string
import warnings
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

_STRINGS = bytes(10 if code in b"\"'\\{}/" else code for code in range(256))
"""Breaks lines where a string, a part of an f-string or a part of a path may begin or end."""

_SURVIVES = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
"""Exceptions whose handler survives a failed import."""

_ALWAYS_ASKED = (b"importlib", b"pkg_resources", b"packages_distributions", b"attach_stub")
"""What makes a file worth parsing whatever was removed: it may read metadata or stubs."""

_IMPORTERS = (b"import_module", b"__import__")
"""Functions that import what a string names."""

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

_READS_RECORD = {b"packages_distributions", b"distributions", b"PackagePath"}
"""Words of sources that may read RECORD, where nothing better than words is to be had."""

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
"""A string that may name a module."""

_LARGEST = 16 * 2**20
"""Bytes of a source beyond which its syntax tree takes more memory than a worker should have."""

_STATEMENT = re.compile(rb"import\b[^\n(]*+(?:\((?:[^)#]++|#[^\n]*+)*+\)?)?[^\n]*+")
"""At least what stands behind the word in an import statement; no byte is looked at twice."""

_CONTINUED = re.compile(rb"\\\r?\n")
"""The end of a line that goes on in the next."""

_DOTTED_STRING = re.compile(rb"""["'}](\w*+\.[\w.]*+)(?=["'{\\])""")
"""A string that may be, or end, a dotted name."""

_LEAVES = (type(None), ast.Name, ast.expr_context, ast.operator, ast.cmpop, ast.unaryop, ast.boolop)
"""What makes up half of a syntax tree, and refers to nothing."""

_IMPORT_LINE = re.compile(
    rb"""^[ \t]*(?:
        from[ \t]+(?P<from>[.\w]+)[ \t]+import[ \t]+(?P<names>\([^)]*\)?|[^\n#;]+)
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

    def __or__(self, other: Needles) -> Needles:
        """Returns the needles of both."""
        return Needles(words=self.words | other.words, names=self.names | other.names)

    def occur_in(self, source: bytes, package: Sequence[str]) -> bool:
        """Returns whether a source can refer to anything that was removed. Parsing takes twenty times as long.

        Args:
            source: The content of a ``.py`` file.
            package: Parts of the package that it is in, which its relative imports need not name.
        """
        if any(word in source for word in _ALWAYS_ASKED):
            return True
        if not self.names.isdisjoint(source.translate(_STRINGS).split(b"\n")):
            return True
        if not self.words.isdisjoint(part.encode() for part in package):
            return True
        text = source if any(word in source for word in _IMPORTERS) else b"\n".join(_names_in(source))
        return not self.words.isdisjoint(text.translate(_WORDS).split())


def read(source: bytes, *, path: str, needles: Needles, parse: bool = True) -> tuple[Reference, ...]:
    """Returns what a Python source refers to, as far as it may concern what was removed.

    Args:
        source: The content of a ``.py`` file.
        path: Its place in the installed tree; relative imports start there.
        needles: What is worth finding.
        parse: Whether to parse it; else it is only looked through line by line, which finds more than there is.
    """
    package = package_of(path)
    if not needles.occur_in(source, package):
        return ()
    tree = _parsed(source) if parse and len(source) < _LARGEST else None
    if tree is None:
        found: Iterable[Reference] = _by_lines(source, path=path, package=package, names=needles.names)
    else:
        reader = _Reader(path=path, package=package, names=needles.names)
        reader.read(tree)
        found = reader.found
    return tuple(dict.fromkeys(item for item in found if _concerns(item, needles)))


def _parsed(source: bytes) -> ast.Module | None:
    """Returns the syntax tree; None for a syntax that this Python does not know, or that nests too deeply."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _names_in(source: bytes) -> Iterator[bytes]:
    """Yields the lines of all import statements, and strings that may be dotted names."""
    yield from _DOTTED_STRING.findall(source)
    source = _CONTINUED.sub(b" ", source)
    for found in _STATEMENT.finditer(source):
        yield source[source.rfind(b"\n", 0, found.start()) + 1 : found.end()]


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
        self._todo: list[tuple[ast.AST, Need]] = []
        self._renamed: dict[str, str] = {}
        self._asks_metadata = False
        self._metadata = {"metadata", "importlib_metadata", "pkg_resources"}
        """Names by which the module knows the metadata modules and what it imported from them."""

    def read(self, tree: ast.Module) -> None:
        """Reads a module, with a stack of its own: expressions nest deeper than Python's calls may."""
        self._todo = [(node, Need.IMPORT) for node in reversed(tree.body)]
        while self._todo:
            node, when = self._todo.pop()
            start = len(self._todo)
            self._node(node, when)
            self._todo[start:] = reversed(self._todo[start:])  # in the order of the source: names before uses

    def _later(self, nodes: Iterable[ast.AST | None], when: Need) -> None:
        """Notes down nodes that run at import time (``Need.IMPORT``) or perhaps never (``LAZY_IMPORT``)."""
        self._todo += [(node, when) for node in nodes if not isinstance(node, _LEAVES)]

    def _node(self, node: ast.AST, when: Need) -> None:
        match node:
            case ast.Import() | ast.ImportFrom():
                self._import(node, when)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._later((*node.decorator_list, node.args, node.returns), when)
                self._later(node.body, Need.LAZY_IMPORT)
            case ast.Lambda():
                self._later([node.args], when)
                self._later([node.body], Need.LAZY_IMPORT)
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
            self._renamed[alias.asname or alias.name] = alias.name
            if {module, alias.name, f"{module}.{alias.name}"} & _METADATA_MODULES:
                self._asks_metadata = True
                self._metadata.add(alias.asname or alias.name.rpartition(".")[2])

    def _compound(self, node: ast.AST, when: Need) -> None:
        match node:
            case ast.If() if _is_type_checking(node.test):
                self._later(node.orelse, when)
            case ast.Try() | ast.TryStar():
                survived = any(_survives(handler) for handler in node.handlers)
                self._later(node.body, Need.LAZY_IMPORT if survived else when)
                for handler in node.handlers:
                    # It may never run, yet what it needs is needed all the same.
                    self._later(handler.body, Need.LAZY_IMPORT if survived else when)
                self._later(node.orelse, Need.LAZY_IMPORT if survived else when)
                self._later(node.finalbody, when)
            case ast.Attribute(attr="files") if self._asks_metadata:
                # `distribution("x").files` and the like: which one is asked is not worth guessing.
                self._note(Need.METADATA, node.lineno, "*:RECORD")
                self._later([node.value], when)
            case ast.Call():
                self._call(node, when)
                self._later(list(ast.iter_child_nodes(node)), when)
            case ast.Constant(value=str(text)):
                self._text(text, node.lineno)
            case _:
                self._later(list(ast.iter_child_nodes(node)), when)

    def _call(self, node: ast.Call, when: Need) -> None:
        called = _last_name(node.func)
        name = self._renamed.get(called, called) if called else None
        text, base = (_string(node.args[at]) if len(node.args) > at else None for at in (0, 1))
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
            package = tuple(base.split(".")) if base else self._package
            for module in imported(text.lstrip(".") or None, [], level, package):
                self._note(when if name == "__import__" else Need.LAZY_IMPORT, node.lineno, module)

    def _is_metadata(self, function: ast.expr) -> bool:
        """Returns whether a function is one of the metadata modules'; ``importlib.resources`` has a ``files`` too."""
        owner = function.value if isinstance(function, ast.Attribute) else function
        return _last_name(owner) in self._metadata

    def _text(self, text: str, line: int) -> None:
        if len(text) < 4096 and text.rsplit("/", 1)[-1].encode("utf-8", "replace") in self._names:  # noqa: PLR2004 -- PATH_MAX
            self._note(Need.MENTION, line, text)
        elif "." in text and _DOTTED.fullmatch(text):
            # A table of lazy modules, `importlib.resources.files("package.data")`, ...
            self._note(Need.LAZY_IMPORT, line, text)

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


def _by_lines(
    source: bytes, *, path: str, package: tuple[str, ...], names: frozenset[bytes]
) -> Iterator[Reference]:
    """Yields what a source may refer to that ``ast`` cannot read: imports as if all ran at import time."""
    for name in sorted(names.intersection(source.translate(_NAMES).split())):
        yield Reference(need=Need.MENTION, path=path, line=None, target=name.decode("utf-8", "replace"))
    if not _READS_RECORD.isdisjoint(source.translate(_WORDS).split()):
        yield Reference(need=Need.METADATA, path=path, line=None, target="*:RECORD")
    line, counted = 1, 0
    for found in _IMPORT_LINE.finditer(source):
        line += source.count(b"\n", counted, found.start())
        counted = found.start()
        if found["import"]:
            targets = [
                part.split()[0].decode("utf-8", "replace")
                for part in found["import"].split(b",")
                if part.split()
            ]
        else:
            module = found["from"].decode("utf-8", "replace")
            imports = [
                part.split()[0].decode("utf-8", "replace")
                for part in found["names"].strip(b"() \t\r\n").split(b",")
                if part.split()
            ]
            level = len(module) - len(module.lstrip("."))
            targets = list(imported(module.lstrip(".") or None, imports, level, package))
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


def _string(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _last_name(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return None


def _is_distribution_name(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,100}[A-Za-z0-9])?", text))
