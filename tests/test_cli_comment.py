"""``slimpack comment``: what it posts, what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import jsonschema
import pytest
from forges import TOKEN, Fault, StandIn, stand_in

from slimpack.cli import program

if TYPE_CHECKING:
    from collections.abc import Iterator


class Run(Protocol):
    """Runs slimpack in this process; returns its exit code, and what it wrote to stdout and stderr."""

    def __call__(self, *arguments: str) -> tuple[int, str, str]: ...


@pytest.fixture(params=["github", "gitlab"])
def forge(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    for name in list(os.environ):
        if name.startswith(("GITHUB_", "GITLAB_", "CI_", "SLIMPACK_")):
            monkeypatch.delenv(name)
    with stand_in(request.param) as served:
        for name, value in served.environment.items():
            monkeypatch.setenv(name, value)
        yield served


@pytest.fixture
def comment(
    forge: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    monkeypatch.chdir(tmp_path)
    for name, size in (("base", 1000), ("head", 2000), ("nearly", 1001)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "app.py").write_text("#" * size)
    number = ["--pull-request", "7"] if forge.kind == "github" else []

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["slimpack", "comment", forge.kind, *number, *arguments])
        return program.run(), *capsys.readouterr()

    return call


def test_a_bundle_is_reviewed_and_the_comment_is_there_once(comment: Run, forge: StandIn) -> None:
    first = comment("base")
    second = comment("head", "--baseline", "base")
    third = comment("head", "--baseline", "base")

    place = "octo/app#7" if forge.kind == "github" else "42!7"
    assert first == (0, f"{place}: the comment is created\n", "")
    assert second == (0, f"{place}: the comment is updated\n", "")
    assert third == (0, f"{place}: the comment is up to date\n", "")
    (body,) = forge.bodies()
    assert body.startswith("<!-- slimpack:slimpack -->\n**✅ head passes")
    assert "| Package | Base | PR |" in body


def test_what_fails_is_commented_on_and_is_no_failure_of_the_comment(comment: Run, forge: StandIn) -> None:
    code, _, _ = comment("head", "--max-total", "1500B", "--key", "api")

    assert code == 0
    (body,) = forge.bodies()
    assert body.startswith("<!-- slimpack:api -->\n**❌ head fails")
    assert "SLP001" in body


def test_little_change_begins_no_comment_and_updates_the_one_that_is_there(
    comment: Run, forge: StandIn
) -> None:
    little = ("nearly", "--baseline", "base", "--threshold", "1%")

    assert comment(*little)[1].endswith(": the comment is not worth writing\n")
    assert not forge.changes
    comment("head", "--baseline", "base", "--threshold", "1%")
    assert comment(*little)[1].endswith(": the comment is updated\n")
    assert "nearly passes" in forge.bodies()[0]


def test_a_text_that_is_ready_is_posted_as_it_is(comment: Run, forge: StandIn, tmp_path: Path) -> None:
    (tmp_path / "body.md").write_text("**ready** ✅\n", encoding="utf-8")

    code, _, _ = comment("--body", "body.md")

    assert code == 0
    assert forge.bodies() == ["<!-- slimpack:slimpack -->\n**ready** ✅"]


def test_a_dry_run_shows_the_comment_and_what_would_become_of_it(
    comment: Run, forge: StandIn, tmp_path: Path
) -> None:
    (tmp_path / "body.md").write_text("ready")
    shown = "<!-- slimpack:slimpack -->\nready\n"

    code, out, err = comment("--body", "body.md", "--dry-run")

    assert (code, out) == (0, shown)
    assert err.endswith(": the comment would be created\n")
    comment("--body", "body.md")
    assert comment("--body", "body.md", "--dry-run")[2].endswith(": the comment is up to date\n")
    assert len(forge.changes) == 1


def test_a_dry_run_without_a_token_shows_the_comment(
    comment: Run, forge: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "GITHUB_TOKEN" if forge.kind == "github" else "GITLAB_TOKEN"
    monkeypatch.delenv(name)
    (tmp_path / "body.md").write_text("ready")

    code, out, err = comment("--body", "body.md", "--dry-run")

    assert (code, out) == (0, "<!-- slimpack:slimpack -->\nready\n")
    assert f"{name}: there is no token" in err
    assert forge.asked == []
    assert comment("--body", "body.md")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "content", "words"),
    [
        (("--body", "body.md", "head"), "ready", "goes without a bundle"),
        (("--body", "body.md", "--threshold", "1%"), "ready", "goes without --threshold"),
        (("--body", "body.md"), " \n", "there is nothing in it"),
        (("--body", "body.md"), "x" * 1_000_001, "a comment has to stay below"),
        (("--body", "none.md"), "", "cannot be read"),
        (("--body", "head"), "", "cannot be read"),
        (("--body", ""), "", "the path is empty"),
        (("head", "--key", "a-->"), "", "--key: 'a-->' is no key"),
        (("head", "--threshold", "much"), "", "--threshold"),
        (("none",), "", "none"),
        ((), "", "no manifest here"),
    ],
)
def test_what_cannot_be_a_comment_is_refused_before_anybody_is_asked(  # noqa: PLR0917 -- the table's columns
    comment: Run, forge: StandIn, tmp_path: Path, arguments: tuple[str, ...], content: str, words: str
) -> None:
    (tmp_path / "body.md").write_text(content)

    code, out, err = comment(*arguments)

    assert (code, out) == (2, "")
    assert words in err
    assert forge.asked == []


def test_a_text_that_is_no_text_is_refused(comment: Run, tmp_path: Path) -> None:
    (tmp_path / "body.md").write_bytes(b"\xff\xfe")

    assert comment("--body", "body.md")[2].startswith("error: body.md: no UTF-8")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_one_error_with_its_fix_and_without_the_token(
    comment: Run, forge: StandIn, status: int
) -> None:
    forge.faults.append(Fault(method="GET", status=status, content=b'{"message": "\\u001b[31mno"}'))

    code, out, err = comment("head", "--debug")

    assert (code, out) == (2, "")
    assert f"the API says {status}" in err
    assert "\n  fix: " in err
    assert TOKEN not in err
    assert "\x1b" not in err.rpartition("error: ")[2]


@pytest.mark.parametrize("forge", ["github"], indirect=True)
@pytest.mark.usefixtures("comment")
def test_a_run_whose_pull_request_has_moved_on_is_nothing_to_fail_for(
    forge: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "event.json").write_text(
        '{"workflow_run": {"head_sha": "abc", "head_branch": "b", '
        '"head_repository": {"full_name": "ann/app", "owner": {"login": "ann"}}}}'
    )
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(tmp_path / "event.json"))
    monkeypatch.setattr(sys, "argv", ["slimpack", "comment", "github", "head"])

    assert program.run() == 0

    assert "no open pull request has the commit of this run any more" in capsys.readouterr().err
    assert not forge.changes


def test_the_json_tells_what_became_of_the_comment_and_follows_its_schema(
    comment: Run, forge: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "body.md").write_text("ready")
    published = json.loads((Path(__file__).parent.parent / "docs/comment.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(published)

    dry, done = (
        json.loads(comment("--body", "body.md", "--json", *more)[1]) for more in (("--dry-run",), ())
    )
    monkeypatch.delenv("GITHUB_TOKEN" if forge.kind == "github" else "GITLAB_TOKEN")
    alone = json.loads(comment("--body", "body.md", "--json", "--dry-run")[1])

    for told in (dry, done, alone):
        jsonschema.validate(told, published)
        assert told["body"] == "<!-- slimpack:slimpack -->\nready"
    place = "octo/app#7" if forge.kind == "github" else "42!7"
    assert [(one["place"], one["action"], one["dry_run"]) for one in (dry, done, alone)] == [
        (place, "create", True),
        (place, "create", False),
        (None, None, True),
    ]
    assert "there is no token" in alone["reason"]


def test_quiet_says_nothing_and_comments_all_the_same(comment: Run, forge: StandIn, tmp_path: Path) -> None:
    (tmp_path / "body.md").write_text("ready")

    assert comment("--body", "body.md", "--quiet") == (0, "", "")
    assert len(forge.bodies()) == 1
