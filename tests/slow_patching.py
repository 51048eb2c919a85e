"""The prompts stage once more, slow and obvious: plain Hugging Face models, one whole forward pass for every patched value.

Reads a model's folder with transformers alone, so that nothing of the product or of its wrapper is shared with what is tested.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

Change = Callable[[torch.Tensor], Any]  # alters [position, width] in place

# Where each architecture keeps its parts: blocks, and inside a block its attention, the projection out of the neurons and the one out of
# the heads (index 4); the final norm.
_PARTS = {
    "gpt2": ("transformer.h", "attn", "mlp.c_proj", "transformer.ln_f", "attn.c_proj"),
    "gpt_neox": ("gpt_neox.layers", "attention", "mlp.dense_4h_to_h", "gpt_neox.final_layer_norm", "attention.dense"),
    "llama": ("model.layers", "self_attn", "mlp.down_proj", "model.norm", "self_attn.o_proj"),
}


def plain_model(folder: Path) -> Any:
    """The model of a folder, float32, in evaluation mode."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()


def block(plain: Any, layer: int) -> Any:
    """A transformer block; its input and output are the residual stream."""
    return plain.get_submodule(_PARTS[plain.config.model_type][0])[layer]


def attention(plain: Any, layer: int) -> Any:
    """The module whose output is the block's attention output."""
    return block(plain, layer).get_submodule(_PARTS[plain.config.model_type][1])


def down_projection(plain: Any, layer: int) -> Any:
    """The module whose input is the activations of the block's neurons."""
    return block(plain, layer).get_submodule(_PARTS[plain.config.model_type][2])


def output_projection(plain: Any, layer: int) -> Any:
    """The module whose input is what the block's heads give, side by side."""
    return block(plain, layer).get_submodule(_PARTS[plain.config.model_type][4])


def final_norm(plain: Any) -> Any:
    """The norm before the unembedding."""
    return plain.get_submodule(_PARTS[plain.config.model_type][3])


@torch.no_grad()
def logits(plain: Any, ids: Sequence[int]) -> torch.Tensor:
    """[vocabulary] at the last position."""
    return plain(torch.tensor([list(ids)]), use_cache=False).logits[0, -1]


def difference(plain: Any, ids: Sequence[int], answers: tuple[int, int]) -> float:
    """Logit of the answer minus logit of the wrong answer."""
    values = logits(plain, ids)
    return float(values[answers[0]] - values[answers[1]])


def input_of(plain: Any, module: Any, ids: Sequence[int]) -> torch.Tensor:
    """[position, width]: what the module is given in a run of `ids`."""
    seen: list[torch.Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, args: seen.append(args[0][0].clone()))
    logits(plain, ids)
    handle.remove()
    return seen[0]


def output_of(plain: Any, module: Any, ids: Sequence[int]) -> torch.Tensor:
    """[position, width]: what the module gives in a run of `ids`."""
    seen: list[torch.Tensor] = []
    handle = module.register_forward_hook(lambda _, args, output: seen.append(_stream(output)[0].clone()))
    logits(plain, ids)
    handle.remove()
    return seen[0]


def difference_with_input(plain: Any, module: Any, change: Change, ids: Sequence[int], answers: tuple[int, int]) -> float:
    """Logit difference of a run in which `change` alters what the module is given."""

    def hook(_: Any, args: Any) -> Any:
        given = args[0].clone()
        change(given[0])
        return (given, *args[1:])

    handle = module.register_forward_pre_hook(hook)
    patched = difference(plain, ids, answers)
    handle.remove()
    return patched


def difference_with_output(plain: Any, module: Any, change: Change, ids: Sequence[int], answers: tuple[int, int]) -> float:
    """Logit difference of a run in which `change` alters what the module gives."""

    def hook(_: Any, args: Any, output: Any) -> Any:
        given = _stream(output).clone()
        change(given[0])
        return (given, *output[1:]) if isinstance(output, tuple) else given

    handle = module.register_forward_hook(hook)
    patched = difference(plain, ids, answers)
    handle.remove()
    return patched


def neuron_difference(
    plain: Any, clean: Sequence[int], corrupt: Sequence[int], answers: tuple[int, int], layer: int, neuron: int, positions: str
) -> float:
    """Logit difference of the corrupt run with one neuron's activation from the clean run, at `all` positions or the `last`."""
    module = down_projection(plain, layer)
    from_clean = input_of(plain, module, clean)

    def change(activations: torch.Tensor) -> None:
        for position in range(len(corrupt)):
            if positions == "all" or position == len(corrupt) - 1:
                activations[position, neuron] = from_clean[position, neuron]

    return difference_with_input(plain, module, change, corrupt, answers)


def joint_difference(
    plain: Any, clean: Sequence[int], corrupt: Sequence[int], answers: tuple[int, int], neurons: Sequence[tuple[int, int]]
) -> float:
    """Logit difference of the corrupt run in which all these (layer, neuron) have their clean activation at the last position."""
    projections = [(down_projection(plain, layer), neuron) for layer, neuron in neurons]
    from_clean = [input_of(plain, module, clean)[-1, neuron] for module, neuron in projections]  # of an unchanged clean run

    def setting(neuron: int, value: torch.Tensor) -> Any:
        def hook(_: Any, args: Any) -> Any:
            given = args[0].clone()
            given[0, -1, neuron] = value
            return (given, *args[1:])

        return hook

    hooks = [
        module.register_forward_pre_hook(setting(neuron, value)) for (module, neuron), value in zip(projections, from_clean, strict=True)
    ]
    patched = difference(plain, corrupt, answers)
    for handle in hooks:
        handle.remove()
    return patched


def component_difference(
    plain: Any, clean: Sequence[int], corrupt: Sequence[int], answers: tuple[int, int], component: str, layer: int, position: int
) -> float:
    """Logit difference of the corrupt run with one component at one layer and position from the clean run."""
    if component == "residual":
        module = block(plain, layer)
        from_clean = input_of(plain, module, clean)
        return difference_with_input(plain, module, lambda given: given[position].copy_(from_clean[position]), corrupt, answers)
    module = attention(plain, layer) if component == "attention" else block(plain, layer).mlp
    from_clean = output_of(plain, module, clean)
    return difference_with_output(plain, module, lambda given: given[position].copy_(from_clean[position]), corrupt, answers)


def heads_difference(
    plain: Any, clean: Sequence[int], corrupt: Sequence[int], answers: tuple[int, int], heads: Sequence[int], layer: int, position: int
) -> float:
    """Logit difference of the corrupt run with these heads' outputs at one layer and position from the clean run."""
    module = output_projection(plain, layer)
    from_clean = input_of(plain, module, clean)
    width = from_clean.shape[1] // plain.config.num_attention_heads

    def change(given: torch.Tensor) -> None:
        for head in heads:
            given[position, head * width : (head + 1) * width] = from_clean[position, head * width : (head + 1) * width]

    return difference_with_input(plain, module, change, corrupt, answers)


def improvement(patched: float, clean: float, corrupt: float) -> float:
    """The published measure: 0 is as corrupt, 1 is as clean."""
    return (patched - corrupt) / (clean - corrupt)


@torch.no_grad()
def lens_logits(plain: Any, residual: torch.Tensor, scaled_by: torch.Tensor) -> torch.Tensor:
    """[vocabulary]: unembedding of the final norm, written out, of one residual stream [width], with the scale of `scaled_by`."""
    norm = final_norm(plain)
    if isinstance(norm, torch.nn.LayerNorm):
        spread = scaled_by - sum(scaled_by) / len(scaled_by)
        root = (sum(spread * spread) / len(spread) + norm.eps) ** 0.5
        normed = (residual - sum(residual) / len(residual)) / root * norm.weight + norm.bias
    else:
        normed = residual / (sum(scaled_by * scaled_by) / len(scaled_by) + norm.variance_epsilon) ** 0.5 * norm.weight
    return plain.get_output_embeddings().weight @ normed


def _stream(output: Any) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output
