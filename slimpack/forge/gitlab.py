"""GitLab: the notes of a merge request (REST API, version 4: notes, user)."""

from __future__ import annotations

import re
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from slimpack.comment import Comment
from slimpack.errors import UsageError
from slimpack.forge.http import Api, token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from slimpack.forge.http import Answer

_PAGES = 200
"""Pages of 50 notes, those of the system among them; GitLab allows 5,000 notes."""

_MAKE_ONE = (
    "Make a project access token with the role Reporter and the scope api, and store it as the masked variable "
    "GITLAB_TOKEN; CI_JOB_TOKEN may not write notes."
)

_FIXES = {
    401: _MAKE_ONE,
    403: "The token needs the scope api and at least the role Reporter in the project of the merge request.",
    404: "Check the project and the number; a token that is no member of a private project gets this as well.",
    422: "GitLab does not take this text.",
}


class GitLab:
    """A merge request on GitLab."""

    longest = 1_000_000
    """Characters that a note may have."""

    def __init__(self, api: Api, *, root: str, project: str, number: int) -> None:
        """Takes what the other places are made of.

        Args:
            api: The API, as ``connect`` makes it.
            root: What comes before ``/projects`` in a path.
            project: Number or path of the project.
            number: The merge request's in its project.
        """
        self._api = api
        self._root = root
        self._notes = f"{root}/projects/{quote(project, safe='')}/merge_requests/{number}/notes"
        self.place = f"{project}!{number}"

    def comments(self) -> Iterator[Comment]:
        """Yields the notes of people and bots, the oldest first.

        Raises:
            ForgeError: GitLab refuses, or there is no end to them.
        """
        page = 1
        while page:
            if page > _PAGES:
                raise self._api.nonsense(f"more than {_PAGES} pages of notes")
            query: dict[str, str | int] = {
                "per_page": 50,
                "page": page,
                "sort": "asc",
                "order_by": "created_at",
            }
            answer = self._api.read(self._notes, query)
            for entry in self._api.entries(answer):
                if entry.get("system") is not True:
                    yield self._comment(entry)
            page = _next_page(answer, page)

    def create(self, body: str) -> None:
        """Writes a note."""
        self._api.add(self._notes, {"body": body})

    def update(self, comment: Comment, body: str) -> None:
        """Gives a note other words."""
        self._api.change("PUT", f"{self._notes}/{comment.id}", {"body": body})

    def _comment(self, entry: dict[str, Any]) -> Comment:
        author, body, number = entry.get("author"), entry.get("body"), entry.get("id")
        if not isinstance(number, int) or not isinstance(body, str):
            raise self._api.nonsense("a note without a number or a body")
        own = isinstance(author, dict) and author.get("id") == self._user
        return Comment(id=number, body=body, own=own)

    @cached_property
    def _user(self) -> int:
        """The number of the token's user; tokens of projects have users of their own."""
        try:
            user = self._api.read(f"{self._root}/user").json()
        except ValueError as problem:
            raise self._api.nonsense("what is no JSON") from problem
        number = user.get("id") if isinstance(user, dict) else None
        if not isinstance(number, int):
            raise self._api.nonsense("no number of the token's user")
        return number


def connect(
    environment: Mapping[str, str],
    *,
    project: str | None = None,
    number: int | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> GitLab:
    """Returns the merge request that a job runs for.

    Args:
        environment: The job's variables.
        project: Number or path; None for that of the merge request, which is not the job's own for a fork.
        number: The merge request; None for the job's.
        pause: Waits for so many seconds.

    Raises:
        UsageError: The variables do not tell the API, the token, the project or the merge request.
    """
    secret = token(environment, "GITLAB_TOKEN", fix=_MAKE_ONE)
    url = environment.get("CI_API_V4_URL", "")
    api = Api(
        url=url,
        where="CI_API_V4_URL",
        token=secret,
        headers={"PRIVATE-TOKEN": secret},
        fixes=_FIXES,
        pause=pause,
    )
    place = project or environment.get("CI_MERGE_REQUEST_PROJECT_ID") or environment.get("CI_PROJECT_ID", "")
    if not place:
        raise UsageError("there is no project", where="CI_PROJECT_ID", fix="Name it with --project.")
    if number is None:
        given = environment.get("CI_MERGE_REQUEST_IID", "")
        if not re.fullmatch(r"\d{1,18}", given, re.ASCII):
            raise UsageError(
                "this job runs for no merge request",
                where="CI_MERGE_REQUEST_IID",
                fix="Run it in merge request pipelines, or name one with --merge-request NUMBER.",
            )
        number = int(given)
    return GitLab(api, root=urlsplit(url).path.rstrip("/"), project=place, number=number)


def _next_page(answer: Answer, page: int) -> int:
    """Returns the number of the next page; 0 if this was the last."""
    number = answer.headers.get("X-Next-Page", "")
    return int(number) if re.fullmatch(r"\d{1,9}", number, re.ASCII) and int(number) > page else 0
