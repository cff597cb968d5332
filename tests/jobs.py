"""Jobs: runs the steps of a composite action as GitHub's runner does, as far as this project's action goes.

Of expressions there are paths into contexts, texts, comparisons with them, ``&&``, ``||`` and
``!cancelled()``; anything else fails.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent

_TERM = re.compile(r"(?P<path>[a-z_]+(?:\.[a-z_-]+)+)(?: (?P<sign>[!=]=) '(?P<text>[^']*)')?")


@dataclass(kw_only=True)
class Job:
    """A job, and what it leaves behind."""

    folder: Path
    """The workspace: a checkout."""
    room: Path
    """Where the runner keeps its files."""
    event: dict[str, Any]
    """What the job runs for."""
    environment: dict[str, str]
    """Variables of every step."""
    token: str = "no-such-token"  # noqa: S105 -- none
    """What ``github.token`` is."""
    outputs: dict[str, str] = field(default_factory=dict)
    """Of the action."""
    log: str = ""
    """What all steps have written."""
    summary: str = ""
    """What the pages of all steps say."""
    code: int = 0
    """Of the first step that failed."""
    uses: list[dict[str, str]] = field(default_factory=list)
    """What other actions are given: ``uses`` and their inputs."""
    ran: list[str] = field(default_factory=list)
    """Names of the steps that ran."""
    variables: dict[str, dict[str, str]] = field(default_factory=dict)
    """What each step that ran is told, by its name."""

    def act(self, action: Path, **inputs: str) -> None:
        """Runs the steps of an action.

        Args:
            action: The folder that ``action.yml`` is in.
            inputs: By name, with underscores for hyphens.
        """
        described = load(action / "action.yml")
        given = {name.replace("_", "-"): value for name, value in inputs.items()}
        known = described["inputs"]
        assert given.keys() <= known.keys()
        github = {"event": self.event, "token": self.token}
        contexts: dict[str, Any] = {"github": github, "steps": {}}
        contexts["inputs"] = {
            name: given.get(name, self.filled(one["default"], contexts)) for name, one in known.items()
        }
        (self.room / "event.json").write_text(json.dumps(self.event))
        for step in described["runs"]["steps"]:
            condition = step.get("if", "${{ !cancelled() }}" if not self.code else "")
            if self.code and "cancelled()" not in condition:
                continue
            if not self.holds(condition, contexts):
                continue
            self.ran.append(step["name"])
            if "uses" in step:
                filled = {name: self.filled(value, contexts) for name, value in step["with"].items()}
                self.uses.append({"uses": step["uses"], **filled})
                continue
            told = {name: self.filled(value, contexts) for name, value in step.get("env", {}).items()}
            self.variables[step["name"]] = told
            assert step["shell"] == "bash"
            assert "${{" not in step["run"]
            outputs = self.run(step["run"], {**told, "GITHUB_ACTION_PATH": str(action)})
            contexts["steps"][step.get("id", "")] = {"outputs": outputs}
        self.outputs = {
            name: self.filled(one["value"], contexts) for name, one in described["outputs"].items()
        }

    def run(self, code: str, variables: dict[str, str], shell: str = "bash") -> dict[str, str]:
        """Runs a step and returns its outputs.

        Args:
            code: What ``run`` says.
            variables: Of this step.
            shell: What runs it.
        """
        files = {
            name: self.room / name.lower() for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_PATH")
        }
        for path in files.values():
            path.write_text("")
        script = self.room / "step.sh"
        script.write_text(code)
        options = ["--noprofile", "--norc", "-eo", "pipefail"] if shell == "bash" else ["-e"]
        done = subprocess.run(
            [shell, *options, str(script)],
            cwd=self.folder,
            env={
                **self.environment,
                "CI": "true",
                "GITHUB_ACTIONS": "true",
                "GITHUB_WORKSPACE": str(self.folder),
                "GITHUB_EVENT_PATH": str(self.room / "event.json"),
                "RUNNER_TEMP": str(self.room),
                **{name: str(path) for name, path in files.items()},
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        self.log += done.stdout
        self.code = self.code or done.returncode
        self.summary += files["GITHUB_STEP_SUMMARY"].read_text()
        for line in files["GITHUB_PATH"].read_text().splitlines():
            self.environment["PATH"] = f"{line}{os.pathsep}{self.environment['PATH']}"
        return outputs_of(files["GITHUB_OUTPUT"].read_text())

    def heard(self) -> list[str]:
        """Returns the workflow commands in the log that a runner would obey, without those that stop others."""
        found, until = [], ""
        for line in self.log.splitlines():
            line = line.strip()  # noqa: PLW2901 -- as the runner does
            if until:
                until = "" if line == f"::{until}::" else until
            elif line.startswith("::stop-commands::"):
                until = line.removeprefix("::stop-commands::")
            elif line.startswith("::"):
                found.append(line)
        assert not until
        return found

    def filled(self, text: Any, contexts: dict[str, Any]) -> str:  # noqa: ANN401 -- what YAML has
        """Returns a text with the values of its expressions."""
        return re.sub(r"\$\{\{(.*?)\}\}", lambda found: self._value(found[1].strip(), contexts), str(text))

    def holds(self, condition: str, contexts: dict[str, Any]) -> bool:
        """Returns whether a step runs."""
        terms = condition.removeprefix("${{").removesuffix("}}").strip().split(" && ")
        return all(term == "!cancelled()" or self._value(term, contexts) for term in terms)

    def _value(self, expression: str, contexts: dict[str, Any]) -> str:
        if " || " in expression:
            values = (self._value(one, contexts) for one in expression.split(" || "))
            return next((value for value in values if value), "")
        if literal := re.fullmatch("'([^']*)'", expression):
            return literal[1]
        found = _TERM.fullmatch(expression)
        assert found, expression
        value: Any = contexts
        for key in found["path"].split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if found["sign"] is None:
            return "" if value is None else "[object]" if isinstance(value, dict) else str(value)
        return (
            "true" if (("" if value is None else value) == found["text"]) is (found["sign"] == "==") else ""
        )


def outputs_of(text: str) -> dict[str, str]:
    """Returns what a step has written to ``GITHUB_OUTPUT``."""
    found: dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        name, sign, value = re.fullmatch(r"([a-z-]+)(=|<<)(.*)", line).groups()  # type: ignore[union-attr]  # or it fails
        if sign == "<<":
            rest = []
            while (more := next(lines)) != value:
                rest.append(more)
            value = "\n".join(rest)
        found[name] = value
    return found


def load(path: Path) -> Any:  # noqa: ANN401 -- what the file has
    """Returns what a YAML file says."""
    return YAML(typ="safe", pure=True).load(path)
