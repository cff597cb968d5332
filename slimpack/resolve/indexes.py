"""Indexes: where packages come from, as pip's configuration, environment and the requirements say. Pure."""

from __future__ import annotations

import re
from ast import literal_eval
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from slimpack import redact
from slimpack.resolve.candidate import same_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slimpack.resolve.requirements import Requirements

HONOURED = frozenset(
    {
        "all-releases",
        "build-constraint",
        "cache-dir",
        "cert",
        "client-cert",
        "constraint",
        "extra-index-url",
        "find-links",
        "index-url",
        "keyring-provider",
        "no-binary",
        "no-cache-dir",
        "no-index",
        "only-binary",
        "only-final",
        "pre",
        "proxy",
        "require-hashes",
        "resume-retries",
        "retries",
        "timeout",
        "trusted-host",
        "uploaded-prior-to",
        "use-deprecated",
        "use-feature",
    }
)
"""Options of pip that say where packages come from and which are wanted. The others (``target``, ``user``,
``require-virtualenv``, ``dry-run``...) are about installing, which slimpack does itself."""

_WAYS = frozenset(
    {
        "cache-dir",
        "cert",
        "client-cert",
        "keyring-provider",
        "no-cache-dir",
        "proxy",
        "resume-retries",
        "retries",
        "timeout",
        "trusted-host",
    }
)
"""Options about the way to the indexes, not about what they have."""

_ALIASES = {"default-timeout": "timeout", "pypi-url": "index-url"}
_SECTIONS = ("global", "install", ":env:")
"""Sections of ``pip config list`` in the order in which later ones overrule earlier ones."""

_SETTING = re.compile(r"(?P<section>global|install|:env:)\.(?P<key>[a-z][a-z0-9-]*)=(?P<value>(['\"]).*\4)")
_LISTS = frozenset({"extra-index-url", "find-links", "trusted-host", "no-binary", "only-binary"})
_FALSE = frozenset({"", "0", "false", "no", "off", "n", "f"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexes:
    """Effective settings, under the names of pip's long options; lists are separated by blanks."""

    options: Mapping[str, str]
    """Values by option. May hold credentials."""
    private: Mapping[str, str]
    """Direct URLs by their public form, for those that hold credentials."""

    def flag(self, option: str) -> bool:
        """Returns whether a switch is on."""
        return self.options.get(option, "").strip().lower() not in _FALSE

    def values(self, option: str) -> list[str]:
        """Returns the values of a list."""
        return self.options.get(option, "").split()

    def with_credentials(self, link: str) -> str:
        """Returns a direct URL with the credentials that the requirements give for it.

        A repository is the same whatever revision is named behind the ``@`` of its path.
        """
        wanted = urlsplit(link)
        for private in self.private.values():
            if same_place(private, link):
                parts = urlsplit(private)
                return urlunsplit((parts.scheme, parts.netloc, wanted.path, parts.query, wanted.fragment))
        return link

    @property
    def secrets(self) -> frozenset[str]:
        """What must never be shown."""
        words = [word for value in self.options.values() for word in value.split()]
        return frozenset().union(*(redact.secrets_of(url) for url in (*words, *self.private.values())))


def public(options: Mapping[str, str]) -> list[str]:
    """Returns the settings that can change what is resolved, without credentials, sorted.

    Args:
        options: Values by option.
    """
    return [
        f"{option}={' '.join(redact.public_url(word) for word in value.split())}"
        for option, value in sorted(options.items())
        if option not in _WAYS
    ]


def configured(listing: str) -> dict[str, str]:
    """Returns pip's settings from what ``pip config list`` prints.

    Sections and precedence: https://pip.pypa.io/en/stable/topics/configuration/
    """
    found: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in listing.splitlines():
        if match := _SETTING.fullmatch(line.strip()):
            key = _ALIASES.get(match["key"], match["key"])
            value = str(literal_eval(match["value"]))
            if key in HONOURED and value.strip():
                found[match["section"]][key] = value
    return {key: value for section in _SECTIONS for key, value in found[section].items()}


def merged(options: Mapping[str, str], requirements: Requirements | None) -> Indexes:
    """Returns pip's settings with those of the requirements files, if there are any, added as pip adds them."""
    if requirements is None:
        return Indexes(options=options, private={})
    told = dict(options)
    for key, value in requirements.options.items():
        told[key] = f"{told.get(key, '')} {value}".strip() if key in _LISTS else value
    return Indexes(options=told, private=_private(one.link for one in requirements.requested if one.link))


def _private(links: Iterable[str]) -> dict[str, str]:
    public = {redact.public_url(link): link.partition("#")[0] for link in links}
    return {known: link for known, link in public.items() if known != link}
