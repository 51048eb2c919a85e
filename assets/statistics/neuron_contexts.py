"""Text with a neuron's activation and the model's prediction at each token: around its highest and lowest activations, and anywhere.

The places of the extremes come from the one pass. Beside them stand places drawn from the whole corpus whatever the activation,
so that a reader sees whether the highest are special. The model is run again on these few windows alone. Colouring is the report's.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from assets.contracts import NEURON_CONTEXTS, conform
from assets.counting.histograms import Histograms
from assets.model.language_model import LanguageModel
from assets.model.text_activations import text_activations

BEFORE, AFTER = 40, 12  # tokens shown before and after the peak: enough to read the sentence it stands in
SEED = 20230211

_PLACE = ["layer", "neuron", "side", "rank", "document", "window_in_document", "peak_position", "peak_activation"]
_TEXT = ["document", "window_in_document", "peak_position"]  # what a run of the model depends on


def context_places(histograms: Histograms, neurons: Sequence[tuple[int, int]]) -> pl.DataFrame:
    """Where the extreme activations of the neurons are: one row per layer, neuron, side and rank."""
    rows = []
    for layer, neuron in neurons:
        for side in ("top", "bottom"):
            values, documents, windows, positions = (
                histograms[f"{side}_{part}"][layer, neuron] for part in ("value", "document", "window", "position")
            )
            for rank, document in enumerate(documents):
                if document >= 0:  # -1 marks an empty place: fewer documents than places
                    rows.append(
                        (layer, neuron, side, rank + 1, int(document), int(windows[rank]), int(positions[rank]), float(values[rank]))
                    )
    return pl.DataFrame(rows, schema={name: NEURON_CONTEXTS.schema[name] for name in _PLACE}, orient="row")


def random_places(
    windows: pl.LazyFrame, neurons: Sequence[tuple[int, int]], wanted: int, count_bos: bool, seed: int = SEED
) -> pl.DataFrame:
    """`wanted` positions of the corpus, each as likely as any other counted one and none twice; the same ones for every neuron.

    `windows` is the table token_windows, all shards; how they are cut does not matter. Position 0 is drawn only with `count_bos`.
    Columns as of context_places; `peak_activation` is missing until the model is run. A corpus of fewer positions gives all.
    """
    first = 0 if count_bos else 1
    found = windows.select("document", "window_in_document", "length").sort("document", "window_in_document").collect()
    ends = (found["length"].to_numpy().astype(np.int64) - first).cumsum()  # counted positions up to the end of each window
    total = int(ends[-1]) if len(ends) else 0
    drawn = np.random.default_rng(seed).choice(total, min(wanted, total), replace=False) if total else np.empty(0, np.int64)
    window = np.searchsorted(ends, drawn, side="right")
    places = found[window].select("document", "window_in_document").with_columns(
        peak_position=pl.Series(drawn - np.concatenate([[0], ends])[window] + first), rank=pl.int_range(1, pl.len() + 1)
    )  # fmt: skip
    studied = pl.DataFrame(list(neurons), schema={"layer": pl.Int32, "neuron": pl.Int32}, orient="row")
    both = studied.join(places, how="cross").with_columns(side=pl.lit("random"), peak_activation=pl.lit(None))
    return both.select(pl.col(name).cast(NEURON_CONTEXTS.schema[name]) for name in _PLACE)


def neuron_contexts(model: LanguageModel, places: pl.DataFrame, windows: pl.LazyFrame) -> pl.DataFrame:
    """The table `neuron_contexts`, in the order of `places`. `windows` holds at least the windows that `places` names.

    A text is run once for all neurons that it stands for. A `peak_activation` that is missing in `places` is read off the run.
    """
    found = windows.select("document", "window_in_document", "token_ids").join(
        places.lazy().select("document", "window_in_document").unique(), on=["document", "window_in_document"], how="semi"
    )
    texts = {(row[0], row[1]): row[2] for row in found.collect().iter_rows()}
    parts = []
    for (document, window, peak), of_text in places.with_row_index("place").partition_by(_TEXT, as_dict=True).items():
        of_text = of_text.with_row_index("row")
        neurons = of_text.select("layer", "neuron").rows()
        shown = text_activations(model, texts[document, window][: peak + AFTER + 1], neurons, max(0, peak - BEFORE))
        parts.append(of_text.join(shown, on="row").drop("row"))
    if not parts:
        return pl.DataFrame(schema=NEURON_CONTEXTS.schema)
    at_peak = pl.col("activation").filter(pl.col("position") == pl.col("peak_position")).first().over("place")
    frame = pl.concat(parts).sort("place", "position").with_columns(pl.col("peak_activation").fill_null(at_peak))
    return conform(NEURON_CONTEXTS, frame.drop("place"))
