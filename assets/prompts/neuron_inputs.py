"""What feeds a neuron: its pre-activation taken apart into what every component before it wrote into the residual stream.

Everything is read at the last position of a context: of each prompt, or of a window cut off at one of the neuron's highest activations.
How a neuron reads is in neuron_reader, how contexts are run together in context_runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from assets.contracts import NEURON_INPUTS, NEURON_RESIDUAL_READS, Table, conform
from assets.model.language_model import LanguageModel
from assets.model.quick_products import quick_products
from assets.progress import Tally, Told
from assets.prompts.context_runs import ContextBatch, context_batches, values_read
from assets.prompts.neuron_reader import Reader, read_hooks
from assets.prompts.prompts import EncodedPrompt

if TYPE_CHECKING:
    import torch

TOP_CONTEXTS = "top contexts"
Neuron = tuple[int, int]  # layer, neuron


@dataclass(frozen=True)
class Context:
    """One text that is read at its last token, for the given neurons. Contexts of equal name and variant are averaged."""

    prompt: str
    variant: str
    ids: tuple[int, ...]
    neurons: tuple[Neuron, ...]


def prompt_contexts(prompts: Sequence[EncodedPrompt], neurons: Sequence[Neuron]) -> list[Context]:
    """Every variant of every prompt, for all neurons."""
    return [Context(prompt.name, variant, ids, tuple(neurons)) for prompt in prompts for variant, ids, _ in prompt.variants]


def top_contexts(contexts: pl.DataFrame, windows: pl.LazyFrame) -> list[Context]:
    """The windows of the highest activations in the table `neuron_contexts`, each cut off behind its peak.

    `windows` is the table `token_windows`, with at least these windows.
    """
    window = ["document", "window_in_document"]
    peaks = contexts.filter(side="top").select("layer", "neuron", "peak_position", *window).unique()
    by_text = peaks.group_by(*window, "peak_position").agg(pl.struct("layer", "neuron").sort().alias("neurons"))
    texts = windows.select(*window, "token_ids").join(by_text.lazy().select(window).unique(), on=window, how="semi").collect()
    rows = by_text.join(texts, on=window).sort(*window, "peak_position")
    return [
        Context(
            "", TOP_CONTEXTS, tuple(row["token_ids"][: row["peak_position"] + 1]), tuple((n["layer"], n["neuron"]) for n in row["neurons"])
        )
        for row in rows.iter_rows(named=True)
    ]


@quick_products()
def neuron_inputs(model: LanguageModel, contexts: Sequence[Context], progress: Told | None = None) -> dict[str, pl.DataFrame]:
    """The tables `neuron_inputs` and `neuron_residual_reads`: means over the contexts of equal prompt and variant.

    `progress` is told, after each batch, positions times blocks done and in all. Raises ModelError where the parts do not sum to the pre-activation:
    something else stands between the stream and the neuron.
    """
    import torch

    pairs = _pairs(contexts)
    readers = {layer: Reader.of(model, layer) for layer in pairs["layer"].unique().sort()}
    deepest = dict(pairs.group_by("context").agg(pl.col("layer").max()).iter_rows())
    read = [place for place in range(len(contexts)) if place in deepest]
    texts, lengths = [contexts[place].ids for place in read], [len(contexts[place].ids) for place in read]
    parts: list[pl.DataFrame] = []
    reads: list[pl.DataFrame] = []
    with torch.inference_mode():
        batches = context_batches(texts, [deepest[place] for place in read])
        tally = Tally(progress, sum(batch.work for batch in batches))
        for batch in batches:
            values = values_read(model, batch, lengths, read_hooks(model, batch.last_layer), readers[batch.last_layer].entry)
            for layer, pair, text, neuron in _by_layer(pairs, batch, read):
                found = readers[layer].read(model, values, *(torch.tensor(places, device=model.device) for places in (text, neuron)))
                parts.append(_long(NEURON_INPUTS, pair, ("component", "source_layer", "head"), found.parts, found.contributions))
                reads.append(_long(NEURON_RESIDUAL_READS, pair, ("source_layer", "point"), found.points, found.reads))
            tally.add(batch.work)
    return {"neuron_inputs": _mean(NEURON_INPUTS, pairs, parts), "neuron_residual_reads": _mean(NEURON_RESIDUAL_READS, pairs, reads)}


def _pairs(contexts: Sequence[Context]) -> pl.DataFrame:
    """What is read: pair, context (its place), prompt, variant, layer, neuron."""
    rows = [(place, one.prompt, one.variant, *neuron) for place, one in enumerate(contexts) for neuron in one.neurons]
    types = {name: NEURON_INPUTS.schema[name] for name in ("prompt", "variant", "layer", "neuron")}
    return pl.DataFrame(rows, schema={"context": pl.Int64, **types}, orient="row").with_row_index("pair")


def _by_layer(pairs: pl.DataFrame, batch: ContextBatch, read: Sequence[int]) -> list[tuple[int, pl.Series, np.ndarray, np.ndarray]]:
    """(layer, pairs, int64 [pair] the value of the batch, int64 [pair] neuron) of the contexts that a batch reads."""
    values = pl.DataFrame({"context": [read[text] for text in batch.read], "value": range(len(batch.read))})
    here = pairs.join(values, on="context").sort("pair").partition_by("layer", as_dict=True)
    return [
        (int(layer), some["pair"], some["value"].to_numpy(), some["neuron"].cast(pl.Int64).to_numpy()) for (layer,), some in here.items()
    ]


def _long(table: Table, pair: pl.Series, names: tuple[str, ...], labels: Sequence[tuple], values: "torch.Tensor") -> pl.DataFrame:
    """One row per pair and label, of `values` [pair, label]; `label` is its place."""
    labelled = pl.DataFrame(list(labels), schema={name: table.schema[name] for name in names}, orient="row").with_row_index("label")
    both = pair.to_frame().join(labelled, how="cross", maintain_order="left_right")
    return both.with_columns(value=pl.Series(values.reshape(-1).double().cpu().numpy()))


def _mean(table: Table, pairs: pl.DataFrame, frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Means over contexts, in the order in which pairs and labels first come."""
    if not frames:
        return table.schema.to_frame()
    (column,) = set(table.schema) - {*table.key, "contexts"}
    rows = pl.concat(frames).join(pairs, on="pair").sort("pair", "label")
    return conform(table, rows.group_by(table.key, maintain_order=True).agg(pl.col("value").mean().alias(column), contexts=pl.len()))


def contexts_of(
    prompts: Sequence[EncodedPrompt], contexts: pl.DataFrame, studied: Sequence[Neuron], windows: pl.LazyFrame
) -> list[Context]:
    """All contexts of a study: its prompts for every studied neuron, and each neuron's own top contexts."""
    return [*prompt_contexts(prompts, studied), *top_contexts(contexts, windows)] if studied else []


def largest_source(inputs: pl.DataFrame) -> Mapping[str, str]:
    """For people: what contributes most to each neuron in its top contexts."""
    top = inputs.filter((pl.col("variant") == TOP_CONTEXTS) & (pl.col("component") != "bias")).sort("contribution", descending=True)
    first = top.group_by("layer", "neuron", maintain_order=True).first().sort("layer", "neuron")
    return {f"layer {row['layer']} neuron {row['neuron']}": _source_text(row) for row in first.iter_rows(named=True)}


def _source_text(row: Mapping[str, Any]) -> str:
    head = "" if row["head"] is None else f" {row['head']}"
    place = "" if row["source_layer"] is None else f" of layer {row['source_layer']}"
    return f"{row['component']}{head}{place}: {row['contribution']:.3f}"
