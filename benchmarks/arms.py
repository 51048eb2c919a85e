"""The arms of the throughput table: ways to run one batch. Adding one is a function and a line of ARMS.

An arm is made once, which may set hooks and counters, and is then run again and again; what it counts is returned, so that tests
can compare it. The two published algorithms are written anew from their descriptions; where those leave a choice, the faster one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.setting import EXAMPLES, Setting, most_predicted

PUBLISHED_LOW, PUBLISHED_PER_UNIT, PUBLISHED_BINS = -1.0, 5, 80
DEFAULT_OUTCOMES = ("next_token",)  # of a study, beside top predictions
SWEEP_LOW, SWEEP_HIGH, SWEEP_EDGES = -10.0, 15.0, 256


@dataclass(frozen=True)
class Arm:
    """`make` gives the function that runs one batch."""

    key: str
    name: str
    make: Callable[[Setting], Callable[[], Any]]


def bare(setting: Setting) -> Callable[[], Any]:
    """Plain Hugging Face code (SDPA attention, no cache) and the argmax of its logits."""
    return lambda: setting.plain(setting.ids, use_cache=False).logits.argmax(-1)


def bridged(setting: Setting) -> Callable[[], Any]:
    """The TransformerLens bridge to its logits; nothing is counted."""
    return lambda: setting.model.bridge(setting.ids, use_cache=False, output_attentions=False)


def engine_without_screen(setting: Setting) -> Callable[[], Any]:
    """One batch of the one pass: bins, tracked tokens by top prediction and next token, moments, extremes and examples of every neuron."""
    return _engine(setting, [], DEFAULT_OUTCOMES)


def engine(setting: Setting, outcomes: tuple[str, ...] = DEFAULT_OUTCOMES) -> Callable[[], Any]:
    """The same, and the sums of every neuron by predicted token, for as many tokens as a study screens unless told otherwise."""
    from assets.histograms.screened_tokens import screened_number
    from assets.study import Screen

    facts = setting.model.facts
    number = screened_number(Screen(), facts.layers, facts.neurons, facts.vocabulary)
    return _engine(setting, most_predicted(setting.model, setting.ids, number), outcomes)


def engine_of_top_predictions(setting: Setting) -> Callable[[], Any]:
    """The same, with tracked tokens counted by top predictions alone."""
    return engine(setting, ())


def engine_with_probability(setting: Setting) -> Callable[[], Any]:
    """The same, with tracked tokens counted by all three outcomes."""
    return engine(setting, ("next_token", "probability"))


def prepacked_engine(setting: Setting) -> Callable[[], Any]:
    """The same with `model.linear_maps: prepacked`."""
    from assets.model.plain_model import plain_twin

    twin = plain_twin(setting.model.plain, "prepacked")
    return engine(replace(setting, model=replace(setting.model, plain=twin)))


def _engine(setting: Setting, screened_ids: list[int], outcomes: tuple[str, ...]) -> Callable[[], Any]:
    from assets.counting.parts import parts
    from assets.histograms.activation_histograms import counter_of_part, counting

    whole = parts(setting.model.facts.layers, len(setting.token_ids), len(screened_ids))[0]
    counter = counter_of_part(
        setting.model, setting.bins, setting.token_ids, screened_ids, whole, count_bos=False, examples=EXAMPLES, outcomes=outcomes
    )  # fmt: skip
    with_probability = setting.token_ids if "probability" in outcomes else ()

    def run() -> Any:
        with counting(
            setting.model, counter, with_probability=with_probability
        ) as count_batch:  # opened for each batch, so that no other arm runs with these hooks
            count_batch(setting.batch)
        return counter

    return run


def notebook(setting: Setting, layer: int = 0, neuron: int = 0) -> Callable[[], Any]:
    """The published algorithm: one (token, neuron) pair a pass, a Python loop over positions.

    The notebook runs one document at a time and caches the model; here it is given the whole batch, and one layer is cached.
    """
    model, token = setting.model, setting.token_ids[0]
    counts = np.zeros((2, PUBLISHED_BINS), np.int64)  # positions in each bin, and those at which the token is predicted

    def run() -> np.ndarray:
        name = model.neuron_hook(layer)
        logits, cache = model.bridge.run_with_cache(setting.ids, names_filter=[name], use_cache=False, output_attentions=False)
        activations, predictions = cache[name][..., neuron], logits.argmax(-1)
        for row in range(setting.ids.shape[0]):
            for position in range(1, setting.ids.shape[1]):
                place = int(np.floor((activations[row, position].item() - PUBLISHED_LOW) * PUBLISHED_PER_UNIT))
                if 0 <= place < PUBLISHED_BINS:
                    counts[0, place] += 1
                    counts[1, place] += predictions[row, position].item() == token
        return counts

    return run


def sweep(setting: Setting) -> Callable[[], Any]:
    """The sweep of universal-neurons: pre-activations of all layers as float16, searchsorted, scatter_add_ into an int32 histogram.

    Without its running maximum and sum per neuron and vocabulary entry: 11 GB at GPT-2 Small's size. It counts no predictions.
    """
    import torch

    model = setting.model
    edges = torch.linspace(SWEEP_LOW, SWEEP_HIGH, SWEEP_EDGES, device=model.device)
    histogram = torch.zeros(model.facts.layers, model.facts.neurons, SWEEP_EDGES + 1, dtype=torch.int32, device=model.device)

    def run() -> "torch.Tensor":
        kept: list[torch.Tensor] = []
        hooks = [
            (f"blocks.{layer}.mlp.hook_pre", lambda values, hook: kept.append(values.to(torch.float16)))
            for layer in range(model.facts.layers)
        ]
        with model.bridge.hooks(fwd_hooks=hooks):
            model.bridge(setting.ids, use_cache=False, output_attentions=False)
        for layer, values in enumerate(kept):
            places = torch.searchsorted(edges, values.flatten(0, 1).t().float().contiguous())  # [neuron, position]
            histogram[layer].scatter_add_(1, places, torch.ones_like(places, dtype=torch.int32))
        return histogram

    return run


ARMS = (
    Arm("a", "Hugging Face forward, argmax of its logits", bare),
    Arm("b", "TransformerLens bridge forward", bridged),
    Arm("c", "this engine, everything on", engine),
    Arm("w", "the same without the screen of all frequent tokens", engine_without_screen),
    Arm("t", "(c) by top predictions alone, without next tokens", engine_of_top_predictions),
    Arm("y", "(c) with the tracked tokens' probabilities", engine_with_probability),
    Arm("p", "(c) with prepacked linear maps", prepacked_engine),
    Arm("d", "published notebook: one pair a pass", notebook),
    Arm("e", "scatter-add sweep: histograms alone", sweep),
)
