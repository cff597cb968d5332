"""A Lambda function that reads a handwritten digit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

_HERE = Path(__file__).parent
_SIDE = 28
"""Pixels of a digit in each direction."""

_model = tf.keras.models.load_model(_HERE / "model.keras", compile=False)
_sheet = Image.open(_HERE / "digits.png")
_columns = _sheet.width // _SIDE
_count = _columns * (_sheet.height // _SIDE)


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001 -- Lambda passes a context
    """Answers the class of the digit that is asked for.

    Args:
        event: ``index``, the number of the digit on the sheet, from 0; with ``probabilities`` true, the answer has
            the probability of each class as well.
        context: What Lambda tells of the call.

    Raises:
        ValueError: There is no such digit.
    """
    index = event.get("index")
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < _count:
        raise ValueError(f"index must be a whole number from 0 to {_count - 1}, not {index!r}")
    left, top = _SIDE * (index % _columns), _SIDE * (index // _columns)
    digit = np.asarray(_sheet.crop((left, top, left + _SIDE, top + _SIDE)), dtype="float32") / 255
    probabilities = _model.predict(digit[np.newaxis, :, :, np.newaxis], verbose=0)[0]
    answer = {"index": index, "class": int(probabilities.argmax())}
    return answer | ({"probabilities": probabilities.tolist()} if event.get("probabilities") else {})
