"""The answer of the page in sentences: how many neurons moved, whose first writers changed, or that nothing did."""

from collections.abc import Mapping

import polars as pl

from reports.numbers import count, fixed, number, plural
from reports.text import quoted

MOVED = 0.1  # a neuron has moved if at some level the shares of positions below it differ by more
NAMED = 3  # tokens that the answer names
WORDS = {"contribution": "writer", "separation": "predictor"}


def reply(tables: Mapping[str, pl.DataFrame], names: tuple[str, str]) -> str:
    """One to three sentences."""
    if is_unchanged(tables):
        counted = tables["study_difference_neurons"].height
        return f"Nothing changed: {_all(counted)} the same distribution in {names[0]} as in {names[1]}, and the same neurons lead for every token."
    return " ".join([*_of_neurons(tables["study_difference_neurons"]), *_of_tokens(tables["study_difference_tokens"])])


def is_unchanged(tables: Mapping[str, pl.DataFrame]) -> bool:
    """Whether all that is compared is the same in both studies."""
    neurons, tokens, pairs = (tables[f"study_difference_{name}"] for name in ("neurons", "tokens", "pairs"))
    places = tables["study_difference_token_neurons"]
    return (
        neurons.height > 0
        and neurons["distance"].null_count() == 0
        and neurons.filter(pl.col("distance") > 0).is_empty()
        and neurons.filter(pl.col("likeness") < 1).is_empty()
        and changed(tokens).is_empty()
        and places.filter(pl.col("rank_a").ne_missing(pl.col("rank_b")) | pl.col("value_a").ne_missing(pl.col("value_b"))).is_empty()
        and pairs.filter(pl.col("largest_difference") > 0).is_empty()
    )


def changed(tokens: pl.DataFrame) -> pl.DataFrame:
    """The rows of study_difference_tokens in which another neuron is first."""
    return tokens.filter(pl.col("layer_a").ne_missing(pl.col("layer_b")) | pl.col("neuron_a").ne_missing(pl.col("neuron_b")))


def _all(amount: int) -> str:
    return "the one neuron has" if amount == 1 else f"all {count(amount)} neurons have"


def _of_neurons(neurons: pl.DataFrame) -> list[str]:
    known = neurons.drop_nulls("distance")
    unknown = neurons.height - known.height
    told = (
        [f"{plural(unknown, 'neuron')} could not be compared, as no edge of their bins is the same in both studies or none was counted."]
        if unknown
        else []
    )
    if known.is_empty():
        return told
    moved = known.filter(pl.col("distance") > MOVED)
    farthest = known.sort("distance", "layer", "neuron", descending=[True, False, False]).row(0, named=True)
    where = f"layer {farthest['layer']} neuron {count(farthest['neuron'])}"
    if farthest["distance"] == 0:
        return [f"{_all(known.height).capitalize()} the same distribution in both.", *told]
    far = f"the farthest is {where}, by {_size(farthest['distance'])}"
    if moved.is_empty():
        return [f"None of {plural(known.height, 'neuron')} moved by more than {number(MOVED, 1)}; {far}.", *told]
    return [
        f"Of {plural(known.height, 'neuron')}, {count(moved.height)} moved by more than {number(MOVED, 1)}{_beyond_luck(moved)}; {far}.",
        *told,
    ]


def _beyond_luck(moved: pl.DataFrame) -> str:
    """How many of these moved farther than between the halves of a study's own documents."""
    farther = moved.filter(pl.col("distance") > pl.col("halves_distance")).height
    if farther == moved.height:
        return ", farther than between the halves of either study's documents"
    return f", {count(farther) if farther else 'none'} of them farther than between the halves of either study's documents"


def _size(distance: float) -> str:
    return number(distance, 2) if distance < 0.01 else fixed(distance, 2)


def _of_tokens(tokens: pl.DataFrame) -> list[str]:
    for measure, word in WORDS.items():  # who writes it leads; where no contribution was measured, who goes along
        rows = tokens.filter(pl.col("measure") == measure)
        led = rows.filter(pl.col("layer_a").is_not_null() | pl.col("layer_b").is_not_null())
        if led.height:
            return [_first_neurons(led, word)]
    return ["They have no token in common for which a neuron leads."]


def _first_neurons(led: pl.DataFrame, word: str) -> str:
    others = changed(led)
    if others.is_empty():
        what = "the one token" if led.height == 1 else f"each of the {count(led.height)} tokens"
        return f"The first {word} of {what} that both track is the same neuron."
    named = [f"{quoted(row['token'])} from {_neuron(row, 'a')} to {_neuron(row, 'b')}" for row in others.head(NAMED).iter_rows(named=True)]
    if led.height == 1:
        return f"The first {word} of the one token that both track changed: {named[0]}."
    more = ", and more" if others.height > NAMED else ""
    return f"The first {word} changed for {count(others.height)} of {count(led.height)} tokens: {', '.join(named)}{more}."


def _neuron(row: Mapping[str, int | None], side: str) -> str:
    layer, neuron = row[f"layer_{side}"], row[f"neuron_{side}"]
    return "none" if layer is None or neuron is None else f"layer {layer} neuron {count(neuron)}"
