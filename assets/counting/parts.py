"""What one pass counts: everything, or a part of the layers, tracked tokens and screened groups where everything does not fit.

Passes over the same windows give the same activations, so the parts together hold the integers of one pass. How many parts a
budget needs is decided in memory_plan; their files are put together in histogram_store.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from assets.counting.batch_counter import Answers, Counter
from assets.counting.batches import Batch
from assets.counting.histograms import Histograms

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Part:
    """Layers, rows of the tracked tokens and groups of the screen that one pass counts."""

    layers: range
    tokens: range
    groups: range

    @property
    def is_first_of_layers(self) -> bool:
        """Whether this pass is the one whose counters of its layers are kept: passes for other tokens count them again."""
        return self.tokens.start == 0 and self.groups.start == 0

    @property
    def is_first_of_tokens(self) -> bool:
        """Whether this pass is the one that samples the positions of its tokens: passes for other layers would find the same."""
        return self.layers.start == 0 and len(self.tokens) > 0


def number_of_groups(screened: int) -> int:
    """Groups of the screen: one for each screened token and one for all others; none where nothing is screened."""
    return screened + 1 if screened else 0


def parts(layers: int, tokens: int, screened: int, layer_parts: int = 1, token_parts: int = 1) -> list[Part]:
    """Every combination of `layer_parts` shares of the layers and `token_parts` shares of tokens and groups that holds any, in order."""
    return [
        Part(layer_share, token_share, group_share)
        for layer_share in shares(layers, layer_parts)
        for token_share, group_share in zip(shares(tokens, token_parts), shares(number_of_groups(screened), token_parts), strict=True)
        if layer_share and (token_share or group_share)
    ]


def shares(whole: int, number: int) -> list[range]:
    """`number` ranges side by side that cover 0 .. whole - 1, none longer than whole / number rounded up."""
    width = -(-whole // number)
    return [range(min(start * width, whole), min((start + 1) * width, whole)) for start in range(number)]


class LayerCounter:
    """A counter of some of the layers: it is told of every layer and counts its own."""

    def __init__(self, counter: Counter, layers: range) -> None:
        self._counter, self._layers = counter, layers

    def start(self, batch: Batch) -> None:
        """A new batch: its layers follow."""
        self._counter.start(batch)

    def add_layer(self, layer: int, activations: "torch.Tensor") -> None:
        """Count a layer's activations if the layer is one of these."""
        if layer in self._layers:
            self._counter.add_layer(layer - self._layers.start, activations)

    def add_answers(self, answers: Answers) -> None:
        """Count what the model answered."""
        scale = answers.inverse_scale
        if scale is not None and scale.ndim == 3:  # one of each layer
            answers = replace(answers, inverse_scale=scale[self._layers.start : self._layers.stop])
        self._counter.add_answers(answers)

    def histograms(self) -> Histograms:
        """All that was counted so far, of these layers alone."""
        return self._counter.histograms()
