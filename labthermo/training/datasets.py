"""Data sets to classify: the inputs get pixels or features, every class has an output, the largest answer counts.

None of these is evidence for NDC: several outputs are read and compared, which a monotone device can do as well
(training.md, section 1). What a run is held against is logistic regression and a small network on the same split.
"""

from __future__ import annotations

import gzip
import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labthermo.channel import Channel
from labthermo.errors import TaskError
from labthermo.training.task import Task, across, window

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

IDX_TRAINED, IDX_SCORED = 1000, 1000  # images of MNIST and Fashion-MNIST: what a bench can be asked
DIGITS_SCORED, IRIS_SCORED = 360, 38

# SHA-256 of the files as published: MNIST by LeCun, Cortes and Burges, Fashion-MNIST by Xiao, Rasul and Vollgraf (2017)
CHECKSUMS = {
    "mnist": {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
}


def iris(channels: Sequence[Channel], seed: int = 0) -> Task:
    """Anderson's irises, as scikit-learn ships them: 4 inputs, 3 outputs; 112 flowers trained on, 38 scored."""
    from sklearn.datasets import load_iris

    features, labels = (np.asarray(part) for part in load_iris(return_X_y=True))
    trained, scored = _split(labels, IRIS_SCORED, seed)
    return _task("iris", channels, features, labels, trained, scored)


def digits(channels: Sequence[Channel], seed: int = 0, most: int | None = None) -> Task:
    """scikit-learn's handwritten digits, 8 x 8 pixels: 10 outputs, and as many inputs as blocks the image is cut into.

    1437 images to train on, or `most` of them where all would be too many queries a step; 360 scored.

    Raises
    ------
    TaskError: the device has not 10 outputs, more than 64 inputs, or `most` leaves out a digit.
    """
    from sklearn.datasets import load_digits

    images, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    trained, scored = _split(labels, DIGITS_SCORED, seed)
    name = "digits"
    if most is not None:
        if not 20 <= most <= len(trained):
            raise TaskError(f"digits:{most}: images to train on are 20 to {len(trained)}; write digits:200 or digits")
        name, trained = f"digits:{most}", trained[:most]
    features = pooled(images.reshape(-1, 8, 8), _count(channels, "input"))
    return _task(name, channels, features, labels, trained, scored)


def pooled(images: Floats, inputs: int) -> Floats:
    """Mean of each of `inputs` blocks of images (n, h, w), over that of the image, (n, inputs).

    Rows by columns as nearly square as can be. With every image as bright as the next, weights that are all positive
    lose nothing: what is added to all of them adds the same to every answer.

    Raises
    ------
    TaskError: the image has not as many rows or columns.
    """
    columns = max(k for k in range(1, int(np.sqrt(inputs)) + 1) if inputs % k == 0)
    rows = inputs // columns
    _, height, width = images.shape
    if rows > height or columns > width:
        raise TaskError(
            f"{inputs} inputs make {rows} x {columns} blocks, and the images have {height} x {width} pixels; "
            "wire another number of inputs, such as 4, 8, 16 or 64"
        )
    bands = np.array_split(np.arange(height), rows), np.array_split(np.arange(width), columns)
    blocks = np.column_stack([images[:, r][:, :, c].mean(axis=(1, 2)) for r in bands[0] for c in bands[1]])
    return blocks / np.maximum(blocks.mean(axis=1, keepdims=True), 1e-9)


def from_idx(name: str, folder: Path, channels: Sequence[Channel], seed: int = 0) -> Task:
    """MNIST (`mnist`) or Fashion-MNIST (`fashion_mnist`) from the user's own four IDX files, packed as published.

    Nothing is downloaded. A seeded choice of 1000 of the 60000 training images is trained on, and 1000 of the 10000
    test images are scored.

    Raises
    ------
    TaskError: a file is missing or is not what was published, or the device has not 10 outputs.
    """
    rng = np.random.default_rng(seed)
    features, labels = [], []
    for part, size in (("train", IDX_TRAINED), ("t10k", IDX_SCORED)):
        known = read_idx(name, folder / f"{part}-labels-idx1-ubyte.gz")
        chosen = rng.permutation(len(known))[:size]
        images = read_idx(name, folder / f"{part}-images-idx3-ubyte.gz")[chosen]
        features.append(pooled(images.astype(np.float64), _count(channels, "input")))
        labels.append(known[chosen].astype(np.int64))
    trained = np.arange(len(labels[0]))
    scored = len(trained) + np.arange(len(labels[1]))
    return _task(f"{name}:{folder}", channels, np.concatenate(features), np.concatenate(labels), trained, scored)


def read_idx(name: str, path: Path) -> NDArray[np.uint8]:
    """The content of one published IDX file, shaped as its header says.

    Raises
    ------
    TaskError: no such file, or another one than was published.
    """
    try:
        packed = path.read_bytes()
    except OSError as error:
        needed = ", ".join(CHECKSUMS[name])
        raise TaskError(f"{path}: cannot be read: {error.strerror}; {name} needs {needed} in one folder") from None
    found, published = hashlib.sha256(packed).hexdigest(), CHECKSUMS[name][path.name]
    if found != published:
        raise TaskError(f"{path}: is not the file that was published: its SHA-256 is {found}, not {published}")
    data = gzip.decompress(packed)
    dimensions = data[3]  # after two zeros and the type, unsigned bytes; then each size, big-endian
    shape = np.frombuffer(data, ">u4", count=dimensions, offset=4).astype(int)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def baselines(task: Task, seed: int = 0) -> dict[str, float]:
    """Accuracy on the hold-out of what a computer makes of the same inputs and the same split.

    Raises
    ------
    TaskError: the task is no classification with an output for each class.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    if not task.classes or task.targets.shape[1] < 2:
        raise TaskError(f"{task.name}: has no classes with an output each, so there are no baselines")
    middle, width = task.inputs.mean(axis=0), np.maximum(task.inputs.std(axis=0), 1e-3 * np.ptp(task.inputs))
    train, score = ((x - middle) / width for x in (task.inputs, task.score_inputs))
    classes, answers = task.targets.argmax(axis=1), task.score_targets.argmax(axis=1)
    models: dict[str, Any] = {
        "logistic regression": LogisticRegression(max_iter=5000),
        "MLP, 32 hidden": MLPClassifier((32,), max_iter=1000, random_state=seed),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what it has reached by then is what is reported
        return {name: float(model.fit(train, classes).score(score, answers)) for name, model in models.items()}


def _split(labels: Labels, scored: int, seed: int) -> tuple[Labels, Labels]:
    """Rows to train on and to score, every class in both in proportion; the same seed, the same rows."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(labels))
    train, score = train_test_split(rows, test_size=scored, random_state=seed, stratify=labels)
    return np.asarray(train), np.asarray(score)


def _task(
    name: str, channels: Sequence[Channel], features: Floats, labels: Labels, trained: Labels, scored: Labels
) -> Task:
    """features: (n, n_inputs), scaled to the inputs' windows by the range of those trained on; labels: (n,)."""
    classes = int(labels.max()) + 1
    inputs, outputs = ([c for c in channels if c.kind == kind] for kind in ("input", "output"))
    for kind, needed, found in (("inputs", features.shape[1], inputs), ("outputs", classes, outputs)):
        if len(found) != needed:
            raise TaskError(f"{name} needs {needed} {kind}; the device has {len(found)}")
    low, high = features[trained].min(axis=0), features[trained].max(axis=0)
    share = np.clip((features - low) / np.where(high > low, high - low, 1.0), 0.0, 1.0)
    points = np.column_stack([across(c, part) for c, part in zip(inputs, share.T, strict=True)])
    ends = np.sort([window(c) for c in outputs], axis=1)  # the largest answer counts, whatever sign its gain has
    targets = np.where(labels[:, None] == np.arange(classes), ends[:, 1], ends[:, 0])
    amplitude = float(np.abs(ends[:, 1] - ends[:, 0]).mean() / 2.0)
    return Task(name, points[trained], targets[trained], points[scored], targets[scored], amplitude, classes=True)


def _count(channels: Sequence[Channel], kind: str) -> int:
    return sum(c.kind == kind for c in channels)
