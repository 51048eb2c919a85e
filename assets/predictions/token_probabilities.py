"""The top prediction at every position of a batch and, where they are asked for, the probabilities of some tokens there.

A probability needs the whole softmax, so no shortlist helps: where the logits are one linear map, the sum is taken slice by slice of the
vocabulary, in float32 within a slice and in float64 over slices, and the top prediction from the same logits, whose bits are those of the
whole product. What it costs is in docs/measurements.md.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from assets.model.language_model import LanguageModel
from assets.model.plain_model import last_hidden, whole_logits
from assets.predictions.top_predictions import SLICE, Unembedding, linear_unembedding, predictor, raise_highest

if TYPE_CHECKING:
    import torch

    Predicted = tuple[torch.Tensor, torch.Tensor | None]


def predictor_with_probabilities(model: LanguageModel, token_ids: Sequence[int]) -> "Callable[[torch.Tensor], Predicted]":
    """A function from token ids [row, position] to top predictions, int64 of the same shape, and float64 [row, position, token]: the
    probability of each of `token_ids` there; None where there are none.

    Make it before hooks are set: the first call for a model tries a few ids on it.
    """
    import torch

    if not token_ids:
        top_predictions = predictor(model)
        return lambda ids: (top_predictions(ids), None)
    unembedding, wanted = linear_unembedding(model), torch.tensor(list(token_ids), device=model.device)
    if unembedding is None:
        return lambda ids: _of_logits(whole_logits(model, ids), wanted)

    def predict(ids: torch.Tensor) -> "Predicted":
        entries, found = entries_and_probabilities(last_hidden(model, ids).flatten(0, 1), unembedding, wanted)
        return entries.view(ids.shape), found.view(*ids.shape, wanted.numel())

    return predict


def _of_logits(logits: "torch.Tensor", wanted: "torch.Tensor") -> "Predicted":
    """The same of whole logits [row, position, vocabulary]."""
    import torch

    exact = logits.double()
    return logits.argmax(-1), (exact[..., wanted] - torch.logsumexp(exact, -1, keepdim=True)).exp()


def entries_and_probabilities(
    hidden: "torch.Tensor", unembedding: Unembedding, wanted: "torch.Tensor"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Int64 [position], argmax of hidden [position, width] @ weight.T + bias, first of equals; float64 [position, token], the softmax over
    the vocabulary at `wanted`, int64 [token]. No operation waits for the device."""
    import torch

    weight, bias = unembedding.weight, unembedding.bias
    own = torch.empty(hidden.shape[0], wanted.numel(), dtype=torch.float64, device=hidden.device)
    highest = torch.full(hidden.shape[:1], -torch.inf, dtype=hidden.dtype, device=hidden.device)
    entry = torch.zeros(hidden.shape[:1], dtype=torch.int64, device=hidden.device)
    total = torch.full(hidden.shape[:1], -torch.inf, dtype=torch.float64, device=hidden.device)  # logarithm of the softmax's sum so far
    for first in range(0, weight.shape[0], SLICE):
        rows = weight[first : first + SLICE]
        logits = torch.mm(hidden, rows.t())
        if bias is not None:
            logits += bias[first : first + SLICE]
        raise_highest(logits, first, highest, entry)
        is_here = (wanted >= first) & (wanted < first + rows.shape[0])
        own = torch.where(is_here, logits.index_select(1, (wanted - first).clamp(0, rows.shape[0] - 1)).double(), own)
        total = torch.logaddexp(total, torch.logsumexp(logits.float(), -1).double())
    return entry, (own - total[:, None]).exp()
