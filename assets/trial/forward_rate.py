"""How fast this machine runs the model: positions a second to the top predictions, from one small batch. Nothing is counted or kept."""

import time

import numpy as np

from assets.histograms.screened_tokens import PILOT_BATCH_POSITIONS, PILOT_WINDOW
from assets.model.language_model import LanguageModel
from assets.predictions.top_predictions import predictor


def forward_rate(model: LanguageModel) -> float:
    """Positions a second in the second of two runs of the pilot's largest batch: the first pays for warming up.

    Longer windows are somewhat slower, larger batches somewhat faster: it is for a plan.
    """
    import torch

    length = min(PILOT_WINDOW, model.facts.context_length)
    shape = (max(1, PILOT_BATCH_POSITIONS // length), length)
    drawn = np.random.default_rng(0).integers(0, min(model.facts.vocabulary, model.facts.tokenizer_entries), shape)
    ids, top_predictions = torch.from_numpy(drawn.astype(np.int64)).to(model.device), predictor(model)
    seconds = 0.0
    with torch.inference_mode():
        for _ in range(2):
            started = time.monotonic()
            top_predictions(ids).cpu()  # waits for the device
            seconds = time.monotonic() - started
    return float(ids.numel()) / max(seconds, 1e-9)
