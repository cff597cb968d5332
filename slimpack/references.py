"""What a file refers to, read with ``ast``: imports, metadata, stubs, file names. Never imports it."""

from __future__ import annotations

import ast
import re
import string
import warnings
import zlib
from collections import defaultdict
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from slimpack.model import EntryPoint, Need, Reference

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
    "version": "METADATA",
    "distribution": "METADATA",
    "metadata": "METADATA",
    "requires": "METADATA",
    "get_distribution": "METADATA",
    "require": "METADATA",
    "files": "RECORD",
    "get_entry_map": "entry_points.txt",
    "get_entry_info": "entry_points.txt",
    "load_entry_point": "entry_points.txt",
}
"""Functions of the metadata modules that take a distribution's name, with the file that answers."""

_GIVE_DISTRIBUTION = {"distribution", "get_distribution", "require"}
"""Those of them whose answer knows all that a distribution registers."""

_GIVE_ENTRY_POINTS = {"entry_points", "get_entry_map", "get_entry_info", "load_entry_point"}
"""Attributes that tell what a distribution registers."""

_ADD_TO_LIST = {"append", "extend", "add", "update"}
"""Methods of lists, sets and dicts."""

_METADATA_MODULES = {"importlib.metadata", "importlib_metadata", "pkg_resources"}
"""Modules that read what lies in dist-info folders."""

_READS_RECORD = {b"packages_distributions", b"distributions", b"PackagePath"}
"""Words of sources that may read RECORD, where nothing better than words is to be had."""

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
"""A string that may name a module."""

BELOW = "/**/"
"""Stands between the package and the name of a file that may lie anywhere in it."""

_LARGEST = 16 * 2**20
"""Bytes of a source beyond which its syntax tree takes more memory than a worker should have."""

_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
"""How zlib's streams begin (RFC 1950, with a window of 32 KiB)."""

_MOST_NAMES = 100_000
"""Dotted names of one compiled file that are looked at; libtorch_cpu.so has 2,254 of its own package."""

_ZLIB_LARGEST = 2**20
"""Bytes that a compressed stream may have."""

_ZLIB_TRIES = 10_000
"""Places of one file that are tried; the two bytes turn up by chance every 16 KiB."""

_SECTION = re.compile(r"\[(?P<group>[^\]]*)\]")
_ENTRY = re.compile(r"[^=#;][^=]*=\s*(?P<module>[\w.]+)\s*(?::.*|\[.*)?")
"""Lines of an ``entry_points.txt``; the attribute of the object and its extras do not matter here."""

_STATEMENT = re.compile(rb"import\b[^\n(]*+(?:\((?:[^)#]++|#[^\n]*+)*+\)?)?[^\n]*+")
"""At least what stands behind the word in an import statement; no byte is looked at twice."""

_CONTINUED = re.compile(rb"\\\r?\n")
"""The end of a line that goes on in the next."""

_BARE_STRING = re.compile(rb"""["']([A-Za-z_]\w*+)["']""")
"""A string that may name a submodule."""

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

    words: frozenset[bytes] = frozenset()
    """Last parts of the dotted names of removed packages and modules."""
    modules: frozenset[bytes] = frozenset()
    """Those dotted names."""
    names: frozenset[bytes] = frozenset()
    """File names of removed files that are no Python modules."""
    folders: frozenset[bytes] = frozenset()
    """Top folders, which are packages, of those files."""
    groups: frozenset[bytes] = frozenset()
    """Groups that removed entry points are registered for."""

    def __or__(self, other: Needles) -> Needles:
        """Returns the needles of both."""
        return Needles(
            **{one.name: getattr(self, one.name) | getattr(other, one.name) for one in fields(self)}
        )

    def occur_in(self, source: bytes, path: str) -> bool:
        """Returns whether a source can refer to anything that was removed. Parsing takes twenty times as long.

        Args:
            source: The content of a ``.py`` file.
            path: Its place; its relative imports need not name the package that it is in.
        """
        if any(word in source for word in _ALWAYS_ASKED) or any(group in source for group in self.groups):
            return True
        if not self.names.isdisjoint(source.translate(_STRINGS).split(b"\n")):
            return True
        if not self.words.isdisjoint(part.encode() for part in package_of(path)):
            return True
        text = source if any(word in source for word in _IMPORTERS) else b"\n".join(_names_in(source))
        if _is_package(path):
            text += b" " + b" ".join(_BARE_STRING.findall(source))
        return not self.words.isdisjoint(text.translate(_WORDS).split())


def read(source: bytes, *, path: str, needles: Needles, parse: bool = True) -> tuple[Reference, ...]:
    """Returns what a Python source refers to, as far as it may concern what was removed.

    What a stub imports counts as lazy: ``lazy_loader.attach_stub`` loads it when it is first used.

    Args:
        source: The content of a ``.py`` or ``.pyi`` file.
        path: Its place in the installed tree; relative imports start there.
        needles: What is worth finding.
        parse: Whether to parse it; else it is only looked through line by line, which finds more than there is.
    """
    package = package_of(path)
    if not needles.occur_in(source, path):
        return ()
    tree = _parsed(source) if parse and len(source) < _LARGEST else None
    if tree is None:
        found: Iterable[Reference] = _by_lines(source, path=path, package=package, needles=needles)
    else:
        reader = _Reader(path=path, package=package, needles=needles)
        reader.read(tree)
        found = reader.found
    return tuple(dict.fromkeys(item for item in found if _concerns(item, needles)))


def read_elf(content: bytes, *, path: str, needles: Needles) -> tuple[Reference, ...]:
    """Returns the removed modules whose full names occur in a compiled file, as imports that may run.

    Cython stores the names that a module imports as the source has them, so only absolute imports are found. From
    3.2 on all its strings stand in one piece, with no end between them: what begins like a removed module counts.

    Args:
        content: Of an ELF file.
        path: Its place in the installed tree.
        needles: What is worth finding.
    """
    begins, lengths = _beginnings(needles.modules)
    if not lengths:
        return ()
    found: set[bytes] = set()
    for text in (content, *_cython_strings(content)):
        for hit in islice(begins.finditer(text), _MOST_NAMES):
            found.update(
                name
                for length in lengths
                if (name := text[hit.start() : hit.start() + length]) in needles.modules
            )
    return tuple(
        Reference(need=Need.LAZY_IMPORT, path=path, line=None, target=name.decode()) for name in sorted(found)
    )


@lru_cache(maxsize=4)
def _beginnings(modules: frozenset[bytes]) -> tuple[re.Pattern[bytes], tuple[int, ...]]:
    """Returns what finds where a dotted name may begin, and the bytes that one may have."""
    dotted = [name for name in modules if b"." in name]
    tops = {re.escape(name.partition(b".")[0]) for name in dotted}
    return re.compile(rb"(?:%s)\." % b"|".join(sorted(tops))), tuple(sorted({len(name) for name in dotted}))


def _cython_strings(content: bytes) -> Iterator[bytes]:
    """Yields what may be the strings of a module that Cython 3.2 or newer compiled, which are compressed."""
    if b"CYTHON_COMPRESS_STRINGS" not in content:
        return
    left = _LARGEST
    for begin in islice(_ZLIB.finditer(content), _ZLIB_TRIES):
        stream = memoryview(content)[begin.start() : begin.start() + _ZLIB_LARGEST]
        try:
            text = zlib.decompressobj().decompress(stream, left)
        except zlib.error:
            continue
        yield text
        left -= len(text)
        if left <= 0:
            return


def entry_points(text: str, *, path: str) -> tuple[EntryPoint, ...]:
    """Returns what a distribution registers.

    Args:
        text: Of its ``entry_points.txt`` (entry points specification, "File format").
        path: Place of that file in the installed tree.
    """
    found = []
    group = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if section := _SECTION.fullmatch(line.strip()):
            group = section["group"].strip()
        elif entry := _ENTRY.fullmatch(line.strip()):
            found.append(EntryPoint(path=path, line=number, group=group, module=entry["module"]))
    return tuple(found)


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


def _is_package(path: str) -> bool:
    return path.endswith("/__init__.py")


def _concerns(item: Reference, needles: Needles) -> bool:
    if item.need in {Need.METADATA, Need.STUB, Need.MENTION, Need.ENTRY_POINT}:
        return True
    return not needles.words.isdisjoint(part.encode() for part in item.target.split("."))


class _Reader:
    """Walks through a module's syntax tree and notes what it refers to, and when."""

    def __init__(self, *, path: str, package: tuple[str, ...], needles: Needles) -> None:
        self.found: list[Reference] = []
        self._path = path
        self._package = package
        self._needles = needles
        self._todo: list[tuple[ast.AST, Need]] = []
        self._renamed: dict[str, str] = {}
        self._asks_metadata = False
        self._asks_entry_points = False
        self._distributions: list[tuple[str, int]] = []
        """Distributions that the module asks for, with the lines."""
        self._folders: set[str] = set()
        """Top folders of removed files that the module names: it may open files in them."""
        self._metadata = {"metadata", "importlib_metadata", "pkg_resources"}
        """Names by which the module knows the metadata modules and what it imported from them."""

    def read(self, tree: ast.Module) -> None:
        """Reads a module, with a stack of its own: expressions nest deeper than Python's calls may."""
        when = Need.LAZY_IMPORT if self._path.endswith(".pyi") else Need.IMPORT
        self._todo = [(node, when) for node in reversed(tree.body)]
        while self._todo:
            node, when = self._todo.pop()
            start = len(self._todo)
            self._node(node, when)
            self._todo[start:] = reversed(self._todo[start:])  # in the order of the source: names before uses
        if _is_package(self._path):
            self._exported(tree)
        if self._asks_entry_points:
            for name, line in self._distributions:
                self._note(Need.METADATA, line, f"{name}:entry_points.txt")
        self._in_folders()

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
            self._see(name)
        module = node.module if isinstance(node, ast.ImportFrom) else None
        for alias in node.names:
            self._renamed[alias.asname or alias.name] = alias.name
            if {module, alias.name, f"{module}.{alias.name}"} & _METADATA_MODULES:
                self._asks_metadata = True
                self._metadata.add(alias.asname or alias.name.rpartition(".")[2])

    def _compound(self, node: ast.AST, when: Need) -> None:
        match node:
            case ast.If() if is_type_checking(node.test):
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
            case ast.Attribute(attr=attribute) if attribute in _GIVE_ENTRY_POINTS and not self._is_metadata(
                node
            ):
                self._asks_entry_points = True
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
        text, base = (_string(_argument(node, at, key)) for at, key in enumerate(("name", "package")))
        if name == "attach_stub":
            self._note(Need.STUB, node.lineno, self._path + "i")
        elif name == "packages_distributions":
            self._note(Need.METADATA, node.lineno, "*:RECORD")
        elif (
            name in _METADATA_OF_ONE and self._is_metadata(node.func) and text and _is_distribution_name(text)
        ):
            self._note(Need.METADATA, node.lineno, f"{text}:{_METADATA_OF_ONE[name]}")
            if name in _GIVE_DISTRIBUTION:
                self._distributions.append((text, node.lineno))
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
            from_list = _argument(node, 3, "fromlist") if name == "__import__" else None
            names = [one for item in getattr(from_list, "elts", ()) if (one := _string(item))]
            for module in imported(text.lstrip(".") or None, names, level, package):
                self._note(when if name == "__import__" else Need.LAZY_IMPORT, node.lineno, module)

    def _is_metadata(self, function: ast.expr) -> bool:
        """Returns whether a function is one of the metadata modules'; ``importlib.resources`` has a ``files`` too."""
        owner = function.value if isinstance(function, ast.Attribute) else function
        return _last_name(owner) in self._metadata

    def _text(self, text: str, line: int) -> None:
        self._see(text)
        if len(text) < 4096 and text.rsplit("/", 1)[-1].encode("utf-8", "replace") in self._needles.names:  # noqa: PLR2004 -- PATH_MAX
            self._note(Need.MENTION, line, text)
        elif text.encode("utf-8", "replace") in self._needles.groups:
            self._note(Need.ENTRY_POINT, line, f"[{text}]")
        elif "." in text and _DOTTED.fullmatch(text):
            # A table of lazy modules, `importlib.resources.files("package.data")`, ...
            self._note(Need.LAZY_IMPORT, line, text)

    def _see(self, name: str) -> None:
        """Notes that a module, or a string that may name one, was met."""
        top = name.partition(".")[0]
        if top.encode("utf-8", "replace") in self._needles.folders and top not in self._package[:1]:
            self._folders.add(top)

    def _in_folders(self) -> None:
        """Notes each file that is named once more for each other package that the module names.

        A plain word is too often no file: Eigen has headers called ``Tensor`` and ``Cholesky``.
        """
        for one in [one for one in self.found if one.need is Need.MENTION and re.search("[./]", one.target)]:
            for folder in sorted(self._folders):
                self.found.append(replace(one, target=f"{folder}{BELOW}{one.target}"))

    def _exported(self, tree: ast.Module) -> None:
        """Notes the submodules that a package's ``__all__`` may name, or another list of it.

        ``from package import *`` imports those of ``__all__``; ``lazy_loader.attach`` or a ``__getattr__`` of the
        package those of a list.
        """
        lists: dict[str, dict[str, int]] = defaultdict(dict)
        for names, value in _lists(tree):
            texts: dict[str, int] = {}
            for part in ast.walk(value):
                match part:
                    case ast.Constant(value=str(text), lineno=line):
                        texts[text] = line
                    case ast.Name(id=name) if name in lists:
                        texts.update(lists[name])
            for name in names:
                lists[name].update(texts)
        for name, texts in lists.items():
            need = Need.EXPORT if name == "__all__" else Need.LAZY_IMPORT
            for text, line in texts.items():
                if text.isidentifier():
                    self._note(need, line, ".".join((*self._package, text)))

    def _note(self, need: Need, line: int, target: str) -> None:
        self.found.append(Reference(need=need, path=self._path, line=line, target=target))


def _lists(tree: ast.Module) -> Iterator[tuple[list[str], ast.expr]]:
    """Yields what a module, outside of functions and classes, assigns to names or adds to them, in order."""
    todo: list[ast.AST] = list(reversed(tree.body))
    while todo:
        node = todo.pop()
        match node:
            case ast.FunctionDef(name="__getattr__", body=body):
                # what it compares the name with may be a submodule (PEP 562)
                parts = (part for one in body for part in ast.walk(one) if isinstance(part, ast.expr))
                yield from ((["__getattr__"], part) for part in parts)
            case ast.Assign(targets=targets, value=value):
                yield [name for one in targets for part in ast.walk(one) if (name := _last_name(part))], value
            case ast.AugAssign(target=ast.Name(id=name), value=value):
                yield [name], value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield [name], value
            case ast.Expr(
                value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method), args=[value, *_])
            ) if method in _ADD_TO_LIST:
                yield [name], value
            case ast.If() | ast.Try() | ast.TryStar() | ast.With() | ast.For() | ast.ExceptHandler():
                todo += reversed(list(ast.iter_child_nodes(node)))


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


def _by_lines(source: bytes, *, path: str, package: tuple[str, ...], needles: Needles) -> Iterator[Reference]:
    """Yields what a source may refer to that ``ast`` cannot read: imports as if all ran at import time."""
    for name in sorted(needles.names.intersection(source.translate(_NAMES).split())):
        yield Reference(need=Need.MENTION, path=path, line=None, target=name.decode("utf-8", "replace"))
    for group in sorted(needles.groups):
        if group in source:
            yield Reference(need=Need.ENTRY_POINT, path=path, line=None, target=f"[{group.decode()}]")
    if _is_package(path):
        for text in sorted(set(_BARE_STRING.findall(source))):
            yield Reference(
                need=Need.EXPORT, path=path, line=None, target=".".join((*package, text.decode()))
            )
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


def is_type_checking(test: ast.expr) -> bool:
    """Returns whether a condition holds for type checkers only."""
    return _last_name(test) == "TYPE_CHECKING" or (isinstance(test, ast.Constant) and test.value is False)


def _survives(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(item is None or _last_name(item) in _SURVIVES for item in caught)


def _argument(call: ast.Call, place: int, name: str) -> ast.expr | None:
    """Returns an argument of a call, by its place or by its name."""
    if len(call.args) > place:
        return call.args[place]
    return next((one.value for one in call.keywords if one.arg == name), None)


def _string(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _last_name(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return None


def _is_distribution_name(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,100}[A-Za-z0-9])?", text))
