"""What of the product is right on a model of a family: each number against plain Hugging Face code. Holds no test.

Every check gives the largest difference that it found as a share of the largest number that it compared, or raises what the product
refuses with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from assets.ablation.position_effects import position_effects, run_window
from assets.ablation.readout import Target
from assets.congruence.conventions import token_vectors, writing_weights
from assets.histograms.activation_bins import fixed_bins
from assets.histograms.activation_histograms import count_windows
from assets.model.direct_effect import refuse_indirect
from assets.model.language_model import LanguageModel
from assets.model.plain_model import neurons_reported
from assets.predictions.top_predictions import predictor
from assets.prompts.activation_patching import activation_patching
from assets.prompts.logit_lens import logit_lens
from assets.prompts.neuron_inputs import neuron_inputs, prompt_contexts
from assets.prompts.neuron_patching import neuron_patching
from assets.prompts.prompts import EncodedPrompt
from assets.statistics.contributions import contributions, outcome_contributions
from assets.study import FixedBins
from tests.assets.counting.made_batches import windows_frame
from tests.plain_families import Plain, held

CLEAN = (0, 3, 4, 5, 6, 7, 12, 9, 8, 20, 11)
CORRUPT = (0, 3, 4, 5, 6, 7, 12, 10, 8, 20, 11)  # differs three before the end: seen through two windows of three positions, not by one
ANSWERS = (14, 15)
NEURONS = (0, 5, 11, 17)
SMALLEST = 1e-4  # what is compared must reach; rounding of float32 logits of size 1 is 1e-7
PROMPT = EncodedPrompt("fruit", CLEAN, CORRUPT, *ANSWERS, tuple(map(str, CLEAN)), tuple(map(str, CORRUPT)))


class Compared:
    """Numbers of the product beside those of plain code."""

    def __init__(self) -> None:
        self._apart, self._size = 0.0, 0.0

    def add(self, found: Any, expected: Any, clean: float = 0.0) -> None:
        """Numbers or arrays; `clean` is what the expected ones are when nothing is done, so that effects are compared, not logits."""
        found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
        self._apart = max(self._apart, float(np.abs(found - expected).max()))
        self._size = max(self._size, float(np.abs(expected - clean).max()))

    @property
    def share(self) -> float:
        """The largest difference over the largest number."""
        assert self._size > SMALLEST, "nothing was compared that is not almost 0"
        return self._apart / self._size


@dataclass(frozen=True)
class Case:
    """A model as the product reads it and in plain code."""

    model: LanguageModel
    plain: Plain

    @classmethod
    def of(cls, folder: Path) -> "Case":
        """That of a folder."""
        from assets.model.loading import load

        return cls(load.__wrapped__(folder, "float32", "cpu"), Plain(folder))


def windows() -> pl.DataFrame:
    """Eight windows of 10 to 32 tokens."""
    generator = torch.Generator().manual_seed(5)
    return windows_frame(
        [[0, *torch.randint(1, 30, (length,), generator=generator).tolist()] for length in (9, 20, 31, 14, 27, 30, 31, 31)]
    )


def counted(case: Case) -> float:
    """Activations and top predictions of the pass."""
    ids = torch.tensor([CLEAN])
    seen: dict[int, torch.Tensor] = {}
    with torch.inference_mode(), neurons_reported(case.model, lambda layer, values: seen.__setitem__(layer, values[0].clone())):
        predictions = predictor(case.model)(ids)[0]
    assert predictions.tolist() == case.plain.logits(CLEAN).argmax(-1).tolist()
    compared = Compared()
    for layer, values in enumerate(case.plain.inputs(CLEAN, [case.plain.down(layer) for layer in range(case.plain.layers)])):
        compared.add(seen[layer], values)
    return compared.share


def congruent(case: Case) -> float:
    """Congruence, convention logits, of neurons of each layer with every token, against what is added to logits at the last position."""
    refuse_indirect(case.model)
    effects = case.plain.direct_effects(CLEAN)[-1]  # [layer, neuron, token]
    layers = range(case.plain.layers)
    activations = case.plain.inputs(CLEAN, [case.plain.down(layer) for layer in layers])
    vectors, compared = token_vectors(case.model, "logits"), Compared()
    for layer in layers:
        found = (writing_weights(case.model, layer) @ vectors).double()  # [neuron, token], less the scales, which are one number a layer
        is_on = activations[layer][-1].abs() > 1e-3
        expected, found = effects[layer][is_on] / activations[layer][-1].double()[is_on, None], found[is_on]
        inverse = float((expected * found).sum() / (found**2).sum())
        compared.add(found, expected / inverse)
    return compared.share


def contributed(case: Case) -> float:
    """Contribution of every neuron to the tokens that the model predicts most, by every outcome."""
    given, facts = windows(), case.model.facts
    logits = [case.plain.logits(ids)[1:] for ids in given["token_ids"].to_list()]
    predicted = torch.cat([one.argmax(-1) for one in logits]).numpy()
    names, frequency = np.unique(predicted, return_counts=True)
    tracked = [int(token) for token in names[np.argsort(-frequency, kind="stable")][:3]]
    bins = fixed_bins(facts.layers, facts.neurons, FixedBins())
    with torch.inference_mode():
        histograms = count_windows(
            case.model, given, bins, tracked, count_bos=False, examples=1, batch_positions=128,
            screened_ids=range(facts.tokenizer_entries), outcomes=("next_token", "probability"),
        )  # fmt: skip
    every = contributions(case.model, histograms, tracked, 1).every.with_columns(outcome=pl.lit("top_prediction"))
    found = pl.concat([every, outcome_contributions(case.model, histograms, tracked)], how="diagonal_relaxed")
    effects = torch.cat(
        [case.plain.direct_effects(ids)[1:] for ids in given["token_ids"].to_list()]
    ).numpy()  # [position, layer, neuron, token]
    shares = torch.cat([one.double().softmax(-1) for one in logits]).numpy()
    follows = np.concatenate([[*ids[2:], -1] for ids in given["token_ids"].to_list()])
    compared = Compared()
    for (outcome, token), rows in found.partition_by("outcome", "token_id", as_dict=True).items():
        weight, has = {
            "top_prediction": ((predicted == token).astype(float), np.ones(len(predicted))),
            "next_token": ((follows == token).astype(float), (follows >= 0).astype(float)),
            "probability": (shares[:, token], np.ones(len(predicted))),
        }[outcome]
        own = effects[..., token]
        expected = np.tensordot(weight, own, 1) / weight.sum() - np.tensordot(has - weight, own, 1) / (has - weight).sum()
        compared.add(rows["contribution"], expected[rows["layer"].to_numpy(), rows["neuron"].to_numpy()])
    return compared.share


def patched(case: Case) -> float:
    """Patching of neurons, of the residual stream and of heads."""
    compared, plain = Compared(), case.plain
    unpatched = plain.difference(CORRUPT, ANSWERS)
    table = neuron_patching(case.model, [PROMPT])
    for layer in range(plain.layers):
        (clean,) = plain.inputs(CLEAN, [plain.down(layer)])
        for neuron in NEURONS:
            for positions, place in (("all", slice(None)), ("last", slice(-1, None))):

                def change(given: torch.Tensor, neuron=neuron, place=place, clean=clean) -> None:  # type: ignore[no-untyped-def]
                    given[place, neuron] = clean[place, neuron]

                expected = plain.difference(CORRUPT, ANSWERS, plain.down(layer), change)
                (found,) = table.filter(layer=layer, neuron=neuron, positions=positions)["difference"]
                compared.add(found, expected, unpatched)
    components = activation_patching(case.model, [PROMPT])
    for layer in range(plain.layers):
        given: dict[str, tuple[Any, slice, int | None]] = {"residual": (plain.blocks[layer], slice(None), None)}
        modules = [plain.blocks[layer], plain.from_heads(layer)]
        width = modules[1].weight.shape[0 if type(modules[1]).__name__ == "Conv1D" else 1] // 2
        given |= {f"head {head}": (modules[1], slice(head * width, (head + 1) * width), head) for head in range(2)}
        for position in range(7, len(CLEAN)):
            for name, (module, entries, head) in given.items():
                (clean,) = plain.inputs(CLEAN, [module])

                def move(stream: torch.Tensor, position=position, entries=entries, clean=clean) -> None:  # type: ignore[no-untyped-def]
                    stream[position, entries] = clean[position, entries]

                expected = plain.difference(CORRUPT, ANSWERS, module, move)
                rows = components.filter(pl.col("component") == name.split()[0], layer=layer, position=position)
                (found,) = (rows if head is None else rows.filter(head=head))["difference"]
                compared.add(found, expected, unpatched)
    return compared.share


def ablated(case: Case) -> float:
    """Every measure of setting a neuron to a number, early and late in a text."""
    compared, layers = Compared(), range(case.plain.layers)
    run = run_window(case.model, CLEAN, list(layers))
    for position in (1, 5, len(CLEAN) - 2):
        target = Target(position, ANSWERS[0], CLEAN[position + 1])
        neurons = {layer: torch.tensor(NEURONS) for layer in layers}
        changes = {layer: 1.5 - run.values[case.model.neuron_hook(layer)][position, list(NEURONS)].float()[None] for layer in layers}
        effects = position_effects(case.model, run, target, neurons, changes)[0]
        for layer in layers:
            for place, neuron in enumerate(NEURONS):
                expected = case.plain.ablation(CLEAN, position, layer, neuron, 1.5, target.token_id, target.next_token_id)
                compared.add(effects[layer * len(NEURONS) + place], expected)
    return compared.share


def read(case: Case) -> float:
    """What feeds a neuron: that the parts sum to its pre-activation is tried by the product; the heads' part against plain code."""
    last, plain = case.plain.layers - 1, case.plain
    inputs = neuron_inputs(case.model, prompt_contexts([PROMPT], [(last, neuron) for neuron in NEURONS]))["neuron_inputs"]
    rows = inputs.filter(pl.col("component") == "head", variant="clean", source_layer=0)
    module, behind = plain.from_heads(0), plain.behind_attention(0)
    (given,) = plain.inputs(CLEAN, [module])
    weight = module.weight if type(module).__name__ == "Conv1D" else module.weight.T  # [head entry, width]
    entry = _mlp_entry(case)
    (stream,) = plain.inputs(CLEAN, [entry[0]])
    compared, width = Compared(), weight.shape[0] // 2
    for head in range(2):
        own = slice(head * width, (head + 1) * width)
        written = (given[:, own] @ weight[own])[:, None].double().detach()
        if behind is not None:
            written = held(behind, plain.inputs(CLEAN, [behind])[0], written).detach()
        into = written[-1, 0] * plain.residual_factor
        for neuron in NEURONS:
            expected = entry[1](stream, into, neuron)
            (found,) = rows.filter(head=head, layer=last, neuron=neuron)["contribution"]
            compared.add(found, expected)
    return compared.share


def _mlp_entry(case: Case) -> "tuple[torch.nn.Module, Callable[..., float]]":
    """The norm that the last layer's neurons read through (or, without one, its MLP), and what a part of the stream gives one of them."""
    block = case.model.bridge.blocks[case.plain.layers - 1]
    names = [getattr(block, name) for name in ("ln2", "ln1") if hasattr(block, name)]
    matrix = getattr(block.mlp, "W_gate", None)
    matrix = (block.mlp.W_in if matrix is None else matrix).detach().double()  # [width, neuron]
    if not names:
        plain_mlp = case.plain.blocks[case.plain.layers - 1].mlp
        return plain_mlp, lambda stream, part, neuron: float(part @ matrix[:, neuron])
    wanted = [name for name, module in case.model.bridge.original_model.named_modules() if module is names[0].original_component][0]
    norm = case.plain.model.get_submodule(".".join(part for part in wanted.split(".") if part != "_original_component"))
    return norm, lambda stream, part, neuron: float(
        (held(norm, stream, part.expand(len(stream), 1, -1)).detach()[-1, 0]) @ matrix[:, neuron]
    )


def lensed(case: Case) -> float:
    """Logits at the last point of the logit lens, against plain code's: before the cap, where there is one."""
    last = case.plain.logits(CLEAN)[-1].double()
    cap = getattr(case.plain.model.config, "final_logit_softcapping", None)
    rows = logit_lens(case.model, [PROMPT]).filter(variant="clean", scale="own", layer=case.plain.layers - 1, point="mlp")
    expected = torch.atanh(last / cap) * cap if cap else last
    compared = Compared()
    compared.add([rows["answer_logit"][0], rows["wrong_answer_logit"][0]], expected[list(ANSWERS)])
    return compared.share


CHECKS = {
    "counts": counted,
    "congruence": congruent,
    "contribution": contributed,
    "logit lens": lensed,
    "patching": patched,
    "ablation": ablated,
    "what feeds a neuron": read,
}
