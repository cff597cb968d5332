"""GitHub: the comments of a pull request (REST API, version 2022-11-28: issues, comments)."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from slimpack.comment import Comment
from slimpack.errors import ForgeError, UsageError
from slimpack.forge.http import Api, token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from slimpack.forge.http import Answer

_API = "https://api.github.com"

_LARGEST_EVENT = 64 * 2**20
"""Bytes beyond which a file is no event; GitHub sends none of more than 25 MB."""

_PAGES = 100
"""Pages of 100 comments; GitHub allows 2,500 comments."""

_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
_BOT = "[bot]"

_FIXES = {
    401: "Pass a token that is valid, such as `GITHUB_TOKEN: ${{ github.token }}` in the step's env.",
    403: "Give the job `permissions: pull-requests: write`. A pull request from a fork has a token that may only read: "
    "see docs/ci.md for the two workflows that it takes.",
    404: "Check the repository and the number, and give the job `permissions: pull-requests: write`.",
    410: "The conversation is locked or gone: unlock it, or do without the comment.",
    422: "GitHub does not take this text: it may be too long, or the pull request locked.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a commit was pushed to; what tells a pull request that comes from a fork."""

    owner: str
    """Who owns the repository."""
    repository: str
    """Its full name: ``octo/app``."""
    branch: str
    """The branch."""
    commit: str
    """The commit."""


class GitHub:
    """A pull request on GitHub."""

    longest = 65_536
    """Characters that a comment may have."""

    def __init__(self, api: Api, *, root: str, repository: str, number: int) -> None:
        """Takes what the other places are made of.

        Args:
            api: The API, as ``connect`` makes it.
            root: What comes before ``/repos`` in a path; empty but for GitHub Enterprise Server.
            repository: Its full name.
            number: The pull request's.
        """
        self._api = api
        self._root = root
        self._repository = f"{root}/repos/{repository}"
        self._number = number
        self.place = f"{repository}#{number}"

    def comments(self) -> Iterator[Comment]:
        """Yields the comments that are there, the oldest first.

        Raises:
            ForgeError: GitHub refuses, or there is no end to them.
        """
        page = 1
        while page:
            if page > _PAGES:
                raise self._api.nonsense(f"more than {_PAGES} pages of comments")
            query: dict[str, str | int] = {"per_page": 100, "page": page}
            answer = self._api.read(f"{self._repository}/issues/{self._number}/comments", query)
            for entry in self._api.entries(answer):
                yield self._comment(entry)
            page = _next_page(answer, page)

    def create(self, body: str) -> None:
        """Writes a comment."""
        self._api.add(f"{self._repository}/issues/{self._number}/comments", {"body": body})

    def update(self, comment: Comment, body: str) -> None:
        """Gives a comment other words."""
        self._api.change("PATCH", f"{self._repository}/issues/comments/{comment.id}", {"body": body})

    def _comment(self, entry: dict[str, Any]) -> Comment:
        user = entry.get("user")
        author = user if isinstance(user, dict) else {}  # null once the account is gone
        body, number = entry.get("body"), entry.get("id")
        if not isinstance(number, int) or not isinstance(body, str | None):
            raise self._api.nonsense("a comment without a number")
        return Comment(id=number, body=body or "", own=self._is_own(author))

    def _is_own(self, author: dict[str, Any]) -> bool:
        """Returns whether the token's user has written something; if GitHub does not tell who it is, any bot may."""
        login, bot = str(author.get("login")), author.get("type") == "Bot"
        if self._login is None:
            return bot
        return login == self._login or (bot and login.removesuffix(_BOT) == self._login.removesuffix(_BOT))

    @cached_property
    def _login(self) -> str | None:
        """Who the token is; None if GitHub does not tell."""
        # ``GET /user`` is closed to the tokens of jobs, GraphQL is not.
        # GitHub Enterprise Server has /api/v3 and /api/graphql, github.com the one at its top
        try:
            said = self._api.ask(
                f"{self._root.removesuffix('/v3')}/graphql", {"query": "query { viewer { login } }"}
            ).json()
            return str(said["data"]["viewer"]["login"])
        except (ForgeError, KeyError, TypeError, ValueError):
            return None


def connect(
    environment: Mapping[str, str],
    *,
    repository: str | None = None,
    number: int | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> GitHub | None:
    """Returns the pull request that a job runs for; None if the one it has run for has moved on, or is closed.

    Args:
        environment: The job's variables.
        repository: Full name; None for the job's own.
        number: The pull request; None for that of the event.
        pause: Waits for so many seconds.

    Raises:
        UsageError: The variables do not tell the repository, the token or the pull request.
        ForgeError: GitHub refuses, or cannot be reached.
    """
    secret = token(environment, "GITHUB_TOKEN", fix=_FIXES[401])
    name = repository or environment.get("GITHUB_REPOSITORY", "")
    if not _REPOSITORY.fullmatch(name):
        raise UsageError(
            f"{name!r} is no repository" if name else "there is no repository",
            where="--repository" if repository else "GITHUB_REPOSITORY",
            fix="Name it with --repository OWNER/NAME.",
        )
    url = environment.get("GITHUB_API_URL") or _API
    api = Api(
        url=url,
        where="GITHUB_API_URL",
        token=secret,
        headers={
            "Authorization": f"Bearer {secret}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        },
        fixes=_FIXES,
        pause=pause,
    )
    root = urlsplit(url).path.rstrip("/")
    if number is None:
        asked = _asked(environment.get("GITHUB_EVENT_PATH", ""))
        number = asked if isinstance(asked, int) else _looked_up(api, f"{root}/repos/{name}/pulls", asked)
    return None if number is None else GitHub(api, root=root, repository=name, number=number)


def _asked(path: str) -> int | Source:
    """Returns the pull request of an event, or what it is to be found by.

    Raises:
        UsageError: The event is about none.
    """
    event = _event(Path(path)) if path else {}
    for kind in ("pull_request", "issue"):
        number = _at(event, kind, "number")
        if isinstance(number, int) and (kind == "pull_request" or _at(event, kind, "pull_request")):
            return number
    run = event.get("workflow_run")
    words = {
        "owner": _at(run, "head_repository", "owner", "login"),
        "repository": _at(run, "head_repository", "full_name"),
        "branch": _at(run, "head_branch"),
        "commit": _at(run, "head_sha"),
    }
    if all(isinstance(word, str) and word for word in words.values()):
        return Source(**words)
    raise UsageError(
        "this job runs for no pull request",
        where="GITHUB_EVENT_PATH",
        fix="Run it on pull_request or workflow_run, or name one with --pull-request NUMBER.",
    )


def _event(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_EVENT:
            raise UsageError("too large for an event", where=str(path), fix="Check GITHUB_EVENT_PATH.")
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "it is no JSON"
        raise UsageError(
            f"the event cannot be read: {why}", where=str(path), fix="Check GITHUB_EVENT_PATH."
        ) from problem
    return found if isinstance(found, dict) else {}


def _at(value: object, *keys: str) -> Any:  # noqa: ANN401 -- whatever is there
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _looked_up(api: Api, path: str, source: Source) -> int | None:
    """Returns the open pull request of a commit: for a fork, the event of a finished run does not name it.

    What is asked for and compared comes from GitHub, not from what the run has left behind.
    """
    answer = api.read(path, {"state": "open", "head": f"{source.owner}:{source.branch}", "per_page": 100})
    for entry in api.entries(answer):
        same = (_at(entry, "head", "sha"), _at(entry, "head", "repo", "full_name"))
        if same == (source.commit, source.repository) and isinstance(entry.get("number"), int):
            return int(entry["number"])
    return None


def _next_page(answer: Answer, page: int) -> int:
    """Returns the number of the next page; 0 if this was the last.

    Only the number is taken from the link (RFC 8288): whatever host it names gets no token.
    """
    for link in answer.headers.get("Link", "").split(","):
        found = re.fullmatch(r"\s*<([^>]*)>(.*)", link)
        if found and re.search(r';\s*rel="?next"?\s*(?:;|$)', found[2]):
            number = parse_qs(urlsplit(found[1]).query).get("page", [""])[0]
            return int(number) if re.fullmatch(r"\d{1,9}", number, re.ASCII) and int(number) > page else 0
    return 0
