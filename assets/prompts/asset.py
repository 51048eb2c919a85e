"""Dagster assets of the prompts stage: predictions, logit lens, patching of components, neurons, sets of neurons and sets of prompts, what neurons do there."""

from collections.abc import Sequence

import dagster as dg
import polars as pl

from assets.model.loading import model_of
from assets.progress import Progress
from assets.prompts.activation_patching import activation_patching
from assets.prompts.attribution_patching import attribution_agreement, attribution_patching
from assets.prompts.logit_lens import logit_lens
from assets.prompts.neuron_inputs import contexts_of, largest_source, neuron_inputs
from assets.prompts.neuron_patching import neuron_patching
from assets.prompts.patched_neuron_sets import patched_neuron_sets
from assets.prompts.prompt_activations import prompt_activations
from assets.prompts.prompt_predictions import prompt_predictions, prompt_tokens
from assets.prompts.prompt_set_patching import prompt_set_patching
from assets.prompts.prompt_sets import encode_prompt_sets
from assets.prompts.prompts import encode_prompts
from assets.study import Study
from assets.wiring import study_asset
from assets.work import Work

WORK = "positions through a block"


def prompt_assets(study: Study) -> list[dg.AssetsDefinition]:
    """The study's assets of this stage."""
    return [
        study_asset(study, "prompt_predictions", _prompt_predictions, page="index.html"),
        study_asset(study, "logit_lens", _logit_lens, page="index.html"),
        study_asset(study, "activation_patching", _activation_patching, page="index.html"),
        study_asset(study, "neuron_patching", _neuron_patching, page="index.html"),
        study_asset(study, "patched_neuron_sets", _patched_neuron_sets, page="index.html"),
        study_asset(study, "prompt_set_patching", _prompt_set_patching, page="index.html"),
        study_asset(study, "neuron_inputs", _neuron_inputs, page="index.html"),
        study_asset(study, "prompt_activations", _prompt_activations, page="index.html"),
    ]


def _prompt_predictions(work: Work) -> None:
    prompts = encode_prompts(model_of(work), work.study.prompts)
    work.write("prompt_tokens", prompt_tokens(model_of(work), prompts))
    work.write("prompt_predictions", prompt_predictions(model_of(work), prompts))


def _logit_lens(work: Work) -> None:
    work.write("logit_lens", logit_lens(model_of(work), encode_prompts(model_of(work), work.study.prompts)))


def _activation_patching(work: Work) -> None:
    told = Progress(work.tell, "activation patching", WORK)
    work.write("activation_patching", activation_patching(model_of(work), encode_prompts(model_of(work), work.study.prompts), told))


def _neuron_patching(work: Work) -> None:
    prompts = encode_prompts(model_of(work), work.study.prompts)
    patched = neuron_patching(model_of(work), prompts, _layers(work), progress=Progress(work.tell, "neuron patching", WORK))
    estimates = attribution_patching(model_of(work), prompts)
    work.write("neuron_patching", patched)
    work.write("attribution_patching", estimates)
    work.show(attribution_agreement=attribution_agreement(patched, estimates).to_dicts())


def _patched_neuron_sets(work: Work) -> None:
    prompts = encode_prompts(model_of(work), work.study.prompts)
    sets = patched_neuron_sets(model_of(work), prompts, work.read("neuron_patching"), tell=work.tell)
    work.write("patched_neuron_sets", sets)
    work.show(restored=dict(sets.group_by("prompt", maintain_order=True).agg(pl.col("restored").last()).iter_rows()))


def _prompt_set_patching(work: Work) -> None:
    sets = encode_prompt_sets(model_of(work), work.study.prompt_sets)
    made = prompt_set_patching(model_of(work), sets, _layers(work), Progress(work.tell, "prompt set patching", WORK))
    for name, frame in made.items():
        work.write(name, frame)
    pairs = made["prompt_sets"]
    work.show(pairs=int(pairs["patched"].sum()), left_out=int((pairs["drawn"] - pairs["patched"]).sum()))


def _prompt_activations(work: Work) -> None:
    prompts = encode_prompts(model_of(work), work.study.prompts)
    work.write("prompt_activations", prompt_activations(model_of(work), prompts, _studied(work)))


def _layers(work: Work) -> Sequence[int] | None:
    """The layers whose neurons are patched; None: all."""
    return None if work.study.patching_layers == "all" else work.study.patching_layers


def _studied(work: Work) -> list[tuple[int, int]]:
    """(layer, neuron) of the studied neurons, in ascending order."""
    return work.read("proportion_curves").select("layer", "neuron").unique().sort("layer", "neuron").rows()


def _neuron_inputs(work: Work) -> None:
    studied = _studied(work)
    prompts = encode_prompts(model_of(work), work.study.prompts)
    windows = pl.concat([work.scan("token_windows", shard) for shard in work.shards_of("token_windows")])
    contexts = contexts_of(prompts, work.read("neuron_contexts"), studied, windows)
    made = neuron_inputs(model_of(work), contexts, progress=Progress(work.tell, "neuron inputs", WORK))
    for name, frame in made.items():
        work.write(name, frame)
    work.show(largest_source=dict(largest_source(made["neuron_inputs"])))
