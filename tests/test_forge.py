"""Comments reach GitHub and GitLab, through whatever their APIs do; the token reaches nobody else."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
from forges import ANN, TOKEN, Fault, Kind, StandIn, stand_in

from slimpack.comment import marked
from slimpack.errors import ForgeError, UsageError
from slimpack.forge import Forge, github, gitlab, http, publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BODY = marked("**all is well**", "app")
OLD = marked("**all was well**", "app")


@pytest.fixture(params=["github", "github-enterprise", "gitlab"])
def forge(request: pytest.FixtureRequest) -> Iterator[StandIn]:
    kind: Kind = "gitlab" if request.param == "gitlab" else "github"
    with stand_in(kind, "/api/v3" if request.param == "github-enterprise" else None) as served:
        yield served


@pytest.fixture
def hub() -> Iterator[StandIn]:
    with stand_in("github") as served:
        yield served


@pytest.fixture
def lab() -> Iterator[StandIn]:
    with stand_in("gitlab") as served:
        yield served


def connected(forge: StandIn, waits: list[float] | None = None, **changes: str) -> Forge:
    environment = forge.environment | changes
    pause = ([] if waits is None else waits).append
    if forge.kind == "gitlab":
        return gitlab.connect(environment, pause=pause)
    found = github.connect(environment, number=7, pause=pause)
    assert found is not None
    return found


def say(
    forge: StandIn,
    body: str = BODY,
    *,
    quiet: bool = False,
    dry_run: bool = False,
    waits: list[float] | None = None,
    **changes: str,
) -> str:
    made = connected(forge, waits, **changes)
    return publish(made, body, key="app", quiet=quiet, dry_run=dry_run).action


def test_a_comment_is_created_then_left_alone_then_updated(forge: StandIn) -> None:
    forge.comment("Nice!", ANN)

    actions = [say(forge, OLD), say(forge, OLD), say(forge, BODY)]

    assert actions == ["create", "keep", "update"]
    assert forge.bodies() == ["Nice!", BODY]
    assert len(forge.changes) == 2


def test_nothing_is_written_in_a_dry_run_or_when_there_is_nothing_to_say(forge: StandIn) -> None:
    assert (say(forge, dry_run=True), say(forge, quiet=True)) == ("create", "skip")
    forge.comment(OLD)
    assert say(forge, dry_run=True) == "update"
    assert not forge.changes

    assert say(forge, quiet=True) == "update"
    assert forge.bodies() == [BODY]


def test_all_pages_are_searched_for_it(forge: StandIn) -> None:
    for number in range(230):
        forge.comment(f"comment {number}", ANN)
    forge.comment(OLD)

    assert say(forge) == "update"
    assert forge.bodies()[-1] == BODY
    pages = [one.query["page"] for one in forge.asked if one.path == forge.list_path and one.method == "GET"]
    assert pages == [str(number) for number in range(1, len(pages) + 1)]
    assert len(pages) == (3 if forge.kind == "github" else 5)


def test_a_marker_in_the_comment_of_somebody_else_is_not_ours(forge: StandIn) -> None:
    forge.comment(marked("forged", "app"), ANN)

    assert say(forge) == "create"
    assert forge.bodies() == [marked("forged", "app"), BODY]


def test_one_comment_for_each_key(forge: StandIn) -> None:
    forge.comment(marked("of another bundle", "web"))

    assert say(forge) == "create"
    assert forge.bodies() == [marked("of another bundle", "web"), BODY]


def test_notes_of_the_system_are_none_of_ours(lab: StandIn) -> None:
    lab.comment(OLD, system=True)

    assert say(lab) == "create"


def test_a_comment_without_words_or_author_is_passed_over(hub: StandIn) -> None:
    hub.comment(None)
    hub.comments[0]["user"] = None
    hub.comment(OLD)
    hub.comments[1]["user"] = None

    assert say(hub) == "create"


@pytest.mark.parametrize("content", [b'{"data": {"viewer": null}}', b"{", b"[]", b'"x"', b'{"errors": []}'])
def test_where_github_does_not_tell_who_we_are_any_bot_is_us(hub: StandIn, content: bytes) -> None:
    hub.comment(marked("forged", "app"), ANN)
    hub.comment(OLD)
    hub.faults.append(Fault(method="POST", end="/graphql", status=200, content=content))

    assert say(hub) == "update"
    assert hub.bodies() == [marked("forged", "app"), BODY]


def test_where_github_refuses_to_tell_who_we_are_any_bot_is_us(hub: StandIn) -> None:
    hub.comment(OLD)
    hub.faults.append(Fault(method="POST", end="/graphql", status=403))

    assert say(hub) == "update"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
@pytest.mark.parametrize("method", ["GET", "POST", "change"])
def test_what_may_pass_is_tried_again(forge: StandIn, status: int, method: str) -> None:
    if method == "change":
        forge.comment(OLD)
        method = "PATCH" if forge.kind == "github" else "PUT"
    forge.faults += [Fault(method=method, status=status, end="") for _ in range(2)]
    waits: list[float] = []

    say(forge, waits=waits)

    assert forge.bodies() == [BODY]
    assert len(waits) == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault(method="POST", end="s", status=502, after=True),
        Fault(method="POST", end="s", way="drop", after=True),
        Fault(method="POST", end="s", way="cut", status=201, after=True),
    ],
)
def test_a_comment_that_may_have_arrived_is_looked_for_before_another_is_written(
    forge: StandIn, fault: Fault
) -> None:
    forge.faults.append(fault)

    assert say(forge) == "keep"
    assert forge.bodies() == [BODY]


def test_tries_come_to_an_end(forge: StandIn) -> None:
    waits: list[float] = []
    forge.faults += [Fault(method="GET", status=503) for _ in range(50)]

    with pytest.raises(ForgeError, match="503 out of order") as caught:
        say(forge, waits=waits)

    assert caught.value.fix
    assert waits == [1.0, 4.0, 10.0]


def test_a_comment_that_never_arrives_is_tried_three_times(forge: StandIn) -> None:
    forge.faults += [Fault(method="POST", end="s", status=502) for _ in range(50)]

    with pytest.raises(ForgeError, match="502"):
        say(forge)

    assert len(forge.changes) == 3


def test_the_api_is_given_the_time_that_it_asks_for(forge: StandIn) -> None:
    waits: list[float] = []
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    forge.faults += [
        Fault(method="GET", status=429, headers={"Retry-After": "7"}),
        Fault(method="GET", status=403, headers={"Retry-After": later}),
        Fault(method="GET", status=429, headers={"Retry-After": "soon"}),
    ]

    assert say(forge, waits=waits) == "create"
    assert (waits[0], 50 < waits[1] < 61, waits[2]) == (7.0, True, 10.0)


def test_nothing_left_of_a_limit_is_something_that_may_pass(forge: StandIn) -> None:
    none_left = {"X-RateLimit-Remaining": "0"}
    forge.faults += [Fault(method=method, status=403, headers=none_left) for method in ("GET", "POST")]

    assert say(forge) == "create"
    assert len(forge.changes) == 2


@pytest.mark.parametrize(
    ("status", "headers"),
    [(429, {"Retry-After": "3600"}), (403, {"Retry-After": "3600"}), (503, {"Retry-After": "3600"})],
)
def test_a_job_does_not_wait_for_an_hour(forge: StandIn, status: int, headers: dict[str, str]) -> None:
    waits: list[float] = []
    forge.faults.append(Fault(method="GET", status=status, headers=headers))

    with pytest.raises(ForgeError, match=str(status)) as caught:
        say(forge, waits=waits)

    assert waits == []
    assert "again later" in str(caught.value.fix)


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "token"), (403, "pull-requests: write"), (404, "repository"), (410, "locked"), (422, "text")],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refusal_by_github_tells_what_to_do_and_is_final(
    hub: StandIn, method: str, status: int, words: str
) -> None:
    content = b'{"message": "Resource not accessible by integration"}'
    hub.faults.append(Fault(method=method, status=status, content=content))
    waits: list[float] = []

    with pytest.raises(ForgeError, match=f"{status} Resource not accessible by integration") as caught:
        say(hub, waits=waits)

    assert words in str(caught.value.fix)
    assert waits == []


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "GITLAB_TOKEN"), (403, "role"), (404, "member"), (422, "text")],
)
def test_a_refusal_by_gitlab_tells_what_to_do(lab: StandIn, status: int, words: str) -> None:
    content = b'{"error": "insufficient_scope", "error_description": "needs api"}'
    lab.faults.append(Fault(method="GET", status=status, content=content))

    with pytest.raises(ForgeError, match=f"{status} insufficient_scope needs api") as caught:
        say(lab)

    assert words in str(caught.value.fix)


def test_a_token_that_is_wrong_is_not_shown(forge: StandIn) -> None:
    wrong = f"{TOKEN}x"
    forge.faults.append(
        Fault(method="GET", status=401, content=json.dumps({"message": f"no {wrong}"}).encode())
    )

    with pytest.raises(ForgeError) as caught:
        say(forge, GITHUB_TOKEN=wrong, GITLAB_TOKEN=wrong)

    assert TOKEN not in f"{caught.value} {caught.value.fix}"
    assert "401 no ***" in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_redirect_is_not_followed(forge: StandIn, method: str, status: int) -> None:
    with stand_in(forge.kind) as elsewhere:
        to = f"{elsewhere.address}/there"
        forge.faults.append(Fault(method=method, end="s", status=status, headers={"Location": to}))

        with pytest.raises(ForgeError, match="sends us to 127") as caught:
            say(forge)

        assert elsewhere.asked == []
    assert "address of the API" in str(caught.value.fix)


def test_a_link_to_another_host_gets_no_token(hub: StandIn) -> None:
    with stand_in("github") as elsewhere:
        hub.next_host = elsewhere.address
        hub.pages_of = 2
        for number in range(5):
            hub.comment(f"comment {number}", ANN)
        hub.comment(OLD)

        assert say(hub) == "update"
        assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>sign in</html>", "no JSON"),
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"message": "hello"}', "list of objects"),
        (b"[1, null]", "list of objects"),
        (b'[{"id": "1", "body": "x"}]', "without a number"),
        (b'[{"id": 1, "body": {"a": 1}}]', "without a number"),
    ],
)
def test_what_no_such_api_says_is_one_clear_error(forge: StandIn, content: bytes, words: str) -> None:
    forge.faults.append(Fault(method="GET", status=200, content=content))

    with pytest.raises(ForgeError, match=words):
        say(forge)


def test_an_endless_answer_is_cut_off(forge: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_LARGEST", 2**16)
    forge.faults.append(Fault(method="GET", status=200, content=b" " * 2**18))

    with pytest.raises(ForgeError, match="more than 0 MiB"):
        say(forge)


def test_endless_pages_come_to_an_end(forge: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github, "_PAGES", 3)
    monkeypatch.setattr(gitlab, "_PAGES", 3)
    forge.pages_of = 1
    for _ in range(5):
        forge.comment("Nice!", ANN)

    with pytest.raises(ForgeError, match="more than 3 pages"):
        say(forge)


@pytest.mark.parametrize("next_page", ["0", "1", "-1", "x", "99999999999", ""])
def test_a_next_page_that_is_none_is_the_last(forge: StandIn, next_page: str) -> None:
    link = f'<{forge.address}/x?page={next_page}>; rel="next"'
    headers = {"X-Next-Page": next_page, "Link": link}
    forge.faults.append(Fault(method="GET", status=200, headers=headers, content=b"[]"))

    assert say(forge) == "create"


@pytest.mark.parametrize("way", ["drop", "cut", "hang"])
def test_an_answer_that_does_not_come_is_asked_for_again(
    forge: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    way: Any,  # noqa: ANN401 -- one of three words
) -> None:
    monkeypatch.setattr(http, "_SILENCE", 0.2)
    forge.faults.append(Fault(method="GET", status=200, way=way))

    assert say(forge) == "create"


@pytest.mark.parametrize("status", [200, 201, 404, 500])
def test_an_answer_that_is_no_http_is_one_clear_error(forge: StandIn, status: int) -> None:
    broken = {"Transfer-Encoding": "chunked"}
    forge.faults += [Fault(method="GET", status=status, headers=broken, content=b"zz\r\n") for _ in range(4)]

    with pytest.raises(ForgeError, match="cannot be reached: no HTTP: IncompleteRead"):
        say(forge)


def test_an_answer_that_trickles_is_given_up(forge: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_SECONDS", -1.0)

    with pytest.raises(ForgeError, match="cannot be reached: its answer takes more than"):
        say(forge)


def test_an_api_that_is_not_there_is_one_clear_error() -> None:
    with stand_in("gitlab") as gone:
        pass

    with pytest.raises(ForgeError, match="cannot be reached") as caught:
        say(gone)

    assert caught.value.where == gone.address.removeprefix("http://")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GITHUB_TOKEN", ""),
        ("GITHUB_TOKEN", "two words"),
        ("GITHUB_TOKEN", "line\nX-Evil: 1"),
        ("GITHUB_TOKEN", "tökén"),
        ("GITHUB_API_URL", "file:///etc/passwd"),
        ("GITHUB_API_URL", "https://"),
        ("GITHUB_API_URL", "https://user:secret@host"),
        ("GITHUB_API_URL", "api.github.com"),
        ("GITHUB_REPOSITORY", ""),
        ("GITHUB_REPOSITORY", "octo"),
        ("GITHUB_REPOSITORY", "octo/../../user"),
        ("GITHUB_REPOSITORY", "octo/app?x=1"),
        ("GITLAB_TOKEN", ""),
        ("CI_API_V4_URL", ""),
        ("CI_PROJECT_ID", ""),
        ("CI_MERGE_REQUEST_IID", ""),
        ("CI_MERGE_REQUEST_IID", "7/../8"),
    ],
)
def test_a_variable_that_says_nothing_useful_is_named(variable: str, value: str) -> None:
    forge = StandIn("gitlab" if variable.startswith(("CI_", "GITLAB")) else "github", "/api/v4")
    forge.address = "https://forge.example"

    with pytest.raises(UsageError) as caught:
        connected(forge, None, **{variable: value})

    assert caught.value.where == variable
    assert caught.value.fix
    assert "secret" not in str(caught.value)


def test_a_merge_request_from_a_fork_is_one_of_the_project_that_it_goes_to(lab: StandIn) -> None:
    say(lab, CI_PROJECT_ID="43", CI_MERGE_REQUEST_PROJECT_ID="42")

    assert lab.bodies() == [BODY]


def test_the_path_of_a_project_stays_one_part_of_the_address(lab: StandIn) -> None:
    made = gitlab.connect(lab.environment, project="group/app", number=7)

    with pytest.raises(ForgeError, match="404"):
        list(made.comments())

    assert lab.asked[0].path == "/api/v4/projects/group%2Fapp/merge_requests/7/notes"


def event(folder: Path, content: object) -> dict[str, str]:
    path = folder / "event.json"
    path.write_text(json.dumps(content))
    return {"GITHUB_EVENT_PATH": str(path)}


RUN = {
    "workflow_run": {
        "head_sha": "abc",
        "head_branch": "bigger",
        "head_repository": {"full_name": "ann/app", "owner": {"login": "ann"}},
        "pull_requests": [],
    }
}


def pull(number: int, *, commit: str = "abc", repository: str | None = "ann/app") -> dict[str, Any]:
    place = None if repository is None else {"full_name": repository}
    return {"number": number, "label": "ann:bigger", "head": {"sha": commit, "repo": place}}


@pytest.mark.parametrize(
    "content",
    [
        {"pull_request": {"number": 7}},
        {"issue": {"number": 7, "pull_request": {"url": "x"}}},
    ],
)
def test_the_pull_request_is_that_of_the_event(hub: StandIn, tmp_path: Path, content: object) -> None:
    made = github.connect(hub.environment | event(tmp_path, content))

    assert made is not None
    assert made.place == "octo/app#7"


def test_the_pull_request_of_a_fork_is_the_open_one_that_has_the_commit_of_the_run(
    hub: StandIn, tmp_path: Path
) -> None:
    hub.pulls = [
        pull(5, commit="older"),
        pull(6, repository="eve/app"),
        pull(8, repository=None),
        pull(7),
        {**pull(9), "label": "eve:bigger"},
    ]

    made = github.connect(hub.environment | event(tmp_path, RUN))

    assert made is not None
    assert made.place == "octo/app#7"


def test_a_pull_request_that_has_moved_on_is_none(hub: StandIn, tmp_path: Path) -> None:
    hub.pulls = [pull(7, commit="newer")]

    assert github.connect(hub.environment | event(tmp_path, RUN)) is None


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        {"ref": "refs/heads/main"},
        {"issue": {"number": 7}},
        {"pull_request": None},
        {"pull_request": {"number": "7"}},
        {"workflow_run": {"head_sha": "abc"}},
    ],
)
def test_an_event_about_no_pull_request_is_refused(hub: StandIn, tmp_path: Path, content: object) -> None:
    with pytest.raises(UsageError, match="runs for no pull request"):
        github.connect(hub.environment | event(tmp_path, content))


def test_an_event_that_cannot_be_read_is_refused(hub: StandIn, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for name in ("bad.json", "deep.json", "none.json"):
        with pytest.raises(UsageError, match="the event cannot be read"):
            github.connect(hub.environment | {"GITHUB_EVENT_PATH": str(tmp_path / name)})
