"""What every arm runs on: the same random weights as plain code and as the product's model, one batch, tracked tokens, bins."""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    import torch

    from assets.counting.batches import Batch
    from assets.counting.histograms import ActivationBins
    from assets.model.language_model import LanguageModel

EXAMPLES = 10
WINDOWS, LENGTH = 4, 256


@dataclass(frozen=True)
class Size:
    """Sizes of a GPT-2, or of a Llama where it has a gated MLP: then `gated` is its neurons a layer and `shared_heads` those of keys and values."""

    name: str
    layers: int
    width: int
    heads: int
    vocabulary: int = 50_257
    gated: int = 0
    shared_heads: int = 0

    @property
    def neurons(self) -> int:
        """Neurons of a layer."""
        return self.gated or 4 * self.width


SMALL, LARGE, TINY = Size("GPT-2 Small", 12, 768, 12), Size("GPT-2 Large", 36, 1280, 20), Size("tiny", 2, 32, 2, 500)
SMOLLM2 = Size("SmolLM2 135M", 30, 576, 9, 49_152, gated=1536, shared_heads=3)
TINY_GATED = Size("tiny gated", 2, 32, 4, 500, gated=48, shared_heads=2)


@dataclass(frozen=True)
class Setting:
    """`plain` is a model of its own in plain code with SDPA attention, as a user of Hugging Face has it."""

    plain: Any
    model: "LanguageModel"
    batch: "Batch"
    ids: "torch.Tensor"  # int64 [window, position], the batch's, on the model's device
    token_ids: list[int]
    bins: "ActivationBins"

    @property
    def positions(self) -> int:
        """Positions of the batch, the beginning of each window included."""
        return int(self.ids.numel())


def made_setting(size: Size, tracked: int, windows: int = WINDOWS, length: int = LENGTH, dtype: str = "float32") -> Setting:
    """The setting; float32 on the CPU, `dtype` on a GPU where there is one."""
    import torch

    from assets.histograms.activation_bins import fixed_bins
    from assets.study import FixedBins

    plain, model = random_models(size, dtype=dtype)
    batch = random_batch(model, windows, length)
    ids = torch.from_numpy(batch.token_ids).to(model.device)
    bins = fixed_bins(model.facts.layers, model.facts.neurons, FixedBins())
    return Setting(plain, model, batch, ids, most_predicted(model, ids, tracked), bins)


def random_models(size: Size = SMALL, dtype: str = "float32", seed: int = 0) -> "tuple[torch.nn.Module, LanguageModel]":
    """The same random weights twice: a plain Hugging Face model (SDPA), and the product's on the first CUDA device or the CPU."""
    import torch
    from transformer_lens.model_bridge.sources import build_bridge_from_module
    from transformers import AutoModelForCausalLM

    from assets.model.language_model import LanguageModel, ModelFacts
    from assets.model.loading import choose_device
    from assets.model.plain_model import plain_twin
    from assets.model.plain_parts import PlainParts

    torch.manual_seed(seed)
    device = torch.device(choose_device("auto"))
    config = config_of(size)
    architecture = config.architectures[0]

    def made(attention: str) -> Any:
        random = AutoModelForCausalLM.from_config(copy.deepcopy(config), attn_implementation=attention)
        return random.eval().requires_grad_(False).to(device, getattr(torch, dtype))

    wrapped, plain = made("eager"), made("sdpa")  # the bridge runs eager attention
    config = wrapped.config
    plain.load_state_dict(wrapped.state_dict())
    twin = plain_twin(wrapped)
    bridge = build_bridge_from_module(wrapped, architecture, hf_config=config)
    config.output_attentions = False
    bridge.eval().requires_grad_(False)
    facts = ModelFacts(
        architecture=architecture, layers=size.layers, neurons=size.neurons, model_width=size.width, vocabulary=size.vocabulary,
        tokenizer_entries=size.vocabulary, context_length=config.max_position_embeddings, is_gated=bool(size.gated),
        normalization="RMS" if size.gated else "LN",
        beginning_token_id=0, is_tied=True,
    )  # fmt: skip
    return plain, LanguageModel(bridge, twin, None, facts, device, PlainParts.of_bridge(bridge), wrapped)


def config_of(size: Size) -> Any:
    """The Hugging Face configuration: a GPT-2, or a Llama with a gated MLP and tied embeddings, as SmolLM2 is."""
    from transformers import GPT2Config, LlamaConfig

    if not size.gated:
        return GPT2Config(
            n_layer=size.layers, n_embd=size.width, n_head=size.heads, vocab_size=size.vocabulary, architectures=["GPT2LMHeadModel"],
            bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
    return LlamaConfig(
        num_hidden_layers=size.layers, hidden_size=size.width, intermediate_size=size.gated, num_attention_heads=size.heads,
        num_key_value_heads=size.shared_heads, vocab_size=size.vocabulary, architectures=["LlamaForCausalLM"], tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip


def random_windows(model: "LanguageModel", windows: int, length: int) -> pl.DataFrame:
    """A frame of `token_windows` whose ids have the frequencies of text: the r-th most frequent entry occurs in proportion to 1 / r."""
    generator = np.random.default_rng(0)
    shares = 1 / np.arange(1, model.facts.vocabulary + 1)
    drawn = generator.choice(model.facts.vocabulary, size=(windows, length), p=shares / shares.sum())
    drawn[:, 0] = model.facts.beginning_token_id
    return pl.DataFrame(
        {
            "document": np.arange(windows),
            "window_in_document": np.zeros(windows, np.int32),
            "length": np.full(windows, length, np.int32),
            "token_ids": drawn.astype(np.int32).tolist(),
        }
    )


def random_batch(model: "LanguageModel", windows: int, length: int) -> "Batch":
    """One batch of random windows."""
    from assets.counting.batches import batches

    frame = random_windows(model, windows, length)
    return next(batches(frame, model.facts.context_length, model.facts.beginning_token_id, {length: windows}))


def most_predicted(model: "LanguageModel", ids: "torch.Tensor", tracked: int) -> list[int]:
    """The tokens that the model predicts most often, so that the tracked counters have their work."""
    import torch

    from assets.predictions.top_predictions import predictor

    with torch.inference_mode():
        predictions = predictor(model)(ids).cpu().numpy().reshape(-1)
    counts = np.bincount(predictions, minlength=model.facts.vocabulary)
    return [int(entry) for entry in np.argsort(-counts, kind="stable")[:tracked]]
