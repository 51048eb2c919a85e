"""Congruence beyond what neuron and token bring along: against the whole matrix at once, against a planted hub, and under negation."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from assets import contracts
from assets.congruence.congruence import congruence
from assets.congruence.frames import HUBS
from assets.model.language_model import LanguageModel
from assets.model.loading import load
from tests import slow_congruence as slow
from tests.assets.congruence.tiny_models import tiny_model
from tests.planted import EMPTY, VOCABULARY, planted_model

GATED = ("llama", "gemma")
TOKENS = list(range(len(VOCABULARY)))


@pytest.fixture(scope="module", params=["planted", "gpt2", "gpt2-padded", "llama", "gemma", "gpt_neox"])
def everything(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageModel, np.ndarray, dict]:
    """Model, its whole corrected matrix the slow way, and the tables, made in chunks of 5 neurons."""
    folder, family = tmp_path_factory.mktemp("correction"), request.param.removesuffix("-padded")
    padding = 6 if request.param.endswith("padded") else 0
    model = load(planted_model(folder) if family == "planted" else tiny_model(folder, family, padding), device="cpu")
    matrix = slow.congruence_matrix(slow.weights(folder), "logits")
    tables = congruence(model, [14, 2], [], chunk_bytes=5 * 4 * model.facts.vocabulary)
    return model, slow.corrected_matrix(matrix, TOKENS, family in GATED), {**tables, "matrix": matrix[:, TOKENS]}


def sizes(model: LanguageModel, scores: np.ndarray) -> np.ndarray:
    return np.abs(scores) if model.facts.is_gated else scores


def number(model: LanguageModel) -> pl.Expr:
    return pl.col("layer") * model.facts.neurons + pl.col("neuron")


def test_the_columns_of_tracked_tokens_equal_the_whole_matrix(everything) -> None:
    model, corrected, tables = everything
    rows = tables["congruence_tracked_tokens"].filter(convention="logits", side="output")
    np.testing.assert_allclose(rows["corrected"].to_numpy(), np.concatenate([corrected[:, token] for token in (14, 2)]), atol=2e-5)
    others = tables["congruence_tracked_tokens"].filter((pl.col("convention") != "logits") | (pl.col("side") != "output"))
    assert others["corrected"].null_count() == others.height > 0


@pytest.mark.parametrize("measure", ["plain", "corrected"])
def test_the_strongest_neuron_of_every_token_equals_a_slow_search(everything, measure: str) -> None:
    model, corrected, tables = everything
    matrix = sizes(model, tables["matrix"] if measure == "plain" else corrected)
    rows = tables["strongest_neurons"].filter(measure=measure)
    assert rows["token_id"].to_list() == TOKENS
    chosen = rows.select(number(model)).to_series().to_numpy()
    ordered = np.sort(matrix, axis=0)
    np.testing.assert_allclose(matrix[chosen, TOKENS], ordered[-1], atol=2e-5)
    np.testing.assert_allclose(rows["gap"].to_numpy(), ordered[-1] - ordered[-2], atol=3e-5)
    np.testing.assert_allclose(rows["congruence"].to_numpy(), tables["matrix"][chosen, TOKENS], atol=2e-6)
    np.testing.assert_allclose(rows["corrected"].to_numpy(), corrected[chosen, TOKENS], atol=2e-5)
    mutual = [token for token in TOKENS if matrix[chosen[token]].max() - matrix[chosen[token], token] < 1e-7]
    clear = rows.filter(pl.col("gap") > 1e-4)  # of equals the slow search could name another
    assert clear.filter("is_mutual")["token_id"].to_list() == [token for token in mutual if token in clear["token_id"].to_list()]


def test_corrected_pairs_equal_a_slow_search(everything) -> None:
    model, corrected, tables = everything
    expected = slow.mutual_pairs(sizes(model, corrected), TOKENS)
    rows = tables["corrected_mutual_pairs"]
    found = dict(zip(zip(rows["token_id"], rows.select(number(model)).to_series(), strict=True), rows["score"], strict=True))
    for pair in expected.keys() | found.keys():
        assert found.get(pair, 0) == pytest.approx(expected.get(pair, 0), abs=2e-4)
    assert rows["score"].to_list() == sorted(rows["score"], reverse=True)
    plain = slow.mutual_pairs(sizes(model, tables["matrix"]), TOKENS)
    before = rows.filter(pl.col("is_mutual_before"), pl.col("score") > 1e-3)
    assert {(row["token_id"], row["layer"] * model.facts.neurons + row["neuron"]) for row in before.iter_rows(named=True)} <= plain.keys()


def test_hubs_are_the_neurons_that_are_strongest_of_most_tokens(everything) -> None:
    model, _, tables = everything
    hubs = tables["congruence_hubs"]
    for measure in ("plain", "corrected"):
        chosen = tables["strongest_neurons"].filter(measure=measure).select(number(model)).to_series().to_list()
        counts = {one: chosen.count(one) for one in set(chosen)}
        first = sorted(counts, key=lambda one: (-counts[one], one))[:HUBS]
        told = hubs.filter(pl.col(f"{measure}_rank") <= HUBS).sort(f"{measure}_rank").with_columns(number=number(model))
        assert told["number"].to_list() == first
        everywhere = hubs.select(number(model).alias("number"), f"{measure}_tokens", f"{measure}_share", f"{measure}_rank")
        for one, tokens, share, rank in everywhere.iter_rows():
            assert (tokens, share) == (counts.get(one, 0), pytest.approx(counts.get(one, 0) / len(TOKENS)))
            assert (rank is None) == (one not in counts)


def test_the_new_tables_are_as_their_contracts_say(everything) -> None:
    for name in ("strongest_neurons", "corrected_mutual_pairs", "congruence_hubs"):
        table = contracts.TABLES[name]
        assert everything[2][name].schema == table.schema
        assert not everything[2][name].select(table.key).is_duplicated().any()


def test_a_neuron_that_writes_nothing_is_nobodys_strongest(tmp_path: Path) -> None:
    tables = congruence(load(planted_model(tmp_path / "planted"), device="cpu"), [14], [])
    dead = tables["congruence_tracked_tokens"].filter(convention="logits", side="output", layer=EMPTY.layer, neuron=EMPTY.neuron)
    assert dead["corrected"].to_list() == [0.0]
    assert tables["strongest_neurons"].filter(measure="corrected", layer=EMPTY.layer, neuron=EMPTY.neuron).is_empty()


# --- a hub and a neuron that means one token ---

HUB, SPECIFIC, TOKEN = (2, 7), (1, 4), 20


def with_a_hub(folder: Path, family: str) -> Path:
    """All tokens share a direction. HUB writes it strongly; SPECIFIC writes a tenth of that, of what TOKEN has beside it alone."""
    import torch
    from transformers import AutoModelForCausalLM

    written = tiny_model(folder, family, width=32, neurons=12)
    model: Any = AutoModelForCausalLM.from_pretrained(str(written))
    with torch.no_grad():
        shared = torch.zeros(32)
        shared[:16] = 1.0
        shared[16:] = -1.0  # a mean of 0: LayerNorm leaves it
        tokens, embedded = model.get_output_embeddings().weight, model.get_input_embeddings().weight
        own = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(3)) * 0.3
        tokens.copy_(own + shared)
        embedded.copy_(tokens)
        if family == "gpt2":
            model.transformer.ln_f.weight.fill_(1.0)
            outputs = [block.mlp.c_proj.weight for block in model.transformer.h]
        else:
            model.model.norm.weight.fill_(1.0)
            outputs = [block.mlp.down_proj.weight.T for block in model.model.layers]
        for layer in outputs:
            layer.mul_(0.1)
        outputs[HUB[0]][HUB[1]] = shared + 0.05 * own[3]
        outputs[SPECIFIC[0]][SPECIFIC[1]] = 0.1 * own[TOKEN] / own[TOKEN].norm()
    model.save_pretrained(str(written))
    return written


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_published_gap_names_the_hub_and_the_corrected_one_the_neuron_that_means_the_token(tmp_path: Path, family: str) -> None:
    tables = congruence(load(with_a_hub(tmp_path / family, family), device="cpu"), [TOKEN], [])
    published = tables["congruence_tokens"].filter(convention="published", rank=1)
    assert published.select("layer", "neuron").unique().rows() == [HUB]
    assert tables["congruence_mutual_pairs"].filter(convention="published").select("layer", "neuron").row(0) == HUB
    strongest = {measure: tables["strongest_neurons"].filter(measure=measure) for measure in ("plain", "corrected")}
    assert strongest["plain"].select("layer", "neuron").unique().rows() == [HUB]
    assert strongest["corrected"].filter(token_id=TOKEN).select("layer", "neuron", "is_mutual").rows() == [(*SPECIFIC, True)]
    pair = tables["corrected_mutual_pairs"].filter(token_id=TOKEN)
    assert pair.select("layer", "neuron", "is_mutual_before").rows() == [(*SPECIFIC, False)]
    (hub,) = tables["congruence_hubs"].filter(layer=HUB[0], neuron=HUB[1]).iter_rows(named=True)
    assert hub["plain_share"] == 1.0
    assert hub["corrected_share"] < 0.15


# --- the sign of a gated neuron ---


def test_negating_gated_neurons_changes_no_choice_and_no_size(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folders = [tiny_model(tmp_path / name, "llama") for name in ("one", "negated")]
    model: Any = AutoModelForCausalLM.from_pretrained(str(folders[1]))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.up_proj.weight[::2] *= -1
            layer.mlp.down_proj.weight[:, ::2] *= -1
    model.save_pretrained(str(folders[1]))
    one, other = (congruence(load(folder, device="cpu"), [14], []) for folder in folders)
    turned = pl.when(pl.col("neuron") % 2 == 0).then(-1).otherwise(1)
    for name in ("strongest_neurons", "corrected_mutual_pairs"):
        mirrored = other[name].with_columns(pl.col("congruence", "corrected") * turned).cast(one[name].schema)
        assert_frame_equal(one[name], mirrored, abs_tol=1e-5, rel_tol=0)
        assert one[name].height > 3
    assert_frame_equal(one["congruence_hubs"], other["congruence_hubs"])
