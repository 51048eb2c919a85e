"""Neurons ablated at many positions of the corpus, for all tokens together: each window is run once.

A window is run as far as the last position that is wanted of it; what comes later changes nothing there. Windows of about equal length are run
together, no more than POSITIONS_AT_ONCE or one. Of each run only the layers whose neurons are ablated in it are kept, and only while it is
worked on. How one position is computed is in position_effects.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assets.ablation.ablated_positions import WINDOW
from assets.ablation.donors import Donors, Neurons
from assets.ablation.plain_ablation import Ablated, require_plain_forward_agrees
from assets.ablation.position_effects import MEASURES, known_logits, position_effects, run_windows
from assets.ablation.readout import Readout, Target
from assets.ablation.replacements import ABLATIONS, corpus_means, replacements
from assets.model.language_model import LanguageModel
from assets.prompts.prompt_runs import PromptRun

if TYPE_CHECKING:
    import torch

LOGIT = MEASURES.index("logit")
POSITIONS_AT_ONCE = 1024  # what one window of the published length takes; alone a window of 60 tokens runs at half the speed


@dataclass(frozen=True)
class Subjects:
    """Neurons that are ablated, and what their activations are replaced with."""

    neurons: Neurons
    chosen: "Mapping[int, torch.Tensor]"  # layer -> int64 [neuron]
    means: "Mapping[int, torch.Tensor]"  # layer -> float32 [neuron]
    donated: "Mapping[int, torch.Tensor]"  # layer -> float32 [donor, neuron]

    @classmethod
    def of(cls, model: LanguageModel, neurons: Neurons, neuron_statistics: pl.DataFrame, drawn: Donors) -> "Subjects":
        """These neurons, layers and neurons in ascending order; `drawn` has donors of all of them."""
        import torch

        means = {layer: torch.from_numpy(corpus_means(neuron_statistics, layer, chosen)) for layer, chosen in neurons.items()}
        donated = drawn.of(neurons).activations
        return cls(
            neurons,
            {layer: torch.tensor(list(chosen), device=model.device) for layer, chosen in neurons.items()},
            {layer: values.to(model.device) for layer, values in means.items()},
            {layer: values.to(model.device) for layer, values in donated.items()},
        )

    def columns(self, layer: int, neurons: Sequence[int]) -> np.ndarray:
        """Columns of these neurons of a layer in an array of effects: layer after layer, neurons ascending."""
        before = sum(len(chosen) for other, chosen in self.neurons.items() if other < layer)
        return before + np.searchsorted(np.asarray(self.neurons[layer]), neurons)

    def work(self, layers: int) -> int:
        """Positions that go through a block when they are ablated at one position of a model of so many layers."""
        return len(ABLATIONS) * sum(len(chosen) * (layers - 1 - layer) for layer, chosen in self.neurons.items())


@dataclass(frozen=True)
class Visit:
    """One position at which the subjects are ablated for one token. `place` is the caller's name for it.

    `tried`: layers whose largest effect is computed once more in a plain forward pass.
    """

    window: tuple[int, int]  # document, window in the document
    place: tuple[int, int]
    target: Target
    donor: int
    subjects: Subjects
    tried: frozenset[int] = frozenset()


def with_trials(visits: Sequence[Visit]) -> list[Visit]:
    """The same visits; each layer is tried at the first that ablates a neuron of it, and at the one with the longest text before it, which
    attention may see only some of."""
    by_layer: dict[int, list[int]] = {}
    for place, visit in enumerate(visits):
        for layer in visit.subjects.neurons:
            by_layer.setdefault(layer, []).append(place)
    tried: dict[int, set[int]] = {}
    for layer, places in by_layer.items():
        for place in (places[0], max(places, key=lambda place: visits[place].target.position)):
            tried.setdefault(place, set()).add(layer)
    return [replace(visit, tried=frozenset(tried.get(place, ()))) for place, visit in enumerate(visits)]


def work_of(visits: Sequence[Visit], layers: int) -> int:
    """Positions that go through a block in all of these visits, those of the windows themselves included."""
    ends = _ends(visits)
    return layers * sum(ends.values()) + sum(visit.subjects.work(layers) for visit in visits)


def visited(
    model: LanguageModel, windows: pl.DataFrame, visits: Sequence[Visit], done: Callable[[int], None] = lambda work: None
) -> Iterator[tuple[Visit, np.ndarray]]:
    """Each visit with its effects, float64 [ablation, column, measure]: window after window, the longest first, positions ascending.

    `windows` holds at least the windows of the visits. `done` is told after each window what part of work_of it was. Raises ModelError where
    the shortcut is not what the model computes.
    """
    rows = {key: row for row, key in enumerate(windows.select(WINDOW).iter_rows())}
    readout, ends, layers = Readout.of(model), _ends(visits), model.facts.layers
    by_window: dict[tuple[int, int], list[Visit]] = {}
    for visit in visits:
        by_window.setdefault(visit.window, []).append(visit)
    for group in _run_together(ends):
        texts = [windows["token_ids"][rows[window]].to_list()[: ends[window]] for window in group]
        here = [sorted(by_window[window], key=lambda visit: (visit.target.position, visit.place)) for window in group]
        runs = run_windows(model, texts, sorted({layer for own in here for visit in own for layer in visit.subjects.neurons}))
        known = known_logits(model, readout, [(run, visit.target) for run, own in zip(runs, here, strict=True) for visit in own])
        for ids, run, own in zip(texts, runs, here, strict=True):
            for visit in own:
                changes = _changes(model, run, visit)
                effects = position_effects(model, run, visit.target, visit.subjects.chosen, changes, readout, next(known))
                if visit.tried:
                    _require_agreement(model, ids, visit, changes, effects)
                yield visit, effects
            done(work_of(own, layers))


def _run_together(ends: Mapping[tuple[int, int], int]) -> Iterator[list[tuple[int, int]]]:
    """Windows by how far they are run, the longest first, in groups whose positions, filled up, are at most POSITIONS_AT_ONCE."""
    group: list[tuple[int, int]] = []
    for window in sorted(ends, key=lambda window: (-ends[window], window)):
        if group and (len(group) + 1) * ends[group[0]] > POSITIONS_AT_ONCE:
            yield group
            group = []
        group.append(window)
    if group:
        yield group


def _ends(visits: Sequence[Visit]) -> dict[tuple[int, int], int]:
    """Window -> how many of its tokens are run."""
    ends: dict[tuple[int, int], int] = {}
    for visit in visits:
        ends[visit.window] = max(ends.get(visit.window, 0), visit.target.position + 1)
    return ends


def _changes(model: LanguageModel, run: PromptRun, visit: Visit) -> "dict[int, torch.Tensor]":
    """Layer -> float32 [ablation, neuron]: replacement minus activation at the target."""
    subjects, changes = visit.subjects, {}
    for layer, chosen in subjects.chosen.items():
        clean = run.values[model.neuron_hook(layer)][visit.target.position, chosen].float()
        changes[layer] = replacements(clean, subjects.means[layer], subjects.donated[layer][visit.donor]) - clean
    return changes


def _require_agreement(
    model: LanguageModel, ids: Sequence[int], visit: Visit, changes: "Mapping[int, torch.Tensor]", effects: np.ndarray
) -> None:
    """In each of the layers that are tried the neuron and the ablation that change the logit most are done once more in a plain forward pass."""
    largest = []
    for layer, neurons in visit.subjects.neurons.items():
        if layer not in visit.tried:
            continue
        columns = visit.subjects.columns(layer, neurons)
        sizes = np.abs(effects[:, columns, LOGIT])  # [ablation, neuron]
        ablation, place = divmod(int(sizes.argmax()), len(neurons))
        change, logit = float(changes[layer][ablation, place]), float(effects[ablation, columns[place], LOGIT])
        largest.append(Ablated(layer, neurons[place], change, logit))
    require_plain_forward_agrees(model, ids, visit.target, largest)
