"""Redact: take credentials out of URLs and of text. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Iterable
    from urllib.parse import SplitResult

MASK = "****"
"""Stands where a credential stood."""

_SECRET_KEY = r"[\w.%-]*(?:token|key|secret|sig|pass|pwd|auth|credential)[\w.%-]*"  # noqa: S105 -- a pattern
_QUERY = re.compile(rf"([?&;]{_SECRET_KEY}=)[^&;\s#\"'<>`]+", re.IGNORECASE)
_IS_SECRET_KEY = re.compile(_SECRET_KEY, re.IGNORECASE)

# The second alternative is for a password with a bare slash: no valid URL, but people write it. A port is no user name.
_USERINFO = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)(?:[^\s/?#]*@|[^\s/?#@:]+:(?!\d+(?:[/?#]|$))\S*@)")

_SHORTEST = 4
"""Characters below which a secret is not looked for outside URLs: it would blot out ordinary words."""


def public_url(url: str) -> str:
    """Returns a URL without its user, password, secret-looking query parameters and fragment.

    What is not a URL (a path) comes back unchanged.
    """
    parts = _split(url)
    if parts is None:
        return _USERINFO.sub(r"\1", url)
    query = "&".join(one for one in parts.query.split("&") if not _is_secret(one))
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def masked_url(url: str) -> str:
    """Returns a public URL in which the secret query parameters still have their names: it shows what it lacks."""
    parts = _split(url)
    if parts is None:
        return public_url(url)
    query = "&".join(
        f"{one.partition('=')[0]}={MASK}" if _is_secret(one) else one for one in parts.query.split("&")
    )
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def secrets_of(url: str) -> frozenset[str]:
    """Returns what must not be seen of a URL: its password (or lone user name) and its secret query values."""
    parts = _split(url)
    if parts is None:
        return frozenset()
    userinfo, _, _ = parts.netloc.rpartition("@")
    user, colon, password = userinfo.partition(":")
    found = {password if colon else user}
    found.update(value for key, value in parse_qsl(parts.query) if _IS_SECRET_KEY.fullmatch(key))
    return frozenset(form for one in found for form in (one, unquote(one), quote(one, safe="")) if form)


def text(words: str, secrets: Iterable[str] = ()) -> str:
    """Returns text in which credentials are masked.

    Args:
        words: Any text, such as a program's output.
        secrets: Further strings that must not be seen, wherever they stand.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            words = words.replace(secret, MASK)
    return _QUERY.sub(rf"\1{MASK}", _USERINFO.sub(rf"\1{MASK}@", words))


def _split(url: str) -> SplitResult | None:
    if "://" not in url:
        return None
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _is_secret(parameter: str) -> bool:
    return _IS_SECRET_KEY.fullmatch(unquote(parameter.partition("=")[0])) is not None
