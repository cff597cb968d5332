"""Real stacks, packed as far as can be: they are much smaller, and their handlers answer as they do unpacked."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.network, pytest.mark.heavy]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Requirements, and a handler that uses much of them."""

    requirements: str
    handler: str
    smaller: float
    """Largest share of the bytes of shared objects that may be left."""
    options: tuple[str, ...] = ()


STACKS = {
    "catboost": Stack(
        requirements="catboost",
        smaller=0.45,
        handler="""
import numpy
from catboost import CatBoostRegressor, Pool
random = numpy.random.default_rng(7)
table = random.normal(size=(200, 5))
model = CatBoostRegressor(iterations=20, random_seed=7, thread_count=1, allow_writing_files=False, verbose=False)
model.fit(Pool(table, table[:, 0] * 2 + table[:, 1] ** 2))
def answer(event):
    return model.predict(numpy.array(event["rows"])).tolist()
""",
    ),
    "jax": Stack(
        requirements="jax",
        smaller=0.4,
        handler="""
import jax, jax.numpy as jnp
@jax.jit
def loss(weights, x):
    return jnp.sum(jnp.tanh(x @ weights) ** 2) + jnp.linalg.norm(jnp.fft.fft(weights[:, 0]))
def answer(event):
    x = jnp.array(event["rows"])
    weights = jax.random.normal(jax.random.key(7), (x.shape[1], 3))
    value, gradient = jax.value_and_grad(loss)(weights, x)
    return [float(value), gradient.tolist(), jnp.linalg.svd(x)[1].tolist()]
""",
    ),
    "librosa": Stack(
        requirements="librosa",
        smaller=0.4,
        options=("--env", "NUMBA_CACHE_DIR=/tmp"),  # Lambda's task root is read-only
        handler="""
import librosa.filters, librosa.sequence, numba, numpy, soxr  # the rest needs libsndfile, which wheels may lack
@numba.njit
def total(values):
    found = 0.0
    for value in values:
        found += value * value
    return found
def answer(event):
    tone = numpy.sin(numpy.arange(22050) * 0.1 * event["rows"][0][0]).astype("float32")
    bands = librosa.filters.mel(sr=22050, n_fft=512, n_mels=8)
    cost, path = librosa.sequence.dtw(X=tone[None, :40], Y=tone[None, 9:60])
    slow = soxr.resample(tone, 22050, 8000)
    return [total(tone), bands.sum(axis=1).tolist(), float(cost[-1, -1]), path.tolist(), slow[:9].tolist()]
""",
    ),
    "pyarrow-pandas": Stack(
        requirements="pyarrow pandas",
        smaller=0.4,
        handler="""
import io, pandas, pyarrow, pyarrow.compute, pyarrow.parquet, pyarrow.dataset
def answer(event):
    frame = pandas.DataFrame(event["rows"], columns=list("abcde"))
    frame["name"] = ["x", "y"] * (len(frame) // 2)
    file = io.BytesIO()
    frame.to_parquet(file, compression="zstd")
    table = pyarrow.parquet.read_table(file)
    sums = table.group_by("name").aggregate([("a", "sum"), ("b", "mean")]).to_pydict()
    try:
        pyarrow.compute.cast(pyarrow.array(["no number"]), pyarrow.int64())
    except pyarrow.ArrowInvalid as problem:
        refused = str(problem)
    return [sums, refused, frame.describe().to_json(), frame.groupby("name").a.rolling(2).sum().to_json()]
""",
    ),
    "spacy": Stack(
        requirements="spacy",
        smaller=0.45,
        handler="""
import spacy
english = spacy.blank("en")
english.add_pipe("sentencizer")
ruler = english.add_pipe("entity_ruler")
ruler.add_patterns([{"label": "ORG", "pattern": [{"LOWER": "acme"}]}])
def answer(event):
    document = english("Acme buys it. Nobody knows why, does n't he?")
    return [[one.text for one in document], [one.text for one in document.sents], [one.label_ for one in document.ents],
            len(english.to_bytes()) > 1000]
""",
    ),
    "xgboost": Stack(
        requirements="xgboost pandas",
        smaller=0.45,
        handler="""
import numpy, xgboost
random = numpy.random.default_rng(7)
table = random.normal(size=(300, 5))
data = xgboost.DMatrix(table, (table[:, 0] + table[:, 1] ** 2 > 0).astype(int))
model = xgboost.train({"nthread": 1, "seed": 7, "objective": "binary:logistic"}, data, num_boost_round=10)
def answer(event):
    rows = xgboost.DMatrix(numpy.array(event["rows"]))
    return [model.predict(rows).tolist(), model.predict(rows, pred_contribs=True).tolist(), model.get_dump()[0]]
""",
    ),
}
"""By name; ``event["rows"]`` are six rows of five numbers."""

HANDLER = """
import json
def handler(event, context):
    return json.loads(json.dumps(answer(event)))
"""


def build(folder: Path, pack: str, *options: str) -> dict[str, Any]:
    """Builds a bundle, runs its handler, and returns its manifest."""
    given = ["--handler", "app.handler", "--event", str(folder / "event.json"), "--memory", "4096", *options]
    source, output = str(folder / "app"), str(folder / f"{pack}.zip")
    paths = [str(folder / "requirements.txt"), "--source", source, "--output", output]
    wanted = ["--runtime", "python3.12", "--pack", pack, "--bytecode", "none"]
    command = [sys.executable, "-m", "slimpack", "build", *paths, *wanted, *given]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert run.returncode in {0, 1}, run.stderr
    manifest: dict[str, Any] = json.loads((folder / f"{pack}.manifest.json").read_text(encoding="utf-8"))
    errors = {one["code"] for one in manifest["findings"] if one["severity"] == "error"}
    assert errors <= {"SLP301"}, run.stdout  # some are too large unpacked
    return manifest


@pytest.mark.parametrize("name", STACKS)
def test_a_packed_stack_is_smaller_and_answers_as_it_does_unpacked(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given
    stack = STACKS[name]
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "app.py").write_text(stack.handler + HANDLER, encoding="utf-8")
    (tmp_path / "requirements.txt").write_text("\n".join(stack.requirements.split()), encoding="utf-8")
    rows = [[(row * 5 + column) % 7 - 3.5 for column in range(5)] for row in range(6)]
    (tmp_path / "event.json").write_text(json.dumps({"rows": rows}), encoding="utf-8")

    # when
    plain = build(tmp_path, "never", *stack.options)
    packed = build(tmp_path, "all", *stack.options)

    # then
    assert plain["verification"]["answers"]
    assert packed["verification"]["answers"] == plain["verification"]["answers"]
    before = sum(one["packed"]["size_before"] for one in packed["files"] if one.get("packed"))
    after = sum(one["size_after"] for one in packed["files"] if one.get("packed"))
    left = [
        one["size_after"] for one in packed["files"] if one["path"].endswith(".so") and not one.get("packed")
    ]
    figures = [one["totals"]["size_after"] / 2**20 for one in (plain, packed)]
    capsys.readouterr()
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: {figures[0]:.1f} -> {figures[1]:.1f} MiB, ")
        sys.stdout.write(f"packed files {before / 2**20:.1f} -> {after / 2**20:.1f} MiB\n")
    assert after + sum(left) < stack.smaller * (before + sum(left))
