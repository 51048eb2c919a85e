"""p-values corrected for how many were looked at. Holds the correction alone; the p-values come from p_values.

The family of a correction is what a claim is picked from. Sentences claim of each studied pair of token and neuron one thing: that
replacing the activation by its mean changes the token's log-probability at the token's own positions. So the family of these rows
is the studied pairs, one row each, whichever kind of positions is a token's own, and no other measure or ablation of the same pairs:
these are looked up, not searched for the smallest. Each of the others is a family of its own in the same way.
"""

import polars as pl

from assets.ablation.ablated_positions import OTHER

# What is asked of every pair alike. The pairs are the many looks: each of them has one row in a family.
FAMILY = ["is_other", "ablation", "measure"]


def with_q_values(effects: pl.DataFrame) -> pl.DataFrame:
    """`effects` with the column q_value: Benjamini-Hochberg adjusted p_value over all rows of equal ablation and measure, at
    the token's own positions or at other ones.

    Calling every row with q_value <= r a discovery keeps the expected share of false ones at r, for independent and for positively
    dependent tests (Benjamini and Hochberg 1995; Benjamini and Yekutieli 2001). Pairs that share a neuron or a token are dependent.
    """
    from scipy.stats import false_discovery_control

    places = effects.with_row_index("place").with_columns(is_other=pl.col("positions") == OTHER)
    parts = [
        family.select("place", q_value=pl.Series(false_discovery_control(family["p_value"].to_numpy(), method="bh"), dtype=pl.Float64))
        for family in places.partition_by(FAMILY)
    ]
    nothing = pl.DataFrame(schema={"place": places.schema["place"], "q_value": pl.Float64})
    return places.join(pl.concat([nothing, *parts]), on="place", how="left", maintain_order="left").drop("place", "is_other")
