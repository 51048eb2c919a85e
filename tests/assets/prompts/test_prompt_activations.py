"""Neurons at each token of the prompts, against plain Hugging Face code that is given the beginning-of-sequence token by hand."""

import pytest

from assets.contracts import PROMPT_ACTIVATIONS
from assets.prompts.prompt_activations import prompt_activations
from tests import slow_patching as slow
from tests.assets.prompts.conftest import Loaded
from tests.planted import CLEAN_PROMPT, CORRUPT_PROMPT, PLANTED_LAYER, PLANTED_NEURON

STUDIED = [(2, 5), (0, 3), (2, 1)]


def test_every_activation_is_that_of_a_plain_forward_pass_behind_one_beginning_token(tiny: Loaded) -> None:
    frame = prompt_activations(tiny.model, [tiny.encode()], STUDIED)
    assert frame.schema == PROMPT_ACTIVATIONS.schema
    for variant, text in (("clean", CLEAN_PROMPT), ("corrupt", CORRUPT_PROMPT)):
        ids = [0, *tiny.model.tokenizer(text, add_special_tokens=False)["input_ids"]]
        for layer, neuron in STUDIED:
            expected = slow.input_of(tiny.plain, slow.down_projection(tiny.plain, layer), ids)[:, neuron].tolist()
            rows = frame.filter(variant=variant, layer=layer, neuron=neuron)
            assert rows["activation"].to_list() == pytest.approx(expected, abs=1e-5)
            assert rows["token_id"].to_list() == ids
            predictions = [int(slow.logits(tiny.plain, ids[: end + 1]).argmax()) for end in range(len(ids))]
            assert rows["prediction_id"].to_list() == predictions
            assert rows["prediction"].to_list() == [tiny.model.token_texts[entry] for entry in predictions]


def test_the_planted_neuron_fires_at_the_end_of_the_clean_prompt_alone(planted: Loaded) -> None:
    frame = prompt_activations(planted.model, [planted.encode()], [(PLANTED_LAYER, PLANTED_NEURON)])
    firing = frame.filter(frame["activation"] > 0.5).select("variant", "position", "token", "prediction").rows()
    assert firing == [("clean", 8, " picked", " an")]  # tests/planted.py: " picked" with a vowel fruit before it


def test_no_prompts_or_no_neurons_give_an_empty_table(planted: Loaded) -> None:
    assert prompt_activations(planted.model, [], [(0, 0)]).schema == PROMPT_ACTIVATIONS.schema
    assert prompt_activations(planted.model, [planted.encode()], []).is_empty()
