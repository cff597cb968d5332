"""Trains a small convolutional network on handwritten digits, and writes it and some unseen digits to app/.

The digits are the 1,797 that scikit-learn ships (8x8 pixels, from the UCI repository), scaled to the layout of MNIST:
20x20 pixels in the middle of 28x28. MNIST itself would have to be downloaded.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits

APP = Path(__file__).parent / "app"

SHOWN = 100
"""The last digits, never trained on, that the function can be asked for."""

COLUMNS = 10
"""Digits in a row of the sheet."""


def enlarged(image: np.ndarray) -> Image.Image:
    """A digit of 8x8 values from 0 to 16, as MNIST has them: 28x28 pixels, white on black."""
    small = Image.fromarray((image * 255 / 16).astype("uint8"))
    large = Image.new("L", (28, 28))
    large.paste(small.resize((20, 20), Image.Resampling.BICUBIC), (4, 4))
    return large


digits = load_digits()
images = [enlarged(image) for image in digits.images]
pixels = np.stack(images)[..., np.newaxis] / np.float32(255)

tf.keras.utils.set_random_seed(0)
model = tf.keras.Sequential(
    [
        tf.keras.Input((28, 28, 1)),
        tf.keras.layers.Conv2D(16, 3, activation="relu"),
        tf.keras.layers.MaxPooling2D(),
        tf.keras.layers.Conv2D(32, 3, activation="relu"),
        tf.keras.layers.MaxPooling2D(),
        tf.keras.layers.Flatten(),
        tf.keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(pixels[:-SHOWN], digits.target[:-SHOWN], epochs=10, verbose=0)
_, accuracy = model.evaluate(pixels[-SHOWN:], digits.target[-SHOWN:], verbose=0)

sheet = Image.new("L", (28 * COLUMNS, 28 * SHOWN // COLUMNS))
for index, image in enumerate(images[-SHOWN:]):
    sheet.paste(image, (28 * (index % COLUMNS), 28 * (index // COLUMNS)))
sheet.save(APP / "digits.png")
model.save(APP / "model.keras")  # last: where it is, training is done
print(f"model.keras: trained on {len(images) - SHOWN} digits, {accuracy:.0%} of {SHOWN} unseen ones right")
