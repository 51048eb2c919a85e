"""p-values corrected for how many were looked at. Holds the correction alone; the p-values come from control_neurons."""

import polars as pl

# What is asked of every pair alike. The pairs are the many looks: each ablation, measure and kind of positions is told by itself.
FAMILY = ["positions", "ablation", "measure"]


def with_q_values(effects: pl.DataFrame) -> pl.DataFrame:
    """`effects` with the column q_value: Benjamini-Hochberg adjusted p_value over all rows of equal positions, ablation and measure.

    Calling every row with q_value <= r a discovery keeps the expected share of false ones at r, for independent and for positively
    dependent tests (Benjamini and Hochberg 1995; Benjamini and Yekutieli 2001). Pairs that share a neuron or a token are dependent.
    """
    from scipy.stats import false_discovery_control

    places = effects.with_row_index("place")
    parts = [
        family.select("place", q_value=pl.Series(false_discovery_control(family["p_value"].to_numpy(), method="bh"), dtype=pl.Float64))
        for family in places.partition_by(FAMILY)
    ]
    nothing = pl.DataFrame(schema={"place": places.schema["place"], "q_value": pl.Float64})
    return places.join(pl.concat([nothing, *parts]), on="place", how="left", maintain_order="left").drop("place")
