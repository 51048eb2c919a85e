"""What the neurons of a model that the bridge does not know read: the rows of a linear map, and the norm that it reads the stream through.

A gated neuron has two such rows. The gate's are those behind which raising and lowering are not each other's opposite: the other factor is
linear. Both are found by raising and lowering outputs of the maps, each in a row of its own. Which maps they are is in found_parts.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from assets.model.block_maps import NUDGE, RAISED, TOKENS, linear_weight
from assets.model.found_norm import could_be_norm, ignores_size
from assets.model.plain_parts import PlainParts, Reading

if TYPE_CHECKING:
    import torch

BENT = 0.05  # of the change, by which raising and lowering differ behind a function that is not linear; half precision rounds by less


def found_reading(model: Any, parts: PlainParts, neurons: int, feeds: Sequence[Sequence[str]]) -> tuple[Reading, ...] | None:
    """Of each layer what the neurons, or their gates, read; None where it is not plain. `feeds`: the maps of each layer that make neurons."""
    import torch

    halves = [_halves(model, own, neurons) for own in feeds]
    trial = _ReadingTrial(neurons, halves)
    embedding = model.get_input_embeddings().weight
    first = torch.randint(0, embedding.shape[0], (TOKENS,), generator=torch.Generator().manual_seed(0))
    token_ids = first.expand(trial.rows, TOKENS).to(embedding.device)
    with torch.inference_mode(), ExitStack() as opened:
        for layer, block in enumerate(parts.blocks):
            for hook in trial.hooks(model, layer, block, parts.neuron_maps[layer]):
                opened.callback(hook.remove)
        model.base_model(token_ids, use_cache=False)
    found = [trial.reading_of(layer) for layer in range(len(halves))]
    return None if None in found else tuple(reading for reading in found if reading is not None)


def _halves(model: Any, feeds: Sequence[str], neurons: int) -> list[tuple[str, int]]:
    """Maps with the first of the outputs that are one number a neuron: two of one map, or one of each of two maps; or just one."""
    return [(name, start) for name in feeds for start in range(0, linear_weight(model.get_submodule(name)).shape[0], neurons)]


class _ReadingTrial:
    """Rows: one as it is, then two for each half of each layer, in which some of its outputs are raised and lowered."""

    def __init__(self, neurons: int, halves: list[list[tuple[str, int]]]) -> None:
        self.halves, self.rows = halves, 1
        self._row: dict[tuple[int, str, int], int] = {}
        for layer, own in enumerate(halves):
            for name, start in own:
                self._row[layer, name, start] = self.rows
                self.rows += 2
        self._entries = list(range(0, neurons, -(-neurons // RAISED)))
        self._norms: dict[int, str] = {}  # by layer, where one is found
        self._bent: dict[int, list[bool]] = {}  # by layer, of each half; missing where its outputs are not a neuron each

    def reading_of(self, layer: int) -> Reading | None:
        """What was found; None where more than one half, or none of two, could be the gate, or no norm is known."""
        bent, own = self._bent.get(layer), self.halves[layer]
        if layer not in self._norms or bent is None or (len(own) > 1 and sum(bent) != 1):
            return None
        name, start = own[bent.index(True) if len(own) > 1 else 0]
        return Reading(name, start, self._norms[layer])

    def hooks(self, model: Any, layer: int, block: str, neuron_map: str) -> list[Any]:
        """Handles of what is hung into a layer."""
        outputs: list[tuple[str, Any]] = []  # the tensors that norms of the block gave, held so that each stays itself
        leaves = [
            (name, part) for name, part in model.get_submodule(block).named_modules(prefix=block) if next(part.children(), None) is None
        ]
        handles = [part.register_forward_hook(_kept(outputs, name)) for name, part in leaves]
        for name in dict.fromkeys(name for name, _ in self.halves[layer]):
            handles.append(model.get_submodule(name).register_forward_hook(self._move(layer, name, outputs)))
        handles.append(model.get_submodule(neuron_map).register_forward_pre_hook(self._note(layer, outputs)))
        return handles

    def _move(self, layer: int, name: str, outputs: "list[tuple[str, Any]]") -> "Callable[[Any, Any, torch.Tensor], torch.Tensor]":
        def move(module: Any, given: Any, made: "torch.Tensor") -> "torch.Tensor":
            norms = [norm for norm, tensor in outputs if tensor is given[0]]
            if norms and (layer not in self._norms or self._norms[layer] == norms[0]):
                self._norms[layer] = norms[0]
            moved = made.clone()
            by_row = moved.view(self.rows, TOKENS, -1)
            for half, start in self.halves[layer]:
                if half == name:
                    row, places = self._row[layer, half, start], [start + entry for entry in self._entries]
                    by_row[row, -1, places] += NUDGE
                    by_row[row + 1, -1, places] -= NUDGE
            return moved

        return move

    def _note(self, layer: int, outputs: "list[tuple[str, Any]]") -> "Callable[[Any, tuple[torch.Tensor, ...]], None]":
        def note(module: Any, given: "tuple[torch.Tensor, ...]") -> None:
            outputs.clear()  # the layer has read: held to the end they would be memory for nothing
            last = given[0].view(self.rows, TOKENS, -1)[:, -1].float()  # [row, neuron]
            bent = []
            for half, start in self.halves[layer]:
                row = self._row[layer, half, start]
                up, down = last[row] - last[0], last[row + 1] - last[0]
                size = float(up.abs().max() + down.abs().max())
                moved = ((up.abs() + down.abs()) > BENT * size).nonzero()[:, 0].tolist()
                if not moved or not set(moved) <= set(self._entries):
                    return
                bent.append(float((up + down).abs().max()) > BENT * size)
            self._bent[layer] = bent

        return note


def _kept(outputs: "list[tuple[str, Any]]", name: str) -> "Callable[[Any, Any, Any], None]":
    def keep(module: Any, given: Any, made: Any) -> None:
        if could_be_norm(module, given, made) and ignores_size(module, given[0], made):
            outputs.append((name, made))

    return keep
