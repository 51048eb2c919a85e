"""The rest of a run from one block on, for many changed residual streams at once.

What a patch changes is the residual stream of one block, from one position on. Blocks below it and positions before it are as
in the unchanged run (for patching: the corrupt one), so they are not computed again:

1. Positions before `first_position` are present as the keys and values that the run left behind.
2. The changed streams (variants) lie side by side: a few in each row of the batch, apart by the attention mask, each at the
   positions of the prompt. A few to a row and not one, because the prefix is then copied once a row; not all in one row,
   because the mask makes attention grow with the square of a row.
3. Variants that enter higher blocks join a batch on its way: few variants of many blocks are one batch, not many small ones.
4. In the last block only the last position is computed in full; the others give their keys and values and stop there.
5. What is read is the caller's choice: patching reads the logits of the two answers only.

The blocks are the shared bridge's own, called with the arguments that the model itself gives them, so that positions, rotary
angles and norms are those of the architecture. Where attention sees less than all that came before, or adds to its scores by distance, each
block is given what the model gives it at the true positions (seen_positions). What is replaced for the time of a call is put back, also
after an exception.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from assets.model.language_model import LanguageModel
from assets.model.refusals import UnsupportedModelError
from assets.prompts.prompt_runs import PairRuns, answer_logits, attention_output
from assets.prompts.replaced_forward import replaced_forward
from assets.prompts.seen_positions import KEY_BIASES, Call, own_windows_open, seen_positions

if TYPE_CHECKING:
    import torch

# Measured on GPT-2 small, on prompts: rows of 16 are 5 to 40 % faster than rows of 64 to 128. Behind a long prefix, which is copied for each
# row, longer ones are: on SmolLM2-135M rows of 64 by an eighth behind 160 to 250 positions, by a twentieth behind 80, not behind 40.
TOKENS_IN_ROW, MOST_IN_ROW = 16, 64
TOKENS_IN_BATCH = 1024  # the largest tensor is then 1,024 x neurons: 12 MB for GPT-2 small; larger is no faster on a CPU


@dataclass(frozen=True)
class Entering:
    """Changed residual streams, `variants` of them, as they enter block `layer` (number of blocks: as they leave the last).

    `residual(rows)` gives those of some variants, [rows, positions, model width]. It is asked for a batch at a time, which bounds the memory.
    """

    layer: int
    variants: int
    residual: "Callable[[slice], torch.Tensor]"


class StreamContinuation:
    """Continues one run from `first_position` to before `end`, from any block; `keys_values` are what the run left behind, by layer."""

    def __init__(
        self,
        model: LanguageModel,
        keys_values: "Mapping[int, tuple[torch.Tensor, torch.Tensor]]",
        first_position: int,
        end: int,
        tokens_in_batch: int = TOKENS_IN_BATCH,
    ) -> None:
        import torch

        self.first_position = first_position
        self.positions = end - first_position  # computed for each variant
        self._model = model
        in_row = max(TOKENS_IN_ROW, min(first_position // 2, MOST_IN_ROW))
        self._in_row = max(1, in_row // self.positions)  # variants
        self._in_batch = max(1, tokens_in_batch // (self.positions * self._in_row)) * self._in_row
        kept = keys_values.items()
        prefix = {layer: (keys[:, :, :first_position], values[:, :, :first_position]) for layer, (keys, values) in kept}
        self._before_last = _EarlierKeys(prefix)
        self._last = _EarlierKeys(prefix)
        # Position and variant of each token of a row.
        here = torch.arange(first_position, end, device=model.device).repeat(self._in_row)
        variant = torch.arange(self._in_row, device=model.device).repeat_interleave(self.positions)
        with torch.inference_mode():
            self._calls = self._block_calls(here, variant, here, variant, _EarlierKeys(prefix))
            if self.positions > 1:
                is_last = here == end - 1
                early, late = (here[~is_last], variant[~is_last]), (here[is_last], variant[is_last])
                everything = tuple(torch.cat(parts) for parts in zip(early, late, strict=True))
                self._call_before_last = self._block_calls(*early, *early, self._before_last)[-1]
                self._call_last = self._block_calls(*late, everything[0], everything[1], self._last)[-1]

    def read(self, entering: Sequence[Entering], readout: "Callable[[torch.Tensor], torch.Tensor]") -> "torch.Tensor":
        """[variant, ...] on the CPU: `readout` of the streams [variant, model width] that leave the last block at the last position.

        `entering` is in ascending order of blocks; its variants follow one another.
        """
        import torch

        ends = list(accumulate(one.variants for one in entering))
        parts = []
        with torch.inference_mode(), fast_activation(self._model), own_windows_open(self._model):
            for start in range(0, ends[-1] if ends else 0, self._in_batch):
                streams = []
                for one, end in zip(entering, ends, strict=True):
                    first = end - one.variants
                    rows = slice(max(start - first, 0), min(start + self._in_batch - first, one.variants))
                    if rows.start < rows.stop:
                        streams.append((one.layer, one.residual(rows)))
                parts.append(readout(self._last_residual(streams)).cpu())
        return torch.cat(parts) if parts else torch.empty(0)

    def leave_block(self, layer: int, residual: "torch.Tensor", attention: "torch.Tensor") -> "torch.Tensor":
        """[variant, positions, model width]: the streams that leave block `layer` if its attention's output were `attention`.

        `residual` [positions, model width] enters the block in every variant; `attention` is [variant, positions, model width].
        Attention is the only part of a block that mixes positions: with its output given, each position is changed by itself.
        """
        import torch

        variants = len(attention)
        rows = -(-variants // self._in_row)
        stream = residual.expand(rows * self._in_row, -1, -1).reshape(rows, -1, residual.shape[-1])  # [row, variant and position, width]

        def replace(output: torch.Tensor, hook: object) -> torch.Tensor:
            given = output.clone().view(rows * self._in_row, self.positions, -1)
            given[:variants] = attention  # what fills up the last row keeps its own, and is dropped
            return given.view_as(output)

        replaced = self._model.bridge.hooks(fwd_hooks=[(attention_output(layer), replace)])
        with torch.inference_mode(), fast_activation(self._model), own_windows_open(self._model), replaced:
            left = _run_block(self._model.bridge.blocks[layer], stream, self._calls[layer])
        return left.view(rows * self._in_row, self.positions, -1)[:variants]

    def _last_residual(self, streams: "Sequence[tuple[int, torch.Tensor]]") -> "torch.Tensor":
        """[variant, model width]: the residual streams that leave the last block at the last position.

        `streams` are (block that they enter, [variant, positions, model width]), in ascending order of blocks.
        """
        import torch

        blocks = self._model.bridge.blocks
        stream, variants = streams[0][1][:0], 0
        for index in range(streams[0][0], len(blocks)):
            joining = [given for layer, given in streams if layer == index]
            if joining:
                stream, variants = self._in_whole_rows([stream[:variants], *joining])
            rows = stream.view(len(stream) // self._in_row, -1, stream.shape[-1])  # [row, variant and position, width]
            if index == len(blocks) - 1 and self.positions > 1:
                rows = self._run_last_block(blocks[index], rows.view(len(rows), self._in_row, *stream.shape[1:]))
            else:
                rows = _run_block(blocks[index], rows, self._calls[index])
            stream = rows.reshape(len(stream), -1, stream.shape[-1])
        behind = [given[:, -1] for layer, given in streams if layer == len(blocks)]
        return torch.cat([stream[:variants, -1], *behind])

    def _in_whole_rows(self, parts: "list[torch.Tensor]") -> "tuple[torch.Tensor, int]":
        """All variants of the parts, with zeros after them up to whole rows, which are computed and dropped; and how many they are."""
        import torch

        variants = sum(map(len, parts))
        return torch.cat([*parts, parts[0].new_zeros(-variants % self._in_row, *parts[0].shape[1:])]), variants

    def _run_last_block(self, block: Any, stream: "torch.Tensor") -> "torch.Tensor":
        """[row, variant, width] from [row, variant, position, width]: only the last position is computed in full."""
        rows, in_row, positions, width = stream.shape
        with self._before_last.stopping() as stopped, suppress(_KeysReady):
            _run_block(block, stream[:, :, :-1].reshape(rows, in_row * (positions - 1), width), self._call_before_last)
        with self._last.after(stopped.keys_values):
            return _run_block(block, stream[:, :, -1].contiguous(), self._call_last)

    def _block_calls(
        self,
        here: "torch.Tensor",
        variant: "torch.Tensor",
        key_here: "torch.Tensor",
        key_variant: "torch.Tensor",
        cache: "_EarlierKeys",
    ) -> list[Call]:
        """What each block is given for queries [query] at positions `here` that attend to the prefix and keys [key]."""
        import torch

        mask = self._mask(here, variant, key_here, key_variant)
        keys = torch.cat([torch.arange(self.first_position, device=here.device), key_here])
        seen = seen_positions(self._model, self.first_position + self.positions)
        calls = _block_calls(self._model, here, mask, cache, can_do_without_mask=None not in seen)
        return [call if own is None else own.applied(call, mask, here, keys) for call, own in zip(calls, seen, strict=True)]

    def _mask(self, here: "torch.Tensor", variant: "torch.Tensor", key_here: "torch.Tensor", key_variant: "torch.Tensor") -> "torch.Tensor":
        """[1, 1, query, prefix + key], added to attention scores: all of the prefix, and of its own variant what is not later."""
        import torch

        allowed = (variant[:, None] == key_variant[None]) & (here[:, None] >= key_here[None])
        prefix = torch.ones(len(here), self.first_position, dtype=torch.bool, device=here.device)
        dtype = self._model.bridge.cfg.dtype
        hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=here.device)
        return torch.where(torch.cat([prefix, allowed], 1), torch.zeros_like(hidden), hidden)[None, None]


class Continuation(StreamContinuation):
    """Continues the corrupt run of one pair from `first_position` on, from any block."""

    def __init__(self, model: LanguageModel, runs: PairRuns, first_position: int, tokens_in_batch: int = TOKENS_IN_BATCH) -> None:
        super().__init__(model, runs.corrupt.keys_values, first_position, runs.pair.positions, tokens_in_batch)
        self._answers = (runs.pair.prompt.answer_id, runs.pair.prompt.wrong_answer_id)

    def differences(self, layer: int, residual: "Callable[[slice], torch.Tensor]", variants: int) -> "torch.Tensor":
        """Float32 [variants] on the CPU: logit difference answer - wrong answer when the run goes on from block `layer`; see Entering."""

        def difference(last: "torch.Tensor") -> "torch.Tensor":
            logits = answer_logits(self._model, last, *self._answers)
            return logits[:, 0] - logits[:, 1]

        return self.read([Entering(layer, variants, residual)], difference)


class _KeysReady(Exception):
    """Stops a block as soon as its keys and values are known."""


class _EarlierKeys:
    """Takes the place of a key/value cache: puts the run's prefix before what a block computes, and keeps nothing itself."""

    def __init__(self, prefix: "Mapping[int, tuple[torch.Tensor, torch.Tensor]]") -> None:
        self._prefix = prefix
        self._between: tuple[torch.Tensor, torch.Tensor] | None = None
        self._stops = False
        self.keys_values: tuple[torch.Tensor, torch.Tensor]

    def update(self, keys: "torch.Tensor", values: "torch.Tensor", layer: int, *_: Any, **__: Any) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Keys and values [row, head, prefix + between + own position, head width] that the block attends to."""
        import torch

        if self._stops:
            self.keys_values = (keys, values)
            raise _KeysReady
        joined = []
        for part, own in enumerate((keys, values)):
            pieces = [self._prefix[layer][part].expand(len(own), -1, -1, -1), own]
            if self._between is not None:
                pieces.insert(1, self._between[part])
            joined.append(torch.cat(pieces, dim=2))
        return joined[0], joined[1]

    def get_seq_length(self, *_: Any) -> int:
        """Positions that lie before what a block computes."""
        return int(next(iter(self._prefix.values()))[0].shape[2])

    def get_mask_sizes(self, queries: int, *_: Any) -> tuple[int, int]:
        """Keys that a mask of the model's own spans, and the position of the first; such a mask is exchanged."""
        return self.get_seq_length() + queries, 0

    def get_query_offset(self, *_: Any) -> int:
        """Position of the first query, as such a mask counts them."""
        return self.get_seq_length()

    @contextmanager
    def stopping(self) -> "Iterator[_EarlierKeys]":
        """While open, the block is stopped with _KeysReady and its keys and values are kept."""
        self._stops = True
        try:
            yield self
        finally:
            self._stops = False

    @contextmanager
    def after(self, between: "tuple[torch.Tensor, torch.Tensor]") -> Iterator[None]:
        """While open, these keys and values stand between the prefix and the block's own."""
        self._between = between
        try:
            yield
        finally:
            self._between = None


class _CallsKnown(Exception):
    """Stops the model when its last block has been called."""


def _block_calls(
    model: LanguageModel, positions: "torch.Tensor", mask: "torch.Tensor", cache: _EarlierKeys, can_do_without_mask: bool
) -> list[Call]:
    """What the model gives each of its blocks for tokens at these positions, found by calling it with blocks that only listen.

    A model that makes its ALiBi from a mask of another form (BLOOM) is called without, where blocks are given masks of their own
    afterwards. Raises UnsupportedModelError for a model whose own code cannot be called so.
    """
    try:
        return _listened(model, positions, mask, cache)
    except Exception as error:
        if can_do_without_mask:
            return _listened(model, positions, None, cache)
        told = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UnsupportedModelError(f"model {model.facts.architecture}: its code does not take a mask of [query, key] with keys and values of "
                                    f"earlier positions ({told}), which patching and ablation rest on; choose another model for this page"
                                    ) from error  # fmt: skip


def _listened(model: LanguageModel, positions: "torch.Tensor", mask: "torch.Tensor | None", cache: _EarlierKeys) -> list[Call]:
    import torch

    calls: list[Call] = []

    def listen(*args: Any, **kwargs: Any) -> Any:
        given = (args[1:], kwargs) if args else ((), {name: value for name, value in kwargs.items() if name != "hidden_states"})
        calls.append(given)
        if len(calls) == model.facts.layers:
            raise _CallsKnown
        return args[0] if args else kwargs["hidden_states"]

    stream = torch.zeros(1, len(positions), model.facts.model_width, dtype=model.bridge.cfg.dtype, device=model.device)
    settings = {"attention_mask": mask, "position_ids": positions[None], "past_key_values": cache, "use_cache": True}
    with suppress(_CallsKnown), replaced_forward(dict.fromkeys(model.bridge.blocks, listen)):
        model.bridge(stream, output_attentions=False, **settings)
    return calls


def _run_block(block: Any, stream: "torch.Tensor", call: Call) -> "torch.Tensor":
    args, kwargs = call
    by_row = {name: kwargs[name] for name, is_by_row in KEY_BIASES.items() if is_by_row and kwargs.get(name) is not None}
    kwargs = {**kwargs, **{name: bias.repeat(len(stream), *[1] * (bias.ndim - 1)) for name, bias in by_row.items()}}
    result = block(stream, *args, **kwargs)
    return result[0] if isinstance(result, tuple) else result  # some architectures return (stream, ...)


@contextmanager
def fast_activation(model: LanguageModel) -> Iterator[None]:
    """While open, GPT-2's `gelu_new` (eight passes over memory in Hugging Face code) is the same formula in one: 2.6 times faster."""
    import torch

    def gelu(tensor: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(tensor, approximate="tanh")

    with replaced_forward(dict.fromkeys(model.new_gelus, gelu)):
        yield
