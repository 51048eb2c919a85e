"""Where the parts that a pass looks at stand in plain Hugging Face code: blocks, the maps that read neurons, the final norm. Names alone.

For models that the bridge knows they are read off the bridge here; for others they are found by structure (found_parts).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WRAPPER = "_original_component"  # what the bridge puts into a module's name where it wraps it


@dataclass(frozen=True)
class Reading:
    """What the neurons of a layer read: outputs `first` and following of a linear map, one a neuron, behind a norm."""

    linear: str
    first: int
    norm: str


@dataclass(frozen=True)
class PlainParts:
    """Names of modules of plain code; of each layer one, where there are several."""

    blocks: tuple[str, ...]
    neuron_maps: tuple[str, ...]  # the linear map that reads the neurons: `...mlp.c_proj`, `...mlp.down_proj`, `...fc2`
    first_attention: str | None  # of the first block; None where it is not known
    final_norm: str | None  # in front of the unembedding; None where there is none
    reading: tuple[Reading, ...] | None = None  # where it was found, for models that the bridge does not know

    @classmethod
    def of_bridge(cls, bridge: Any) -> "PlainParts":
        """As the bridge names them."""
        first, norm = bridge.blocks[0], getattr(bridge, "ln_final", None)
        attention = getattr(first, "attn", None)
        norm = getattr(norm, "original_component", None)
        return cls(
            tuple(plain_names(bridge, [getattr(block, "original_component", block) for block in bridge.blocks])),
            tuple(plain_names(bridge, [block.mlp.out.original_component for block in bridge.blocks])),
            None if attention is None else plain_names(bridge, [attention.original_component])[0],
            None if norm is None else plain_names(bridge, [norm])[0],
        )


def plain_names(bridge: Any, wrapped: Sequence[Any]) -> list[str]:
    """Names, in plain code, of modules that the bridge wraps (its `original_component`s)."""
    names = {id(module): name for name, module in bridge.original_model.named_modules()}
    return [".".join(part for part in names[id(module)].split(".") if part != WRAPPER) for module in wrapped]
