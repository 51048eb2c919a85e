"""Reads many streams that lie near a known one with a few of their logits, as closely as single precision tells the whole ones.

Whole logits of one variant cost as much as eight blocks of SmolLM2-135M, and ablated neurons mostly lie in the last four: they were 73 % of
ablation's time. But an ablation at one position moves the stream a little. So of each variant only the logits of the tokens that are most
probable in the known stream are made (the head, the watched tokens among them); of all the others together (the rest), with q their shares
there and x the change of a token's logit, which is linear in the change of the normed stream,

    log of their sum = what it was + log of the mean of exp(x) under q = what it was + mean of x + variance of x / 2 + ...

The mean is one product with the rest's mean vector, exactly. The variance is told by SAMPLED tokens of the rest, drawn evenly by q: to about a
seventh.

A variant is read whole after all where that might not be enough: where share of the rest x variance, or the variance itself, is beyond a limit,
so that a log-probability is off by 1e-6 at most, a tenth of what single precision takes of whole logits; or where a token of the rest might have
become the top prediction, which the lengths of vectors rule out for the others (Cauchy-Schwarz). Of a model whose logits are capped all are:
there x is not linear.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from assets.ablation.readout import Readout, Target, read_stream
from assets.model.final_logits import logit_cap, logit_factor

if TYPE_CHECKING:
    import torch

REST = 1e-3  # share of the probability that the rest may have, unless the head would be longer than LONGEST_HEAD
SHORTEST_HEAD, LONGEST_HEAD = 1024, 4096
SAMPLED = 256
FURTHEST = 1e-5  # of share x variance
WIDEST = 0.1  # of the variance: the third moment adds a sixth of its power of 3 / 2, times the share
LEAST_VARIANTS = 100  # fewer are read whole: what is made ready for them costs as much as 50


@dataclass(frozen=True)
class NearReadout:
    """What is made ready once for all variants of a position; vectors are columns of the unembedding, with the logits' factor."""

    readout: Readout
    target: Target
    normed: "torch.Tensor"  # float32 [model width]: the known stream behind the final norm
    head: "torch.Tensor"  # token ids of the head, ascending
    vectors: "torch.Tensor"  # float32 [model width, head, then SAMPLED]
    logits: "torch.Tensor"  # float32 [head, then SAMPLED]: the known ones
    mean_vector: "torch.Tensor"  # float32 [model width], of the rest
    rest: float  # log of the sum of exp of the rest's known logits
    share: float  # of the probability that the rest has
    highest: float  # known logit of the rest
    longest: float  # length of a token's vector, of the whole vocabulary

    @classmethod
    def of(cls, readout: Readout, stream: "torch.Tensor", logits: "torch.Tensor", target: Target) -> Optional["NearReadout"]:
        """Near a known stream [model width] with its logits float32 [vocabulary]; None where whole logits are needed, or are as cheap."""
        import torch

        if logit_cap(readout.model) is not None or len(logits) < 2 * (LONGEST_HEAD + SAMPLED):
            return None
        whole, found = logits.double().logsumexp(0), logits.topk(LONGEST_HEAD)
        shares = (found.values.double() - whole).exp()
        length = min(max(int((1 - shares.cumsum(0) > REST).sum()) + 1, SHORTEST_HEAD), LONGEST_HEAD)
        watched = torch.tensor([target.token_id, target.next_token_id], device=logits.device)
        head = torch.cat([found.indices[:length], watched]).unique()
        others = logits.index_fill(0, head, -torch.inf)
        rest = others.double().logsumexp(0)
        weights = (others.double() - rest).exp()
        places = (torch.arange(SAMPLED, device=logits.device) + 0.5) / SAMPLED
        sampled = torch.searchsorted(weights.cumsum(0), places.double()).clamp_max(len(logits) - 1)
        chosen, factor = torch.cat([head, sampled]), logit_factor(readout.model)
        return cls(
            readout,
            target,
            readout.norm(stream[None]).float()[0],
            head,
            readout.unembedding.T[chosen].T * factor,  # a token's column lies together: 0.7 ms instead of 5 for 1,700 of SmolLM2-135M's
            logits[chosen],
            (readout.unembedding @ weights.float()) * factor,
            float(rest),
            float((rest - whole).exp()),
            float(others.max()),
            readout.longest * abs(factor),
        )

    def read(self, stream: "torch.Tensor") -> "torch.Tensor":
        """Float64 [variant, READ] as read_stream gives it, of streams [variant, model width]."""
        import torch

        change = self.readout.norm(stream).float() - self.normed  # [variant, model width]
        logits = self.logits + change @ self.vectors  # [variant, head, then SAMPLED]
        own = logits[:, : len(self.head)]
        mean = (change @ self.mean_vector).double()
        variance = ((logits[:, len(self.head) :] - self.logits[len(self.head) :]).double() - mean[:, None]).square().mean(1)
        whole = torch.logaddexp(own.logsumexp(1).double(), self.rest + mean + variance / 2)
        highest, place = own.max(1)
        token, following = (
            own[:, int((self.head == entry).nonzero())].double() for entry in (self.target.token_id, self.target.next_token_id)
        )
        read = torch.stack([token - whole, self.head[place].double(), whole - following, token], dim=1)
        reach = self.highest + change.norm(dim=1) * self.longest
        is_near = (self.share * variance <= FURTHEST) & (variance <= WIDEST) & (reach < highest)
        is_far = is_near.logical_not()  # true of what is no number, too
        if is_far.any():
            read[is_far] = read_stream(self.readout, stream[is_far], self.target)
        return read
