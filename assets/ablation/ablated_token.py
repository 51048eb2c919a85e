"""One token's neurons while they are ablated: what was seen at each position, which controls are still to be drawn, and the rows at the end.

Of the studied neurons every position's effects are kept, for their intervals; of controls, which are many, the sums over the positions that
are compared. Runs nothing.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import polars.selectors as cs

from assets.ablation.ablated_positions import KINDS_OF_POSITION, OTHER, SEED, WINDOW
from assets.ablation.document_intervals import document_intervals
from assets.ablation.donors import Donors
from assets.ablation.position_effects import MEASURES
from assets.ablation.readout import Target
from assets.ablation.replacements import ABLATIONS
from assets.ablation.settled_pairs import FIRST_DRAWN, drawn_p_values, is_settled
from assets.ablation.visits import Subjects, Visit
from assets.contracts import ABLATION_CONTROLS, NEURON_ABLATION

Neuron = tuple[int, int]  # layer, neuron
ROWS = pl.Schema({name: dtype for name, dtype in NEURON_ABLATION.schema.items() if name not in ("token", "q_value")})


class AblatedToken:
    """`places` as of with_compared, `pairs` and `controls` as of control_neurons, all of this token; `drawn` donors for its positions."""

    def __init__(self, places: pl.DataFrame, pairs: pl.DataFrame, controls: pl.DataFrame, drawn: Donors) -> None:
        self.token_id = int(places["token_id"][0])
        self.pairs, self.controls = pairs, controls
        self._places, self._documents = places, places["document"].to_numpy()
        self._donors = drawn.drawn_for(self._documents, np.random.default_rng([SEED, 2, self.token_id]))
        kinds = places["positions"].to_numpy()
        self._kinds = [kind for kind in KINDS_OF_POSITION if (kinds == kind).any()]
        self._kind = np.array([self._kinds.index(kind) for kind in kinds])  # [position]
        self._is_compared = places["is_compared"].to_numpy()
        self._compared = np.bincount(self._kind, self._is_compared).astype(np.int64)  # [kind]
        self._studied = {(layer, neuron): place for place, (layer, neuron) in enumerate(pairs.select("layer", "neuron").iter_rows())}
        self._effects = np.zeros((len(kinds), len(self._studied), len(ABLATIONS), len(MEASURES)))  # [position, pair, ablation, measure]
        self._sums: dict[Neuron, np.ndarray] = {}  # of controls: [kind, ablation, measure]
        self._settled: set[Neuron] = set()

    def visits(self, everywhere: Subjects | None, compared: Subjects, number: int) -> Iterator[Visit]:
        """At the positions that are compared `compared` are ablated, at the others `everywhere`; `number` is the caller's for the token."""
        for place, row in enumerate(self._places.iter_rows(named=True)):
            subjects = compared if row["is_compared"] else everywhere
            if subjects and subjects.neurons:
                target = Target(row["position"], self.token_id, row["next_token_id"])
                window = (row[WINDOW[0]], row[WINDOW[1]])
                yield Visit(window, (number, place), target, int(self._donors[place]), subjects)

    def add(self, visit: Visit, effects: np.ndarray) -> None:
        """What ablating the visit's subjects did, float64 [ablation, column, measure]."""
        place = visit.place[1]
        for layer, neurons in visit.subjects.neurons.items():
            for neuron, column in zip(neurons, visit.subjects.columns(layer, neurons), strict=True):
                if (layer, neuron) in self._studied:
                    self._effects[place, self._studied[layer, neuron]] = effects[:, column]
                else:
                    empty = np.zeros((len(self._kinds), *effects[:, column].shape))
                    self._sums.setdefault((layer, neuron), empty)[self._kind[place]] += effects[:, column]

    def settle(self) -> pl.DataFrame:
        """Find the pairs that their first controls settle; the controls of the others that were not ablated yet."""
        own = [place for place, kind in enumerate(self._kinds) if kind != OTHER] or list(range(len(self._kinds)))
        for layer, neuron in self._studied:
            of_pair = self.controls.filter(layer=layer, neuron=neuron).sort("draw")["control"].to_list()
            first = self._means(layer, of_pair[:FIRST_DRAWN])
            if len(of_pair) > FIRST_DRAWN and is_settled(self._compared_mean(layer, neuron)[own], first[:, own]):
                self._settled.add((layer, neuron))
        done = pl.DataFrame([*self._sums, *self._studied], schema={"layer": pl.Int32, "control": pl.Int32}, orient="row")
        return self._drawn().join(done, on=["layer", "control"], how="anti")

    def effect_rows(self) -> pl.DataFrame:
        """Rows of neuron_ablation (ROWS), without the token's text and without q_value."""
        parts = [pl.DataFrame(schema=ROWS)]
        drawn = self._drawn()
        for (layer, neuron), pair in self._studied.items():
            beside = drawn.filter(layer=layer, neuron=neuron).sort("draw")["control"].to_list()
            chosen = self.controls.filter(layer=layer, neuron=neuron).height
            compared = self._compared_mean(layer, neuron)  # [kind, ablation, measure]
            rare = drawn_p_values(compared, self._means(layer, beside), chosen)
            for place, kind in enumerate(self._kinds):
                here = self._kind == place
                own, documents = self._effects[here, pair], self._documents[here]
                low, high = document_intervals(own, documents, np.random.default_rng([SEED, 3, self.token_id, layer, neuron]))
                frame = _grid(
                    effect=own.mean(axis=0), ci_low=low, ci_high=high, compared_effect=compared[place], p_value=rare.p_value[place],
                    p_value_source=rare.source[place], times_largest_control=rare.times_largest[place],
                )  # fmt: skip
                counts = {
                    "token_id": self.token_id, "layer": layer, "neuron": neuron, "controls": len(beside), "position_count": int(here.sum()),
                    "document_count": len(np.unique(documents)), "compared_positions": int(self._compared[place]),
                }  # fmt: skip
                shared = {name: pl.lit(count, pl.Int32) for name, count in counts.items()}
                parts.append(frame.with_columns(positions=pl.lit(kind), **shared).select(ROWS.names()))
        return pl.concat(parts)

    def control_rows(self) -> pl.DataFrame:
        """Rows of ablation_controls: of each pair the controls that were drawn for it."""
        parts = [pl.DataFrame(schema=ABLATION_CONTROLS.schema)]
        drawn = self._drawn()
        if drawn.is_empty():
            return parts[0]
        means = np.stack([self._means(layer, [control])[0] for layer, control in drawn.select("layer", "control").iter_rows()])
        for place, kind in enumerate(self._kinds):
            for number, ablation in enumerate(ABLATIONS):
                measured = {measure: pl.Series(means[:, place, number, column]) for column, measure in enumerate(MEASURES)}
                parts.append(drawn.with_columns(positions=pl.lit(kind), ablation=pl.lit(ablation), **measured))
        return pl.concat([part.select(ABLATION_CONTROLS.schema.names()) for part in parts])

    def _drawn(self) -> pl.DataFrame:
        """The controls that each pair is compared with."""
        settled = pl.DataFrame(sorted(self._settled), schema={"layer": pl.Int32, "neuron": pl.Int32}, orient="row")
        few = self.controls.filter(pl.col("draw") < FIRST_DRAWN).join(settled, on=["layer", "neuron"], how="semi")
        return pl.concat([few, self.controls.join(settled, on=["layer", "neuron"], how="anti")]).sort("layer", "neuron", "control")

    def _means(self, layer: int, controls: Sequence[int]) -> np.ndarray:
        """Float64 [control, kind, ablation, measure]: means over the positions that are compared."""
        means = [self._compared_mean(layer, control) for control in controls]
        return np.stack(means) if means else np.empty((0, len(self._kinds), len(ABLATIONS), len(MEASURES)))

    def _compared_mean(self, layer: int, neuron: int) -> np.ndarray:
        """Float64 [kind, ablation, measure]: the same of one neuron, studied or control."""
        if (layer, neuron) not in self._studied:
            return np.asarray(self._sums[layer, neuron] / self._compared[:, None, None])
        own = self._effects[:, self._studied[layer, neuron]]
        return np.stack([own[(self._kind == place) & self._is_compared].mean(axis=0) for place in range(len(self._kinds))])


def _grid(**columns: np.ndarray) -> pl.DataFrame:
    """One row per ablation and measure from arrays [ablation, measure]; NaN becomes missing."""
    frame = pl.DataFrame(
        {
            "ablation": np.repeat(ABLATIONS, len(MEASURES)).tolist(),
            "measure": list(MEASURES) * len(ABLATIONS),
            **{name: pl.Series(values.reshape(-1).tolist()) for name, values in columns.items()},
        }
    )
    return frame.with_columns(cs.float().fill_nan(None))
