"""A loaded model as the stages are given it: TransformerBridge, if it has one, plain twin, tokenizer, facts, and the text of tokens.

Loading is in loading; which models are refused is in refusals. Computes nothing over a corpus.
"""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assets.model.plain_parts import PlainParts
from assets.model.refusals import UnsupportedModelError

if TYPE_CHECKING:
    import torch
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class ModelFacts:
    """What a model is, as numbers: written into provenance and shown on the report."""

    architecture: str
    layers: int
    neurons: int  # per layer
    model_width: int
    vocabulary: int  # columns of the unembedding, which may exceed the tokenizer's entries (padding)
    tokenizer_entries: int
    context_length: int
    is_gated: bool
    normalization: str  # "LN" or "RMS"
    beginning_token_id: int
    is_tied: bool  # the unembedding is the embedding


@dataclass(frozen=True)
class LanguageModel:
    """A model in evaluation mode on its device. Bridge, plain code and tokenizer are shared: never modify them."""

    bridge_if_known: "TransformerBridge | None"  # None for a class that TransformerLens does not know: then `loaded` is as it was loaded
    plain: Any  # the same weights in plain Hugging Face code (assets.model.plain_model)
    tokenizer: Any
    facts: ModelFacts
    device: "torch.device"
    parts: PlainParts  # of plain code
    loaded: Any  # the same weights as transformers loaded them, inside the bridge where there is one

    @property
    def dtype(self) -> "torch.dtype":
        """Of the weights, and of what runs are made in."""
        return self.plain.get_input_embeddings().weight.dtype

    @property
    def bridge(self) -> "TransformerBridge":
        """The bridge, for what runs through it. Raises UnsupportedModelError for a model that has none: whatever asks for it is refused so."""
        if self.bridge_if_known is None:
            raise UnsupportedModelError(f"model {self.facts.architecture}: TransformerLens, through which this would be run, does not know this "
                                        "class of models; all that is counted stands without it, and another model can be chosen for the rest")  # fmt: skip
        return self.bridge_if_known

    def neuron_hook(self, layer: int) -> str:
        """Name of the bridge's hook that holds the activations of the layer's neurons, [window, position, neuron]."""
        return f"blocks.{layer}.mlp.hook_post"

    @functools.cached_property
    def new_gelus(self) -> "list[torch.nn.Module]":
        """The bridge's modules that compute GPT-2's `gelu_new`, looked for once: going through the 2,002 modules of SmolLM2-135M takes 3.7 ms."""
        from transformers.activations import NewGELUActivation

        return [module for module in self.bridge.modules() if isinstance(module, NewGELUActivation)]

    @functools.cached_property
    def token_texts(self) -> list[str]:
        """Text of every vocabulary entry as it reads inside running text (index = token id)."""
        return texts_inside_running_text(self.tokenizer, self.facts.vocabulary)


def texts_inside_running_text(tokenizer: Any, vocabulary: int) -> list[str]:
    """Text of each id as it reads after other text.

    Decoding an id alone drops the leading space in SentencePiece vocabularies, so each id is decoded behind a letter and
    the letter is cut off. Ids that the tokenizer lacks (padding of the embedding) read as "".
    """
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"][-1]
    before = tokenizer.decode([anchor], clean_up_tokenization_spaces=False)
    entries = min(len(tokenizer), vocabulary)
    pairs = tokenizer.batch_decode([[anchor, entry] for entry in range(entries)], clean_up_tokenization_spaces=False)
    return [text[len(before) :] for text in pairs] + [""] * (vocabulary - entries)
