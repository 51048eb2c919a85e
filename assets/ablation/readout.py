"""What is read of a residual stream as it leaves the last block: log-probability, top prediction and loss at one position, from whole logits.

How the same is read of many streams near a known one, with few of the logits, is in near_readout.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from assets.model.final_logits import model_logits
from assets.model.final_norm import final_norm
from assets.model.language_model import LanguageModel

if TYPE_CHECKING:
    import torch

LOGITS_AT_ONCE = 1 << 24  # 64 MiB of float32
READ = 4  # what is read of a stream: log-probability, top prediction, loss, logit


@dataclass(frozen=True)
class Target:
    """Where and for what: the position, the token whose prediction is watched, and the token that really follows."""

    position: int
    token_id: int
    next_token_id: int


@dataclass(frozen=True)
class Readout:
    """The final norm and the unembedding of a model, in float32: of another dtype it is copied, so make it once for many positions.

    What is read are the model's own logits, scaled and capped as it scales and caps them.
    """

    model: LanguageModel
    norm: Any
    unembedding: "torch.Tensor"  # float32 [model width, vocabulary]
    bias: "torch.Tensor"  # float32 [vocabulary]

    @cached_property
    def longest(self) -> float:
        """The largest length of a token's column of the unembedding."""
        return float(self.unembedding.norm(dim=0).max())

    @classmethod
    def of(cls, model: LanguageModel) -> "Readout":
        """That of a model."""
        return cls(model, final_norm(model), model.bridge.W_U.detach().float(), model.bridge.b_U.detach().float())

    def logits(self, stream: "torch.Tensor") -> "torch.Tensor":
        """Float32 [variant, vocabulary] of streams [variant, model width] as they leave the last block."""
        return model_logits(self.model, self.norm(stream).float() @ self.unembedding + self.bias)

    def token_logits(self, stream: "torch.Tensor", token_ids: "int | list[int]") -> "torch.Tensor":
        """Float32 [variant], or [variant, token]: logits of these tokens alone."""
        return model_logits(self.model, self.norm(stream).float() @ self.unembedding[:, token_ids] + self.bias[token_ids])

    def pieces(self, stream: "torch.Tensor") -> "tuple[torch.Tensor, ...]":
        """Streams [variant, model width] in pieces whose logits are at most LOGITS_AT_ONCE, or of one variant."""
        return stream.split(max(1, LOGITS_AT_ONCE // len(self.bias)))

    def in_parts(self, stream: "torch.Tensor") -> "Iterator[torch.Tensor]":
        """The logits of a few variants at a time."""
        return map(self.logits, self.pieces(stream))


def read_stream(readout: Readout, stream: "torch.Tensor", target: Target) -> "torch.Tensor":
    """Float64 [variant, READ]: log-probability of the token, top prediction, loss of the next token, logit of the token.

    `stream` is [variant, model width], as it leaves the last block. Whole logits are made for a few variants at a time, and once.
    """
    import torch

    parts = [read_logits(logits, target) for logits in readout.in_parts(stream)]
    return torch.cat(parts) if parts else torch.empty(0, READ, dtype=torch.float64)


def read_logits(logits: "torch.Tensor", target: Target) -> "torch.Tensor":
    """The same of whole logits [variant, vocabulary]."""
    import torch

    own, following, whole = logits[:, target.token_id], logits[:, target.next_token_id], logits.logsumexp(-1)
    return torch.stack([column.double() for column in (own - whole, logits.argmax(-1), whole - following, own)], dim=1)
