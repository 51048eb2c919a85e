"""Logit lens: what the residual stream at the last position would predict if the model ended there.

Points are `before` block 0, and after the `attention` and after the `mlp` of every block; before a later block is after the MLP
of the one below. Blocks that run attention and MLP in parallel (Pythia, GPT-J) have no residual stream between the two: for
them the point `attention` does not exist and is left out.

Scales: `own` applies the final norm to the point as it would be applied to the last layer. `final` divides by the scale of
the last layer instead, so that points of all layers add up linearly; a LayerNorm still subtracts
the point's own mean, which is linear as well. `published` also leaves out the final norm's bias and the unembedding's: the post
projected on the difference of two columns of the unembedding, and folding had moved that bias out of them. Of a model that caps its
logits (Gemma 2) all are logits before the cap.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from assets.contracts import LOGIT_LENS, conform
from assets.model.final_norm import final_norm, norm_scale
from assets.model.language_model import LanguageModel
from assets.prompts.prompt_runs import require_readable, residual_after, residual_before, run_prompt, unembed_answers
from assets.prompts.prompts import EncodedPrompt

if TYPE_CHECKING:
    import torch


def logit_lens(model: LanguageModel, prompts: Sequence[EncodedPrompt]) -> pl.DataFrame:
    """The table `logit_lens`: one row per prompt, variant, scale, layer and point.

    Raises UnsupportedModelError for a model whose logits are not read so.
    """
    frames = [
        _lens(model, prompt, ids).with_columns(prompt=pl.lit(prompt.name), variant=pl.lit(variant))
        for prompt in prompts
        for variant, ids, _ in prompt.variants
    ]
    return conform(LOGIT_LENS, pl.concat(frames) if frames else LOGIT_LENS.schema.to_frame())


def _lens(model: LanguageModel, prompt: EncodedPrompt, ids: Sequence[int]) -> pl.DataFrame:
    import torch

    points = lens_points(model)
    run = run_prompt(model, ids, [hook for _, _, hook in points])
    require_readable(model, run, prompt.answer_id, prompt.wrong_answer_id)
    residual = torch.stack([run.values[hook][-1] for _, _, hook in points])  # [point, model width]
    frames = []
    with torch.inference_mode():
        own = final_norm(model)(residual).float()
        final = _with_final_scale(model, residual, own)
        unbiased = final - _final_bias(model)
        columns = [prompt.answer_id, prompt.wrong_answer_id]
        by_scale = {
            "own": unembed_answers(model, own, *columns),
            "final": unembed_answers(model, final, *columns),
            "published": unbiased @ model.bridge.W_U[:, columns].float(),
        }
        for scale, read in by_scale.items():
            logits = read.double().cpu().numpy()  # [point, 2]
            frames.append(
                pl.DataFrame(
                    {
                        "scale": [scale] * len(points),
                        "layer": [layer for layer, _, _ in points],
                        "point": [point for _, point, _ in points],
                        "answer_logit": logits[:, 0],
                        "wrong_answer_logit": logits[:, 1],
                        "difference": logits[:, 0] - logits[:, 1],
                    }
                )
            )
    return pl.concat(frames)


def lens_points(model: LanguageModel) -> list[tuple[int, str, str]]:
    """(layer, point, hook) along the residual stream, in order."""
    points = [(0, "before", residual_before(0))]
    for layer in range(model.facts.layers):
        between = f"blocks.{layer}.hook_resid_mid"
        if between in model.bridge.hook_dict:
            points.append((layer, "attention", between))
        points.append((layer, "mlp", residual_after(layer)))
    return points


def _with_final_scale(model: LanguageModel, residual: "torch.Tensor", own: "torch.Tensor") -> "torch.Tensor":
    """Float32 [point, model width]: the final norm with the scale of the last point in place of each point's own.

    A norm is gain * centred / scale + bias, so the ratio of the scales turns one into the other.
    """
    shift = _final_bias(model)
    scale = norm_scale(model, model.bridge.ln_final.original_component, residual.float())  # [point, 1]
    return (own - shift) * (scale / scale[-1]) + shift


def _final_bias(model: LanguageModel) -> "torch.Tensor | float":
    """Float32 [model width], or 0 for a norm without one."""
    bias = getattr(model.bridge.ln_final.original_component, "bias", None)
    return 0.0 if bias is None else bias.float()
