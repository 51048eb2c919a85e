"""The model in plain Hugging Face code, on the weights that the bridge, if there is one, holds: what a pass over the corpus runs.

The bridge computes LayerNorm and attention in steps of its own, so that each can be patched; a pass patches nothing. What is
counted in plain code is the model's own numbers, bit for bit, and costs less; a study may trade the last bits for speed
(prepacked_maps). Prompts, patching and ablation run the bridge; `model_parity` measures by how much the two differ.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from assets.model.cached_activation import with_cached_activations
from assets.model.prepacked_maps import with_prepacked_maps
from assets.model.split_maps import with_split_maps

if TYPE_CHECKING:
    import torch

    from assets.model.language_model import LanguageModel


def plain_twin(loaded: Any, linear_maps: str = "plain") -> Any:
    """The same modules again on the same weights (no memory of its own), before a bridge changes the ones of `loaded` in place.

    `linear_maps` "prepacked": its linear maps hold a rearranged copy of their weights beside it; "plain": they may hold one that lies otherwise.
    """
    shared = {id(weights): weights for weights in loaded.parameters()}
    twin = with_cached_activations(copy.deepcopy(loaded, shared).eval())
    return with_prepacked_maps(twin) if linear_maps == "prepacked" else with_split_maps(twin)


@contextmanager
def neurons_reported(model: "LanguageModel", report: "Callable[[int, torch.Tensor], None]", of: Any = None) -> Iterator[None]:
    """While open, `report` is told each layer and its neurons' activations, [row, position, neuron], at every plain forward.

    `of` is another instance of the same plain code; the model's own if absent.
    """
    plain = model.plain if of is None else of

    shape: list[int] = []  # of the token ids: OPT's layers flatten rows and positions into one

    def note_shape(module: "torch.nn.Module", given: tuple[Any, ...], named: dict[str, Any]) -> None:
        token_ids = given[0] if given else named.get("input_ids")
        if token_ids is not None:
            shape[:] = token_ids.shape

    def hook_of(layer: int) -> "Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], None]":
        return lambda module, given: report(layer, given[0].view(*shape, -1))

    # Either may be what is called: OPT's own forward goes past its base model, straight to what is inside.
    handles = [module.register_forward_pre_hook(note_shape, with_kwargs=True) for module in (plain, plain.base_model)]
    handles += [plain.get_submodule(name).register_forward_pre_hook(hook_of(layer)) for layer, name in enumerate(model.parts.neuron_maps)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def last_hidden(model: "LanguageModel", token_ids: "torch.Tensor") -> "torch.Tensor":
    """What the unembedding reads, [row, position, width]: all of the forward but the logits; no cache, no attention maps."""
    return model.plain.base_model(token_ids, use_cache=False).last_hidden_state


def whole_logits(model: "LanguageModel", token_ids: "torch.Tensor") -> "torch.Tensor":
    """Logits [row, position, vocabulary] of plain code."""
    return model.plain(token_ids, use_cache=False).logits
