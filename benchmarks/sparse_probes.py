"""Seconds and memory of the sparse probes of some tokens on made-up kept positions of a model's size.

python -m benchmarks.sparse_probes [layers neurons width kept tokens]; SmolLM2-135M's sizes unless told otherwise.
"""

import resource
import sys
import time

import numpy as np

from assets.counting.histograms import Histograms
from assets.counting.kept_positions import KeptRows, chosen, quotas, row_tensors
from assets.probes.sparse_probes import sparse_probes


def made(layers: int, neurons: int, width: int, kept: int, tokens: int) -> Histograms:
    """Noise in which each token moves ten neurons and the residual stream a little; kept of a corpus of 400,000 positions."""
    random = np.random.default_rng(0)
    positions = 400_000
    labels = [np.where((draw := random.random(positions)) < 0.02 * tokens, draw * 50, 1000).astype(np.int32) for _ in range(2)]
    rows = KeptRows.of(np.arange(positions) // 200, np.zeros(positions), np.arange(positions) % 200, *labels)
    token_ids = tuple(range(tokens))
    places, is_background = chosen(rows, quotas(kept, token_ids, ("next_token",)))
    held = rows.at(places)
    tensors = row_tensors(held, is_background, kept)
    activations = np.zeros((kept, layers, neurons), np.float16)
    residual = random.standard_normal((kept, width), np.float32)
    moved = random.integers(0, neurons, (tokens, 10))
    for layer in range(layers):
        slab = random.standard_normal((len(held), neurons), np.float32)
        for token in token_ids:
            slab[:, moved[token]] += 0.5 * (held.prediction == token)[:, None]
        activations[: len(held), layer] = slab
    residual[: len(held), 0] += held.prediction == 0
    counted = {name: np.bincount(label, minlength=1001) for name, label in zip(("predictions", "next_tokens"), labels, strict=True)}
    tensors |= {"kept_activations": activations, "kept_residual": residual, "count": np.zeros((layers, neurons, 1)), **counted}
    return Histograms(tensors, positions, token_ids)


def main() -> None:
    """Print the figures."""
    layers, neurons, width, kept, tokens = (int(given) for given in sys.argv[1:]) if len(sys.argv) > 1 else (30, 1536, 576, 8192, 4)
    histograms = made(layers, neurons, width, kept, tokens)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    found = sparse_probes(histograms, {token: str(token) for token in range(tokens)})
    seconds = time.monotonic() - started
    told = found.probes.filter(kind="layer").height
    print(
        f"{layers} x {neurons} neurons, {kept} positions, {tokens} tokens: {seconds:.1f} s, {seconds / max(1, told):.1f} s a token and outcome"
    )
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB, {before // 1024} MiB of it before")
    print(found.probes.select("outcome", "token", "kind", "size", "average_precision"))


if __name__ == "__main__":
    main()
