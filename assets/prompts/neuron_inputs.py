"""What feeds a neuron: its pre-activation taken apart into what every component before it wrote into the residual stream.

Before its activation function a neuron is w . norm(x) + b, with x the residual stream that its MLP reads. With the norm's scale
held at its actual value this is linear in x, and x is a sum: the embedding, each attention head, what attention adds beside its
heads (its output bias), and each MLP. Folded into w, the norm's gain and centring leave one dot product per component:
contribution = w . output / scale. The norm's bias and the neuron's own are one more part, and all parts sum to the pre-activation.

A gated MLP's neuron has two; the gate's is taken, which decides whether it is on. Blocks that run attention and MLP in parallel
read the stream that enters the block, so their own attention is no part. Everything is read at the last position of a context:
of each prompt, or of a window cut off at one of the neuron's highest activations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from assets.congruence.conventions import reading_weights
from assets.contracts import NEURON_INPUTS, NEURON_RESIDUAL_READS, conform
from assets.model.final_norm import norm_scale
from assets.model.language_model import LanguageModel
from assets.model.refusals import ModelError
from assets.progress import Told, counted
from assets.prompts.prompt_runs import PromptRun, head_outputs, mlp_output, residual_before, run_prompt, tolerance
from assets.prompts.prompts import EncodedPrompt

if TYPE_CHECKING:
    import torch

TOP_CONTEXTS = "top contexts"
Neuron = tuple[int, int]  # layer, neuron


@dataclass(frozen=True)
class Context:
    """One text that is read at its last token, for the given neurons. Contexts of equal name and variant are averaged."""

    prompt: str
    variant: str
    ids: tuple[int, ...]
    neurons: tuple[Neuron, ...]


def prompt_contexts(prompts: Sequence[EncodedPrompt], neurons: Sequence[Neuron]) -> list[Context]:
    """Every variant of every prompt, for all neurons."""
    return [Context(prompt.name, variant, ids, tuple(neurons)) for prompt in prompts for variant, ids, _ in prompt.variants]


def top_contexts(contexts: pl.DataFrame, windows: pl.LazyFrame) -> list[Context]:
    """The windows of the highest activations in the table `neuron_contexts`, each cut off behind its peak.

    `windows` is the table `token_windows`, with at least these windows.
    """
    window = ["document", "window_in_document"]
    peaks = contexts.filter(side="top").select("layer", "neuron", "peak_position", *window).unique()
    by_text = peaks.group_by(*window, "peak_position").agg(pl.struct("layer", "neuron").sort().alias("neurons"))
    texts = windows.select(*window, "token_ids").join(by_text.lazy().select(window).unique(), on=window, how="semi").collect()
    rows = by_text.join(texts, on=window).sort(*window, "peak_position")
    return [
        Context(
            "", TOP_CONTEXTS, tuple(row["token_ids"][: row["peak_position"] + 1]), tuple((n["layer"], n["neuron"]) for n in row["neurons"])
        )
        for row in rows.iter_rows(named=True)
    ]


def neuron_inputs(model: LanguageModel, contexts: Sequence[Context], progress: Told | None = None) -> dict[str, pl.DataFrame]:
    """The tables `neuron_inputs` and `neuron_residual_reads`: means over the contexts of equal prompt and variant.

    `progress` is told contexts done and in all.

    Raises ModelError where the parts do not sum to the pre-activation: something else stands between the stream and the neuron.
    """
    import torch

    parts: list[pl.DataFrame] = []
    reads: list[pl.DataFrame] = []
    readers: dict[int, Reader] = {}
    with torch.inference_mode():
        for context in counted(contexts, progress):
            by_layer: dict[int, list[int]] = {}
            for layer, neuron in context.neurons:
                by_layer.setdefault(layer, []).append(neuron)
            run = run_prompt(model, context.ids, _hooks(model, max(by_layer, default=-1)))
            for layer, chosen in by_layer.items():
                reader = readers.setdefault(layer, Reader.of(model, layer))
                for found, frame in zip((parts, reads), reader.read(model, run, chosen), strict=True):
                    found.append(frame.with_columns(prompt=pl.lit(context.prompt), variant=pl.lit(context.variant)))
    return {
        "neuron_inputs": _mean(NEURON_INPUTS, parts, "contribution"),
        "neuron_residual_reads": _mean(NEURON_RESIDUAL_READS, reads, "read"),
    }


def _mean(table: Any, frames: list[pl.DataFrame], column: str) -> pl.DataFrame:
    if not frames:
        return table.schema.to_frame()
    return conform(table, pl.concat(frames).group_by(table.key, maintain_order=True).agg(pl.col(column).mean(), contexts=pl.len()))


def _hooks(model: LanguageModel, last_layer: int) -> list[str]:
    below = [hook for layer in range(last_layer + 1) for hook in (residual_before(layer), head_outputs(layer), mlp_output(layer))]
    return below + [_between(layer) for layer in range(last_layer + 1) if _between(layer) in model.bridge.hook_dict]


@dataclass(frozen=True)
class Reader:
    """How the neurons of one layer read the residual stream."""

    layer: int
    is_parallel: bool
    weights: "torch.Tensor"  # float32 [neuron, model width], the norm's gain and centring folded in
    bias: "torch.Tensor"  # float32 [neuron]: of the norm, through the weights, and the neuron's own
    norm: Any
    matrix: "torch.Tensor"  # the model's own weights [model width, neuron]

    @classmethod
    def of(cls, model: LanguageModel, layer: int) -> "Reader":
        """The layer's weights, folded."""
        block = model.bridge.blocks[layer]
        gate = getattr(block.mlp, "W_gate", None)
        matrix = (block.mlp.W_in if gate is None else gate).detach()
        own = getattr(block.mlp, "b_in" if gate is None else "b_gate", None)
        norm: Any = (block.ln2 if hasattr(block, "ln2") else block.ln1).original_component
        shift = getattr(norm, "bias", None)
        bias = matrix.new_zeros(matrix.shape[1]).float()
        bias = bias if own is None else bias + own.float()
        bias = bias if shift is None else bias + shift.float() @ matrix.float()
        return cls(layer, _between(layer) not in model.bridge.hook_dict, reading_weights(model, layer), bias, norm, matrix)

    def read(self, model: LanguageModel, run: PromptRun, neurons: Sequence[int]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Contributions and reads at the last position of a run, long: one row per neuron and part, or point."""
        import torch

        entering = run.values[residual_before(self.layer) if self.is_parallel else _between(self.layer)][-1:]  # [1, model width]
        folded = self.weights[list(neurons)] / norm_scale(model, self.norm, entering.float())  # [neuron, model width]
        names, outputs = self._outputs(model, run)
        contributions = torch.cat([outputs @ folded.T, self.bias[list(neurons)][None]])  # [part, neuron]
        names.append(("bias", None, None))
        own = (self.norm(entering) @ self.matrix[:, list(neurons)])[0].float() + self._own_bias(model, neurons)
        self._require_sum(model, contributions, own, neurons)
        points, streams = self._points(model, run)
        reads = streams.float() @ folded.T  # [point, neuron]
        return (
            _long(self.layer, neurons, ("component", "source_layer", "head"), names, contributions, "contribution"),
            _long(self.layer, neurons, ("source_layer", "point"), points, reads, "read"),
        )

    def _own_bias(self, model: LanguageModel, neurons: Sequence[int]) -> "torch.Tensor | float":
        mlp = model.bridge.blocks[self.layer].mlp
        own = getattr(mlp, "b_in" if getattr(mlp, "W_gate", None) is None else "b_gate", None)
        return 0.0 if own is None else own[list(neurons)].float()

    def _outputs(self, model: LanguageModel, run: PromptRun) -> tuple[list[tuple[str, int | None, int | None]], "torch.Tensor"]:
        """(component, layer, head) of every part, and float32 [part, model width]: what each wrote at the last position."""
        import torch

        names: list[tuple[str, int | None, int | None]] = [("embedding", None, None)]
        outputs = [run.values[residual_before(0)][-1:].float()]
        for layer in range(self.layer + 1):
            if layer < self.layer or not self.is_parallel:
                attention = model.bridge.blocks[layer].attn
                weights = attention.W_O.float()  # [head, head width, model width]
                heads = run.values[head_outputs(layer)][-1].float().reshape(weights.shape[:2])  # [head, head width]
                outputs.append(torch.einsum("hw,hwm->hm", heads, weights))
                names += [("head", layer, head) for head in range(len(weights))]
                if getattr(attention, "b_O", None) is not None:
                    outputs.append(attention.b_O.float()[None])
                    names.append(("attention bias", layer, None))
            if layer < self.layer:
                outputs.append(run.values[mlp_output(layer)][-1:].float())
                names.append(("mlp", layer, None))
        return names, torch.cat(outputs)

    def _points(self, model: LanguageModel, run: PromptRun) -> tuple[list[tuple[int, str]], "torch.Tensor"]:
        """(layer, point) along the stream up to what the neurons read, and the stream at each, [point, model width]."""
        import torch

        points: list[tuple[int, str]] = [(0, "before")]
        hooks = [residual_before(0)]
        for layer in range(self.layer + 1):
            if _between(layer) in run.values:
                points.append((layer, "attention"))
                hooks.append(_between(layer))
            if layer < self.layer:
                points.append((layer, "mlp"))
                hooks.append(residual_before(layer + 1))
        return points, torch.stack([run.values[hook][-1] for hook in hooks])

    def _require_sum(self, model: LanguageModel, parts: "torch.Tensor", own: "torch.Tensor", neurons: Sequence[int]) -> None:
        allowed = tolerance(model) * parts.abs().sum(0).clamp(min=1.0)  # rounding grows with what is added up
        wrong = ~((parts.sum(0) - own).abs() <= allowed)  # also true for NaN
        if bool(wrong.any()):
            place = int(wrong.nonzero()[0, 0])
            raise ModelError(
                f"model {model.facts.architecture}: the parts of layer {self.layer} neuron {neurons[place]} sum to "
                f"{float(parts.sum(0)[place]):.6g}, its pre-activation is {float(own[place]):.6g}: something else stands between its "
                "components and the residual stream (a factor, or a norm behind them), so what feeds a neuron cannot be read off"
            )


def _long(
    layer: int, neurons: Sequence[int], names: tuple[str, ...], labels: Sequence[tuple], values: "torch.Tensor", column: str
) -> pl.DataFrame:
    """Rows in the order neuron, label, of `values` [label, neuron]."""
    types = {name: NEURON_INPUTS.schema.get(name) or NEURON_RESIDUAL_READS.schema[name] for name in names}
    labelled = pl.DataFrame(list(labels), schema=types, orient="row")
    frame = pl.concat([labelled.with_columns(neuron=pl.lit(neuron, dtype=pl.Int32)) for neuron in neurons])
    return frame.with_columns(pl.lit(layer, dtype=pl.Int32).alias("layer"), pl.Series(column, values.T.reshape(-1).double().cpu().numpy()))


def contexts_of(
    prompts: Sequence[EncodedPrompt], contexts: pl.DataFrame, studied: Sequence[Neuron], windows: pl.LazyFrame
) -> list[Context]:
    """All contexts of a study: its prompts for every studied neuron, and each neuron's own top contexts."""
    return [*prompt_contexts(prompts, studied), *top_contexts(contexts, windows)] if studied else []


def largest_source(inputs: pl.DataFrame) -> Mapping[str, str]:
    """For people: what contributes most to each neuron in its top contexts."""
    top = inputs.filter((pl.col("variant") == TOP_CONTEXTS) & (pl.col("component") != "bias")).sort("contribution", descending=True)
    first = top.group_by("layer", "neuron", maintain_order=True).first().sort("layer", "neuron")
    return {f"layer {row['layer']} neuron {row['neuron']}": _source_text(row) for row in first.iter_rows(named=True)}


def _source_text(row: Mapping[str, Any]) -> str:
    head = "" if row["head"] is None else f" {row['head']}"
    place = "" if row["source_layer"] is None else f" of layer {row['source_layer']}"
    return f"{row['component']}{head}{place}: {row['contribution']:.3f}"


def _between(layer: int) -> str:
    return f"blocks.{layer}.hook_resid_mid"
