"""HTTP: the one place that asks an API; what it may take is bounded, in bytes, time and tries."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from slimpack import __version__
from slimpack.errors import ForgeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from email.message import Message
    from http.client import HTTPResponse

_SILENCE = 30.0
"""Seconds without a byte after which a connection is given up."""

_SECONDS = 90.0
"""Seconds that an answer may take altogether."""

_LARGEST = 64 * 2**20
"""Bytes of an answer; a page of 100 comments of GitHub's largest size has 26 MB."""

_CHUNK = 2**16

_WAITS = (1.0, 4.0, 10.0)
"""Seconds between one try and the next."""

_LONGEST_WAIT = 120.0
"""Seconds beyond which a job is not kept waiting, whatever the API asks for."""

_PASSING = frozenset({500, 502, 503, 504})
"""Status codes that may be others a little later."""

_SHOWN = 300
"""Characters of what the API says about an error that are shown."""

_TOKEN = re.compile(r"[!-~]+")


class UnsureError(ForgeError):
    """Something was asked for, and nobody knows whether it was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an API says."""

    status: int
    """HTTP's code."""
    headers: Message
    """By name, in any spelling."""
    content: bytes
    """JSON, as a rule."""

    def json(self) -> Any:  # noqa: ANN401 -- whatever it is, the caller looks
        """Returns what the content says.

        Raises:
            ValueError: It is no JSON.
        """
        try:
            return json.loads(self.content)
        except RecursionError as problem:
            raise ValueError("nested too deep") from problem


class _StayHere(HTTPRedirectHandler):
    """Follows no redirect: the token is for this host alone, and what is written would become a mere reading."""

    def redirect_request(self, *_: object) -> None:
        return None


class Api:
    """An API that a token opens."""

    def __init__(
        self,
        *,
        url: str,
        where: str,
        token: str,
        headers: Mapping[str, str],
        fixes: Mapping[int, str],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Takes what never changes from one question to the next.

        Args:
            url: Where the API begins; what follows the host is the caller's business.
            where: The variable that names it, for messages.
            token: What is never shown.
            headers: What every question has besides, the token included.
            fixes: What helps, by status code.
            pause: Waits for so many seconds.

        Raises:
            UsageError: The address is none.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
            raise UsageError(
                "this is no address of an API", where=where, fix="Write it like https://host/path."
            )
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._host = parts.netloc
        self._token = token
        self._headers = {
            "User-Agent": f"slimpack/{__version__}",
            "Accept": "application/json",
            "Content-Type": "application/json",
            **headers,
        }
        self._fixes = fixes
        self._pause = pause
        self._opener = build_opener(_StayHere)

    def read(self, path: str, query: Mapping[str, str | int] | None = None) -> Answer:
        """Returns what there is.

        Args:
            path: What follows the host.
            query: What follows that.

        Raises:
            ForgeError: The API refuses or cannot be reached.
        """
        return self._insist("GET", f"{path}?{urlencode(query)}" if query else path, None)

    def ask(self, path: str, question: Mapping[str, Any]) -> Answer:
        """Returns the answer to a question that has to be posted and changes nothing, as GraphQL has it."""
        return self._insist("POST", path, question)

    def change(self, method: str, path: str, content: Mapping[str, Any]) -> Answer:
        """Changes what is there; once more does no harm.

        Args:
            method: ``PATCH`` or ``PUT``.
            path: What follows the host.
            content: What it is to be.

        Raises:
            ForgeError: The API refuses or cannot be reached.
        """
        return self._insist(method, path, content)

    def add(self, path: str, content: Mapping[str, Any]) -> Answer:
        """Adds something; once more would add it twice.

        Raises:
            UnsureError: It may have been done, and may not.
            ForgeError: The API refuses or cannot be reached.
        """
        return self._insist("POST", path, content, once=True)

    def entries(self, answer: Answer) -> list[dict[str, Any]]:
        """Returns the objects of a list.

        Raises:
            ForgeError: It is no such list.
        """
        try:
            found = answer.json()
        except ValueError as problem:
            raise self.nonsense("what is no JSON") from problem
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise self.nonsense("something else than a list of objects")
        return found

    def nonsense(self, what: str) -> ForgeError:
        """Returns the error for an answer that such an API does not give."""
        return ForgeError(
            f"the API answers with {what}", where=self._host, fix="Check the address of the API, and proxies."
        )

    def _insist(
        self, method: str, path: str, content: Mapping[str, Any] | None, *, once: bool = False
    ) -> Answer:
        """Asks until there is an answer that is worth having, as long as that makes sense."""
        waits = iter(_WAITS)
        while True:
            try:
                answer = self._answer(method, path, content)
            except OSError as problem:
                doubt, after, error = True, 0.0, self._unreachable(problem)
            else:
                if answer.status < HTTPStatus.MULTIPLE_CHOICES:
                    return answer
                doubt, after, error = answer.status in _PASSING, _after(answer), self._refused(answer)
                if not doubt and not _is_limited(answer):
                    raise error
            wait = next(waits, None)
            if wait is None or after > _LONGEST_WAIT:
                raise error
            self._pause(max(wait, after))
            if doubt and once:
                raise UnsureError(error.what, where=error.where, fix=error.fix)

    def _answer(self, method: str, path: str, content: Mapping[str, Any] | None) -> Answer:
        """Asks once.

        Raises:
            OSError: There is no answer.
            ForgeError: The answer is out of bounds.
        """
        data = None if content is None else json.dumps(content).encode()
        request = Request(self._origin + path, data=data, headers=self._headers, method=method)  # noqa: S310 -- http only
        try:
            try:
                response = self._opener.open(request, timeout=_SILENCE)
            except HTTPError as problem:  # an answer like others
                response = problem
            with response:
                return Answer(
                    status=response.status, headers=response.headers, content=self._content(response)
                )
        except URLError as problem:
            raise OSError(str(problem.reason)) from problem
        except HTTPException as problem:
            raise OSError(f"no HTTP: {type(problem).__name__}") from problem

    def _content(self, response: HTTPResponse | HTTPError) -> bytes:
        content = bytearray()
        until = time.monotonic() + _SECONDS
        while chunk := response.read1(_CHUNK):
            content += chunk
            if len(content) > _LARGEST:
                raise self.nonsense(f"more than {_LARGEST >> 20} MiB")
            if time.monotonic() > until:
                raise TimeoutError(f"its answer takes more than {_SECONDS:.0f} s")
        if getattr(response, "length", None):
            raise ConnectionError("the answer breaks off")
        return bytes(content)

    def _unreachable(self, problem: OSError) -> ForgeError:
        return ForgeError(
            f"the API cannot be reached: {self._public(problem.strerror or str(problem) or 'no answer')}",
            where=self._host,
            fix="Try again; if it stays so, check the address of the API, certificates and proxies.",
        )

    def _refused(self, answer: Answer) -> ForgeError:
        status = answer.status
        if status < HTTPStatus.BAD_REQUEST:
            other = urlsplit(answer.headers.get("Location", "")).netloc or "elsewhere"
            return ForgeError(
                f"the API sends us to {other}, and the token is for this host alone",
                where=self._host,
                fix="Correct the address of the API, or the name of the repository.",
            )
        if _is_limited(answer):
            return ForgeError(
                f"the API has no time for us: {self._said(answer)}",
                where=self._host,
                fix="Try again later; another token has a limit of its own.",
            )
        return ForgeError(
            f"the API says {self._said(answer)}",
            where=self._host,
            fix=self._fixes.get(status, "Try again later." if status in _PASSING else None),
        )

    def _said(self, answer: Answer) -> str:
        """Returns the status, and what the API says about it."""
        words = " ".join(_messages(answer))
        return f"{answer.status} {self._public(words)[:_SHOWN]}".strip()

    def _public(self, words: str) -> str:
        return words.replace(self._token, "***")


def token(environment: Mapping[str, str], name: str, *, fix: str) -> str:
    """Returns a token that may be sent.

    Args:
        environment: Variables by name.
        name: The variable that has it.
        fix: What to do if it has none.

    Raises:
        UsageError: There is none, or it could not be part of a header.
    """
    found = environment.get(name, "").strip()
    if not found:
        raise UsageError("there is no token", where=name, fix=fix)
    if not _TOKEN.fullmatch(found):
        raise UsageError("this is no token: it has blanks or other odd characters in it", where=name, fix=fix)
    return found


def _messages(answer: Answer) -> Iterator[str]:
    """Yields what an error says in the places where GitHub and GitLab say it."""
    try:
        said = answer.json()
    except ValueError:
        return
    for key in ("message", "error", "error_description"):
        if isinstance(said, dict) and key in said:
            yield str(said[key])


def _is_limited(answer: Answer) -> bool:
    """Returns whether too much was asked, and nothing done.

    GitHub says 403 as well, with a header that tells when to come back or that nothing is left
    (https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api).
    """
    headers = answer.headers
    return answer.status == HTTPStatus.TOO_MANY_REQUESTS or (
        answer.status == HTTPStatus.FORBIDDEN
        and ("Retry-After" in headers or headers.get("X-RateLimit-Remaining") == "0")
    )


def _after(answer: Answer) -> float:
    """Returns the seconds that the API wants us to wait: a number, or a date (RFC 9110, section 10.2.3)."""
    text = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}", text, re.ASCII):
        return float(text)
    try:
        return (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):  # none, or one without a zone
        return 0.0
