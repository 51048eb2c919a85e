"""One text as a model reads it: the prediction at each token, the neurons that wrote it and wrote against it, and chosen activations.

A neuron's contribution is its exact direct effect on the logit of the token that is predicted there: congruence (convention `logits`) times
activation, over the scale of the norms on the way. A gated neuron's sign is in both factors and so in no contribution. Of a model that caps
its logits it is of the logit before the cap. Holds one plain run of the model; limits are in given_text, nothing here is printed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assets.model.direct_effect import refuse_indirect
from assets.model.final_norm import inverse_scales
from assets.model.language_model import LanguageModel
from assets.model.plain_model import neurons_reported, whole_logits
from assets.model.refusals import UnsupportedModelError
from assets.statistics.direct_effects import congruence_by_layer
from assets.tried_text.given_text import TextError

if TYPE_CHECKING:
    import torch

NEURONS_OF_END = 5  # at each position the first at either end
Neuron = tuple[int, int]  # layer, neuron


@dataclass(frozen=True)
class Contribution:
    """What one neuron adds to the logit of the predicted token, in logits, and its activation there."""

    layer: int
    neuron: int
    activation: float
    contribution: float


@dataclass(frozen=True)
class ReadToken:
    """One token and what the model predicts behind it. `writes` and `writes_against` are the first neurons of all layers at either end,
    `all_neurons` what all neurons of the model add together; empty and None where contributions mean nothing of the model."""

    token_id: int
    token: str
    prediction_id: int
    prediction: str
    probability: float
    all_neurons: float | None
    writes: tuple[Contribution, ...]
    writes_against: tuple[Contribution, ...]


@dataclass(frozen=True)
class TriedText:
    """`activations` are those of each chosen neuron along the text. `refused` says why no contributions are told; "" where they are."""

    tokens: tuple[ReadToken, ...]
    activations: dict[Neuron, tuple[float, ...]]
    refused: str


@dataclass(frozen=True)
class _Run:
    """One plain run over a text."""

    activations: "list[torch.Tensor]"  # by layer, [position, neuron], in the model's dtype
    inverse: np.ndarray  # float64 [layer or 1, position]: 1 over the scale that direct effects are divided by
    predictions: np.ndarray  # int64 [position]
    probabilities: list[float]  # of each prediction

    def activations_of(self, layer: int) -> np.ndarray:
        """Float64 [position, neuron]."""
        return self.activations[layer].double().cpu().numpy()


def tried_text(model: LanguageModel, ids: Sequence[int], neurons: Sequence[Neuron] = ()) -> TriedText:
    """The text of `ids`, the beginning-of-sequence token first, with the activations of `neurons`, or where none is chosen, of the neuron that
    writes a prediction most.

    Raises TextError where the model's numbers end: it overflows its dtype on this text.
    """
    refused = ""
    try:
        refuse_indirect(model)
    except UnsupportedModelError as error:
        refused = str(error)
    run = _run(model, ids)
    told = [(None, (), ()) for _ in ids] if refused else _contributions(model, run)
    tokens = tuple(
        ReadToken(entry, model.token_texts[entry], prediction, model.token_texts[prediction], probability, *own)
        for entry, prediction, probability, own in zip(ids, run.predictions.tolist(), run.probabilities, told, strict=True)
    )
    shown = tuple(neurons) or leading_neuron(tokens)
    along = {(layer, neuron): tuple(run.activations[layer][:, neuron].float().tolist()) for layer, neuron in shown}
    return TriedText(tokens, along, refused)


def leading_neuron(tokens: Sequence[ReadToken]) -> tuple[Neuron, ...]:
    """The one neuron with the largest contribution anywhere behind the beginning-of-sequence token, the earliest of equals; none without any.

    That token is left out: many models do there what they do nowhere else.
    """
    firsts = [token.writes[0] for token in tokens[1:] if token.writes]
    if not firsts:
        return ()
    best = max(firsts, key=lambda one: one.contribution)
    return ((best.layer, best.neuron),)


def _run(model: LanguageModel, ids: Sequence[int]) -> _Run:
    import torch

    seen: dict[int, torch.Tensor] = {}
    token_ids = torch.tensor([list(ids)], device=model.device)  # [1, position]
    with (
        torch.inference_mode(),
        inverse_scales(model) as scales,
        neurons_reported(model, lambda layer, activations: seen.__setitem__(layer, activations[0].clone())),
    ):
        logits = whole_logits(model, token_ids)[0]  # [position, vocabulary]
        inverse = scales((1, len(ids))).reshape(-1, len(ids)).double().cpu().numpy()
        predictions = logits.argmax(-1)
        exact = [_probability(row, entry) for row, entry in zip(logits, predictions, strict=True)]
    if not all(np.isfinite(exact)):
        raise TextError("text: the model's logits of it are not finite numbers; set model.dtype to float32 in the study and run it again")
    return _Run([seen[layer] for layer in range(model.facts.layers)], inverse, predictions.cpu().numpy(), exact)


def _probability(logits: "torch.Tensor", entry: "torch.Tensor") -> float:
    """Of one position: float64 of all its logits at once would be gigabytes for a long text and a large vocabulary."""
    exact = logits.double()
    return float((exact[entry] - exact.logsumexp(-1)).exp())


Told = tuple[float | None, tuple[Contribution, ...], tuple[Contribution, ...]]


def _contributions(model: LanguageModel, run: _Run) -> list[Told]:
    """At each position what all neurons add to the logit of the token predicted there, and the first neurons at either end."""
    positions, layers, neurons = len(run.predictions), model.facts.layers, model.facts.neurons
    entries, place = np.unique(run.predictions, return_inverse=True)
    added, together = np.empty((positions, layers, neurons), np.float32), np.zeros(positions)
    for layer, congruence in congruence_by_layer(model, entries):  # [entry, neuron]
        own = congruence[place] * run.activations_of(layer) * run.inverse[layer % len(run.inverse), :, None]
        added[:, layer], together = own, together + own.sum(1)
    found: list[Told] = []
    for position in range(positions):
        of_all = added[position].reshape(-1)
        writes, against = (_named(run, position, of_all, _first(sign * of_all), neurons) for sign in (1, -1))
        found.append((float(together[position]), writes, against))
    return found


def _first(values: np.ndarray) -> np.ndarray:
    """Places of the largest positive values, largest first, the lower place of equals."""
    keep = min(NEURONS_OF_END, values.size)
    least = np.partition(values, -keep)[-keep]
    places = np.flatnonzero((values >= least) & (values > 0))
    return places[np.argsort(-values[places], kind="stable")[:keep]]


def _named(run: _Run, position: int, added: np.ndarray, places: np.ndarray, neurons: int) -> tuple[Contribution, ...]:
    named = [(*divmod(int(place), neurons), float(added[place])) for place in places]
    return tuple(
        Contribution(layer, neuron, float(run.activations[layer][position, neuron]), contribution) for layer, neuron, contribution in named
    )
