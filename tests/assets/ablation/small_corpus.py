"""A model with a corpus of a few windows and what the one pass would have counted of it, made slowly. Holds no test."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from assets.ablation.donors import DONORS, Donors, Neurons, chosen_windows, donors_of_windows
from assets.ablation.neuron_ablation import Ablation, neuron_ablation
from assets.contracts import POSITION_PREDICTIONS, TOKEN_WINDOWS
from assets.model.language_model import LanguageModel
from tests import slow_patching as slow
from tests.planted import VOCABULARY
from tests.slow_ablation import logits_at
from tests.slow_reimplementation import slow_hash


@dataclass(frozen=True)
class Studied:
    """A model as the product reads it, as plain Hugging Face code reads it, and windows of text."""

    model: LanguageModel
    plain: Any
    windows: pl.DataFrame

    def ids(self, document: int) -> list[int]:
        """Token ids of the document's one window."""
        return self.windows.filter(document=document)["token_ids"][0].to_list()

    def activations(self, layer: int) -> dict[int, np.ndarray]:
        """Document -> [position, neuron], from plain forward passes."""
        module = slow.down_projection(self.plain, layer)
        return {row["document"]: slow.input_of(self.plain, module, row["token_ids"]).numpy() for row in self.windows.iter_rows(named=True)}

    @cached_property
    def predictions(self) -> dict[int, list[int]]:
        """Document -> the top prediction at each position, from plain forward passes."""
        rows = self.windows.iter_rows(named=True)
        return {row["document"]: [int(logits_at(self.plain, row["token_ids"], p).argmax()) for p in range(row["length"])] for row in rows}

    @cached_property
    def sampled(self) -> pl.DataFrame:
        """What the pass samples of every vocabulary entry, none left out: few texts are shorter than a sample."""
        found = []
        for document, predictions in self.predictions.items():
            ids = self.ids(document)
            for position in range(1, len(ids) - 1):
                answers = {"top_prediction": predictions[position], "next_token": ids[position + 1]}
                found += [(outcome, token, document, 0, position) for outcome, token in answers.items()]
        kept: dict[tuple[str, int, int], list[tuple[str, int, int, int, int]]] = {}
        for row in sorted(found, key=lambda row: slow_hash(row[2:])):
            of_document = kept.setdefault(row[:3], [])
            if len(of_document) < 4:
                of_document.append(row)
        return sampled_at(sorted((row for of_document in kept.values() for row in of_document), key=lambda row: slow_hash(row[2:])))

    @cached_property
    def position_predictions(self) -> pl.DataFrame:
        """The table position_predictions of these windows."""
        rows = [(document, 0, found) for document, found in self.predictions.items()]
        return pl.DataFrame(rows, schema=POSITION_PREDICTIONS.schema, orient="row")

    def donors_of(self, neurons: Neurons) -> Donors:
        """Donors out of the windows, as where the pass kept no positions."""
        return donors_of_windows(self.model, chosen_windows(self.windows.lazy(), DONORS), neurons, 2048)

    def ablated(self, pairs: pl.DataFrame, wanted: int, **options: Any) -> Ablation:
        """Both tables of neuron_ablation for these pairs, at up to `wanted` positions of each kind."""
        windows, predictions = self.windows.lazy(), self.position_predictions.lazy()
        return neuron_ablation(
            self.model,
            windows,
            predictions,
            self.sampled,
            pairs,
            self.statistics,
            wanted,
            options.pop("donors_of", self.donors_of),
            **options,
        )

    @cached_property
    def statistics(self) -> pl.DataFrame:
        """The columns of neuron_statistics that ablation reads."""
        frames = []
        for layer in range(self.model.facts.layers):
            values = np.concatenate([rows[1:] for rows in self.activations(layer).values()])  # without the beginning-of-sequence token
            frame = pl.DataFrame({"mean": values.mean(0).astype(np.float64), "share_above_zero": (values > 0).mean(0)})
            frames.append(frame.with_columns(layer=pl.lit(layer, pl.Int32), neuron=pl.int_range(pl.len(), dtype=pl.Int32)))
        return pl.concat(frames)


def sampled_at(rows: list[tuple[str, int, int, int, int]]) -> pl.DataFrame:
    """Sampled positions (outcome, token id, document, window, position) as the pass would hand them over, in this order."""
    schema = {"outcome": pl.String, "token_id": pl.Int32, "document": pl.Int64, "window_in_document": pl.Int32, "position": pl.Int32}
    return pl.DataFrame(rows, schema=schema, orient="row")


def windows_of(documents: list[list[int]]) -> pl.DataFrame:
    """token_windows of documents of one window each."""
    rows = [(document, 0, 0, len(ids), ids, 0) for document, ids in enumerate(documents)]
    return pl.DataFrame(rows, schema=TOKEN_WINDOWS.schema, orient="row")


def corpus_windows(model: LanguageModel, file: Path) -> pl.DataFrame:
    """The windows of a `.jsonl` corpus."""
    texts = [json.loads(line)["text"] for line in file.read_text().splitlines()]
    return windows_of([[0, *model.tokenizer(text, add_special_tokens=False)["input_ids"]] for text in texts])


def random_windows(documents: int, seed: int = 3) -> pl.DataFrame:
    """Documents of 6 to 24 random tokens."""
    generator = np.random.default_rng(seed)
    return windows_of([[0, *generator.integers(2, len(VOCABULARY), generator.integers(5, 24)).tolist()] for _ in range(documents)])


def pairs_of(rows: list[tuple[int, int, int]]) -> pl.DataFrame:
    """Pairs (token id, layer, neuron)."""
    return pl.DataFrame(rows, schema={"token_id": pl.Int32, "layer": pl.Int32, "neuron": pl.Int32}, orient="row")
