from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from slimpack.errors import RuleError
from slimpack.model import Action, Risk, Rule
from slimpack.rules import COMMON, load_rules, parse, patterns

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
[[rule]]
name = "tests"
action = "remove"
paths = ["pkg/tests/"]
reason = "Its own tests."
examples = { match = ["pkg/tests/a.py"], miss = ["pkg/a.py"] }
[[rule.evidence]]
version = "1.0"
files = 3
bytes = 99
shown = "Imported it without them."
"""


def rule(text: str) -> Rule:
    return parse(text.encode(), stem="pkg", origin="rules/pkg.toml")[0]


def test_a_rule_file_becomes_rules() -> None:
    parsed = rule(GOOD)

    assert (parsed.id, parsed.action, parsed.risk) == ("pkg/tests", Action.REMOVE, Risk.SAFE)
    assert parsed.distributions == ("pkg",)
    assert parsed.evidence[0].bytes == 99


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('action = "remove"', 'action = "delete"', "rule.0.action"),
        (
            'reason = "Its own tests."',
            'reson = "x"',
            r"unknown key 'rule.0.reson' \(did you mean 'reason'\?\)",
        ),
        ('reason = "Its own tests."', 'reason = " "', "no reason"),
        ('name = "tests"', 'name = "Tests!"', "kebab-case"),
        ('paths = ["pkg/tests/"]', "", "either paths or whole"),
        ('paths = ["pkg/tests/"]', 'paths = ["pkg/tests/"]\nwhole = true', "either paths or whole"),
        ('paths = ["pkg/tests/"]', 'paths = ["!"]', "is no pattern"),
        ('paths = ["pkg/tests/"]', 'paths = [""]', "is no pattern"),
        ('"pkg/tests/a.py"]', '"pkg/a.py"]', "the example 'pkg/a.py' should match"),
        ('miss = ["pkg/a.py"]', 'miss = ["pkg/tests/b"]', "the example 'pkg/tests/b' should not match"),
        ('match = ["pkg/tests/a.py"], ', "", "no example that must match"),
        ("[[rule]]", '[[rule]]\nversions = "about 2"', "no PEP 440 specifier"),
        ("[[rule]]", '[[rule]]\ntargets = ["windows"]', "unknown targets: windows"),
        ("[[rule]]", '[[rule]]\nrisk = "opt-in"', "does not say what it breaks"),
        ("[[rule]]", '[[rule]]\nbreaks = "x"', "safe, but it says that something breaks"),
        ("[[rule]]", '[[rule]]\ncontent = "x"', "content goes with action = 'add'"),
        ("[[rule]]", '[[rule]]\noptional_libraries = ["x"]', "go with action = 'keep'"),
        ("[[rule]]", '[[rule]]\nrequired_by = ["x"]', "required_by goes with whole = true"),
        ("[[rule]]", '[[rule]]\ntolerates = ["import"]', "only 'entry-point', 'lazy-import' and 'mention'"),
        ("[[rule.evidence]]", "[[rule.evidenc]]", "unknown key"),
        ("[[rule]]", "[[rule", "no valid TOML"),
    ],
)
def test_a_rule_that_breaks_a_law_is_refused(old: str, new: str, sentence: str) -> None:
    with pytest.raises(RuleError, match=sentence) as caught:
        rule(GOOD.replace(old, new))

    assert caught.value.where == "rules/pkg.toml"


def test_a_rule_without_evidence_is_refused() -> None:
    with pytest.raises(RuleError, match="no evidence"):
        rule(GOOD.split("[[rule.evidence]]", maxsplit=1)[0])


def test_a_file_needs_a_canonical_name() -> None:
    with pytest.raises(RuleError, match="no canonical distribution name") as caught:
        parse(GOOD.encode(), stem="Scikit_Learn", origin="x")

    assert caught.value.fix == "Call it scikit-learn.toml."


@pytest.mark.parametrize("path", ["../x", "a/../x", "a//x", "*.py"])
def test_an_added_file_needs_a_plain_path(path: str) -> None:
    text = GOOD.replace('"remove"', '"add"\ncontent = ""').replace('"pkg/tests/"', f'"{path}"')

    with pytest.raises(RuleError, match="no plain path to add"):
        rule(text)


def test_an_id_may_be_used_only_once_over_all_folders(tmp_path: Path) -> None:
    (tmp_path / "numpy.toml").write_text(GOOD)

    with pytest.raises(RuleError, match=r"the id 'numpy/tests' is used twice, first in rules/numpy\.toml"):
        load_rules([tmp_path])


def test_a_users_folder_adds_rules_and_changes_the_digest(tmp_path: Path) -> None:
    (tmp_path / "my-own.toml").write_text(GOOD)

    assert "my-own/tests" in load_rules([tmp_path]).by_id
    assert load_rules([tmp_path]).digest != load_rules().digest


def test_a_folder_of_rules_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="no such folder"):
        load_rules([tmp_path / "nowhere"])


def test_patterns_are_those_of_gitignore() -> None:
    spec = patterns(["pkg/", "!pkg/keep.py", "**/x/*.h", "/top"], where="here")

    assert [
        spec.match_file(path)
        for path in ("pkg/a.py", "pkg/keep.py", "a/x/b.h", "x/b.h", "a/x/y/b.h", "top", "a/top")
    ] == [True, False, True, True, False, True, False]


@pytest.mark.parametrize(
    ("line", "fine"),
    [
        ("*a*b*c*", True),
        ("**/*a*b*/**/*.so.*.*", True),
        (r"*a\*\*\*\*b", True),
        ("*a*a*a*a*b", False),
        ("x/*a*a*a*a*b/y", False),
        ("!*a*a*a*a*b", False),
        ("a*****b", False),
    ],
)
def test_a_pattern_that_could_take_ages_is_refused(line: str, *, fine: bool) -> None:
    if fine:
        assert not patterns([line], where="here").match_file("a" * 200 + "/" + "a" * 30)
        return
    with pytest.raises(RuleError, match="more than 4 stars between two slashes") as caught:
        patterns(["pkg/", line], where="here")
    assert caught.value.where == "here"


SHIPPED = load_rules()


def test_rules_are_shipped_for_what_the_readme_promises() -> None:
    promised = {
        "numpy",
        "scipy",
        "pandas",
        "scikit-learn",
        "tensorflow",
        "keras",
        "libclang",
        "grpcio",
        "h5py",
        "protobuf",
        "setuptools",
        "pip",
        "wheel",
        "tensorboard",
        "werkzeug",
        "html5lib",
        "torch",
        "sympy",
        "networkx",
        "matplotlib",
        "pillow",
        "opencv-python",
        "pyarrow",
        "nvidia-nccl",
        "xgboost",
        "lightgbm",
        "catboost",
        "jax",
        "jaxlib",
        "spacy",
        "nltk",
        "statsmodels",
        "numba",
        "llvmlite",
        "onnxruntime",
        "transformers",
        "tokenizers",
        "boto3",
        "botocore",
        "common",
    }

    assert promised <= {rule.id.split("/")[0] for rule in SHIPPED.rules}


@pytest.mark.parametrize("rule", SHIPPED.rules, ids=lambda rule: rule.id)
def test_every_shipped_rule_obeys_the_laws(rule: Rule) -> None:
    # Most laws are checked when a rule is loaded; these are for the shipped ones.
    assert len(rule.reason) >= 30, "a reason is a sentence"
    assert rule.reason.endswith(".")
    for evidence in rule.evidence:
        *measured, release = evidence.version.split()
        assert Version(release)
        assert bool(measured) is rule.id.startswith(f"{COMMON}/"), (
            "a common rule names what it was measured on"
        )
        assert len(evidence.shown) >= 20
        assert evidence.bytes >= 0
    for name in rule.distributions:
        assert name == "*" or canonicalize_name(name.replace("*", "x")) == name.replace("*", "x")
    if rule.action is Action.REMOVE and not rule.whole:
        assert rule.examples.miss, "an example that must not match keeps a pattern from growing"


def contradictory(one: Rule, other: Rule) -> bool:
    """Returns whether two rules can speak of the same file on the same target, with different actions."""
    return (
        one.action is not other.action
        and one.id.startswith(f"{COMMON}/") == other.id.startswith(f"{COMMON}/")
        and bool(set(one.distributions) & set(other.distributions))
        and not (one.targets and other.targets and not set(one.targets) & set(other.targets))
    )


def test_no_two_shipped_rules_claim_the_others_examples_with_another_action() -> None:
    for one, other in itertools.permutations(SHIPPED.rules, 2):
        if contradictory(one, other) and not other.whole:
            clashes = [path for path in one.examples.match if SHIPPED.specs[other.id].match_file(path)]
            assert not clashes, f"{one.id} and {other.id}"
