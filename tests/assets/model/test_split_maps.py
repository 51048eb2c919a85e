"""Linear maps in MKL's blocks: every bit as plain code gives it, whatever the trial finds, and plain code's own where it finds another order."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, OPTConfig, PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from assets.histograms.planned_sizes import prepacked_bytes
from assets.model import split_maps as module
from assets.model.quick_products import are_quicker, quick_products
from assets.model.split_maps import BLOCK, _SplitMap, blocks_of, with_split_maps
from assets.study import ModelChoice

needs_them = pytest.mark.skipif(not are_quicker(), reason="this processor has no AVX-512, so maps stay as they are")


@pytest.fixture(autouse=True)
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_SplitMap, "tried", {})


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def drawn_map(kind: str, inputs: int, outputs: int) -> torch.nn.Module:
    made = Conv1D(outputs, inputs) if kind == "conv1d" else torch.nn.Linear(inputs, outputs, bias=kind != "linear without a bias")
    for place, parameter in enumerate(made.parameters()):
        parameter.data = numbers(*parameter.shape, seed=place)
    return made.requires_grad_(False)


def split(one: torch.nn.Module) -> _SplitMap:
    found = _SplitMap.of(one)
    assert found is not None
    return found


@pytest.mark.parametrize("inputs", [1, 191, 192, 193, 250, 383, 384, 385, 576, 768, 1280])
def test_blocks_are_all_inputs_in_their_order(inputs: int) -> None:
    blocks = blocks_of(inputs)
    assert [place for some in blocks for place in range(inputs)[some]] == list(range(inputs))
    assert all(some.stop - some.start <= BLOCK for some in blocks)


@needs_them
@pytest.mark.parametrize("is_held", [True, False])
@pytest.mark.parametrize("shape", [(256,), (2, 250), (3, 4, 100)])
@pytest.mark.parametrize("inputs", [192, 256, 576, 640])
@pytest.mark.parametrize("kind", ["linear", "linear without a bias", "conv1d"])
def test_every_bit_is_plain_codes(kind: str, inputs: int, shape: tuple[int, ...], is_held: bool) -> None:
    own, given = drawn_map(kind, inputs, 420), numbers(*shape, inputs)
    one = split(own)
    one.is_held = is_held
    assert torch.equal(one(given), own(given))
    assert len(_SplitMap.tried) == 1


@needs_them
def test_another_order_is_noticed_and_plain_codes_bits_come_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "blocks_of", lambda inputs: [slice(0, 100), slice(100, inputs)])
    own, given = drawn_map("linear", 576, 420), numbers(300, 576)
    one = split(own)
    assert torch.equal(one(given), own(given))
    assert list(_SplitMap.tried.values()) == [False]
    assert not torch.equal(one._in_blocks(given), own(given))


@needs_them
def test_it_is_tried_once_for_each_number_of_rows_and_with_mkl_also_while_quick_products_are_open() -> None:
    one, own = split(drawn_map("linear", 576, 420)), drawn_map("linear", 576, 420)
    with quick_products():
        first = one(numbers(300, 576))
    found = dict(_SplitMap.tried)
    assert len(found) == 1
    one(numbers(300, 576, seed=1))
    assert found == _SplitMap.tried
    if all(found.values()):
        assert torch.equal(first, own(numbers(300, 576)))
    one(numbers(301, 576))
    assert len(_SplitMap.tried) == 2


def test_few_rows_other_dtypes_and_gradients_are_plain_codes_own() -> None:
    own = drawn_map("linear", 576, 420)
    one = split(own)
    assert torch.equal(one(numbers(255, 576)), own(numbers(255, 576)))
    with pytest.raises(RuntimeError):  # as plain code says it
        one(numbers(300, 576).double())
    given = numbers(300, 576).requires_grad_()
    one(given).sum().backward()
    assert given.grad is not None
    across = numbers(576, 300).T  # its rows do not lie one behind the other: plain code may add the bias last
    assert torch.equal(one(across), own(across))
    assert _SplitMap.tried == {}
    assert _SplitMap.of(drawn_map("linear", 64, 64)) is None
    assert _SplitMap.of(torch.nn.LayerNorm(70_000)) is None


def made(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().requires_grad_(False)


def llama() -> PreTrainedModel:
    return made(LlamaConfig(vocab_size=300, hidden_size=320, intermediate_size=768, num_hidden_layers=2, num_attention_heads=5))


def gpt2() -> PreTrainedModel:
    return made(GPT2Config(vocab_size=300, n_embd=320, n_layer=2, n_head=5))


@needs_them
@pytest.mark.parametrize("make", [llama, gpt2])
def test_a_whole_model_has_the_same_bits_and_its_modules_and_weights_are_left(make) -> None:  # type: ignore[no-untyped-def]
    model = make()
    shared = {id(weights): weights for weights in model.parameters()}
    twin = with_split_maps(copy.deepcopy(model, shared))
    ids = torch.randint(0, 300, (3, 100), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(twin(ids).logits, model(ids).logits)
    assert _SplitMap.tried
    assert [type(one) for one in twin.modules()] == [type(one) for one in model.modules()]
    assert all(one is other for one, other in zip(twin.parameters(), model.parameters(), strict=True))
    assert "forward" not in twin.get_output_embeddings().__dict__


@needs_them
def test_what_is_held_a_second_time_is_what_the_plan_of_memory_counts(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    model, choice = llama(), ModelChoice.model_validate({"id": "model", "device": "cpu"})
    model.save_pretrained(tmp_path / "llama")
    gpt2().save_pretrained(tmp_path / "gpt2")
    split_model = with_split_maps(model)
    maps = [one.__dict__["forward"] for one in split_model.modules() if "forward" in one.__dict__]
    split_model(torch.zeros(3, 100, dtype=torch.int64))
    held = sum(one._held.nbytes for one in maps)
    assert held == 4 * 2 * (4 * 320 * 320 + 3 * 320 * 768) == prepacked_bytes(tmp_path / "llama", choice, 300)
    assert prepacked_bytes(tmp_path / "gpt2", choice, 300) == 0
    assert {one.__dict__["forward"].bytes_to_hold for one in with_split_maps(gpt2()).modules() if "forward" in one.__dict__} == {0}
    monkeypatch.setattr("assets.model.split_maps.HELD_AT_MOST", held - 1)
    monkeypatch.setattr("assets.histograms.planned_sizes.HELD_AT_MOST", held - 1)
    assert prepacked_bytes(tmp_path / "llama", choice, 300) == 0
    larger = with_split_maps(llama())
    larger(torch.zeros(3, 100, dtype=torch.int64))
    assert all(one.__dict__["forward"]._held is None for one in larger.modules() if "forward" in one.__dict__)
    assert prepacked_bytes(tmp_path / "llama", ModelChoice.model_validate({"id": "model", "dtype": "bfloat16"}), 300) == 0


@needs_them
def test_embeddings_of_positions_do_not_make_the_plan_leave_out_what_is_held(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    sizes = OPTConfig(vocab_size=300, hidden_size=320, word_embed_proj_dim=320, ffn_dim=640, num_hidden_layers=1, num_attention_heads=5)
    model, choice = made(sizes), ModelChoice.model_validate({"id": "model", "device": "cpu"})
    model.save_pretrained(tmp_path)
    held = 4 * (4 * 320 * 320 + 2 * 320 * 640)
    monkeypatch.setattr("assets.model.split_maps.HELD_AT_MOST", held)
    monkeypatch.setattr("assets.histograms.planned_sizes.HELD_AT_MOST", held)
    with_split_maps(model)(torch.zeros(3, 100, dtype=torch.int64))
    assert sum(one.__dict__["forward"]._held.nbytes for one in model.modules() if "forward" in one.__dict__) == held
    assert prepacked_bytes(tmp_path, choice, 300) == held


def test_models_in_half_precision_and_processors_without_the_instructions_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all("forward" not in one.__dict__ for one in with_split_maps(llama().bfloat16()).modules())
    monkeypatch.setattr(module, "are_quicker", lambda: False)
    assert all("forward" not in one.__dict__ for one in with_split_maps(llama()).modules())
