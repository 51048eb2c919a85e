"""The weights of each convention are TransformerLens' own folded ones, and what they say about the logits is true."""

from pathlib import Path

import pytest

from assets.congruence.conventions import (
    embedding,
    reading_vectors,
    reading_weights,
    token_vectors,
    writing_weights,
)
from assets.model.direct_effect import refuse_indirect
from assets.model.language_model import LanguageModel
from assets.model.loading import load
from assets.model.refusals import UnsupportedModelError
from tests.assets.congruence.tiny_models import FAMILIES, tiny_model


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return load(folder, device="cpu")


@pytest.fixture(scope="module")
def folded(folder: Path):
    """A bridge of its own, folded by TransformerLens in place; the vocabulary's mean is left in the unembedding."""
    import torch
    from transformer_lens.model_bridge import TransformerBridge

    from assets.model.loading import load_tokenizer

    bridge = TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32, tokenizer=load_tokenizer(folder))
    bridge.enable_compatibility_mode(fold_ln=True, center_writing_weights=True, center_unembed=False)
    return bridge


def test_published_weights_are_those_of_transformerlens_folded(model: LanguageModel, folded) -> None:
    import torch

    torch.testing.assert_close(token_vectors(model, "published"), folded.W_E.detach().T, rtol=0, atol=1e-6)
    for layer in range(model.facts.layers):
        mlp = folded.blocks[layer].mlp
        torch.testing.assert_close(writing_weights(model, layer), mlp.W_out.detach(), rtol=0, atol=1e-6)
        gate = folded.W_gate[layer] if model.facts.is_gated else folded.W_in[layer]
        torch.testing.assert_close(reading_weights(model, layer), gate.detach().T, rtol=0, atol=1e-6)


def test_logits_token_vectors_are_the_folded_unembedding(model: LanguageModel, folded) -> None:
    import torch

    torch.testing.assert_close(token_vectors(model, "logits"), folded.W_U.detach(), rtol=0, atol=1e-6)


def test_input_side_reads_the_embedding_in_both_conventions(model: LanguageModel) -> None:
    import torch

    vectors = embedding(model).T
    expected = vectors - vectors.mean(0) if model.facts.normalization == "LN" else vectors
    torch.testing.assert_close(reading_vectors(model), expected, rtol=0, atol=1e-7)


def test_raising_an_activation_changes_every_logit_by_activation_times_congruence_over_the_norm_scale(model: LanguageModel) -> None:
    """A real run with neuron 5 of the last layer raised by 0.7. The scale changes too, so logits are compared scale by scale."""
    import torch

    last, neuron, raised = model.facts.layers - 1, 5, 0.7
    token_ids = torch.tensor([[0, 2, 4, 5, 6, 7]])
    before, scale_before = _logits_and_scale(model, token_ids, last, neuron, 0.0)
    after, scale_after = _logits_and_scale(model, token_ids, last, neuron, raised)
    bias = getattr(model.bridge.ln_final, "bias", None)
    constant = 0.0 if bias is None else bias.detach() @ model.bridge.W_U.detach()
    congruence = writing_weights(model, last)[neuron] @ token_vectors(model, "logits")
    change = (after - constant) * scale_after - (before - constant) * scale_before
    torch.testing.assert_close(change, raised * congruence, rtol=0, atol=2e-5)
    assert congruence.abs().max() > 0.1  # the comparison above is about numbers far larger than its tolerance


def _logits_and_scale(model: LanguageModel, token_ids, layer: int, neuron: int, raised: float):
    """Logits [token] at the last position with one activation raised, and the scale by which the final norm divided."""
    import torch

    residual = []

    def raise_one(activation, hook):
        activation = activation.clone()
        activation[..., neuron] += raised
        return activation

    def keep(stream, hook):
        residual.append(stream[0, -1].clone())

    hooks = [(model.neuron_hook(layer), raise_one), ("ln_final.hook_in", keep)]
    with torch.inference_mode(), model.bridge.hooks(fwd_hooks=hooks):
        logits = model.bridge(token_ids, use_cache=False)[0, -1]
    (stream,) = residual
    if model.facts.normalization == "LN":
        stream = stream - stream.mean()
    config = model.bridge.original_model.config
    epsilon = next(getattr(config, name) for name in ("layer_norm_epsilon", "layer_norm_eps", "rms_norm_eps") if hasattr(config, name))
    return logits, (stream.pow(2).mean() + epsilon).sqrt()


def test_a_half_precision_model_is_multiplied_in_float32(tmp_path: Path) -> None:
    import torch

    model = load(tiny_model(tmp_path / "half", "gpt2"), dtype="bfloat16", device="cpu")
    assert model.bridge.W_E.dtype == torch.bfloat16
    prepared = [token_vectors(model, "published"), token_vectors(model, "logits"), writing_weights(model, 1), reading_weights(model, 1)]
    assert {weights.dtype for weights in prepared} == {torch.float32}
    raw = model.bridge.blocks[1].mlp.W_out.detach().float()
    torch.testing.assert_close(writing_weights(model, 1), raw - raw.mean(1, keepdim=True), rtol=0, atol=1e-7)


def test_preparing_weights_leaves_the_shared_model_as_it_was(model: LanguageModel) -> None:
    before = {name: value.clone() for name, value in model.bridge.original_model.state_dict().items()}
    for layer in range(model.facts.layers):
        writing_weights(model, layer).zero_()
        reading_weights(model, layer).zero_()
    token_vectors(model, "published").zero_()
    token_vectors(model, "logits").zero_()
    after = model.bridge.original_model.state_dict()
    assert all(after[name].equal(value) for name, value in before.items())


def test_a_model_that_does_something_unknown_to_its_logits_or_its_mlps_output_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load.__wrapped__(tiny_model(tmp_path / "rescaled", "llama"), device="cpu")
    refuse_indirect(model)
    model = load.__wrapped__(tmp_path / "rescaled", device="cpu")
    monkeypatch.setattr(model.bridge.adapter, "apply_output_logits_transform", lambda logits: logits * 1.01)
    with pytest.raises(UnsupportedModelError, match="its logits are not its final norm's output times its unembedding"):
        refuse_indirect(model)
    model = load.__wrapped__(tmp_path / "rescaled", device="cpu")
    model.bridge.blocks[2].mlp.register_forward_hook(lambda module, given, output: output * 0.9)
    with pytest.raises(UnsupportedModelError, match=r"raising neuron 0 of layer 2 does not move the residual stream .* \(off by 10%\)"):
        refuse_indirect(model)
