"""Reading: which modules a module reads as text, its own file or what lies in its folder, as far as sources tell. Pure.

Paths are followed from ``__file__`` to where they are read: through names, attributes of ``self``, functions of the
same module, and what ``os.path``, ``pathlib`` and ``glob`` make of them. Of branches both sides count.
"""

from __future__ import annotations

import ast
import posixpath
import re
import warnings
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_NAMING = (
    b"__file__",
    b"__path__",
    b"files(__",
    b"getfile(",
    b"getsourcefile(",
    b"getabsfile(",
    b"__spec__.origin",
)
_READING = (
    b"open(",
    b"open_code(",
    b"FileIO(",
    b"read_text(",
    b"read_bytes(",
    b"stat(",
    b"getsize(",
    b"getmtime(",
    b"run_path(",
    b"shutil",
)
"""What a source has to have, one of each, for its syntax tree to be worth its time."""

_OPENS = frozenset({"open", "open_code", "FileIO", "run_path", "copy", "copy2", "copyfile"})
"""Functions that read the file that their first argument names."""

_LOOKS = frozenset({"stat", "getsize", "getmtime"})
"""Functions, and a method, that tell its size or time."""

_READS = frozenset({"open", "read_text", "read_bytes"})
"""Methods that read the file that their path names."""

_SAME = frozenset(
    {
        "abspath",
        "realpath",
        "normpath",
        "normcase",
        "expanduser",
        "expandvars",
        "fspath",
        "relpath",
        "fsencode",
        "fsdecode",
        "str",
        "resolve",
        "absolute",
        "as_posix",
        "encode",
        "decode",
        "as_file",
        "strip",
        "rstrip",
        "removesuffix",
        "lower",
        "sorted",
        "list",
        "tuple",
        "set",
        "iter",
        "next",
        "reversed",
    }
)
"""Functions and methods that give back the path that they get, or paths."""

_PATHS = frozenset({"Path", "PurePath", "PosixPath", "PurePosixPath", "join", "joinpath"})
"""Functions and methods that join paths."""

_SOURCE_FILES = frozenset({"getfile", "getsourcefile", "getabsfile"})
"""Functions of ``inspect``: of what they are asked is not known, and may be a part of this module."""

_GLOBS = frozenset({"glob", "rglob", "iglob"})
_LISTS = frozenset({"iterdir", "listdir", "scandir", "walk"})
"""Functions and methods that tell what lies in a folder: what matches a pattern, or all."""

_SUFFIX = re.compile(r"(?:.*\*.*|\W*)\.py\W*")
"""A string that stands for many Python files: ``.py``, ``*.py``, ``test_*.py``."""

_TESTS = re.compile(r"(?:.*/)?(?:tests?/.*|test_\w+\.py|conftest\.py)")
"""Paths of tests."""

_ROUNDS = 4
"""How often a module is gone through, until no more is learnt of what its functions get and return."""


class _Kind(Enum):
    """What a value is."""

    OWN = auto()
    """The path of the module's file."""
    STEM = auto()
    """The same without its suffix."""
    NAME = auto()
    """The name of the file."""
    FOLDER = auto()
    """The path of a folder, or of something in it."""
    LISTED = auto()
    """Something that tells of the files in a folder."""


@dataclass(frozen=True, slots=True)
class _Value:
    """What is known of a value."""

    kind: _Kind
    folder: str = ""
    """Which folder, from the module's own."""
    deep: bool = False
    """Whether what is below it was listed, too."""


_NOTHING: frozenset[_Value] = frozenset()
_OWN = frozenset({_Value(_Kind.OWN)})
_HERE = frozenset({_Value(_Kind.FOLDER)})


def readings(path: str, source: bytes) -> Iterator[str]:
    """Yields what a module reads as text: its own path, and folders, with ``/`` at their end, or ``/**`` for all below.

    Args:
        path: Its place in the installed tree.
        source: The file.
    """
    if not all(any(word in source for word in words) for words in (_NAMING, _READING)):
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes
            tree = ast.parse(source)
        found = _Reader(tree).read()
    except (SyntaxError, ValueError):
        return  # nobody can run it
    except (RecursionError, MemoryError):
        found = set(_OWN)
    home = posixpath.dirname(path)
    for value in found:
        if value.kind is _Kind.OWN:
            yield path
            continue
        folder = posixpath.normpath(posixpath.join(home, value.folder))
        if folder == "." or folder.startswith(("..", "/")):
            continue  # the whole tree is listed by tools, not by what runs on Lambda
        within = f"{folder}/".startswith(f"{home}/")
        if within or not _TESTS.fullmatch(path):  # packages too are listed by their own tests
            yield f"{folder}/**" if value.deep else f"{folder}/"


def is_read(path: str, read: frozenset[str]) -> bool:
    """Returns whether a file is among what ``readings`` has yielded."""
    folder = posixpath.dirname(path)
    if path in read or f"{folder}/" in read:
        return True
    while folder:
        if f"{folder}/**" in read:
            return True
        folder = posixpath.dirname(folder)
    return False


Scope = dict[str, frozenset[_Value]]
"""What names mean."""


@dataclass(slots=True)
class _Reader:
    """Walks through a module in the order in which it runs, functions last."""

    tree: ast.Module
    found: set[_Value] = field(default_factory=set)
    """What is read."""
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = field(default_factory=dict)
    classes: set[str] = field(default_factory=lambda: {"self", "cls"})
    learnt: Scope = field(default_factory=dict)
    """What functions get (``name:parameter``) and return (``name()``), and what attributes are (``.name``)."""
    lists_modules: bool = False
    """Whether a string stands for all Python files."""
    later: list[tuple[ast.FunctionDef | ast.AsyncFunctionDef, Scope]] = field(default_factory=list)
    """Functions whose bodies have still to be gone through."""

    def read(self) -> set[_Value]:
        """Returns what the module reads: its own file, or folders."""
        for node in ast.walk(self.tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and _SUFFIX.fullmatch(node.value)
            ):
                self.lists_modules = True
        for _ in range(_ROUNDS):
            known = dict(self.learnt)
            self._block(self.tree.body, {}, "", certain=True)
            while self.later:
                self._function(*self.later.pop())
            if known == self.learnt:
                break
        return self.found

    def _learn(self, name: str, values: frozenset[_Value]) -> None:
        if values:
            self.learnt[name] = self.learnt.get(name, _NOTHING) | values

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, outer: Scope) -> None:
        scope = dict(outer)
        arguments = node.args
        every = [
            *arguments.posonlyargs,
            *arguments.args,
            *arguments.kwonlyargs,
            arguments.vararg,
            arguments.kwarg,
        ]
        for one in every:
            if one is not None:
                scope[one.arg] = self.learnt.get(f"{node.name}:{one.arg}", _NOTHING)
        self._block(node.body, scope, node.name, certain=True)

    def _block(self, body: Sequence[ast.stmt], scope: Scope, function: str, *, certain: bool) -> None:
        """Goes through statements.

        Args:
            body: The statements.
            scope: What names mean; names are bound in it.
            function: Name of the function that they are in.
            certain: Whether they are run in any case, so that what a name meant before is forgotten.
        """
        for statement in body:
            self._statement(statement, scope, function, certain=certain)

    def _statement(self, statement: ast.stmt, scope: Scope, function: str, *, certain: bool) -> None:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._define(statement, scope)
            case ast.ClassDef():
                self._define_class(statement, scope, function)
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                self._assign(statement, scope, certain=certain)
            case ast.For() | ast.AsyncFor():
                self._bind(statement.target, self._value(statement.iter, scope), scope, certain=False)
                self._block([*statement.body, *statement.orelse], scope, function, certain=False)
            case ast.With() | ast.AsyncWith():
                for item in statement.items:
                    values = self._value(item.context_expr, scope)
                    if item.optional_vars is not None:
                        self._bind(item.optional_vars, values, scope, certain=certain)
                self._block(statement.body, scope, function, certain=certain)
            case ast.Return(value=ast.expr() as value) | ast.Expr(value=ast.Yield(value=ast.expr() as value)):
                self._learn(f"{function}()", self._value(value, scope))
            case _:
                for child in ast.iter_child_nodes(statement):
                    self._part(child, scope, function)

    def _assign(
        self, statement: ast.Assign | ast.AnnAssign | ast.AugAssign, scope: Scope, *, certain: bool
    ) -> None:
        match statement:
            case ast.Assign(targets=targets, value=value):
                values = self._value(value, scope)
                for target in targets:
                    self._bind(target, values, scope, certain=certain, node=value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._bind(target, self._value(value, scope), scope, certain=certain)
            case ast.AugAssign(target=target, op=operator, value=value):
                whole = ast.BinOp(left=target, op=operator, right=value)
                self._bind(target, self._value(whole, scope), scope, certain=certain)

    def _part(self, node: ast.AST, scope: Scope, function: str) -> None:
        """Goes through what is in a statement: an expression, a branch, or a part of one."""
        if isinstance(node, ast.expr):
            self._value(node, scope)
        elif isinstance(node, ast.stmt):
            self._statement(node, scope, function, certain=False)
        else:
            for child in ast.iter_child_nodes(node):
                self._part(child, scope, function)

    def _define_class(self, node: ast.ClassDef, scope: Scope, function: str) -> None:
        self.classes.add(node.name)
        inner = dict(scope)
        self._block(node.body, inner, function, certain=True)
        for name, values in inner.items():
            if values != scope.get(name):
                self._learn(f".{name}", values)

    def _define(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> None:
        self.functions[node.name] = node
        arguments = node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        given = arguments.defaults
        defaults = [
            *zip(positional[len(positional) - len(given) :], given, strict=True),
            *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
        ]
        for one, default in defaults:
            if default is not None:
                self._learn(f"{node.name}:{one.arg}", self._value(default, scope))
        for decorator in node.decorator_list:
            self._value(decorator, scope)
        self.later.append((node, scope))

    def _bind(
        self,
        target: ast.expr,
        values: frozenset[_Value],
        scope: Scope,
        *,
        certain: bool,
        node: ast.expr | None = None,
    ) -> None:
        """Gives a name, or several, what was assigned to them."""
        match target:
            case ast.Name(id=name):
                scope[name] = values if certain else values | scope.get(name, _NOTHING)
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in self.classes:
                self._learn(f".{name}", values)
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                parts = node.elts if isinstance(node, ast.Tuple | ast.List) else []
                for i, one in enumerate(targets):
                    same = len(parts) == len(targets)
                    own = self._value(parts[i], scope) if same else values
                    self._bind(one, own, scope, certain=certain)
            case ast.Starred(value=inner):
                self._bind(inner, values, scope, certain=certain)

    def _value(self, node: ast.expr, scope: Scope) -> frozenset[_Value]:
        """Returns what an expression is, and notes what it reads; what has paths in it counts as them."""
        special = self._special.get(type(node))
        return special(self, node, scope) if special else self._all(ast.iter_child_nodes(node), scope)

    def _name(self, node: ast.Name, scope: Scope) -> frozenset[_Value]:
        if node.id in scope:
            return scope[node.id]
        return {"__file__": _OWN, "__path__": _HERE}.get(node.id, _NOTHING)

    def _operation(self, node: ast.BinOp, scope: Scope) -> frozenset[_Value]:
        if isinstance(node.op, ast.Div):
            return self._joined([node.left, node.right], scope)
        if isinstance(node.op, ast.Add):
            return self._added([node.left, node.right], scope)
        return self._told(node, scope)

    def _told(self, node: ast.expr, scope: Scope) -> frozenset[_Value]:
        return _listed(self._all(ast.iter_child_nodes(node), scope))

    def _formatted(self, node: ast.JoinedStr, scope: Scope) -> frozenset[_Value]:
        parts = [one.value if isinstance(one, ast.FormattedValue) else one for one in node.values]
        return self._added(parts, scope)

    def _bound(self, node: ast.NamedExpr, scope: Scope) -> frozenset[_Value]:
        values = self._value(node.value, scope)
        self._bind(node.target, values, scope, certain=False)
        return values

    def _subscript(self, node: ast.Subscript, scope: Scope) -> frozenset[_Value]:
        match node:
            case ast.Subscript(
                value=ast.Attribute(value=inner, attr="parents"), slice=ast.Constant(value=int(above))
            ):
                values = self._value(inner, scope)
                for _ in range(min(above, 9) + 1):
                    values = _up(values)
                return values
        return self._all(ast.iter_child_nodes(node), scope)

    def _lambda(self, node: ast.Lambda, scope: Scope) -> frozenset[_Value]:
        hidden = {one.arg: _NOTHING for one in (*node.args.posonlyargs, *node.args.args)}
        return self._value(node.body, {**scope, **hidden})

    def _all(self, nodes: Iterable[ast.AST], scope: Scope) -> frozenset[_Value]:
        return frozenset().union(*(self._value(one, scope) for one in nodes if isinstance(one, ast.expr)))

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, scope: Scope
    ) -> frozenset[_Value]:
        inner = dict(scope)
        for one in node.generators:
            self._bind(one.target, self._value(one.iter, inner), inner, certain=True)
            self._all(one.ifs, inner)
        return self._all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt], inner)

    def _attribute(self, node: ast.Attribute, scope: Scope) -> frozenset[_Value]:
        match node:
            case ast.Attribute(value=ast.Name(id="__spec__"), attr="origin"):
                return _OWN
            case ast.Attribute(
                value=ast.Subscript(value=ast.Attribute(attr="modules"), slice=ast.Name(id="__name__")),
                attr="__file__",
            ):
                return _OWN
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in self.classes:
                return self.learnt.get(f".{name}", _NOTHING)
        values = self._value(node.value, scope)
        if node.attr == "parent":
            return _up(values)
        if node.attr == "name":
            return _named(values)
        return _listed(values)

    def _call(self, node: ast.Call, scope: Scope) -> frozenset[_Value]:
        owner = _NOTHING
        name = ""
        if isinstance(node.func, ast.Attribute):
            owner, name = self._value(node.func.value, scope), node.func.attr
        elif isinstance(node.func, ast.Name):
            name = node.func.id
        else:
            owner = self._value(node.func, scope)
        args = [self._value(one, scope) for one in node.args]
        named = {one.arg or "": self._value(one.value, scope) for one in node.keywords}
        first = args[0] if args else frozenset().union(*named.values())
        owner |= named.get("root_dir", _NOTHING)
        for values, reading in ((owner, _READS), (first, _OPENS)):
            if name in reading:
                self.found |= {one for one in values if one.kind in {_Kind.OWN, _Kind.LISTED}}
        if name in _LOOKS:
            self.found |= (owner | first) & _OWN
        if self._is_local(node.func):
            return self._called(self.functions[name], args, named)
        if name in _READS or name in _OPENS:
            return _NOTHING
        return self._made(name, node, scope, owner=owner, args=args, first=first)

    def _is_local(self, function: ast.expr) -> bool:
        match function:
            case ast.Name(id=name):
                return name in self.functions
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                return owner in self.classes and name in self.functions
        return False

    def _called(
        self,
        function: ast.FunctionDef | ast.AsyncFunctionDef,
        args: Sequence[frozenset[_Value]],
        named: dict[str, frozenset[_Value]],
    ) -> frozenset[_Value]:
        """Notes what a function of the module gets, and returns what it returns."""
        arguments = function.args
        names = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
        if names[:1] in (["self"], ["cls"]):
            names = names[1:]
        for i, values in enumerate(args):
            if i < len(names):
                self._learn(f"{function.name}:{names[i]}", values)
            elif arguments.vararg is not None:
                self._learn(f"{function.name}:{arguments.vararg.arg}", values)
        for name, values in named.items():
            self._learn(f"{function.name}:{name}", values)
        return self.learnt.get(f"{function.name}()", _NOTHING)

    def _made(
        self,
        name: str,
        node: ast.Call,
        scope: Scope,
        *,
        owner: frozenset[_Value],
        args: Sequence[frozenset[_Value]],
        first: frozenset[_Value],
    ) -> frozenset[_Value]:
        """Returns what comes of a call of somebody else's function."""
        values = _NOTHING
        if name in _SAME:
            values = owner | first
        elif name in _PATHS:
            inner = [node.func.value] if isinstance(node.func, ast.Attribute) and owner else []
            values = self._joined([*inner, *node.args], scope)
        elif name in _OF_PATHS:
            values = _OF_PATHS[name](first)
        elif name in _SOURCE_FILES:
            values = _OWN
        elif name in {"with_suffix", "replace"}:
            values = _files(owner) if _text(node.args[name == "replace" :]).endswith(".py") else _NOTHING
        elif name == "files":
            values = (
                _HERE if node.args and ast.unparse(node.args[0]) in {"__package__", "__name__"} else _NOTHING
            )
        elif name in _GLOBS:
            values = self._globbed(name, node, owner, first)
        elif name in _LISTS and self.lists_modules:
            values = _list(owner | first, deep=name == "walk")
        return values | _listed(frozenset().union(owner, *args))

    def _globbed(
        self, name: str, node: ast.Call, owner: frozenset[_Value], first: frozenset[_Value]
    ) -> frozenset[_Value]:
        text = _text(node.args)
        found: set[_Value] = set()
        for one in owner | first:
            if one.kind is _Kind.FOLDER:
                pattern = posixpath.join(one.folder, text) if text else one.folder
                folder, _, last = pattern.rpartition("/")
                if last.endswith(".py") or (last in {"*", "**", "*.*"} and self.lists_modules):
                    fixed = folder.partition("*")[0].rstrip("/")
                    deep = name == "rglob" or "*" in folder
                    found.add(_Value(_Kind.LISTED, fixed, deep))
        return frozenset(found)

    def _joined(self, parts: Sequence[ast.expr], scope: Scope) -> frozenset[_Value]:
        """Returns what a path is that is put together of others."""
        if not parts:
            return _NOTHING
        values = self._value(parts[0], scope)
        for one in parts[1:]:
            more = self._value(one, scope)
            text = _text([one])
            if text:
                values = _below(values, text)
            else:
                kinds = {value.kind for value in more}
                own = _OWN if kinds & {_Kind.NAME, _Kind.OWN} else _NOTHING
                values = own | _listed(more) | _listed(values)
        return values

    def _added(self, parts: Sequence[ast.expr], scope: Scope) -> frozenset[_Value]:
        """Returns what a string is that is put together of others."""
        if not parts:
            return _NOTHING
        every = [self._value(one, scope) for one in parts]
        values = every[0]
        for one, more in zip(parts[1:], every[1:], strict=True):
            text = _text([one])
            if isinstance(one, ast.Attribute) and one.attr == "sep":
                continue
            files = _OWN if _files(values) and text in {".py", "y", "py"} else _NOTHING
            folders = _below(values, text.lstrip("/")) if text.strip("/") else values
            if more or not text:
                folders = _OWN if {value.kind for value in more} & {_Kind.NAME} else _NOTHING
            values = files | frozenset(one for one in folders if not _files({one})) | _listed(values | more)
        return values

    _special: ClassVar[dict[type[ast.expr], Callable[[_Reader, Any, Scope], frozenset[_Value]]]] = {
        ast.Name: _name,
        ast.Attribute: _attribute,
        ast.Call: _call,
        ast.BinOp: _operation,
        ast.Compare: _told,
        ast.JoinedStr: _formatted,
        ast.NamedExpr: _bound,
        ast.Subscript: _subscript,
        ast.Lambda: _lambda,
        ast.ListComp: _comprehension,
        ast.SetComp: _comprehension,
        ast.GeneratorExp: _comprehension,
        ast.DictComp: _comprehension,
    }
    """Expressions that are more than the sum of their parts."""


def _text(nodes: Sequence[ast.expr]) -> str:
    """Returns the string that the first of some expressions is; an empty one if it is none."""
    match nodes[:1]:
        case [ast.Constant(value=str(text))]:
            return text
        case [ast.Attribute(attr="pardir")]:
            return ".."
    return ""


def _files(values: Iterable[_Value]) -> frozenset[_Value]:
    return frozenset(one for one in values if one.kind in {_Kind.OWN, _Kind.STEM, _Kind.LISTED})


def _listed(values: Iterable[_Value]) -> frozenset[_Value]:
    return frozenset(one for one in values if one.kind is _Kind.LISTED)


def _list(values: Iterable[_Value], *, deep: bool) -> frozenset[_Value]:
    return frozenset(
        _Value(_Kind.LISTED, one.folder, deep or one.deep) for one in values if one.kind is _Kind.FOLDER
    )


def _named(values: Iterable[_Value]) -> frozenset[_Value]:
    names = frozenset(_Value(_Kind.NAME) for one in values if one.kind is _Kind.OWN)
    return names | _listed(values)


def _up(values: Iterable[_Value]) -> frozenset[_Value]:
    """Returns the folders that paths are in."""
    return frozenset(
        _Value(_Kind.FOLDER)
        if one.kind is _Kind.OWN
        else _Value(_Kind.FOLDER, posixpath.normpath(posixpath.join(one.folder, "..")))
        for one in values
        if one.kind in {_Kind.OWN, _Kind.FOLDER}
    )


def _below(values: Iterable[_Value], text: str) -> frozenset[_Value]:
    """Returns paths with more behind them."""
    found = set(_listed(values))
    for one in values:
        if one.kind is _Kind.FOLDER:
            found.add(replace(one, folder=posixpath.normpath(posixpath.join(one.folder, text))))
        elif one.kind is _Kind.OWN and text.startswith(".."):
            inner = posixpath.normpath(posixpath.join(".", text.removeprefix("..").lstrip("/")))
            found.add(_Value(_Kind.FOLDER, inner))
    return frozenset(found)


def _split(values: frozenset[_Value]) -> frozenset[_Value]:
    return _up(values) | _named(values)


def _stems(values: Iterable[_Value]) -> frozenset[_Value]:
    return frozenset(_Value(_Kind.STEM) for one in values if one.kind is _Kind.OWN)


_OF_PATHS = {"dirname": _up, "basename": _named, "split": _split, "splitext": _stems}
"""Functions of ``os.path`` that take paths apart."""
