"""A Lambda function that tells the species of an iris from its measurements."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.neighbors import KNeighborsClassifier

# A nearest-neighbour model is its samples. As JSON they outlive any release of scikit-learn; a pickle would not.
_model = json.loads(Path(__file__).with_name("model.json").read_text(encoding="utf-8"))
_columns: list[str] = _model["columns"]
_classifier = KNeighborsClassifier(_model["neighbours"]).fit(
    pd.DataFrame(_model["samples"], columns=_columns), _model["species"]
)


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001 -- Lambda passes a context
    """Answers the species of the flower, and how its nearest neighbours voted.

    Args:
        event: ``sepal_length``, ``sepal_width``, ``petal_length`` and ``petal_width``, in centimetres.
        context: What Lambda tells of the call.

    Raises:
        ValueError: A measurement is missing, or is no positive number.
    """
    flower = pd.DataFrame([[_centimetres(event, name) for name in _columns]], columns=_columns)
    shares = _classifier.predict_proba(flower)[0]
    votes = {
        str(species): round(share * _classifier.n_neighbors)
        for species, share in zip(_classifier.classes_, shares, strict=True)
    }
    return {"species": max(votes, key=lambda species: votes[species]), "votes": votes}


def _centimetres(event: dict[str, Any], name: str) -> float:
    value = event.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a positive number of centimetres, not {value!r}")
    return float(value)
