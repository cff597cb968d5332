"""What people and other tools wrote, checked against our types."""

from __future__ import annotations

import difflib
import sys
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

    from slimpack.errors import SlimpackError

STRICT = ConfigDict(extra="forbid")
"""Configuration of a pydantic dataclass that refuses unknown keys."""

_SHOWN = 5

T = TypeVar("T")


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}
"""Compiled readers by type; making one takes longer than using it."""


def read(type_: type[T], data: object, *, where: str, error: type[SlimpackError]) -> T:
    """Returns plain data as a value of a type.

    Args:
        type_: A dataclass.
        data: What a TOML or JSON parser returned.
        where: The file, for the message.
        error: The exception to raise.

    Raises:
        SlimpackError: Of the given class: the data does not have the type's shape. The first problems are
            named, a misspelt key with what was probably meant.
    """
    if type_ not in _ADAPTERS:
        _ADAPTERS[type_] = TypeAdapter(type_)
    try:
        value: T = _ADAPTERS[type_].validate_python(data)
    except ValidationError as problem:
        issues = problem.errors(include_url=False, include_input=False)
        sentences = [_sentence(type_, issue) for issue in issues[:_SHOWN]]
        if len(issues) > _SHOWN:
            sentences.append(f"and {len(issues) - _SHOWN} more")
        raise error("; ".join(sentences), where=where, fix="Correct the key or its value.") from problem
    return value


def suggest(word: str, known: Sequence[str]) -> str:
    """Returns `` (did you mean …?)`` for a misspelt word, or an empty string."""
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _sentence(type_: type, issue: ErrorDetails) -> str:
    place = ".".join(str(part) for part in issue["loc"])
    if issue["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        *parents, key = issue["loc"]
        return f"unknown key {place!r}{suggest(str(key), _keys(type_, parents))}"
    if issue["type"] in {"missing", "missing_argument"}:
        return f"missing key {place!r}"
    message = issue["msg"]
    return f"{place}: {message[:1].lower()}{message[1:]}"


def _keys(type_: Any, path: Sequence[int | str]) -> list[str]:  # noqa: ANN401 -- walks through any annotation
    """Returns the field names of the dataclass at a path, or the type's own if the path is not understood."""
    for part in path:
        if isinstance(part, int) or not is_dataclass(type_):
            continue
        hints = {field.name: field.type for field in fields(type_)}
        inner = _dataclass_in(hints.get(str(part)), type_.__module__)
        if inner is not None:
            type_ = inner
    return [field.name for field in fields(type_)] if is_dataclass(type_) else []


def _dataclass_in(annotation: object, module_name: str) -> type | None:
    """Returns the first dataclass of a module that an annotation speaks of."""
    module = vars(sys.modules[module_name])
    words = "".join(c if c.isidentifier() or c.isdigit() else " " for c in str(annotation)).split()
    found = (module.get(word) for word in words)
    return next((item for item in found if isinstance(item, type) and is_dataclass(item)), None)
