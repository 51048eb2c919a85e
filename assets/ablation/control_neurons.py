"""Control neurons: of the same layer, with output weights of about the same length, above zero at about as many positions.

Holds the choice alone; what ablating them does is computed with the studied neurons.
"""

import numpy as np
import polars as pl

from assets.ablation.ablated_positions import SEED

CONTROLS = 100  # a p-value that is counted is then 1/101 or more (p_values.py)

CHOSEN = pl.Schema(
    {
        **dict.fromkeys(("token_id", "layer", "neuron", "control", "draw"), pl.Int32),
        **dict.fromkeys(("output_norm", "share_above_zero", "neuron_output_norm", "neuron_share_above_zero"), pl.Float64),
    }
)

Norms = dict[int, np.ndarray]  # layer -> float [neuron], length of the output weights


def control_neurons(pairs: pl.DataFrame, neuron_statistics: pl.DataFrame, norms: Norms, controls: int = CONTROLS) -> pl.DataFrame:
    """The nearest `controls` neurons of each pair, or all that the layer has: token_id, layer, neuron, control, and what they are near in.

    That is output_norm and share_above_zero of the control, and the neuron's own as neuron_output_norm and neuron_share_above_zero. `draw` counts
    each pair's controls from 0 in the order in which they are drawn: one seeded order of the layer's neurons for all pairs of a token, so
    that pairs with the same controls draw the same first.

    `pairs` has the columns token_id, layer, neuron. Near is a small distance between ranks within the layer, those of the output
    norm and those of the share of positions above zero, both weighing the same; of equally near ones the lower neuron comes
    first. Neurons that are themselves studied with the token are no controls for it.
    """
    parts = [pl.DataFrame(schema=CHOSEN)]
    for (layer,), of_layer in pairs.partition_by("layer", as_dict=True).items():
        shares = neuron_statistics.filter(pl.col("layer") == layer).sort("neuron")["share_above_zero"].to_numpy()
        orders: dict[int, np.ndarray] = {}  # token -> [neuron], its place in the order
        ranks = np.stack([_ranks(norms[layer]), _ranks(shares)])  # [property, neuron]
        for token_id, neuron in of_layer.select("token_id", "neuron").iter_rows():
            studied = of_layer.filter(pl.col("token_id") == token_id)["neuron"].to_numpy()
            distance = np.abs(ranks - ranks[:, [neuron]]).sum(axis=0)
            distance[studied] = np.inf
            nearest = np.sort(np.argsort(distance, kind="stable")[: min(controls, len(distance) - len(studied))])
            if token_id not in orders:
                orders[token_id] = np.random.default_rng([SEED, 5, token_id, layer]).permutation(len(distance))
            parts.append(
                pl.DataFrame(
                    {
                        "token_id": token_id,
                        "layer": layer,
                        "neuron": neuron,
                        "control": nearest,
                        "draw": np.argsort(np.argsort(orders[token_id][nearest])),
                        "output_norm": norms[layer][nearest],
                        "share_above_zero": shares[nearest],
                        "neuron_output_norm": norms[layer][neuron],
                        "neuron_share_above_zero": shares[neuron],
                    },
                    schema=CHOSEN,
                )
            )
    return pl.concat(parts)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Float [neuron]: ranks, equal values sharing their mean."""
    return pl.Series(values).rank("average").to_numpy()
