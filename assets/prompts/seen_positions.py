"""Which earlier positions each block's attention sees, and what is added to its scores there: the model's own answer for a whole text.

A continued run (continuation) lays positions of many variants side by side, so what a model works out from the number of a key would be
wrong: windows of local attention (Mistral, Gemma, GPT-Neo) and the distances of ALiBi (MPT, BLOOM, Falcon). So a plain run is listened to,
and what each block was given at the true positions is handed to it in the continued run. Blocks whose attention sees all that came before,
with nothing added, are left as they are.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from assets.model.language_model import LanguageModel
from assets.prompts.replaced_forward import replaced_forward

if TYPE_CHECKING:
    import torch

Call = tuple[tuple[Any, ...], dict[str, Any]]  # what a block gets besides the residual stream

# Names under which blocks get numbers that are added to the scores of each key, and whether a batch of several rows needs them once a row.
KEY_BIASES = {"position_bias": False, "alibi": True}
HIDES = -1e4  # a mask's number at most this hides a key; ALiBi over 2,048 positions with slope 1 stays above

_seen_of_model: "WeakKeyDictionary[Any, tuple[int, list[Seen | None]]]" = WeakKeyDictionary()  # by bridge: length, and of each block


@dataclass(frozen=True)
class Seen:
    """What the attention of a block is given over a whole text of N positions."""

    is_seen: "torch.Tensor"  # bool [query, key]
    added: "torch.Tensor | None"  # numbers added to the scores by the mask, [1, head or 1, query, key]; None where they are all 0
    key_biases: "Mapping[str, torch.Tensor]"  # by name: last axis the keys
    true_hides: bool  # of a mask of bool, whether True hides a key

    @property
    def is_plain(self) -> bool:
        """Whether all that came before is seen and nothing is added."""
        import torch

        return self.added is None and not self.key_biases and torch.equal(self.is_seen, torch.ones_like(self.is_seen).tril())

    def applied(self, call: Call, mask: "torch.Tensor", here: "torch.Tensor", keys: "torch.Tensor") -> Call:
        """The call of a block in a continued run, with what it is given at the true positions of its queries `here` and its `keys`.

        mask: [1, 1, query, key], 0 where the run lets a query see a key.
        """
        import torch

        allowed = (mask == 0) & self.is_seen[here][:, keys]
        hidden = torch.full((), torch.finfo(mask.dtype).min, dtype=mask.dtype, device=mask.device)
        added = torch.zeros_like(hidden) if self.added is None else self.added[:, :, here][..., keys].to(mask.dtype)
        given = torch.where(allowed, added, hidden)

        def exchanged(name: str, value: Any) -> Any:
            if name in self.key_biases:
                return self.key_biases[name][..., keys]
            if isinstance(value, torch.Tensor) and value.ndim == 4 and value.shape[-2] == len(here):
                return given if value.is_floating_point() else allowed ^ self.true_hides
            return value

        args, kwargs = call
        return tuple(exchanged("", value) for value in args), {name: exchanged(name, value) for name, value in kwargs.items()}


def seen_positions(model: LanguageModel, length: int) -> list[Seen | None]:
    """Of each block what its attention sees in a text of at least `length` positions; None where that is all that came before."""
    known, found = _seen_of_model.get(model.bridge, (0, []))
    if length > known:
        known = max(length, min(model.facts.context_length, 1 << (length - 1).bit_length()))  # so that few lengths are listened to
        found = [None if seen.is_plain else seen for seen in _listened(model, known)]
        _seen_of_model[model.bridge] = (known, found)
    return found


def _listened(model: LanguageModel, length: int) -> list[Seen]:
    import torch

    calls: list[Call] = []

    def listen(*args: Any, **kwargs: Any) -> Any:
        calls.append((args[1:], kwargs) if args else ((), kwargs))
        if len(calls) == model.facts.layers:
            raise _AllHeard
        return args[0] if args else kwargs["hidden_states"]

    token_ids = torch.zeros(1, length, dtype=torch.int64, device=model.device)
    with torch.inference_mode(), suppress(_AllHeard), replaced_forward(dict.fromkeys(model.bridge.blocks, listen)):
        model.bridge(token_ids, use_cache=False, output_attentions=False)
    heard: dict[tuple[int, int], Seen] = {}  # blocks that are given the same tensors share what is known of them
    found = []
    for (args, kwargs), block in zip(calls, model.bridge.blocks, strict=True):
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        masks = [value for value in given if value.ndim == 4 and value.shape[-2:] == (length, length)]
        biases = {name: kwargs[name][..., -length:] for name in KEY_BIASES if isinstance(kwargs.get(name), torch.Tensor)}
        window = own_window(block)
        key = (id(masks[0]) if masks else 0, 0 if window is None else id(window))
        if key not in heard:
            heard[key] = _seen(model, masks[0] if masks else None, window, biases, length)
        found.append(heard[key])
    return found


def _seen(
    model: LanguageModel, mask: "torch.Tensor | None", window: "torch.Tensor | None", biases: "Mapping[str, torch.Tensor]", length: int
) -> Seen:
    import torch

    is_seen = torch.ones(length, length, dtype=torch.bool, device=model.device).tril()
    added, true_hides = None, False
    if mask is not None and mask.is_floating_point():
        is_seen = is_seen & (mask > HIDES).all(1)[0]
        added = mask if bool((mask * is_seen).ne(0).any()) else None
    elif mask is not None:
        true_hides = not bool(mask[0, 0, -1, -1])  # a position always sees itself
        is_seen = is_seen & (mask[0, 0] ^ true_hides)
    if window is not None:
        is_seen = is_seen & window[0, 0, :length, :length]
    return Seen(is_seen, added, biases, true_hides)


def own_window(block: Any) -> "torch.Tensor | None":
    """The bool mask [1, 1, query, key] that an attention module keeps of its own and reads by the number of a key (GPT-Neo); None without."""
    import torch

    kept = getattr(getattr(block.attn, "original_component", None), "bias", None)
    is_mask = isinstance(kept, torch.Tensor) and kept.dtype == torch.bool and kept.ndim == 4
    return kept if is_mask else None


@contextmanager
def own_windows_open(model: LanguageModel) -> Iterator[None]:
    """While open, such masks hide nothing: what a block sees is in the mask that it is given."""
    import torch

    kept = [(block.attn.original_component, window) for block in model.bridge.blocks if (window := own_window(block)) is not None]
    try:
        for attention, window in kept:
            attention.bias = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=window.device).expand(1, 1, 1 << 20, 1 << 20)  # no memory
        yield
    finally:
        for attention, window in kept:
            attention.bias = window


class _AllHeard(Exception):
    """Stops the model when its last block has been called."""
