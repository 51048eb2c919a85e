"""How alike two models' neurons write, from the tokens that congruence lists for them: no model is loaded.

Output weights themselves would need both models in memory, and to be on this machine; congruence has put each neuron's weights against the
whole vocabulary already. Of a neuron's row it lists both ends, ten tokens each, which hold what the neuron writes most and least; the cosine of
two rows takes what neither end lists for 0.
"""

import polars as pl

NEURON = ["layer", "neuron"]
TOKEN = ["token_id", "token"]
CONVENTION = "logits"


def written_likeness(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """layer, neuron, cosine (of congruence_neurons of two studies): 0 where they have no listed token in common, missing where a neuron's
    listed congruences are all 0. No rows for neurons of which either study lists nothing."""
    ours, theirs = _listed(one), _listed(other)
    keys = [*NEURON, *TOKEN]
    value = pl.col("congruence")
    common = ours.join(theirs, on=keys, suffix="_other", maintain_order="left").group_by(NEURON, maintain_order=True)
    products = common.agg(product=(value * pl.col("congruence_other")).sum())
    sizes = [frame.group_by(NEURON, maintain_order=True).agg(size=(value * value).sum()) for frame in (ours, theirs)]
    both = (
        sizes[0]
        .join(sizes[1], on=NEURON, suffix="_other", maintain_order="left")
        .join(products, on=NEURON, how="left", maintain_order="left")
    )
    product, norm = pl.col("product").fill_null(0.0), (pl.col("size") * pl.col("size_other")).sqrt()
    return both.select(*NEURON, cosine=pl.when(norm > 0).then((product / norm).clip(-1.0, 1.0)))


def _listed(congruence_neurons: pl.DataFrame) -> pl.DataFrame:
    """Each neuron's listed tokens once, in one order whatever the neuron's sign."""
    rows = congruence_neurons.filter(convention=CONVENTION).select(*NEURON, *TOKEN, pl.col("congruence").cast(pl.Float64))
    return rows.unique([*NEURON, *TOKEN]).sort(*NEURON, *TOKEN)  # few tokens stand at both ends, with the same value
