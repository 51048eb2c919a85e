"""What may be neurons by the structure of plain code alone: blocks, their linear maps, and which of these could read or feed neurons.

Whether they do is tried (found_parts). No list of architectures, no name of a module.
"""

from dataclasses import dataclass
from typing import Any

from assets.errors import InputError

# Of the trials of what is found here:
TOKENS = 4  # of the text that is run
NUDGE = 4.0  # by which numbers are raised: far above rounding, far below overflow
RAISED = 8  # numbers at once: a neuron whose other factor is 0 shows nothing


class StructureError(InputError):
    """Plain code whose neurons cannot be found; the message says why, as the end of a sentence."""


@dataclass(frozen=True)
class BlockMaps:
    """Linear maps of one block by name inside it. `writers` may read neurons and write into the stream; `readers` of each, their input
    the stream, may feed them: as wide as there are neurons, or twice as wide."""

    writers: dict[str, tuple[str, ...]]
    sizes: dict[str, tuple[int, int]]  # of every linear map: input, output

    @property
    def readers(self) -> tuple[str, ...]:
        """Those of all writers."""
        return tuple(dict.fromkeys(name for names in self.writers.values() for name in names))


def blocks_of(model: Any) -> list[str]:
    """Names of the model's blocks, first to last: the elements of its one outermost list of modules that hold linear maps."""
    import torch

    if getattr(model.config, "is_encoder_decoder", False):
        raise StructureError("it is an encoder-decoder, which has two lists of neurons")
    lists: list[str] = []
    for name, module in model.named_modules():
        is_inside = any(name.startswith(f"{other}.") for other in lists)
        if isinstance(module, torch.nn.ModuleList) and not is_inside and any(linear_sizes(part) for part in module):
            lists.append(name)
    if len(lists) != 1:
        told = f"{len(lists)} lists of blocks ({', '.join(lists)})" if lists else "no list of blocks"
        raise StructureError(f"it has {told} where there must be one")
    return [f"{lists[0]}.{place}" for place in range(len(model.get_submodule(lists[0])))]


def linear_sizes(block: Any) -> dict[str, tuple[int, int]]:
    """Of each linear map in a block, by name, the width of its input and its output."""
    found = {name: linear_weight(module) for name, module in block.named_modules()}
    return {name: (weight.shape[1], weight.shape[0]) for name, weight in found.items() if weight is not None}


def linear_weight(module: Any) -> Any:
    """The weight of a linear map, [output, input], a view; None for any other module."""
    import torch
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, torch.nn.Linear):
        return module.weight.detach()
    return module.weight.detach().t() if isinstance(module, Conv1D) else None  # GPT-2 keeps [input, output]


def block_maps(block: Any, width: int) -> BlockMaps:
    """The maps of a block in a model of this width."""
    sizes = linear_sizes(block)
    writers = {
        name: tuple(other for other, (given, made) in sizes.items() if other != name and given == width and made in (neurons, 2 * neurons))
        for name, (neurons, written) in sizes.items()
        if written == width
    }
    return BlockMaps({name: readers for name, readers in writers.items() if readers}, sizes)
