"""One text token by token: the activations of chosen neurons and the model's prediction at each. Holds one plain run of the model."""

from collections.abc import Sequence

import polars as pl

from assets.model.language_model import LanguageModel


def text_activations(model: LanguageModel, ids: Sequence[int], neurons: Sequence[tuple[int, int]]) -> pl.DataFrame:
    """One row per neuron (layer, neuron), in the order given, and position.

    Columns row (place in `neurons`), position, token_id, token, activation, prediction_id and prediction: what the model predicts next.
    """
    import torch

    seen: dict[int, torch.Tensor] = {}

    def keep(layer: int):  # type: ignore[no-untyped-def]
        return model.neuron_hook(layer), lambda activations, hook: seen.__setitem__(layer, activations[0].float())

    tokens = torch.tensor([list(ids)], device=model.device)  # [1, position]
    with torch.inference_mode(), model.bridge.hooks(fwd_hooks=[keep(layer) for layer in sorted({layer for layer, _ in neurons})]):
        logits = model.bridge(tokens, use_cache=False, output_attentions=False)  # [1, position, vocabulary]
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
