"""The model as Neuron Atlas runs it against the same files in plain Hugging Face code, on sample windows.

Two questions. Does the bridge, which prompts and ablation run, give plain code's logits (of a model that it does not know: does the
pass)? And does the pass give the top
predictions and bins that the files give in float32: exactly so in a float32 study, and in half precision with which share of
disagreements? A wrapper or a precision that changes the numbers would make every later count a count of another model.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from assets.model.language_model import LanguageModel
from assets.model.plain_model import neurons_reported, whole_logits

if TYPE_CHECKING:
    import numpy as np
    import torch

    Slots = Callable[[int, torch.Tensor], torch.Tensor]  # layer, activations [row, position, neuron]: the bin of each
    Largest = Callable[[], np.ndarray]  # finds each neuron's largest activation in the sample, float32 [layer, neuron]

SHARE_WINDOWS = 4  # spread over the first shard; a share of disagreements is estimated from them
SAMPLE_POSITIONS = 256  # of each window: 256 x 50,257 float32 logits are 51 MB, one window at a time
EXACT_POSITIONS = 128  # where every number must be the same: 6 million logits and 5 million activations of GPT-2 small


def sample_windows(windows: pl.DataFrame, *, is_exact: bool) -> pl.DataFrame:
    """The windows of a shard to compare.

    Where every number must be the same, the beginning of the longest: a wrapper's errors, where there are any, are in every window, and
    some grow with the position. Where a share of disagreements is estimated, SHARE_WINDOWS whole ones.
    """
    if is_exact:
        return windows.slice(windows["length"].arg_max() or 0, 1).with_columns(pl.col("token_ids").list.head(EXACT_POSITIONS))
    return windows.gather_every(max(1, windows.height // SHARE_WINDOWS)).head(SHARE_WINDOWS)


def model_parity(
    model: LanguageModel, folder: Path, sample: pl.DataFrame, slots_of: "Callable[[Largest], Slots] | None" = None
) -> pl.DataFrame:
    """The table `model_parity`: one row for each window of `sample`, compared over its first SAMPLE_POSITIONS.

    `slots_of` makes the function that finds bins; it may ask for the largest activation of each neuron in the sample, which costs
    one more forward of it. Without `slots_of` bins are a fifth of a unit wide.
    """
    import torch

    plain = _plain_code(model, folder, str(model.dtype).removeprefix("torch."))
    exact = plain if model.dtype == torch.float32 else _plain_code(model, folder, "float32")
    token_ids = [torch.tensor([ids[:SAMPLE_POSITIONS]], device=model.device) for ids in sample["token_ids"]]  # [1, position] each
    rows = []
    with torch.inference_mode():
        slots = slots_of(lambda: _largest(model, exact, token_ids)) if slots_of else _fifths
        for window, ids in zip(sample.iter_rows(named=True), token_ids, strict=True):
            ours = _own_logits(model, ids).float()  # [1, position, vocabulary]
            measured, expected = _against_float32(model, exact, ids, slots)
            theirs = expected if plain is exact else plain(ids, use_cache=False).logits.float()
            rows.append(
                {
                    "document": window["document"],
                    "window_in_document": window["window_in_document"],
                    "positions": ids.shape[1],
                    "largest_logit_difference": (ours - theirs).abs().max().item(),
                    "largest_logit": theirs.abs().max().item(),
                    "prediction_disagreements": int((ours.argmax(-1) != theirs.argmax(-1)).sum()),
                    **measured,
                }
            )
    return pl.DataFrame(rows)


def _own_logits(model: LanguageModel, ids: "torch.Tensor") -> "torch.Tensor":
    """Logits of what prompts and ablation run: the bridge; of a model that it does not know, what the pass runs."""
    if model.bridge_if_known is None:
        return whole_logits(model, ids)
    return model.bridge(ids, use_cache=False, output_attentions=False)


def _plain_code(model: LanguageModel, folder: Path, dtype: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=getattr(torch, dtype), attn_implementation="eager", trust_remote_code=False, use_safetensors=True
    )
    return loaded.to(model.device).eval()


def _against_float32(model: LanguageModel, exact: Any, ids: "torch.Tensor", slots: "Slots") -> "tuple[dict[str, int], torch.Tensor]":
    """Of one window: activations, those in another bin than in float32, positions with another top prediction; and float32's logits."""
    kept: list[torch.Tensor] = []
    with neurons_reported(model, lambda layer, values: kept.append(slots(layer, values.float()))):
        predictions = whole_logits(model, ids).argmax(-1)
    moved: list[int] = []
    with neurons_reported(model, lambda layer, values: moved.append(int((slots(layer, values) != kept[layer]).sum())), of=exact):
        expected = exact(ids, use_cache=False).logits
    measured = {
        "float32_prediction_disagreements": int((predictions != expected.argmax(-1)).sum()),
        "activations": sum(bins.numel() for bins in kept),
        "float32_bin_disagreements": sum(moved),
    }
    return measured, expected


def _largest(model: LanguageModel, exact: Any, token_ids: "list[torch.Tensor]") -> "np.ndarray":
    """Largest absolute activation of each neuron over the sample but its first positions, float32 [layer, neuron]."""
    import torch

    largest = torch.zeros(model.facts.layers, model.facts.neurons, device=model.device)

    def note(layer: int, values: torch.Tensor) -> None:
        sizes = values[:, 1:].reshape(-1, values.shape[-1]).abs().nan_to_num(0.0, 0.0, 0.0)
        if sizes.shape[0]:
            largest[layer] = torch.maximum(largest[layer], sizes.amax(0))

    with neurons_reported(model, note, of=exact):
        for ids in token_ids:
            exact.base_model(ids, use_cache=False)
    return largest.cpu().numpy()


def _fifths(layer: int, values: "torch.Tensor") -> "torch.Tensor":
    return (values * 5).floor()
