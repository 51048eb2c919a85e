"""What feeds a neuron: the parts sum to the plain model's pre-activation, in every architecture, and name the planted source."""

import polars as pl
import pytest
import torch

from assets.contracts import NEURON_INPUTS, NEURON_RESIDUAL_READS
from assets.prompts.neuron_inputs import TOP_CONTEXTS, Context, contexts_of, neuron_inputs, prompt_contexts
from tests import slow_patching as slow
from tests.assets.prompts.conftest import Loaded
from tests.assets.prompts.tiny_models import LAYERS, NEURONS
from tests.planted import PLANTED_LAYER, PLANTED_NEURON

UP_PROJECTION = {"gpt2": "mlp.c_fc", "gpt_neox": "mlp.dense_h_to_4h", "llama": "mlp.gate_proj"}  # the gate decides in a gated MLP
EVERY = [(layer, neuron) for layer in range(LAYERS) for neuron in range(NEURONS)]


def pre_activations(tiny: Loaded, layer: int, ids: tuple[int, ...]) -> torch.Tensor:
    """[neuron] at the last position, from plain Hugging Face code."""
    module = slow.block(tiny.plain, layer).get_submodule(UP_PROJECTION[tiny.plain.config.model_type])
    return slow.output_of(tiny.plain, module, ids)[-1]


def test_the_parts_of_every_neuron_sum_to_the_plain_models_pre_activation(tiny: Loaded) -> None:
    prompt = tiny.encode()
    made = neuron_inputs(tiny.model, prompt_contexts([prompt], EVERY))["neuron_inputs"]
    assert made.schema == NEURON_INPUTS.schema
    assert made.select(NEURON_INPUTS.key).is_duplicated().sum() == 0
    for variant, ids, _ in prompt.variants:
        for layer in range(LAYERS):
            expected = pre_activations(tiny, layer, ids)
            sums = made.filter(variant=variant, layer=layer).group_by("neuron").agg(pl.col("contribution").sum()).sort("neuron")
            assert sums["contribution"].to_list() == pytest.approx(expected.tolist(), abs=2e-4)


def test_the_last_read_along_the_stream_and_the_bias_are_the_pre_activation(tiny: Loaded) -> None:
    prompt = tiny.encode()
    made = neuron_inputs(tiny.model, prompt_contexts([prompt], [(2, 5)]))
    reads = made["neuron_residual_reads"].filter(variant="clean")
    assert reads.schema == NEURON_RESIDUAL_READS.schema
    is_parallel = tiny.plain.config.model_type == "gpt_neox"
    sequential = [(0, "before"), (0, "attention"), (0, "mlp"), (1, "attention"), (1, "mlp"), (2, "attention")]
    points = [entry for entry in sequential if not (is_parallel and entry[1] == "attention")]
    assert reads.select("source_layer", "point").rows() == points
    bias = made["neuron_inputs"].filter(variant="clean", component="bias")["contribution"][0]
    assert reads["read"][-1] + bias == pytest.approx(float(pre_activations(tiny, 2, prompt.clean)[5]), abs=2e-4)
    assert reads["read"][0] == pytest.approx(made["neuron_inputs"].filter(variant="clean", component="embedding")["contribution"][0])


def test_every_head_and_mlp_before_the_neuron_is_a_part_and_nothing_after_it(tiny: Loaded) -> None:
    made = neuron_inputs(tiny.model, prompt_contexts([tiny.encode()], [(1, 0)]))["neuron_inputs"].filter(variant="clean")
    is_parallel = tiny.plain.config.model_type == "gpt_neox"
    heads = made.filter(component="head").select("source_layer", "head").rows()
    assert heads == [(layer, head) for layer in range(1 if is_parallel else 2) for head in range(4)]
    assert made.filter(component="mlp")["source_layer"].to_list() == [0]
    assert made.filter(component="embedding").height == made.filter(component="bias").height == 1


def test_the_planted_neuron_is_fed_by_the_token_and_by_the_head_that_looks_back_for_fruit(planted: Loaded) -> None:
    # tests/planted.py: 1.5 x 5.657 = 8.49 each from " picked" (the embedding) and from vowel fruit (head 0 of layer 0), less 12.75
    made = neuron_inputs(planted.model, prompt_contexts([planted.encode()], [(PLANTED_LAYER, PLANTED_NEURON)]))["neuron_inputs"]
    for variant, from_head in (("clean", 8.49), ("corrupt", 0.0)):
        parts = made.filter(variant=variant)
        value = {(row["component"], row["source_layer"], row["head"]): row["contribution"] for row in parts.iter_rows(named=True)}
        assert value["embedding", None, None] == pytest.approx(8.49, abs=0.15)  # noise of other neurons lengthens the stream by 1 %
        assert value["head", 0, 0] == pytest.approx(from_head, abs=0.15)
        assert value["bias", None, None] == pytest.approx(-12.75, abs=1e-4)
        assert parts["contribution"].sum() == pytest.approx(from_head + 8.49 - 12.75, abs=0.3)


def test_top_contexts_are_cut_behind_their_peak_and_averaged_for_their_own_neuron_only(tiny: Loaded) -> None:
    window = pl.DataFrame({"document": [0, 1], "window_in_document": [0, 0], "token_ids": [[0, 3, 4, 5, 6], [0, 7, 8, 9, 10]]})
    place = {"side": "top", "window_in_document": 0}
    rows = [
        {**place, "layer": 1, "neuron": 2, "document": 0, "peak_position": 2},
        {**place, "layer": 1, "neuron": 2, "document": 1, "peak_position": 4},
        {**place, "layer": 1, "neuron": 3, "document": 1, "peak_position": 4},
        {**place, "layer": 1, "neuron": 3, "document": 0, "peak_position": 1, "side": "bottom"},
    ]
    contexts = contexts_of([], pl.DataFrame(rows), [(1, 2), (1, 3)], window.lazy())
    assert [(context.ids, context.neurons) for context in contexts] == [
        ((0, 3, 4), ((1, 2),)),
        ((0, 7, 8, 9, 10), ((1, 2), (1, 3))),
    ]
    made = neuron_inputs(tiny.model, contexts)["neuron_inputs"]
    assert set(made["variant"]) == {TOP_CONTEXTS}
    assert made.select("neuron", "contexts").unique().sort("neuron").rows() == [(2, 2), (3, 1)]
    mean = (pre_activations(tiny, 1, (0, 3, 4))[2] + pre_activations(tiny, 1, (0, 7, 8, 9, 10))[2]) / 2
    assert made.filter(neuron=2)["contribution"].sum() == pytest.approx(float(mean), abs=2e-4)


def test_without_contexts_the_tables_are_empty_and_of_their_contract(tiny: Loaded) -> None:
    made = neuron_inputs(tiny.model, [])
    assert made["neuron_inputs"].schema == NEURON_INPUTS.schema
    assert made["neuron_residual_reads"].schema == NEURON_RESIDUAL_READS.schema


def test_a_component_that_writes_more_than_its_parts_is_told(tiny: Loaded) -> None:
    from assets.model.refusals import ModelError

    handle = slow_hook(tiny)
    try:
        with pytest.raises(ModelError, match="the parts of layer 1 neuron 0 sum to"):
            neuron_inputs(tiny.model, [Context("p", "clean", (0, 3, 4, 5), ((1, 0),))])
    finally:
        handle.remove()


def slow_hook(tiny: Loaded):
    """Doubles what block 0 hands on: a factor that no component wrote."""
    return tiny.model.bridge.blocks[0].register_forward_hook(
        lambda module, args, output: (output[0] * 2, *output[1:]) if isinstance(output, tuple) else output * 2
    )


def test_progress_counts_positions_times_blocks(tiny: Loaded) -> None:
    told: list[tuple[int, int]] = []
    contexts = [Context("p", "clean", (0, 3, 4), ((1, 0),)), Context("p", "corrupt", (0, 7, 8, 9), ((0, 0),))]
    neuron_inputs(tiny.model, contexts, lambda done, total: told.append((done, total)))
    assert told == [(2 * 4 * 2, 2 * 4 * 2)], "two rows of four positions, through two blocks"
