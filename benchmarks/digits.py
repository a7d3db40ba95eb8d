"""Digits on a numerical network, trained edge by edge: NDC on, NDC off, logistic regression, a small neural network.

    python benchmarks/digits.py [--seeds 3] [--epochs 40] [--hidden 0] [--out docs/explanation/expressivity.md]

scikit-learn's 1797 images of 8 x 8 pixels, 1437 to train on and 360 to test, as in the task `digits`. The network is
64 pixels (0 to 1 V), two rails (0 and 1 V), hidden nodes if asked for, ten outputs, and a Gaussian conductor from
every pixel and rail to every output (and hidden node): conductance, width and leak of each are free, as on no bench.
It is trained by the adjoint gradient of the cross-entropy, Adam, batches of 96. Without NDC the leak is at least 0.6 of
the conductance, with as many parameters. The largest output is the answer: a task of throughput and scale, no evidence
for NDC.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from simulators import Edge, Network, conductors

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- made by benchmarks/digits.py -->\n", "<!-- end of digits -->\n"
SHARPNESS = 40.0  # per V: outputs to the softmax of the training
BATCH = 96
RATE = 0.05  # of the logarithms of the parameters, falling as a cosine
NO_NDC = 0.6  # of the conductance: the least leak without NDC (2 exp(-3/2) = 0.446 would do)

Floats = np.ndarray


class Classifier:
    """A network of Gaussian conductors whose every parameter is trained; parameters (3, n_edges): their logarithms."""

    def __init__(self, hidden: int, ndc: bool, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        pixels, rails = [f"x{k}" for k in range(64)], ["hi", "lo"]
        inner, self._outputs = [f"h{k}" for k in range(hidden)], slice(hidden, hidden + 10)
        outer = [f"y{k}" for k in range(10)]
        pairs = [(a, b) for b in (*inner, *outer) for a in (*pixels, *rails)]
        pairs += [(a, b) for a in inner for b in outer]
        edges = [Edge(a, b, conductors.GaussianNdc(1.0, 0.5, 0.1)) for a, b in pairs]
        self._network = Network(dict.fromkeys((*inner, *outer), 1e-12), (*pixels, *rails), edges)
        names = np.array([name for _, name, _ in self._network.parameters])
        self._rows = [np.flatnonzero(names == name) for name in ("conductance", "width", "leak")]
        self._least = 0.0 if ndc else NO_NDC
        n = len(pairs)
        draw = self._rng.normal
        self._logs = np.stack([draw(-1.0, 1.0, n), draw(np.log(0.5), 0.2, n), draw(-1.5, 1.0, n)])

    @property
    def parameters(self) -> int:
        return self._logs.size

    def answer(self, images: Floats):
        """Network and steady state for images (n, 64) of 0 to 1."""
        base = self._network.base
        g, w, leak = np.exp(self._logs)
        for rows, values in zip(self._rows, (g, w, leak + self._least * g), strict=True):
            base[rows] = values
        network = self._network.with_values(base, self._network.weights)
        rails = np.tile([1.0, 0.0], (len(images), 1))
        return network, network.steady_state(np.hstack([images, rails]))

    def accuracy(self, images: Floats, labels: Floats) -> float:
        _, state = self.answer(images)
        right = state.potentials[:, self._outputs].argmax(axis=1) == labels
        return float(np.mean(right & (state.verdict == "settled")))

    def train(self, images: Floats, labels: Floats, epochs: int) -> None:
        mean = square = np.zeros_like(self._logs)
        step = 0
        for epoch in range(epochs):
            rate = RATE * (0.5 + 0.5 * np.cos(np.pi * epoch / epochs)) + 1e-3
            order = self._rng.permutation(len(images))
            for rows in np.array_split(order, len(order) // BATCH):
                gradient = self._gradient(images[rows], labels[rows])
                step += 1
                mean, square = 0.9 * mean + 0.1 * gradient, 0.99 * square + 0.01 * gradient**2
                size = np.sqrt(square / (1.0 - 0.99**step)) + 1e-8
                self._logs -= rate * mean / (1.0 - 0.9**step) / size

    def _gradient(self, images: Floats, labels: Floats) -> Floats:
        """Of the mean cross-entropy by the logarithms, (3, n_edges)."""
        network, state = self.answer(images)
        scores = SHARPNESS * state.potentials[:, self._outputs]
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        shares[np.arange(len(labels)), labels] -= 1.0
        by_node = np.zeros_like(state.potentials)
        by_node[:, self._outputs] = SHARPNESS * shares / len(labels)
        base = network.adjoint(state, by_node).base[state.verdict == "settled"].sum(axis=0)
        by_g, by_w, by_leak = (base[rows] for rows in self._rows)
        g, w, leak = np.exp(self._logs)
        return np.stack([(by_g + self._least * by_leak) * g, by_w * w, by_leak * leak])


def main() -> None:
    """Train everything and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="splits, and trainings of each")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--hidden", type=int, default=0, help="nodes between pixels and outputs, beside direct edges")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/explanation/expressivity.md", help="the page")
    options = parser.parse_args()
    images, labels = load_digits(return_X_y=True)
    images = images / 16.0
    found: dict[str, list[float]] = {}
    counts: dict[str, int] = {}
    for seed in range(options.seeds):
        train, test, known, wanted = train_test_split(images, labels, test_size=360, random_state=seed, stratify=labels)
        for name, ndc in (("network, NDC on", True), ("network, NDC off", False)):
            classifier = Classifier(options.hidden, ndc, seed)
            classifier.train(train, known, options.epochs)
            found.setdefault(name, []).append(classifier.accuracy(test, wanted))
            counts[name] = classifier.parameters
            print(seed, name, found[name][-1], flush=True)
        logistic = LogisticRegression(max_iter=5000).fit(train, known)
        layers = MLPClassifier((64,), max_iter=2000, random_state=seed).fit(train, known)
        found.setdefault("logistic regression", []).append(logistic.score(test, wanted))
        found.setdefault("MLP, 64 hidden", []).append(layers.score(test, wanted))
        counts["logistic regression"] = logistic.coef_.size + 10
        counts["MLP, 64 hidden"] = sum(w.size for w in (*layers.coefs_, *layers.intercepts_))
    table = ["| | parameters | right, each split | mean |", "|---|---|---|---|"]
    for name, shares in found.items():
        each = " ".join(f"{share:.3f}" for share in shares)
        table.append(f"| {name} | {counts[name]} | {each} | {np.mean(shares):.3f} |")
    print(*table, sep="\n")
    before, _, rest = options.out.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    options.out.write_text(before + BEGIN + "\n".join(table) + "\n" + END + after)


if __name__ == "__main__":
    main()
