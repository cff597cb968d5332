"""Forges: stand-ins on this machine for the parts of GitHub's and GitLab's API that comments take."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "ghs_thisIsNoSecretButMustNeverBeShown"  # noqa: S105 -- the stand-in's

Kind = Literal["github", "gitlab"]

BOT: dict[str, dict[str, Any]] = {
    "github": {"login": "github-actions[bot]", "type": "Bot", "id": 41898282},
    "gitlab": {"id": 9, "bot": True},
}
"""Who the token is."""
ANN = {"login": "ann", "type": "User", "id": 1}
"""Somebody else."""


@dataclass(kw_only=True)
class Asked:
    """A request that the stand-in has got."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    content: Any


@dataclass(kw_only=True)
class Fault:
    """What goes wrong, once, with the next request of a method whose path ends in something."""

    method: str
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b'{"message": "out of order"}'
    end: str = ""
    after: bool = False
    """Whether what was asked for is done all the same."""
    way: Literal["answer", "drop", "cut", "hang"] = "answer"
    """An answer, none at all, half of one, or one that never comes."""


class StandIn:
    """One pull request, ``octo/app#7`` or ``42!7``, with its comments."""

    def __init__(self, kind: Kind, root: str) -> None:
        self.kind = kind
        self.root = root
        self.comments: list[dict[str, Any]] = []
        self.pulls: list[dict[str, Any]] = []
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self.closing = threading.Event()
        self.address = ""
        self.pages_of: int | None = None
        self.next_host: str | None = None

    @property
    def url(self) -> str:
        return f"{self.address}{self.root}"

    @property
    def list_path(self) -> str:
        one = "/repos/octo/app/issues/7/comments"
        return f"{self.root}{one if self.kind == 'github' else '/projects/42/merge_requests/7/notes'}"

    @property
    def changes(self) -> list[Asked]:
        return [one for one in self.asked if one.method != "GET" and not one.path.endswith("/graphql")]

    @property
    def environment(self) -> dict[str, str]:
        """What a job has."""
        if self.kind == "gitlab":
            return {
                "GITLAB_TOKEN": TOKEN,
                "CI_API_V4_URL": self.url,
                "CI_PROJECT_ID": "42",
                "CI_MERGE_REQUEST_IID": "7",
            }
        return {"GITHUB_TOKEN": TOKEN, "GITHUB_API_URL": self.url, "GITHUB_REPOSITORY": "octo/app"}

    def comment(self, body: str | None, author: dict[str, Any] | None = None, **more: Any) -> int:  # noqa: ANN401
        number = 100 + len(self.comments)
        who = author or BOT[self.kind]
        self.comments.append(
            {"id": number, "body": body, "user": who, "author": who, "system": False, **more}
        )
        return number

    def bodies(self) -> list[str]:
        return [one["body"] for one in self.comments]

    def answer(self, asked: Asked) -> tuple[int, dict[str, str], Any]:
        """Does what is asked, as the forge would."""
        given = asked.headers.get("authorization"), asked.headers.get("private-token")
        if given != ((f"Bearer {TOKEN}", None) if self.kind == "github" else (None, TOKEN)):
            return 401, {}, {"message": "Bad credentials"}
        path = asked.path
        if path == self.list_path:
            if asked.method == "POST":
                self.comment(asked.content["body"])
                return 201, {}, self.comments[-1]
            return self._page(asked)
        if path == f"{self.root}/user" and self.kind == "gitlab":
            return 200, {}, BOT["gitlab"]
        if path == f"{self.root.removesuffix('/v3')}/graphql":
            return 200, {}, {"data": {"viewer": {"login": BOT["github"]["login"]}}}
        if path == f"{self.root}/repos/octo/app/pulls":
            wanted = [one for one in self.pulls if one["label"] == asked.query["head"]]
            return 200, {}, wanted
        return self._change(asked)

    def _change(self, asked: Asked) -> tuple[int, dict[str, str], Any]:
        """Gives a comment other words; on GitLab, only to one's own."""
        folder = f"{self.root}/repos/octo/app/issues/comments" if self.kind == "github" else self.list_path
        method = "PATCH" if self.kind == "github" else "PUT"
        for one in self.comments:
            if asked.path == f"{folder}/{one['id']}" and asked.method == method:
                if self.kind == "gitlab" and one["author"] != BOT["gitlab"]:
                    return 403, {}, {"message": "403 Forbidden"}
                one["body"] = asked.content["body"]
                return 200, {}, one
        return 404, {}, {"message": "Not Found"}

    def _page(self, asked: Asked) -> tuple[int, dict[str, str], Any]:
        size, page = self.pages_of or int(asked.query["per_page"]), int(asked.query["page"])
        shown = self.comments[(page - 1) * size : page * size]
        more = page * size < len(self.comments)
        if self.kind == "gitlab":
            return 200, {"X-Next-Page": str(page + 1) if more else ""}, shown
        here = f"{self.next_host or self.address}{asked.path}?per_page={size}"
        links = [f'<{here}&page=1>; rel="first"'] + (
            [f'<{here}&page={page + 1}>; rel="next"'] if more else []
        )
        return 200, {"Link": ", ".join(links)}, shown


class _Handler(BaseHTTPRequestHandler):
    stand_in: StandIn

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = Asked(
            method=self.command,
            path=parts.path,
            query={name: values[0] for name, values in parse_qs(parts.query).items()},
            headers={name.lower(): value for name, value in self.headers.items()},
            content=json.loads(data) if data else None,
        )
        self.stand_in.asked.append(asked)
        for fault in self.stand_in.faults:
            if fault.method == asked.method and asked.path.endswith(fault.end):
                self.stand_in.faults.remove(fault)
                if fault.after:
                    self.stand_in.answer(asked)
                self._go_wrong(fault)
                return
        status, headers, content = self.stand_in.answer(asked)
        self._send(status, headers, json.dumps(content).encode())

    do_POST = do_PATCH = do_PUT = do_GET  # noqa: N815 -- http.server's names

    def _go_wrong(self, fault: Fault) -> None:
        if fault.way == "answer":
            self._send(fault.status, fault.headers, fault.content)
        elif fault.way == "cut":
            self.send_response(fault.status)
            self.send_header("Content-Length", str(len(fault.content) * 2))
            self.end_headers()
            self.wfile.write(fault.content)
        elif fault.way == "hang":
            self.stand_in.closing.wait()
        self.close_connection = True

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's name
        """Says nothing."""


@contextmanager
def stand_in(kind: Kind, root: str | None = None) -> Iterator[StandIn]:
    """Serves a stand-in on the loopback interface.

    Args:
        kind: Which forge.
        root: Where its API begins; None for where it does on the public one.
    """
    made = StandIn(kind, ("" if kind == "github" else "/api/v4") if root is None else root)
    handler = type("Handler", (_Handler,), {"stand_in": made})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = False
    made.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        made.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
