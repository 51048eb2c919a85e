"""The logit lens against the final norm written out."""

import polars as pl
import pytest
import torch

from assets.contracts import LOGIT_LENS
from assets.model.refusals import ModelError
from assets.prompts.logit_lens import logit_lens
from tests import slow_patching as slow
from tests.assets.prompts.conftest import Loaded
from tests.assets.prompts.tiny_models import LAYERS


def residual_stream(tiny: Loaded, layer: int, point: str, ids: tuple[int, ...]) -> torch.Tensor:
    """[width] at the last position, from the plain model."""
    block = slow.block(tiny.plain, layer)
    if point == "mlp":
        return slow.output_of(tiny.plain, block, ids)[-1]
    before = slow.input_of(tiny.plain, block, ids)[-1]
    return before if point == "before" else before + slow.output_of(tiny.plain, slow.attention(tiny.plain, layer), ids)[-1]


def test_every_row_is_the_final_norm_and_unembedding_of_its_point(tiny: Loaded) -> None:
    prompt = tiny.encode()
    frame = logit_lens(tiny.model, [prompt])
    assert frame.schema == LOGIT_LENS.schema
    for row in frame.filter(pl.col("scale") != "published").iter_rows(named=True):
        ids = prompt.clean if row["variant"] == "clean" else prompt.corrupt or ()
        residual = residual_stream(tiny, row["layer"], row["point"], ids)
        scaled_by = residual if row["scale"] == "own" else residual_stream(tiny, LAYERS - 1, "mlp", ids)
        expected = slow.lens_logits(tiny.plain, residual, scaled_by)
        assert row["answer_logit"] == pytest.approx(float(expected[prompt.answer_id]), abs=1e-4)
        assert row["wrong_answer_logit"] == pytest.approx(float(expected[prompt.wrong_answer_id]), abs=1e-4)
        assert row["difference"] == row["answer_logit"] - row["wrong_answer_logit"]


def test_the_last_point_of_either_scale_is_the_models_own_logits(tiny: Loaded) -> None:
    prompt = tiny.encode()
    rows = logit_lens(tiny.model, [prompt]).filter(layer=LAYERS - 1, point="mlp", variant="clean")
    logits = slow.logits(tiny.plain, prompt.clean)
    assert rows["scale"].to_list() == ["own", "final", "published"]
    assert rows["answer_logit"].to_list()[:2] == pytest.approx([float(logits[prompt.answer_id])] * 2, abs=1e-5)


def test_the_published_scale_lacks_what_the_final_norms_bias_adds_at_every_point_alike(tiny: Loaded) -> None:
    prompt = tiny.encode()
    frame = logit_lens(tiny.model, [prompt]).filter(variant="clean")
    bias = getattr(slow.final_norm(tiny.plain), "bias", None)
    unembedding = tiny.plain.get_output_embeddings().weight.detach()
    added = 0.0 if bias is None else float(unembedding[prompt.answer_id] @ bias.detach())
    final, published = (frame.filter(scale=scale)["answer_logit"].to_numpy() for scale in ("final", "published"))
    assert final - published == pytest.approx([added] * len(final), abs=1e-4)
    assert bias is None or abs(added) > 0.01


def test_a_block_in_parallel_has_no_point_between_attention_and_mlp(tiny: Loaded) -> None:
    frame = logit_lens(tiny.model, [tiny.encode()]).filter(scale="own", variant="clean")
    sequential = [("before", 0), *((point, layer) for layer in range(LAYERS) for point in ("attention", "mlp"))]
    is_parallel = tiny.plain.config.model_type == "gpt_neox"
    assert frame.select("point", "layer").rows() == [entry for entry in sequential if not (is_parallel and entry[0] == "attention")]


def test_the_planted_neuron_turns_the_answer_in_its_own_layer(planted: Loaded) -> None:
    # Coefficients before the final norm: " an" 4.22 and " a" 2.26 after the MLP of layer 1, neither before it.
    frame = logit_lens(planted.model, [planted.encode()]).filter(scale="final", variant="clean", layer=1)
    before, after = frame["difference"].to_list()
    assert before == pytest.approx(0, abs=0.1)  # seeded noise of the other neurons
    assert after == pytest.approx((4.22 - 2.26) * 8 * 1.25 / (2 + 4.22**2 + 2.11**2 + 2.26**2 + 1.5**2) ** 0.5, abs=0.1)


def test_a_model_that_does_something_unknown_to_its_logits_is_refused(planted: Loaded) -> None:
    handle = planted.model.bridge.unembed.register_forward_hook(lambda module, args, output: 2 * torch.tanh(output / 2))
    try:
        with pytest.raises(ModelError, match="does something else to them afterwards"):
            logit_lens(planted.model, [planted.encode()])
    finally:
        handle.remove()
    assert logit_lens(planted.model, [planted.encode()]).filter(pl.col("difference").is_nan()).height == 0
