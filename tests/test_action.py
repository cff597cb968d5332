"""The action and the template for GitLab do in a job what docs/ci.md says; and real linters have nothing to say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from forges import ANN, TOKEN, StandIn, stand_in
from jobs import ROOT, Job, load
from shop import RUNTIME, write_wheel

from slimpack.output import failed_name

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTS = Path(sys.executable).parent
WORKFLOWS = sorted((ROOT / "examples" / "ci" / "github").glob("*.yml"))
INPUTS = (
    "REQUIREMENTS",
    "BUNDLE",
    "BUILD_OPTIONS",
    "BUDGET_OPTIONS",
    "EXIT_ZERO",
    "BASELINE",
    "BASE_COMMIT",
    "BASE_REF",
    "KEY",
    "THRESHOLD",
)
OPTIONS = f"--runtime {RUNTIME}\n  --no-verify\n\n--bytecode none\n"


def program(name: str) -> str:
    """Returns where a program lies, beside Python or on the PATH."""
    found = shutil.which(name, path=f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def lint(*command: str | Path) -> None:
    done = subprocess.run(
        [program(str(command[0])), *command[1:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-actions", [ROOT / "action.yml"]),
        ("vendor.github-workflows", WORKFLOWS),
        ("vendor.gitlab-ci", [ROOT / "templates/slimpack.yml", ROOT / "examples/ci/gitlab/.gitlab-ci.yml"]),
    ],
    ids=["action", "workflows", "gitlab"],
)
def test_the_schemas_of_the_forges_hold(schema: str, files: list[Path]) -> None:
    lint("check-jsonschema", "--builtin-schema", schema, *files)


def test_zizmor_finds_nothing_that_an_attacker_could_use() -> None:
    lint("zizmor", "--offline", "--quiet", "--persona", "auditor", ROOT / "action.yml", *WORKFLOWS)


def test_actionlint_finds_nothing_and_knows_the_inputs(tmp_path: Path) -> None:
    shutil.copy(ROOT / "action.yml", tmp_path)
    folder = tmp_path / ".github" / "workflows"
    for made in (tmp_path / ".git", folder):
        made.mkdir(parents=True)
    for workflow in WORKFLOWS:
        text = workflow.read_text(encoding="utf-8")
        (folder / workflow.name).write_text(re.sub(r"slimpack/slimpack@0+", "./", text), encoding="utf-8")

    lint("actionlint", *sorted(folder.iterdir()))


def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    lint("shellcheck", ROOT / "ci" / "action.sh")
    template = load(ROOT / "templates" / "slimpack.yml")
    for job in ("slimpack", "slimpack-comment"):
        script = tmp_path / f"{job}.sh"
        script.write_text("#!/bin/sh\n" + "\n".join(template[job]["script"]) + "\n")
        lint("shellcheck", script)


def test_pre_commit_takes_the_hooks() -> None:
    lint("pre-commit", "validate-manifest", ROOT / ".pre-commit-hooks.yaml")
    lint("pre-commit", "validate-config", ROOT / "examples/ci/pre-commit/.pre-commit-config.yaml")


def test_no_input_is_pasted_into_code_and_other_actions_are_pinned() -> None:
    steps = load(ROOT / "action.yml")["runs"]["steps"]
    for workflow in WORKFLOWS:
        for job in load(workflow)["jobs"].values():
            steps += job["steps"]

    assert len(steps) > 10
    assert not [step for step in steps if "${{" in step.get("run", "")]
    for step in steps:
        if "uses" in step:
            _, _, commit = step["uses"].partition("@")
            assert len(commit) == 40


def test_only_the_step_that_comments_gets_the_token() -> None:
    steps = load(ROOT / "action.yml")["runs"]["steps"]

    assert [step["name"] for step in steps if "token" in str(step.get("env", ""))] == ["Comment"]


def test_the_documentation_has_all_inputs_and_outputs() -> None:
    action = load(ROOT / "action.yml")
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "ci.md").read_text(encoding="utf-8"), re.MULTILINE)

    named = [name for row in rows for name in re.findall("`(.*?)`", row)]
    assert sorted(named) == sorted([*action["inputs"], *action["outputs"]])


def test_what_the_documentation_shows_is_in_the_examples() -> None:
    shown = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    examples = [*WORKFLOWS, *(ROOT / "examples" / "ci").glob("*/.*.y*ml")]
    there = {line.strip() for path in examples for line in path.read_text(encoding="utf-8").splitlines()}
    blocks = re.findall(r"```yaml\n(.*?)```", shown, re.DOTALL)

    lines = [line.strip() for block in blocks for line in block.splitlines() if line.strip()]
    assert len(blocks) == 3
    assert [line for line in lines if line not in there] == []


@dataclass(kw_only=True)
class Repository:
    """A project with a base branch, ``main``, and a pull request, ``bigger``, that grows its bundle."""

    folder: Path
    wheels: Path
    base: str = ""
    head: str = ""

    def git(self, *arguments: str) -> str:
        settings = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "commit.gpgsign=false")
        command = ["git", *settings, *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, *requirements: str) -> str:
        lines = ("--no-index", f"--find-links {self.wheels}", *requirements, "")
        (self.folder / "service" / "requirements.txt").write_text("\n".join(lines))
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "Change")
        return self.git("rev-parse", "HEAD")


def make_repository(folder: Path) -> Repository:
    wheels = folder / "wheels"
    wheels.mkdir()
    text = "# a module of some size\n"
    write_wheel(wheels, "helper", "1.0", {"helper.py": text * 1000})
    write_wheel(wheels, "helper", "2.0", {"helper.py": text * 9000})
    write_wheel(wheels, "extra", "3.1", {"extra.py": text * 20_000})
    made = Repository(folder=folder / "checkout", wheels=wheels)
    (made.folder / "service").mkdir(parents=True)
    for name, size in (("before", 1000), ("nearly", 1001), ("after", 3000)):
        (made.folder / "service" / name).mkdir()
        (made.folder / "service" / name / "app.py").write_text("#" * size)
    made.git("init", "--quiet", "--initial-branch", "main")
    made.base = made.commit("helper==1.0")
    made.git("switch", "--quiet", "--create", "bigger")
    made.head = made.commit("helper==2.0", "extra")
    return made


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return make_repository(tmp_path)


@pytest.fixture
def forge() -> Iterator[StandIn]:
    with stand_in("github") as served:
        yield served


@pytest.fixture
def lab() -> Iterator[StandIn]:
    with stand_in("gitlab") as served:
        yield served


def variables(forge: StandIn, folder: Path) -> dict[str, str]:
    """Returns the variables of a job; the token is none of them."""
    known = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "UV_", "SLIMPACK_", "XDG_", "GITHUB_", "GITLAB_", "CI", "GIT_"))
    }
    own = {name: value for name, value in forge.environment.items() if not name.endswith("TOKEN")}
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    slimpack = programs / "slimpack"
    slimpack.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m slimpack "$@"\n')
    slimpack.chmod(0o755)
    return {
        **known,
        **own,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PIP_CONFIG_FILE": os.devnull,
        "SLIMPACK_CACHE_DIR": str(folder / "cache"),
    }


def job(repository: Repository, forge: StandIn, *, fork: bool = False, push: bool = False) -> Job:
    folder = repository.folder.parent
    room = folder / "room"
    room.mkdir(exist_ok=True)
    pull_request = {
        "number": 7,
        "base": {"sha": repository.base},
        "head": {"sha": repository.head, "repo": {"full_name": "ann/app" if fork else "octo/app"}},
    }
    return Job(
        folder=repository.folder,
        room=room,
        event={"ref": "refs/heads/main", "before": repository.base}
        if push
        else {"pull_request": pull_request},
        environment=variables(forge, folder),
        token=TOKEN,
    )


def act(job: Job, **inputs: str) -> Job:
    """Runs the action for the bundle that another tool has made, unless told otherwise."""
    theirs = {"requirements": "", "bundle": "after", "baseline": "before"}
    job.act(ROOT, **{"working_directory": "service", "install": "false", **theirs, **inputs})
    return job


def step(job: Job, name: str, **variables: str) -> dict[str, str]:
    """Runs one word of the action's script and returns its outputs."""
    known = (
        "REQUIREMENTS",
        "BUNDLE",
        "BUILD_OPTIONS",
        "BUDGET_OPTIONS",
        "EXIT_ZERO",
        "BASELINE",
        "BASE_COMMIT",
        "BASE_REF",
        "THRESHOLD",
    )
    told = {f"INPUT_{one}": "" for one in known} | {
        "INPUT_WORKING_DIRECTORY": "service",
        "INPUT_REQUIREMENTS": "requirements.txt",
        "INPUT_BUNDLE": "dist/lambda.zip",
        "INPUT_BUILD_OPTIONS": OPTIONS,
        "INPUT_KEY": "slimpack",
    }
    return job.run(f'bash "{ROOT}/ci/action.sh" {name}', told | variables)


@dataclass(kw_only=True)
class Show:
    """A pull request whose job has run."""

    repository: Repository
    forge: StandIn
    job: Job


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Show]:
    repository = make_repository(tmp_path_factory.mktemp("show"))
    with stand_in("github") as served:
        served.comment("Nice!", ANN)
        ours = {"requirements": "requirements.txt", "bundle": "dist/lambda.zip", "baseline": ""}
        yield Show(
            repository=repository,
            forge=served,
            job=act(job(repository, served), build_options=OPTIONS, **ours),
        )


def test_a_pull_request_is_built_compared_and_commented_on(show: Show) -> None:
    outputs = show.job.outputs

    assert show.job.code == 0, show.job.log
    assert outputs["status"] == "pass"
    assert 28_000 * 24 < int(outputs["delta-bytes"]) < int(outputs["total-bytes"])
    _, body = show.forge.bodies()
    assert body.strip() == outputs["comment-body"].strip()
    assert body.startswith("<!-- slimpack:slimpack -->\n**✅ lambda.zip passes")
    for words in (f"base-{show.repository.base[:7]}.zip", "helper 1.0 → 2.0", "extra 3.1"):
        assert words in body
    assert TOKEN not in show.job.log


def test_it_has_a_summary_annotations_and_files_to_keep(show: Show) -> None:
    assert "helper 1.0 → 2.0" in show.job.summary
    assert "<!--" not in show.job.summary
    assert [line.split(":")[2] for line in show.job.heard()] == ["notice title=slimpack%3A pass"]
    (upload,) = show.job.uses
    assert upload["name"] == "slimpack"
    assert {path.name for path in Path(upload["path"]).iterdir()} == {
        "base.manifest.json",
        "comment.md",
        "head.manifest.json",
        "report.html",
        "review.json",
        "review.sarif",
        "review.xml",
    }
    assert Path(show.job.outputs["report-path"]).read_text().lower().startswith("<!doctype html")


def test_the_checkout_is_left_as_it_was_but_for_the_bundle(show: Show) -> None:
    assert show.repository.git("worktree", "list").count("\n") == 0
    assert show.repository.git("status", "--porcelain") == "?? service/dist/"


def test_a_fork_is_commented_on_from_the_manifests_that_its_job_has_left(
    show: Show, forge: StandIn, tmp_path: Path
) -> None:
    shutil.copytree(show.job.uses[0]["path"], tmp_path / "slimpack")
    second = Job(folder=tmp_path, room=tmp_path, event={}, environment=variables(forge, tmp_path))
    source = {"full_name": "ann/app", "owner": {"login": "ann"}}
    run = {"head_sha": show.repository.head, "head_branch": "bigger", "head_repository": source}
    (tmp_path / "event.json").write_text(json.dumps({"workflow_run": run}))
    head = {"sha": show.repository.head, "repo": {"full_name": "ann/app"}}
    forge.pulls = [{"number": 7, "label": "ann:bigger", "head": head}]

    second.run(commenting("Comment"), {"GITHUB_TOKEN": TOKEN})

    assert second.code == 0, second.log
    (body,) = forge.bodies()
    assert "**✅ head.zip passes" in body
    assert "helper 1.0 → 2.0" in body


@pytest.mark.parametrize(
    ("size", "fits"), [("", ""), ("33554432", "true"), ("33554433", "")], ids=["none", "fits", "too large"]
)
def test_the_artifact_of_a_fork_is_looked_at_before_it_is_fetched(
    forge: StandIn, tmp_path: Path, size: str, fits: str
) -> None:
    second = Job(folder=tmp_path, room=tmp_path, event={}, environment=variables(forge, tmp_path))
    (tmp_path / "bin" / "gh").write_text(f"#!/bin/sh\necho {size}\n")
    (tmp_path / "bin" / "gh").chmod(0o755)

    outputs = second.run(commenting("Look at the artifact"), {"RUN": "1", "GH_TOKEN": TOKEN})

    assert second.code == 0, second.log
    assert outputs.get("fits", "") == fits


def commenting(name: str) -> str:
    """Returns the code of a step of the workflow that comments on forks."""
    (workflow,) = [one for one in WORKFLOWS if one.stem == "slimpack-comment"]
    steps: list[dict[str, Any]] = load(workflow)["jobs"]["comment"]["steps"]
    (found,) = [one["run"] for one in steps if one.get("name") == name]
    return str(found)


def test_a_bundle_of_another_tool_is_judged_as_it_is(repository: Repository, forge: StandIn) -> None:
    done = act(job(repository, forge))

    assert done.code == 0, done.log
    assert (done.outputs["total-bytes"], done.outputs["delta-bytes"]) == ("3000", "2000")
    (body,) = forge.bodies()
    assert "after passes" in body
    assert "head.manifest.json" not in {path.name for path in Path(done.uses[0]["path"]).iterdir()}


def test_little_change_begins_no_comment(repository: Repository, forge: StandIn) -> None:
    done = act(job(repository, forge), bundle="nearly", threshold="1%")

    assert done.code == 0, done.log
    assert forge.bodies() == []
    assert "not worth writing" in done.log


def test_a_breached_budget_fails_the_job_when_all_is_said_and_kept(
    repository: Repository, forge: StandIn
) -> None:
    options = "--max-increase 5%,1KiB\n--max-total=2KiB"

    done = act(job(repository, forge), budget_options=options, key="api/v2", artifact="api")

    assert done.code == 1
    assert done.outputs["status"] == "fail"
    assert done.ran[-3:] == ["Comment", "Upload manifests and reports", "Verdict"]
    (body,) = forge.bodies()
    assert body.startswith("<!-- slimpack:api/v2 -->\n**❌ after fails")
    assert "SLP001" in body
    assert "SLP003" in body
    assert body.strip() == done.outputs["comment-body"].strip()
    assert len([line for line in done.heard() if line.startswith("::error ")]) == 2
    assert "❌" in done.summary
    assert done.uses[0]["name"] == "api"


def test_a_breached_budget_can_leave_the_job_green(repository: Repository, forge: StandIn) -> None:
    done = act(job(repository, forge), budget_options="--max-total 2KiB", exit_zero="true", comment="false")

    assert (done.code, done.outputs["status"]) == (0, "fail")


def test_a_pull_request_from_a_fork_is_not_commented_on(repository: Repository, forge: StandIn) -> None:
    done = act(job(repository, forge, fork=True))

    assert done.code == 0, done.log
    assert forge.asked == []
    assert any("comes from a fork" in line for line in done.heard())
    assert len(done.uses) == 1


def test_a_push_is_judged_without_a_comment(repository: Repository, forge: StandIn) -> None:
    done = act(job(repository, forge, push=True), baseline="", artifact="")

    assert done.code == 0, done.log
    assert (done.outputs["status"], done.outputs["delta-bytes"]) == ("pass", "")
    assert forge.asked == []
    assert done.uses == []
    assert "Comment" not in done.ran


def test_growth_that_has_a_budget_never_passes_without_a_base(repository: Repository, forge: StandIn) -> None:
    done = act(job(repository, forge, push=True), baseline="", budget_options="--max-increase 5%")

    assert (done.code, done.outputs["status"]) == (1, "fail")
    assert "SLP006" in done.outputs["comment-body"]


def test_a_baseline_of_another_commit_is_warned_of(repository: Repository, forge: StandIn) -> None:
    done = act(job(repository, forge), base_commit=repository.head, comment="false")

    assert (done.code, done.outputs["status"]) == (0, "warn")
    assert "SLP007" in done.outputs["comment-body"]
    assert done.variables["Check and compare"]["MERGE_BASE"] == repository.base


def test_what_cannot_be_built_ends_the_job_at_once(repository: Repository, forge: StandIn) -> None:
    done = act(job(repository, forge), requirements="none.txt")

    assert done.code == 2
    assert done.ran == ["Build the bundle"]
    assert "none.txt" in done.log


def test_a_bundle_over_its_limit_is_judged_all_the_same(repository: Repository, forge: StandIn) -> None:
    done = job(repository, forge)

    outputs = step(done, "build", INPUT_BUILD_OPTIONS=f"{OPTIONS}--max-size 100KiB")

    assert done.code == 0, done.log
    assert outputs == {"subject": "dist/lambda.manifest.json"}
    assert (repository.folder / "service" / outputs["subject"]).exists()


def test_a_bundle_that_does_not_run_is_judged_by_the_manifest_that_lies_aside(
    repository: Repository, forge: StandIn
) -> None:
    done = job(repository, forge)
    failed = failed_name(Path("dist/lambda.manifest.json"))
    (repository.folder.parent / "bin" / "slimpack").write_text(
        f"#!/bin/sh\nmkdir dist; : >{failed}; exit 1\n"
    )

    assert step(done, "build") == {"subject": str(failed)}
    assert done.code == 0


def test_the_base_is_built_from_where_the_branches_part(repository: Repository, forge: StandIn) -> None:
    repository.git("switch", "--quiet", "main")
    later = repository.commit("helper==1.0", "extra")
    repository.git("switch", "--quiet", "bigger")
    done = job(repository, forge)

    outputs = step(done, "base", INPUT_BASE_REF=later)

    assert done.code == 0, done.log
    assert outputs["commit"] == outputs["merge-base"] == repository.base
    manifest = json.loads(Path(outputs["baseline"]).read_text())
    assert [one["name"] for one in manifest["distributions"]] == ["helper"]


@pytest.mark.parametrize("reference", ["1" * 40, "nowhere", "--all", "$(touch pwned)"])
def test_a_base_whose_history_is_not_here_is_warned_of(
    repository: Repository, forge: StandIn, reference: str
) -> None:
    done = job(repository, forge)

    outputs = step(done, "base", INPUT_BASE_REF=reference)

    assert (done.code, outputs["baseline"]) == (0, "")
    assert any("fetch-depth: 0" in line for line in done.heard())


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"pull_request": {"base": {"sha": "a"}}}, "a"),
        ({"before": "b"}, "b"),
        ({"schedule": "0 0 * * 0"}, "HEAD^"),
    ],
)
def test_the_base_is_that_of_the_event(
    repository: Repository, forge: StandIn, event: dict[str, Any], expected: str
) -> None:
    default = load(ROOT / "action.yml")["inputs"]["base-ref"]["default"]

    assert job(repository, forge).filled(default, {"github": {"event": event}}) == expected


def test_the_base_of_a_branch_that_is_new_is_the_commit_before(
    repository: Repository, forge: StandIn
) -> None:
    outputs = step(job(repository, forge), "base", INPUT_BASE_REF="0" * 40, INPUT_REQUIREMENTS="more.txt")

    assert outputs["merge-base"] == repository.base


def test_a_base_without_requirements_is_nothing_to_compare_with(
    repository: Repository, forge: StandIn
) -> None:
    done = job(repository, forge)

    outputs = step(done, "base", INPUT_BASE_REF="main", INPUT_REQUIREMENTS="more.txt")

    assert (done.code, outputs["baseline"]) == (0, "")
    assert "has no more.txt" in done.log


def test_a_base_that_cannot_be_built_is_warned_of(repository: Repository, forge: StandIn) -> None:
    broken = repository.commit("not-there")
    done = job(repository, forge)

    outputs = step(done, "base", INPUT_BASE_REF=broken)

    assert (done.code, outputs["baseline"]) == (0, "")
    assert any("cannot be built (exit code 2)" in line for line in done.heard())
    assert repository.git("worktree", "list").count("\n") == 0


def test_inputs_are_words_and_no_code(repository: Repository, forge: StandIn) -> None:
    words = "$(touch pwned)`touch pwned`; touch pwned #"
    told = {f"INPUT_{name}": words for name in INPUTS} | {"SUBJECT": words, "BASELINE": words}
    told |= {"BASE_COMMIT": words, "MERGE_BASE": words, "HEAD_REPOSITORY": "octo/app"}
    done = job(repository, forge)

    for name in ("build", "base", "review", "comment"):
        step(done, name, **told)

    assert not list(repository.folder.parent.rglob("pwned"))


def test_what_a_bundle_is_named_is_no_command_of_the_runner(repository: Repository, forge: StandIn) -> None:
    name = "::set-output name=status::pass"
    (repository.folder / "service" / name).mkdir()
    (repository.folder / "service" / name / "::error::x.py").write_text("")

    done = act(job(repository, forge), bundle=name, comment="false")

    assert {line.split("::")[1].partition(" ")[0] for line in done.heard()} <= {"notice", "warning"}
    assert done.code == 0, done.log


def test_the_template_for_gitlab_builds_reports_and_comments(repository: Repository, lab: StandIn) -> None:
    for name in ("main", "bigger"):  # GitLab's jobs begin at the top of the checkout
        repository.git("switch", "--quiet", name)
        repository.git("mv", "service/requirements.txt", "requirements.txt")
        repository.git("commit", "--quiet", "--message", "Move")
    template = load(ROOT / "templates" / "slimpack.yml")
    told = {
        **template["variables"],
        "SLIMPACK_RUNTIME": RUNTIME,
        "SLIMPACK_BYTECODE": "none",
        "SLIMPACK_VERIFY": "0",
        "SLIMPACK_MAX_INCREASE": "1KiB",
        "SLIMPACK_CACHE_DIR": str(repository.folder.parent / "cache"),
        "CI_COMMIT_BEFORE_SHA": "0" * 40,
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": repository.git("rev-parse", "main"),
        "GITLAB_TOKEN": TOKEN,
    }
    done = job(repository, lab)

    done.run("\n".join(template["slimpack"]["script"]), told, "sh")
    code, done.code = done.code, 0
    done.run("\n".join(template["slimpack-comment"]["script"]), told, "sh")

    assert (code, done.code) == (1, 0), done.log
    artifacts = template["slimpack"]["artifacts"]
    made = {str(path.relative_to(repository.folder)) for path in (repository.folder / "dist").rglob("*")}
    assert set(artifacts["reports"].values()) < made
    assert set(artifacts["paths"]) - made == {"dist/lambda.failed.manifest.json"}
    (body,) = lab.bodies()
    assert "SLP003" in body
    assert "helper 1.0 → 2.0" in body
    assert repository.git("worktree", "list").count("\n") == 0


@pytest.mark.network
def test_the_action_installs_slimpack_and_nothing_else_of_its_environment(
    repository: Repository, forge: StandIn, tmp_path: Path
) -> None:
    copy = tmp_path / "action"
    skipped = shutil.ignore_patterns(".git", ".venv", "build", "dist", "tests", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, copy, ignore=skipped)
    done = job(repository, forge)
    (repository.folder.parent / "bin" / "slimpack").unlink()

    done.act(copy, working_directory="service", requirements="", bundle="after", baseline="before")

    assert done.code == 0, done.log
    first = Path(done.environment["PATH"].split(os.pathsep)[0])
    assert [path.name for path in first.iterdir()] == ["slimpack"]
