"""A model's sizes and kind, read off the bridge or, where there is none, off what was found in plain code. Loads nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.model.found_norm import is_centring
from assets.model.found_parts import FoundParts
from assets.model.refusals import ModelError

CONTEXT_FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "context_length")


@dataclass(frozen=True)
class ModelShape:
    """What the facts of a model say of its build."""

    layers: int
    neurons: int  # per layer
    width: int
    vocabulary: int
    context_length: int
    is_gated: bool
    normalization: str  # "LN" or "RMS"


def shape_of_bridge(folder: Path, bridge: Any) -> ModelShape:
    """As the bridge has it."""
    layers = int(bridge.cfg.n_layers)
    widths = {tuple(bridge.blocks[layer].mlp.W_out.shape) for layer in range(layers)}
    if len(widths) != 1:
        raise ModelError(f"model {folder}: layers have different neuron counts {sorted(widths)}; they must be equal")
    neurons, width = widths.pop()
    return ModelShape(
        layers,
        int(neurons),
        int(width),
        vocabulary=int(bridge.W_U.shape[1]),
        context_length=int(bridge.cfg.n_ctx),
        is_gated=getattr(bridge, "W_gate", None) is not None,
        normalization="LN" if str(bridge.cfg.normalization_type).startswith("LN") else "RMS",
    )


def shape_of_plain_code(folder: Path, loaded: Any, found: FoundParts) -> ModelShape:
    """As plain code has it. Without a norm in front of the unembedding nothing is centred, as for RMSNorm."""
    unembedding, norm = loaded.get_output_embeddings(), found.parts.final_norm
    if getattr(unembedding, "weight", None) is None:
        raise ModelError(f"model {folder}: it has no unembedding, so it predicts no token; choose a causal language model")
    lengths = [int(getattr(loaded.config, name)) for name in CONTEXT_FIELDS if isinstance(getattr(loaded.config, name, None), int)]
    if not lengths:
        raise ModelError(
            f"model {folder}: config.json has none of {', '.join(CONTEXT_FIELDS)}; state there how many tokens the model can read"
        )
    return ModelShape(
        len(found.parts.blocks),
        found.neurons,
        found.width,
        vocabulary=int(unembedding.weight.shape[0]),
        context_length=lengths[0],
        is_gated=found.is_gated,
        normalization="LN" if norm is not None and is_centring(loaded.get_submodule(norm), found.width) else "RMS",
    )
