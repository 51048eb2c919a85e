"""The neurons of a model that TransformerLens's bridge does not know, found in plain code by structure and tried on the loaded model.

A neuron is one number that a linear map makes of the stream, or two of them, put through a function of these alone and read by a linear
map that writes into the stream. So: where single outputs of a map are raised at one position, only as many inputs of the map that reads
neurons change, at this position; and where one of these is raised, the stream behind the block changes at this position. Attention,
convolutions, state spaces and mixtures of experts fail this. All layers are tried in one run, each map in a row of its own.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from assets.model.block_maps import NUDGE, RAISED, TOKENS, BlockMaps, StructureError, block_maps, blocks_of
from assets.model.found_norm import found_final_norm
from assets.model.found_reading import found_reading
from assets.model.plain_parts import PlainParts

if TYPE_CHECKING:
    import torch

POSITION = 1  # where things are raised: there are positions before and behind it
LEAST = 0.01  # of the largest change: what counts as one


@dataclass(frozen=True)
class FoundParts:
    """What was found: names, and what the model's facts are made from."""

    parts: PlainParts
    neurons: int
    width: int
    is_gated: bool


def found_parts(model: Any) -> FoundParts:
    """The parts of a model in plain code. Raises StructureError where no map, or more than one, reads neurons in a layer."""
    blocks = blocks_of(model)
    width = int(model.get_input_embeddings().weight.shape[1])
    trial = _tried(model, blocks, [block_maps(model.get_submodule(block), width) for block in blocks])
    if trial.looks_ahead:
        raise StructureError("what it computes at a position depends on tokens behind it")
    found = [trial.neurons_of(layer) for layer in range(len(blocks))]
    named = {(writer, trial.maps[layer].sizes[writer], feeds) for layer, (writer, feeds) in enumerate(found)}
    if len(named) != 1:
        raise StructureError(f"its layers have different maps that read neurons ({', '.join(sorted({writer for writer, _, _ in named}))})")
    writer, feeds = found[0]
    sizes = trial.maps[0].sizes
    parts = PlainParts(tuple(blocks), tuple(f"{block}.{writer}" for block in blocks), None, found_final_norm(model, blocks))
    named_feeds = [[f"{block}.{name}" for name in feeds] for block in blocks]
    return FoundParts(
        replace(parts, reading=found_reading(model, parts, sizes[writer][0], named_feeds)),
        neurons=sizes[writer][0],
        width=width,
        is_gated=sum(sizes[name][1] for name in feeds) == 2 * sizes[writer][0],
    )


@dataclass
class _Trial:
    """What one run showed. Rows: one as it is, one with another last token, then one for each map of each layer."""

    maps: list[BlockMaps]
    rows: dict[tuple[int, str], int]  # layer and map -> the row in which the map's outputs, or the neurons that it reads, are raised
    fed: set[tuple[int, str, str]] = field(default_factory=set)  # layer, writer, reader of which single numbers become the writer's inputs
    writes: set[tuple[int, str]] = field(default_factory=set)  # layer, writer whose inputs move the stream at their position
    looks_ahead: bool = False

    def neurons_of(self, layer: int) -> tuple[str, tuple[str, ...]]:
        """The map of a layer that reads neurons, and the maps that feed them."""
        maps, fits = self.maps[layer], []
        for writer, readers in maps.writers.items():
            feeds = tuple(reader for reader in readers if (layer, writer, reader) in self.fed)
            made = sum(maps.sizes[reader][1] for reader in feeds)
            if (layer, writer) in self.writes and made in (maps.sizes[writer][0], 2 * maps.sizes[writer][0]):
                fits.append((writer, feeds))
        if len(fits) > 1:
            raise StructureError(f"layer {layer} has {len(fits)} maps that could read neurons ({', '.join(name for name, _ in fits)})")
        if not fits:
            raise StructureError(
                f"layer {layer} has no linear map that reads neurons, each one number of the stream (experts, convolutions and state spaces "
                "have none)"
            )
        return fits[0]


def _tried(model: Any, blocks: list[str], maps: list[BlockMaps]) -> _Trial:
    import torch

    tried = [(layer, name) for layer, own in enumerate(maps) for name in dict.fromkeys((*own.readers, *own.writers))]
    trial = _Trial(maps, {entry: row for row, entry in enumerate(tried, 2)})
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    first = torch.randint(0, vocabulary, (TOKENS,), generator=torch.Generator().manual_seed(0))
    token_ids = first.expand(2 + len(tried), TOKENS).clone()
    token_ids[1, -1] = (token_ids[1, -1] + 1) % vocabulary
    with torch.inference_mode(), ExitStack() as opened:
        for layer, block in enumerate(blocks):
            opened.enter_context(_hooked(trial, model.get_submodule(block), layer, len(token_ids)))
        made = model.base_model(token_ids.to(model.get_input_embeddings().weight.device), use_cache=False)
    if not hasattr(made, "last_hidden_state"):
        raise StructureError("it gives no last hidden state, which predictions are made of")
    return trial


@contextmanager
def _hooked(trial: _Trial, block: Any, layer: int, rows: int) -> Iterator[None]:
    """While open, the layer's maps are raised, each in its row, and what this changes is noted."""
    own = trial.maps[layer]
    handles = [block.get_submodule(name).register_forward_hook(_raise_outputs(trial, layer, name, rows)) for name in own.readers]
    for writer in own.writers:
        handles.append(block.get_submodule(writer).register_forward_pre_hook(_note_neurons(trial, layer, writer, rows)))
    handles.append(block.register_forward_hook(_note_stream(trial, layer, rows)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _raise_outputs(trial: _Trial, layer: int, name: str, rows: int) -> "Callable[[Any, Any, torch.Tensor], torch.Tensor]":
    def raise_some(module: Any, given: Any, made: "torch.Tensor") -> "torch.Tensor":
        raised = made.clone()
        entries = raised.view(rows, TOKENS, -1)[trial.rows[layer, name], POSITION]
        entries[:: _step(len(entries))] += NUDGE
        return raised

    return raise_some


def _note_neurons(trial: _Trial, layer: int, writer: str, rows: int) -> "Callable[[Any, tuple[torch.Tensor, ...]], Any]":
    def note(module: Any, given: "tuple[torch.Tensor, ...]") -> Any:
        inputs = given[0].clone().view(rows, TOKENS, -1)  # [row, position, neuron]
        trial.looks_ahead |= bool(_changed(inputs, 1)[:-1].any())
        for reader in trial.maps[layer].writers[writer]:
            neurons, outputs = trial.maps[layer].sizes[writer][0], trial.maps[layer].sizes[reader][1]
            changed = _changed(inputs, trial.rows[layer, reader]).nonzero().tolist()  # position and neuron of each
            raised = range(outputs)[:: _step(outputs)]
            own = {entry % neurons for entry in raised} | {entry // 2 for entry in raised}  # two halves, or pairs
            if 0 < len(changed) <= RAISED and all(position == POSITION and neuron in own for position, neuron in changed):
                trial.fed.add((layer, writer, reader))
        inputs[trial.rows[layer, writer], POSITION, 0] += NUDGE
        return (inputs.view(given[0].shape), *given[1:])

    return note


def _note_stream(trial: _Trial, layer: int, rows: int) -> "Callable[[Any, Any, Any], None]":
    def note(module: Any, given: Any, made: Any) -> None:
        stream = (made[0] if isinstance(made, tuple) else made).view(rows, TOKENS, -1)
        for writer in trial.maps[layer].writers:
            changed = _changed(stream, trial.rows[layer, writer])
            if changed.any() and changed.sum() == changed[POSITION].sum():
                trial.writes.add((layer, writer))

    return note


def _step(outputs: int) -> int:
    return -(-outputs // RAISED)


def _changed(values: "torch.Tensor", row: int) -> "torch.Tensor":
    """Which numbers of a row differ from the first row's by more than rounding and LEAST of the largest change, bool [position, any].

    Rounding goes with the size of a position's numbers: the first position's are hundreds of times those of others in many models.
    """
    import torch

    expected = values[0].float()
    moved, size = (values[row].float() - expected).abs(), expected.square().mean(-1, keepdim=True).sqrt()
    return (moved > LEAST * moved.max()) & (moved > 2 * torch.finfo(values.dtype).eps * size)
