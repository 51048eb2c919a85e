"""The top prediction at every position of a batch and, where they are asked for, the probabilities of some tokens there.

Top predictions are top_predictions' own. A probability needs the whole softmax: where the logits are one linear map, its sum is taken slice
by slice of the vocabulary in float32 products and float64 sums; a slice's logits have the bits of the whole product's. What it costs is
in docs/benchmarks.md.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from assets.model.language_model import LanguageModel
from assets.model.plain_model import last_hidden, whole_logits
from assets.predictions.top_predictions import SLICE, Unembedding, linear_unembedding, predictor, top_entries

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
        hidden = last_hidden(model, ids).flatten(0, 1)
        found = token_probabilities(hidden, unembedding, wanted)
        return top_entries(hidden, unembedding).view(ids.shape), found.view(*ids.shape, wanted.numel())

    return predict


def _of_logits(logits: "torch.Tensor", wanted: "torch.Tensor") -> "Predicted":
    """The same of whole logits [row, position, vocabulary]."""
    import torch

    exact = logits.double()
    return logits.argmax(-1), (exact[..., wanted] - torch.logsumexp(exact, -1, keepdim=True)).exp()


def token_probabilities(hidden: "torch.Tensor", unembedding: Unembedding, wanted: "torch.Tensor") -> "torch.Tensor":
    """Float64 [position, token]: softmax over the vocabulary of hidden [position, width] @ weight.T + bias, at `wanted`, int64 [token]."""
    import torch

    weight, bias = unembedding.weight, unembedding.bias
    own = torch.empty(hidden.shape[0], wanted.numel(), dtype=torch.float64, device=hidden.device)
    highest = torch.full(hidden.shape[:1], -torch.inf, dtype=torch.float32, device=hidden.device)
    total = torch.zeros(hidden.shape[:1], dtype=torch.float64, device=hidden.device)
    for first in range(0, weight.shape[0], SLICE):
        rows = weight[first : first + SLICE]
        logits = torch.mm(hidden, rows.t())
        if bias is not None:
            logits += bias[first : first + SLICE]
        logits = logits.float()
        is_here = (wanted >= first) & (wanted < first + rows.shape[0])
        taken = logits.index_select(1, (wanted - first).clamp(0, rows.shape[0] - 1)).double()
        own = torch.where(is_here, taken, own)
        new = torch.maximum(highest, logits.amax(-1))
        added = (logits - new[:, None]).exp_().sum(-1, dtype=torch.float64)
        total = total * (highest - new).double().exp() + added
        highest = new
    return (own - highest.double()[:, None]).exp() / total[:, None]
