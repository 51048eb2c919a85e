"""What calibrated bins lose when they look at fewer positions: `python -m benchmarks.calibration MODEL FILE ... [--documents 300]`.

Texts (.jsonl, a field `text`) are tokenized as a study does. For each number of positions, bins are calibrated on windows spread evenly over
the corpus, as activation_bins does, and the whole corpus is counted into them: told are the activations outside of all bins, of a million, and
the neurons that have any. Beside it, how many neurons have another width than by the whole corpus.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from assets.counting.histograms import ActivationBins

BINS, BATCH = 128, 2048


def main() -> None:
    """Print the table."""
    import torch

    from assets.histograms.activation_bins import bins_that_hold, evenly_spread, largest_activations
    from assets.model.loading import load

    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    model = load(arguments.model, device="cpu")
    windows = _windows(model, arguments)
    whole = int(windows["length"].sum())
    numbers = [number for number in arguments.positions if number < whole] + [whole]
    bins = [bins_that_hold(largest_activations(model, evenly_spread(windows, number), BATCH, count_bos=False), BINS) for number in numbers]
    outside = _outside(model, windows, bins)
    print("| positions looked at | outside of all bins, of a million | neurons with any | another width than by all |")
    print("|---|---|---|---|")
    for number, of, counts in zip(numbers, bins, outside, strict=True):
        share = 1e6 * counts.sum() / counts.size / (whole - windows.height)
        print(f"| {number:,} | {share:.2f} | {(counts > 0).mean():.2%} | {(of.per_unit != bins[-1].per_unit).mean():.1%} |")


def _outside(model, windows: pl.DataFrame, bins: "list[ActivationBins]") -> list[np.ndarray]:  # type: ignore[no-untyped-def]
    """Int64 [layer, neuron] for each of the bins: the corpus's activations that lie outside of them."""
    import torch

    from assets.counting.batches import batches
    from assets.histograms.activation_bins import slot_finder
    from assets.histograms.row_independence import rows_of_batches
    from assets.model.plain_model import last_hidden, neurons_reported

    facts, finders = model.facts, [slot_finder(of) for of in bins]
    counts = [torch.zeros(facts.layers, facts.neurons, dtype=torch.int64) for _ in bins]

    def note(layer: int, values: torch.Tensor) -> None:
        counted = values.flatten(0, 1)[places]
        for find, count in zip(finders, counts, strict=True):
            slots = find(layer, counted)
            count[layer] += ((slots < 0) | (slots == BINS)).sum(0)

    with torch.inference_mode(), neurons_reported(model, note):
        for batch in batches(windows, facts.context_length, facts.beginning_token_id, rows_of_batches(model, windows, BATCH)):
            places = torch.from_numpy(batch.counted(False))
            last_hidden(model, torch.from_numpy(batch.token_ids))
    return [count.numpy() for count in counts]


def _windows(model, arguments: argparse.Namespace) -> pl.DataFrame:  # type: ignore[no-untyped-def]
    from assets.corpus.corpus_documents import documents_frame
    from assets.corpus.token_windows import token_windows

    texts = [
        json.loads(line)["text"]
        for file in arguments.files
        for line in file.read_text().splitlines()[: arguments.documents]
        if line.strip()
    ]
    return token_windows(
        model.tokenizer, model.facts.beginning_token_id, model.facts.vocabulary, documents_frame(texts), arguments.length, "all"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--documents", type=int, default=300, help="the first of each file")
    parser.add_argument("--positions", type=int, nargs="+", default=[4096, 8192, 16384, 32768])
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
