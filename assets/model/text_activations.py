"""One text token by token: the activations of chosen neurons and the model's prediction at each. Holds one plain run of the model."""

from collections.abc import Sequence

import polars as pl

from assets.model.language_model import LanguageModel
from assets.model.plain_model import neurons_reported, whole_logits


def text_activations(model: LanguageModel, ids: Sequence[int], neurons: Sequence[tuple[int, int]]) -> pl.DataFrame:
    """One row per neuron (layer, neuron), in the order given, and position.

    Columns row (place in `neurons`), position, token_id, token, activation, prediction_id and prediction: what the model predicts next.
    """
    import torch

    seen: dict[int, torch.Tensor] = {}

    layers = {layer for layer, _ in neurons}

    def keep(layer: int, activations: torch.Tensor) -> None:
        if layer in layers:
            seen[layer] = activations[0].float()

    def hook_of(layer: int):  # type: ignore[no-untyped-def]
        return model.neuron_hook(layer), lambda activations, hook: keep(layer, activations)

    tokens, bridge = torch.tensor([list(ids)], device=model.device), model.bridge_if_known  # [1, position]
    reported = neurons_reported(model, keep) if bridge is None else bridge.hooks(fwd_hooks=[hook_of(layer) for layer in sorted(layers)])
    with torch.inference_mode(), reported:
        # [1, position, vocabulary]
        logits = whole_logits(model, tokens) if bridge is None else bridge(tokens, use_cache=False, output_attentions=False)
        predictions = logits[0].argmax(-1).tolist()
        activations = torch.stack([seen[layer][:, neuron] for layer, neuron in neurons])  # [neuron, position]
    shown = pl.DataFrame(
        {
            "position": range(len(ids)),
            "token_id": list(ids),
            "token": [model.token_texts[entry] for entry in ids],
            "prediction_id": predictions,
            "prediction": [model.token_texts[prediction] for prediction in predictions],
        }
    )
    rows = pl.DataFrame({"row": range(len(neurons))})
    return rows.join(shown, how="cross", maintain_order="left_right").with_columns(
        activation=pl.Series(activations.flatten().cpu().numpy())
    )
