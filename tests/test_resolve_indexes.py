from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from slimpack.errors import ConfigError
from slimpack.resolve import indexes, pip
from slimpack.resolve.requirements import read

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip's configuration file; no other one and no variable is seen."""
    for name in os.environ:
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "pip.conf"


def test_sections_and_variables_overrule_as_they_do_in_pip(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(
        "[global]\nindex_url = https://global.example\ntimeout = 9\nextra-index-url =\n  https://a.example\n  file:///b\n"
        "[install]\ntimeout = 8\npre = true\n[wheel]\nindex-url = https://wheel.example\n"
    )
    monkeypatch.setenv("PIP_INDEX_URL", "https://variable.example")
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "7")
    monkeypatch.setenv("PIP_TARGET", "elsewhere")

    told = indexes.configured(pip.config_listing())

    expected = {
        "index-url": ["https://variable.example"],
        "extra-index-url": ["https://a.example", "file:///b"],
        "timeout": ["7"],
        "pre": ["true"],
    }
    assert {key: told[key].split() for key in expected} == expected
    assert "target" not in told


def test_a_broken_configuration_is_an_error(config: Path) -> None:
    config.write_text("index-url = https://index.example\n")

    with pytest.raises(ConfigError, match="cannot read its configuration"):
        pip.config_listing()


def test_requirements_add_to_lists_and_replace_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text("--index-url https://new.example\n--extra-index-url https://b.example\na\n")

    merged = indexes.merged(
        {"index-url": "https://old.example", "extra-index-url": "https://a.example"}, read(path, {})
    )

    assert merged.options == {
        "index-url": "https://new.example",
        "extra-index-url": "https://a.example https://b.example",
    }


def test_credentials_are_known_as_secrets_and_are_not_public(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text("x @ https://me:own-secret@files.example/x-1.0-py3-none-any.whl\n")
    options = {
        "index-url": "https://user:index-secret@index.example/simple",
        "proxy": "http://a:proxy-secret@proxy.example",
    }

    merged = indexes.merged(options, read(path, {}))

    assert {"own-secret", "index-secret", "proxy-secret"} <= merged.secrets
    assert indexes.public(options) == ["index-url=https://index.example/simple"]
    assert merged.private == {
        "https://files.example/x-1.0-py3-none-any.whl": "https://me:own-secret@files.example/x-1.0-py3-none-any.whl"
    }


def test_a_repository_gets_its_credentials_back_at_any_revision() -> None:
    private = {"git+https://host.example/a/b@main": "git+https://me:secret@host.example/a/b@main"}
    known = indexes.Indexes(options={}, private=private)

    assert (
        known.with_credentials("git+https://host.example/a/b@0123")
        == "git+https://me:secret@host.example/a/b@0123"
    )
    assert known.with_credentials("git+https://host.example/a/c@0123") == "git+https://host.example/a/c@0123"


@pytest.mark.parametrize(
    ("value", "on"), [("1", True), ("true", True), ("no", False), ("0", False), ("", False)]
)
def test_switches_read_as_in_pip(value: str, *, on: bool) -> None:
    assert indexes.Indexes(options={"no-index": value}, private={}).flag("no-index") is on
