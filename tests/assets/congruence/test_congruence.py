"""The congruence tables against hand-worked numbers and against loops over every neuron and token."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from assets import contracts
from assets.congruence.congruence import congruence
from assets.congruence.congruence_reads import READS_PER_END
from assets.model.direct_effect import refuse_indirect
from assets.model.language_model import LanguageModel
from assets.model.loading import load
from assets.model.refusals import ModelError
from tests import slow_congruence as slow
from tests.assets.congruence.tiny_models import tiny_model
from tests.planted import (
    EMPTY,
    FINAL_GAIN,
    INDIRECT,
    PLANTED,
    PLANTED_LAYER,
    PLANTED_NEURON,
    PLANTED_TOKEN,
    SILENT,
    VOCABULARY,
    planted_model,
    planted_token_id,
)
from tests.real_inputs import SHARED_REAL
from tests.told import steps_told

CONVENTIONS = ("published", "logits")
STORIES = SHARED_REAL / "stories260k"


def _every_neuron(model: LanguageModel) -> list[tuple[int, int]]:
    return [(layer, neuron) for layer in range(model.facts.layers) for neuron in range(model.facts.neurons)]


def _matrix(tables: dict[str, pl.DataFrame], convention: str, side: str, tokens: int) -> np.ndarray:
    """The whole matrix [neuron number, token] from a run in which every neuron was of interest."""
    rows = tables["congruence_neurons_of_interest"].filter(convention=convention, side=side)
    return rows.sort("layer", "neuron", "token_id")["congruence"].to_numpy().reshape(-1, tokens)


# --- two tokens, two neurons, by hand ---


@pytest.fixture(scope="module")
def hand_worked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    """A Llama (nothing is centred) with an unembedding of its own, 2 wide, with 2 neurons and the tokens "a" and ".".

    Embedding a = (1, 0), . = (0, 2). Unembedding a = (1, 0), . = (1, 2), final gain (2, 0.5): token vectors (2, 0) and (2, 1).
    Neuron 0 writes (3, 1), neuron 1 writes (0, 4). The gates read (1, 1) and (2, -1) behind a gain of (1, 3).
    """
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("hand-worked")
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=2, hidden_size=2, intermediate_size=2, num_hidden_layers=1, num_attention_heads=1, bos_token_id=0,
                    eos_token_id=0, pad_token_id=None, max_position_embeddings=8, tie_word_embeddings=False)
    )  # fmt: skip
    mlp = model.model.layers[0].mlp
    with torch.no_grad():
        for parameter, values in (
            (model.model.embed_tokens.weight, [[1, 0], [0, 2]]),
            (model.lm_head.weight, [[1, 0], [1, 2]]),
            (model.model.norm.weight, [2, 0.5]),
            (mlp.down_proj.weight, [[3, 0], [1, 4]]),  # [width, neuron]
            (mlp.gate_proj.weight, [[1, 1], [2, -1]]),  # [neuron, width]
            (model.model.layers[0].post_attention_layernorm.weight, [1, 3]),
        ):
            parameter.copy_(torch.tensor(values, dtype=torch.float32))
    model.save_pretrained(str(folder))
    tokenizer = Tokenizer(models.WordLevel({"a": 0, ".": 1}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="a", eos_token="a").save_pretrained(str(folder))
    return congruence(load(folder, device="cpu"), [1], [(0, 1)])


def test_hand_worked_neurons_of_each_token(hand_worked: dict[str, pl.DataFrame]) -> None:
    # published: a with the neurons (3, 0), . with them (2, 8); logits: a (6, 0), . (7, 4)
    rows = hand_worked["congruence_tokens"].select("convention", "token", "rank", "neuron", "congruence", "gap").rows()
    assert rows == [
        ("published", "a", 1, 0, 3.0, 3.0),
        ("published", "a", 2, 1, 0.0, None),
        ("published", ".", 1, 1, 8.0, 6.0),
        ("published", ".", 2, 0, 2.0, None),
        ("logits", "a", 1, 0, 6.0, 6.0),
        ("logits", "a", 2, 1, 0.0, None),
        ("logits", ".", 1, 0, 7.0, 3.0),
        ("logits", ".", 2, 1, 4.0, None),
    ]


def test_hand_worked_tokens_of_each_neuron_from_both_ends(hand_worked: dict[str, pl.DataFrame]) -> None:
    rows = hand_worked["congruence_neurons"].filter(convention="published")
    assert rows.select("end", "neuron", "rank", "token", "congruence", "gap").rows() == [
        ("top", 0, 1, "a", 3.0, 1.0),
        ("top", 0, 2, ".", 2.0, None),
        ("top", 1, 1, ".", 8.0, 8.0),
        ("top", 1, 2, "a", 0.0, None),
        ("bottom", 0, 1, ".", 2.0, 1.0),
        ("bottom", 0, 2, "a", 3.0, None),
        ("bottom", 1, 1, "a", 0.0, 8.0),
        ("bottom", 1, 2, ".", 8.0, None),
    ]


def test_hand_worked_mutual_pairs_and_scores(hand_worked: dict[str, pl.DataFrame]) -> None:
    rows = hand_worked["congruence_mutual_pairs"].select("convention", "token", "neuron", "token_gap", "neuron_gap", "score").rows()
    # By logits neuron 0 is the best of both tokens, and its own best is ".": one pair is left.
    assert rows == [
        ("published", ".", 1, 6.0, 8.0, 48.0),
        ("published", "a", 0, 3.0, 1.0, 3.0),
        ("logits", ".", 0, 3.0, 1.0, 3.0),
    ]


def test_hand_worked_rows_of_the_tracked_token_and_the_neuron_of_interest(hand_worked: dict[str, pl.DataFrame]) -> None:
    # The input side reads the embedding in both conventions: neuron 0 (1, 3), neuron 1 (2, -3) with a = (1, 0), . = (0, 2).
    assert hand_worked["congruence_tracked_tokens"].select("convention", "side", "token", "neuron", "congruence").rows() == [
        ("published", "output", ".", 0, 2.0),
        ("published", "output", ".", 1, 8.0),
        ("published", "input", ".", 0, 6.0),
        ("published", "input", ".", 1, -6.0),
        ("logits", "output", ".", 0, 7.0),
        ("logits", "output", ".", 1, 4.0),
        ("logits", "input", ".", 0, 6.0),
        ("logits", "input", ".", 1, -6.0),
    ]
    assert hand_worked["congruence_neurons_of_interest"].select("convention", "side", "token", "congruence").rows() == [
        ("published", "output", "a", 0.0),
        ("published", "output", ".", 8.0),
        ("published", "input", "a", 2.0),
        ("published", "input", ".", -6.0),
        ("logits", "output", "a", 0.0),
        ("logits", "output", ".", 4.0),
        ("logits", "input", "a", 2.0),
        ("logits", "input", ".", -6.0),
    ]


# --- the planted model: which neuron writes what is known ---


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    model = load(planted_model(tmp_path_factory.mktemp("planted")), device="cpu")
    return congruence(model, [planted_token_id(PLANTED_TOKEN)], [(PLANTED_LAYER, PLANTED_NEURON), (EMPTY.layer, EMPTY.neuron)])


@pytest.mark.parametrize(("convention", "factor"), [("published", 1.0), ("logits", FINAL_GAIN)])
def test_the_planted_neuron_is_the_best_of_its_token_with_the_planted_gap(planted, convention: str, factor: float) -> None:
    rows = planted["congruence_tokens"].filter(convention=convention, token=PLANTED_TOKEN)
    first, second = rows.row(0, named=True), rows.row(1, named=True)
    assert (first["layer"], first["neuron"]) == (PLANTED.layer, PLANTED.neuron)
    assert (second["layer"], second["neuron"]) == (SILENT.layer, SILENT.neuron)
    assert first["congruence"] == pytest.approx(1.0 * factor, abs=1e-6)
    assert first["gap"] == pytest.approx(0.25 * factor, abs=1e-6)  # SILENT has 0.75


def test_the_planted_neuron_writes_an_then_capital_an(planted) -> None:
    rows = planted["congruence_neurons"].filter(convention="published", layer=PLANTED.layer, neuron=PLANTED.neuron, end="top")
    assert rows["token"].to_list()[:2] == [" an", "An"]
    assert rows["congruence"].to_list()[:2] == pytest.approx([1.0, 0.5], abs=1e-6)
    assert rows["gap"][0] == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize(("convention", "factor"), [("published", 1.0), ("logits", FINAL_GAIN)])
def test_the_planted_pair_is_mutual_and_scored_by_the_product_of_its_gaps(planted, convention: str, factor: float) -> None:
    (pair,) = planted["congruence_mutual_pairs"].filter(convention=convention, token=PLANTED_TOKEN).rows(named=True)
    assert (pair["layer"], pair["neuron"]) == (PLANTED.layer, PLANTED.neuron)
    assert pair["score"] == pytest.approx(0.25 * 0.5 * factor**2, abs=1e-6)


def test_a_neuron_that_acts_through_a_later_layer_is_congruent_with_nothing(planted) -> None:
    ends = planted["congruence_neurons"].filter(layer=INDIRECT.layer, neuron=INDIRECT.neuron, rank=1)
    assert ends["congruence"].abs().max() < 1e-6


def test_a_neuron_that_writes_nothing_ties_everywhere_and_lists_the_first_tokens(planted) -> None:
    rows = planted["congruence_neurons"].filter(convention="published", layer=EMPTY.layer, neuron=EMPTY.neuron)
    assert rows.select("end", "token_id").rows() == [(end, token) for end in ("top", "bottom") for token in range(5)]
    assert rows["gap"].to_list() == [0.0] * 10


def test_no_dead_row_takes_part_in_a_mutual_pair(planted) -> None:
    assert planted["congruence_mutual_pairs"].filter(layer=EMPTY.layer, neuron=EMPTY.neuron).is_empty()


# --- against loops over every neuron and token ---


def _planted(folder: Path) -> Path:
    return planted_model(folder)


def _random(family: str, padding_entries: int = 0) -> Callable[[Path], Path]:
    return lambda folder: tiny_model(folder, family, padding_entries)


MODELS = {
    "planted": _planted,
    "gpt2": _random("gpt2"),
    "gpt2-padded": _random("gpt2", padding_entries=6),
    "llama": _random("llama"),
    "gemma": _random("gemma"),
    "gpt_neox": _random("gpt_neox"),
}


@pytest.fixture(scope="module", params=MODELS)
def everything(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """Model, slow weights, and the tables of a run in which every neuron is of interest; chunks of 5 neurons."""
    folder = MODELS[request.param](tmp_path_factory.mktemp("slow"))
    model = load(folder, device="cpu")
    tables = congruence(model, [14, 2, 15], _every_neuron(model), top=4, chunk_bytes=5 * 4 * model.facts.vocabulary)
    return model, slow.weights(folder), tables


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_every_score_equals_its_slow_dot_product(everything, convention: str) -> None:
    model, weights, tables = everything
    tokens = model.facts.vocabulary
    np.testing.assert_allclose(_matrix(tables, convention, "output", tokens), slow.congruence_matrix(weights, convention), atol=2e-6)
    np.testing.assert_allclose(_matrix(tables, convention, "input", tokens), slow.input_matrix(weights), atol=2e-6)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_neurons_of_each_token_equal_a_slow_ranking(everything, convention: str) -> None:
    model, _, tables = everything
    matrix = _matrix(tables, convention, "output", model.facts.vocabulary)
    expected = []
    for token in range(len(VOCABULARY)):  # padding entries have no rows
        ranked = slow.ranking(matrix[:, token].tolist(), list(range(len(matrix))))[:4]
        for rank, (number, value, lead) in enumerate(ranked, start=1):
            expected.append((token, rank, *divmod(number, model.facts.neurons), value, pytest.approx(lead, abs=1e-6)))
    rows = tables["congruence_tokens"].filter(convention=convention)
    assert rows.select("token_id", "rank", "layer", "neuron", "congruence", "gap").rows() == expected


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(("end", "sign"), [("top", 1), ("bottom", -1)])
def test_tokens_of_each_neuron_equal_a_slow_ranking(everything, convention: str, end: str, sign: int) -> None:
    model, _, tables = everything
    matrix = _matrix(tables, convention, "output", model.facts.vocabulary)
    expected = []
    for number, row in enumerate(matrix):
        ranked = slow.ranking((sign * row).tolist(), list(range(len(VOCABULARY))))[:4]
        for rank, (token, value, lead) in enumerate(ranked, start=1):
            expected.append((*divmod(number, model.facts.neurons), rank, token, sign * value, pytest.approx(lead, abs=1e-6)))
    rows = tables["congruence_neurons"].filter(convention=convention, end=end)
    assert rows.select("layer", "neuron", "rank", "token_id", "congruence", "gap").rows() == expected


@pytest.mark.parametrize(("end", "sign"), [("top", 1), ("bottom", -1)])
def test_tokens_that_each_neuron_reads_equal_a_slow_ranking(everything, end: str, sign: int) -> None:
    model, _, tables = everything
    matrix = _matrix(tables, "logits", "input", model.facts.vocabulary)
    rows = tables["congruence_reads"].filter(end=end)
    expected = []
    for number, row in enumerate(matrix):
        ranked = slow.ranking((sign * row).tolist(), list(range(len(VOCABULARY))))[:READS_PER_END]
        expected += [(*divmod(number, model.facts.neurons), rank, token) for rank, (token, _, _) in enumerate(ranked, start=1)]
    assert rows.select("layer", "neuron", "rank", "token_id").rows() == expected
    assert rows["congruence"].to_numpy() == pytest.approx(
        [matrix[layer * model.facts.neurons + neuron, token] for layer, neuron, _, token in expected], abs=1e-5
    )
    assert rows["token"].to_list() == [VOCABULARY[token] for *_, token in expected]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_mutual_pairs_equal_a_slow_search(everything, convention: str) -> None:
    model, _, tables = everything
    matrix = _matrix(tables, convention, "output", model.facts.vocabulary).astype(np.float64)
    rows = tables["congruence_mutual_pairs"].filter(convention=convention)
    found = {(row["token_id"], row["layer"] * model.facts.neurons + row["neuron"]): row["score"] for row in rows.iter_rows(named=True)}
    assert found == pytest.approx(slow.mutual_pairs(matrix, list(range(len(VOCABULARY)))), abs=1e-6)
    assert len(found) > 0
    assert rows["score"].to_list() == sorted(rows["score"], reverse=True)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("side", ["output", "input"])
def test_the_row_of_a_tracked_token_holds_every_neuron_with_the_same_score(everything, convention: str, side: str) -> None:
    model, _, tables = everything
    matrix = _matrix(tables, convention, side, model.facts.vocabulary)
    rows = tables["congruence_tracked_tokens"].filter(convention=convention, side=side)
    assert rows.select("token_id", "layer", "neuron").rows() == [
        (token, *neuron) for token in (14, 2, 15) for neuron in _every_neuron(model)
    ]
    np.testing.assert_allclose(rows["congruence"].to_numpy(), np.concatenate([matrix[:, token] for token in (14, 2, 15)]), atol=1e-6)


# --- sizes, ends and refusals ---


def test_entries_that_the_tokenizer_lacks_take_no_place_in_any_ranking(tmp_path: Path) -> None:
    # Padding entries hold twice the vector of " an": ranked, they would come before it.
    model = load(planted_model(tmp_path / "padded", padding_entries=3), device="cpu")
    tables = congruence(model, [planted_token_id(" an")], [(PLANTED_LAYER, PLANTED_NEURON)])
    for name in ("congruence_tokens", "congruence_neurons", "congruence_mutual_pairs", "congruence_reads"):
        assert tables[name]["token_id"].max() < len(VOCABULARY)  # type: ignore[operator]
    of_interest = tables["congruence_neurons_of_interest"].filter(convention="published", side="output")
    assert of_interest["congruence"].to_list()[-3:] == pytest.approx([2.0, 2.0, 2.0], abs=1e-6)
    assert of_interest["token"].to_list()[-3:] == ["", "", ""]


def test_every_table_is_as_its_contract_says(planted) -> None:
    assert list(planted) == [table.name for table in contracts.TABLES.values() if table.asset == "congruence"]
    for name, frame in planted.items():
        table = contracts.TABLES[name]
        assert frame.schema == table.schema
        assert not frame.select(table.key).is_duplicated().any()


def test_the_last_place_shown_has_its_gap(planted) -> None:
    assert planted["congruence_tokens"]["gap"].null_count() == 0  # 10 of 48 neurons
    assert planted["congruence_neurons"]["gap"].null_count() == 0  # 5 of 34 tokens


def test_chunks_of_one_neuron_and_one_chunk_for_all_rank_alike(tmp_path: Path) -> None:
    model = load(tiny_model(tmp_path / "chunks", "llama"), device="cpu")
    small = congruence(model, [14], [(1, 3)], chunk_bytes=1)
    large = congruence(model, [14], [(1, 3)], chunk_bytes=2**30)
    for name, frame in small.items():
        assert_frame_equal(frame, large[name], abs_tol=1e-6, rel_tol=0)


def test_a_study_without_neurons_of_interest_has_an_empty_table(tmp_path: Path) -> None:
    model = load(tiny_model(tmp_path / "none", "gpt2"), device="cpu")
    tables = congruence(model, [14], [])
    assert tables["congruence_neurons_of_interest"].is_empty()
    assert tables["congruence_neurons_of_interest"].schema == contracts.CONGRUENCE_NEURONS_OF_INTEREST.schema


def test_no_tensor_of_the_size_of_vocabulary_times_neurons_is_ever_made(tmp_path: Path) -> None:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class LargestResult(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            for part in result if isinstance(result, tuple | list) else [result]:
                if isinstance(part, torch.Tensor):
                    self.elements = max(self.elements, part.numel())
            return result

    model = load(tiny_model(tmp_path / "wide", "gpt2", width=8, neurons=2000, layers=4), device="cpu")
    refuse_indirect(model)  # a run of 20 positions, once for each model
    vocabulary, weights_of_a_layer = model.facts.vocabulary, 8 * 2000
    with LargestResult() as largest:
        congruence(model, [14], [(1, 3)], chunk_bytes=600 * 4 * vocabulary)
    assert 600 * vocabulary <= largest.elements <= max(600 * vocabulary, weights_of_a_layer)  # the whole would be 8,000 x vocabulary


def test_a_neuron_or_token_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    model = load(tiny_model(tmp_path / "refused", "gpt2"), device="cpu")
    with pytest.raises(ModelError, match="layer 3 neuron 0 does not exist; the model has layers 0 to 2 with neurons 0 to 11 each"):
        congruence(model, [14], [(3, 0)])
    with pytest.raises(ModelError, match="token 34: the vocabulary has entries 0 to 33"):
        congruence(model, [34], [])


def test_weights_that_are_not_finite_are_refused_with_their_place(tmp_path: Path) -> None:
    import torch

    model = load(tiny_model(tmp_path / "broken", "gpt2"), device="cpu")
    refuse_indirect(model)  # tried while all is well
    with torch.no_grad():
        model.bridge.blocks[1].mlp.W_out[3, 2] = torch.nan
    with pytest.raises(ModelError, match="layer 1: MLP output weights hold NaN"):
        congruence(model, [14], [])


# --- a model trained by others ---


def test_a_real_gated_model_equals_the_slow_loops_on_sampled_tokens_and_neurons() -> None:
    if not STORIES.is_dir():
        pytest.skip(f"the real model is not there: {STORIES}; set NEURON_ATLAS_REAL to the folder that holds it")
    model = load(STORIES, device="cpu")
    weights = slow.weights(STORIES)
    of_interest = [(0, 0), (2, 100), (4, 171)]
    tokens = [model.token_texts.index(" the"), model.token_texts.index(" was")]
    tables = congruence(model, tokens, of_interest, top=3)
    vectors = {"published": weights.embedding, "logits": weights.unembedding * weights.final_gain}
    for convention in CONVENTIONS:
        writes = np.concatenate(weights.writes)  # [neuron number, width]
        for token in tokens:
            ranked = slow.ranking((writes @ vectors[convention][token]).tolist(), list(range(len(writes))))[:3]
            rows = tables["congruence_tokens"].filter(convention=convention, token_id=token)
            assert rows.select("layer", "neuron").rows() == [divmod(number, model.facts.neurons) for number, _, _ in ranked]
            assert rows["congruence"].to_list() == pytest.approx([value for _, value, _ in ranked], abs=2e-6)
            assert rows["gap"].to_list() == pytest.approx([lead for _, _, lead in ranked], abs=2e-6)
        for layer, neuron in of_interest:
            read = weights.reads[layer][neuron] * weights.gains[layer]
            rows = tables["congruence_neurons_of_interest"].filter(convention=convention, layer=layer, neuron=neuron)
            output, inputs = rows.filter(side="output")["congruence"], rows.filter(side="input")["congruence"]
            np.testing.assert_allclose(output.to_numpy(), vectors[convention] @ weights.writes[layer][neuron], atol=2e-6)
            np.testing.assert_allclose(inputs.to_numpy(), weights.embedding @ read, atol=2e-6)


def test_progress_counts_the_neurons_of_both_conventions_and_of_the_input_side(tmp_path: Path) -> None:
    model = load(tiny_model(tmp_path / "told", "gpt2"), device="cpu")
    every, row = model.facts.layers * model.facts.neurons, 4 * model.facts.vocabulary
    steps = steps_told(lambda progress: congruence(model, [14], [], chunk_bytes=5 * row, progress=progress))
    assert steps[0] == 5
    assert steps[-1] == 3 * every
