"""What the model predicts after each prompt: its most probable next tokens, and the two answers wherever they rank.

Also the prompts as the model reads them, token by token.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assets.contracts import PROMPT_PREDICTIONS, PROMPT_TOKENS, conform
from assets.model.language_model import LanguageModel
from assets.model.plain_model import whole_logits
from assets.prompts.prompt_runs import run_prompt
from assets.prompts.prompts import EncodedPrompt

if TYPE_CHECKING:
    import torch

MOST_PROBABLE = 10


def prompt_tokens(model: LanguageModel, prompts: Sequence[EncodedPrompt]) -> pl.DataFrame:
    """The table `prompt_tokens`: one row per position of each variant of each prompt."""
    frames = [
        pl.DataFrame({"position": range(len(ids)), "token_id": ids, "token": texts, "prompt": prompt.name, "variant": variant})
        for prompt in prompts
        for variant, ids, texts in prompt.variants
    ]
    return conform(PROMPT_TOKENS, pl.concat(frames) if frames else PROMPT_TOKENS.schema.to_frame())


def prompt_predictions(model: LanguageModel, prompts: Sequence[EncodedPrompt]) -> pl.DataFrame:
    """The table `prompt_predictions`: the ten most probable tokens after each variant, and the answers if they are not among them."""
    frames = [
        _predictions(model, prompt, variant, _last_logits(model, ids).cpu().numpy())
        for prompt in prompts
        for variant, ids, _ in prompt.variants
    ]
    return conform(PROMPT_PREDICTIONS, pl.concat(frames) if frames else PROMPT_PREDICTIONS.schema.to_frame())


def _last_logits(model: LanguageModel, ids: Sequence[int]) -> "torch.Tensor":
    """Float32 [vocabulary] after the last token: the bridge's, as everything else on prompts; plain code's where there is no bridge."""
    import torch

    if model.bridge_if_known is not None:
        return run_prompt(model, ids, ()).logits
    with torch.inference_mode():
        return whole_logits(model, torch.tensor([list(ids)], device=model.device))[0, -1].float()


def _predictions(model: LanguageModel, prompt: EncodedPrompt, variant: str, logits: np.ndarray) -> pl.DataFrame:
    """Rows of one variant. `logits` is float32 [vocabulary]; of equal logits the lower token id ranks first."""
    exact = logits.astype(np.float64)
    shares = np.exp(exact - exact.max())
    shares /= shares.sum()
    order = np.argsort(-exact, kind="stable")
    ranks = np.empty_like(order)
    ranks[order] = np.arange(1, len(order) + 1)
    shown = np.union1d(order[:MOST_PROBABLE], [prompt.answer_id, prompt.wrong_answer_id])
    roles = {prompt.answer_id: "answer", prompt.wrong_answer_id: "wrong_answer"}
    return pl.DataFrame(
        {
            "prompt": prompt.name,
            "variant": variant,
            "rank": ranks[shown],
            "token_id": shown,
            "token": [model.token_texts[entry] for entry in shown],
            "logit": exact[shown],
            "centred_logit": exact[shown] - exact.mean(),
            "probability": shares[shown],
            "role": [roles.get(int(entry), "other") for entry in shown],
        }
    ).sort("rank")
