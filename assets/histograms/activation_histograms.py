"""The one pass: windows stream through the model once; every layer, neuron and tracked token is counted on the way.

What counts: every position that is not padding and, unless `count_bos`, not the beginning-of-sequence token. The prediction
at a position is the argmax of the model's own logits there, and a neuron's activation is taken at the same position, as
published; where `embedding_predictions` are asked for, the published top prediction is counted beside it (embedding_predictor).
Bins are floor(activation * per_unit) in float32, half-open. Memory does not grow with the corpus: counters, and one batch.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import polars as pl

from assets.counting.batch_counter import Answers, BatchCounter, Counter
from assets.counting.batches import Batch, batches, block_sizes
from assets.counting.document_blocks import UNKNOWN_SIZES, BlockSizes
from assets.counting.histograms import PROBABILITY, ActivationBins, HistogramError, Histograms
from assets.counting.kept_position_counter import KeptPositionCounter
from assets.counting.kept_positions import quotas
from assets.counting.parts import LayerCounter, Part, parts
from assets.counting.position_predictions import PositionPredictions
from assets.counting.position_sampler import PositionSampler
from assets.counting.sending import sent
from assets.counting.token_sums import CompiledSums, TokenSums, group_of_token, group_tokens
from assets.histograms.row_independence import rows_of_batches, rows_of_last_batches
from assets.model.final_norm import final_streams, inverse_scales
from assets.model.language_model import LanguageModel
from assets.model.plain_model import neurons_reported
from assets.predictions.embedding_predictor import predictions_by_embedding
from assets.predictions.token_probabilities import predictor_with_probabilities
from assets.progress import Tally, Told

if TYPE_CHECKING:
    import torch


def count_windows(
    model: LanguageModel,
    windows: pl.DataFrame,
    bins: ActivationBins,
    token_ids: Sequence[int],
    *,
    count_bos: bool,
    examples: int,
    batch_positions: int,
    screened_ids: Sequence[int] = (),
    embedding_predictions: bool = False,
    outcomes: Collection[str] = (),
    kept_positions: int = 0,
    domains: int = 1,
    part: Part | None = None,
    predictions: PositionPredictions | None = None,
    progress: Told | None = None,
) -> Histograms:
    """Count all windows of a frame of `token_windows`, in one pass.

    `token_ids` are the tracked tokens, `examples` the highest and lowest positions kept per neuron, `batch_positions` about
    how many positions go through the model at once, `screened_ids` the tokens whose means are counted (none: no screen),
    `embedding_predictions` whether top predictions by the embedding are counted too, `outcomes` which of
    FURTHER_OUTCOMES are, `kept_positions` at how many positions all activations are kept, `domains` how many the corpus has; a column
    `domain` of the windows says which is a document's.
    `part` is what of all this is counted,
    everything if absent; the result then holds the part's layers and tokens alone, and in block_scaled the positions of its groups.
    `predictions`, if given, keeps the top prediction at every position; every part of the same windows finds the same.
    `progress` is told tokens done and tokens in all after each batch.
    Raises HistogramError for windows, bins or tokens that do not fit the model, and for a model without predictions by the embedding.
    """
    _check(model, bins, token_ids)
    part = part or parts(model.facts.layers, len(token_ids), len(screened_ids))[0]
    counter = counter_of_part(
        model,
        bins,
        token_ids,
        screened_ids,
        part,
        count_bos=count_bos,
        examples=examples,
        embedding_predictions=embedding_predictions,
        outcomes=outcomes,
        kept_positions=kept_positions,
        sizes=block_sizes(windows, domains, count_bos),
    )
    with_probability = token_ids[part.tokens.start : part.tokens.stop] if PROBABILITY in outcomes else ()
    rows = rows_of_batches(model, windows, batch_positions, embedding_predictions)
    last_rows = rows_of_last_batches(model, windows, rows, embedding_predictions)
    tally = Tally(progress, int(windows["length"].sum()))
    keeps = kept_positions > 0 and part.is_first_of_layers
    with counting(model, counter, embedding_predictions, with_probability, keeps) as count_batch:
        for batch in batches(windows, model.facts.context_length, model.facts.beginning_token_id, rows, last_rows):
            predicted = count_batch(batch)
            if predictions is not None:
                predictions.add(batch, predicted)
            tally.add(int(batch.lengths.sum()))
    return counter.histograms()


@contextmanager
def counting(
    model: LanguageModel,
    counter: Counter,
    embedding_predictions: bool = False,
    with_probability: Sequence[int] = (),
    with_residual: bool = False,
) -> "Iterator[Callable[[Batch], torch.Tensor]]":
    """While open, the model's neurons report to `counter`: call the yielded function with each batch. It gives back the top predictions
    after each position, int64 [row, position], on the model's device.

    `embedding_predictions` must be as the counter was made; `with_probability` are its tracked tokens where it counts their probability,
    `with_residual` says whether it keeps what the final norm reads.
    """
    import torch

    top_predictions = predictor_with_probabilities(model, with_probability)
    by_embedding = predictions_by_embedding(model) if embedding_predictions else nullcontext(lambda: None)
    residual = final_streams(model) if with_residual else nullcontext(lambda shape: None)
    seen: list[int] = []

    def count_layer(layer: int, activations: torch.Tensor) -> None:
        counter.add_layer(layer, activations)
        seen.append(layer)

    def count_batch(batch: Batch) -> torch.Tensor:
        seen.clear()
        counter.start(batch)
        predictions, probabilities = top_predictions(sent(batch.token_ids, model.device))
        shape = batch.token_ids.shape
        counter.add_answers(Answers(predictions, last_by_embedding(), last_inverse_scale(shape), probabilities, last_residual(shape)))
        if seen != list(range(model.facts.layers)):
            raise HistogramError(f"model: its neurons were seen in layers {seen}, expected each of {model.facts.layers} layers once; "
                                 "this architecture cannot be counted")  # fmt: skip
        return predictions

    with (
        torch.inference_mode(),
        by_embedding as last_by_embedding,
        inverse_scales(model) as last_inverse_scale,
        residual as last_residual,
        neurons_reported(model, count_layer),
    ):
        yield count_batch


def counter_of_part(
    model: LanguageModel,
    bins: ActivationBins,
    token_ids: Sequence[int],
    screened_ids: Sequence[int],
    part: Part,
    *,
    count_bos: bool,
    examples: int,
    embedding_predictions: bool = False,
    outcomes: Collection[str] = (),
    kept_positions: int = 0,
    sizes: BlockSizes = UNKNOWN_SIZES,
) -> Counter:
    """The counter of a part of all layers, tracked tokens and screened groups."""
    import torch

    from assets.counting.kernel_counter import new_device_sums, outcome_sums_of

    layers = slice(part.layers.start, part.layers.stop)
    own_bins = ActivationBins(bins.per_unit[layers], bins.first_bin[layers], bins.bins)
    own_tokens = token_ids[part.tokens.start : part.tokens.stop]
    counted = {"count_bos": count_bos, "examples": examples, "embedding_predictions": embedding_predictions, "outcomes": outcomes}
    counted["sizes"] = sizes
    counter = new_counter(model, own_bins, own_tokens, **counted)  # type: ignore[arg-type]
    if screened_ids:
        counter = TokenSums(
            counter,
            len(part.layers),
            model.facts.neurons,
            group_of_token(model.facts.vocabulary, screened_ids, part.groups),
            group_tokens(screened_ids, part.groups),
            CompiledSums(torch.get_num_threads()) if model.device.type == "cpu" else new_device_sums(model.device),
            count_bos=count_bos,
            device=model.device,
            outcome_sums=outcome_sums_of(model.device)(
                outcomes,
                own_tokens,
                model.facts.vocabulary,
                len(part.layers),
                model.facts.neurons,
                device=model.device,
                threads=torch.get_num_threads() if model.device.type == "cpu" else 0,
                blocks=sizes.blocks,
            ),
            blocks=sizes.blocks,
        )
    if part.is_first_of_tokens:
        counter = PositionSampler(counter, own_tokens, model.facts.vocabulary)
    if kept_positions and part.is_first_of_layers:
        counter = KeptPositionCounter(
            counter,
            kept_positions,
            quotas(kept_positions, token_ids, outcomes),
            model.facts.vocabulary,
            len(part.layers),
            model.facts.neurons,
            model.facts.model_width,
            count_bos=count_bos,
        )
    return counter if len(part.layers) == model.facts.layers else LayerCounter(counter, part.layers)


def new_counter(
    model: LanguageModel,
    bins: ActivationBins,
    token_ids: Sequence[int],
    *,
    count_bos: bool,
    examples: int,
    embedding_predictions: bool = False,
    outcomes: Collection[str] = (),
    sizes: BlockSizes = UNKNOWN_SIZES,
) -> Counter:
    """The counter that suits the model's device: compiled loops on the CPU, kernels or tensor operations elsewhere."""
    import torch

    from assets.counting.kernel_counter import device_counter_of

    vocabulary = model.facts.vocabulary
    counted = {"count_bos": count_bos, "embedding_predictions": embedding_predictions, "outcomes": outcomes, "sizes": sizes}
    if model.device.type == "cpu":
        return BatchCounter(bins, token_ids, vocabulary, examples=examples, threads=torch.get_num_threads(), **counted)  # type: ignore[arg-type]
    return device_counter_of(model.device)(bins, token_ids, vocabulary, examples=examples, device=model.device, **counted)  # type: ignore[arg-type]


def _check(model: LanguageModel, bins: ActivationBins, token_ids: Sequence[int]) -> None:
    facts = model.facts
    if bins.per_unit.shape != (facts.layers, facts.neurons):
        raise HistogramError(f"activation_bins: made for {bins.per_unit.shape} layers and neurons, the model has "
                             f"{(facts.layers, facts.neurons)}; materialize activation_bins again")  # fmt: skip
    outside = [token for token in token_ids if not 0 <= token < facts.vocabulary]
    if outside or len(set(token_ids)) != len(token_ids):
        raise HistogramError(f"tracked tokens {list(token_ids)}: each must be given once and be an id from 0 to {facts.vocabulary - 1}")
