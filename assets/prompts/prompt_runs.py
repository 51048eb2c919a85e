"""One run of a prompt with chosen inner values kept, how a residual stream is read out, and the two runs that patching compares.

Holds plain forward passes through the shared bridge. Changing what a run computes is in continuation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from assets.model.final_logits import linear_logits, model_logits, tolerance
from assets.model.final_norm import final_norm
from assets.model.language_model import LanguageModel
from assets.model.refusals import UnsupportedModelError
from assets.prompts.prompts import PromptError, PromptPair

if TYPE_CHECKING:
    import torch

SMALLEST_DIFFERENCE = 1e-6  # of the largest logit involved: below it, clean - corrupt is rounding (float32: 1.2e-7 an operation)


class KeyValueRecorder:
    """Takes the place of a key/value cache and keeps what a run puts there: layer -> two tensors [1, head, position, head width]."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def update(self, keys: "torch.Tensor", values: "torch.Tensor", layer: int, *_: Any, **__: Any) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Keep and hand back what the layer computed."""
        self.kept[layer] = (keys, values)
        return keys, values

    def get_seq_length(self, *_: Any) -> int:
        """Positions that lie before this run: none."""
        return 0

    def get_query_offset(self, *_: Any) -> int:
        """Position of the first query."""
        return 0

    def get_mask_sizes(self, queries: int, *_: Any) -> tuple[int, int]:
        """Keys that a mask spans, and the position of the first."""
        return queries, 0


@dataclass(frozen=True)
class PromptRun:
    """What a run of one prompt left behind."""

    logits: "torch.Tensor"  # float32 [vocabulary], at the last position
    values: Mapping[str, "torch.Tensor"]  # hook name -> [position, ...]
    keys_values: Mapping[int, tuple["torch.Tensor", "torch.Tensor"]] = field(default_factory=dict)  # by layer


def run_prompt(model: LanguageModel, ids: Sequence[int], hooks: Sequence[str], keep_keys_values: bool = False) -> PromptRun:
    """Run one prompt and keep the values of the named hooks, and the keys and values of attention if wanted."""
    return run_prompts(model, [ids], hooks, keep_keys_values)[0]


def run_prompts(
    model: LanguageModel, texts: Sequence[Sequence[int]], hooks: Sequence[str], keep_keys_values: bool = False
) -> list[PromptRun]:
    """The same of several prompts in one batch, filled up at their ends: no position sees a later one."""
    import torch

    values: dict[str, torch.Tensor] = {}
    ends = torch.tensor([len(ids) for ids in texts], device=model.device)
    tokens = torch.zeros(len(texts), int(ends.max()), dtype=torch.int64)  # any token will do behind a prompt's end
    for row, ids in enumerate(texts):
        tokens[row, : len(ids)] = torch.tensor(list(ids))

    def keep(name: str):  # type: ignore[no-untyped-def]
        return lambda tensor, hook: values.__setitem__(name, tensor.clone())  # what follows may add to it in place

    def last_alone(hidden: torch.Tensor, hook: object) -> torch.Tensor:
        return hidden[torch.arange(len(texts), device=hidden.device), ends - 1][:, None]

    recorder = KeyValueRecorder()
    cache = {"past_key_values": recorder, "use_cache": True} if keep_keys_values else {"use_cache": False}
    kept = [(name, keep(name)) for name in hooks]
    with torch.inference_mode(), model.bridge.hooks(fwd_hooks=[*kept, ("unembed.hook_in", last_alone)]):
        logits = model.bridge(tokens.to(model.device), output_attentions=False, **cache)  # [prompt, 1, vocabulary]
        return [
            PromptRun(
                logits[row, -1].float(),
                {name: held[row, : len(ids)] for name, held in values.items()},
                {layer: _of_row(row, len(ids), *pair) for layer, pair in recorder.kept.items()},
            )
            for row, ids in enumerate(texts)
        ]


def _of_row(row: int, positions: int, keys: "torch.Tensor", values: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """Keys and values [1, head, position, head width] of one prompt of a batch."""
    return keys[row : row + 1, :, :positions], values[row : row + 1, :, :positions]


def last_logits_alone() -> "tuple[str, Callable[..., torch.Tensor]]":
    """A hook with which a run makes logits at the last position alone: of a window's other positions they are a quarter of the work."""
    return "unembed.hook_in", lambda hidden, hook: hidden[:, -1:]


def answer_logits(model: LanguageModel, residual: "torch.Tensor", answer_id: int, wrong_answer_id: int) -> "torch.Tensor":
    """Float32 [..., 2]: logits of answer and wrong answer if the model ended with `residual` [..., model width]."""
    normed = final_norm(model)(residual).float()
    return model_logits(model, _unembedded(model, normed, answer_id, wrong_answer_id))


def unembed_answers(model: LanguageModel, normed: "torch.Tensor", answer_id: int, wrong_answer_id: int) -> "torch.Tensor":
    """Float32 [..., 2]: the two logits, before any cap, of a residual stream that went through the final norm, [..., model width]."""
    return linear_logits(model, _unembedded(model, normed, answer_id, wrong_answer_id))


def _unembedded(model: LanguageModel, normed: "torch.Tensor", answer_id: int, wrong_answer_id: int) -> "torch.Tensor":
    columns = [answer_id, wrong_answer_id]
    return normed @ model.bridge.W_U[:, columns].float() + model.bridge.b_U[columns].float()


def require_readable(model: LanguageModel, run: PromptRun, answer_id: int, wrong_answer_id: int) -> None:
    """Raise UnsupportedModelError if final norm, unembedding, factor and cap do not give the model's own logits.

    `run` must hold the residual stream after the last block.
    """
    own = run.logits[[answer_id, wrong_answer_id]]
    read = answer_logits(model, run.values[residual_after(model.facts.layers - 1)][-1], answer_id, wrong_answer_id)
    allowed = tolerance(model) * max(1.0, float(run.logits.abs().max()))
    if not float((own - read).abs().max()) <= allowed:  # also true for NaN
        raise UnsupportedModelError(
            f"model {model.facts.architecture}: its logits {own.tolist()} are not its final norm and unembedding {read.tolist()}: it does "
            "something else to them afterwards, so prompts cannot be read layer by layer; choose a model that TransformerLens knows"
        )


def residual_before(layer: int) -> str:
    """Hook of the residual stream that enters a block."""
    return f"blocks.{layer}.hook_resid_pre"


def residual_after(layer: int) -> str:
    """Hook of the residual stream that leaves a block."""
    return f"blocks.{layer}.hook_resid_post"


def attention_output(layer: int) -> str:
    """Hook of what a block's attention adds to the residual stream."""
    return f"blocks.{layer}.hook_attn_out"


def mlp_output(layer: int) -> str:
    """Hook of what a block's MLP adds to the residual stream."""
    return f"blocks.{layer}.hook_mlp_out"


def head_outputs(layer: int) -> str:
    """Hook of what the heads of a block give to its output projection, [position, head and head width]."""
    return f"blocks.{layer}.attn.hook_z"


@dataclass(frozen=True)
class PairRuns:
    """The clean and the corrupt run of a pair, and the logit differences answer - wrong answer that frame every improvement."""

    pair: PromptPair
    clean: PromptRun
    corrupt: PromptRun
    clean_difference: float
    corrupt_difference: float
    largest_logit: float  # of the two answers, in both runs

    @property
    def is_defined(self) -> bool:
        """Whether clean - corrupt is more than rounding, so that an improvement can be divided by it."""
        scale = max(1.0, self.largest_logit)
        return abs(self.clean_difference - self.corrupt_difference) > SMALLEST_DIFFERENCE * scale  # false for NaN

    def improvement(self, difference: "torch.Tensor") -> "torch.Tensor":
        """(patched - corrupt) / (clean - corrupt) of logit differences: 0 is as corrupt, 1 is as clean."""
        return (difference - self.corrupt_difference) / (self.clean_difference - self.corrupt_difference)


def run_both(model: LanguageModel, pair: PromptPair, hooks: Sequence[str]) -> PairRuns:
    """Run both prompts of a pair, keeping the named hooks of both and the keys and values of the corrupt one."""
    import torch

    answers = (pair.prompt.answer_id, pair.prompt.wrong_answer_id)
    last = residual_after(model.facts.layers - 1)
    hooks = list(dict.fromkeys((*hooks, last)))
    clean = run_prompt(model, pair.clean, hooks)
    corrupt = run_prompt(model, pair.corrupt, hooks, keep_keys_values=True)
    require_readable(model, clean, *answers)
    with torch.inference_mode():
        logits = answer_logits(model, torch.stack([clean.values[last][-1], corrupt.values[last][-1]]), *answers)  # [run, answer]
        differences = logits[:, 0] - logits[:, 1]
    return PairRuns(pair, clean, corrupt, float(differences[0]), float(differences[1]), float(logits.abs().max()))


def run_pair(model: LanguageModel, pair: PromptPair, hooks: Sequence[str]) -> PairRuns:
    """The same. Raises PromptError if clean and corrupt have the same logit difference: an improvement would be a division by 0."""
    runs = run_both(model, pair, hooks)
    if not runs.is_defined:
        raise PromptError(f"prompt {pair.prompt.name}: the logit difference of answer and wrong answer is {runs.clean_difference:.6g} on "
                          f"text and {runs.corrupt_difference:.6g} on corrupt; the improvement (patched - corrupt) / (clean - corrupt) is "
                          "undefined: choose a corrupt text that changes the answer")  # fmt: skip
    return runs


def require_defined_improvement(model: LanguageModel, pairs: Sequence[PromptPair]) -> None:
    """Raise PromptError for the first pair whose improvement is undefined, so that no long work starts on the others."""
    for pair in pairs:
        run_pair(model, pair, ())
