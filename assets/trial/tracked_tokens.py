"""The tracked tokens as vocabulary entries, and the trial of a whole study against its model before long work begins.

Prompts are tried by the prompts stage, which knows how they are encoded; this module is given that as a function.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from assets.contracts import TOKEN_GROUPS
from assets.model.language_model import LanguageModel
from assets.model.refusals import ModelError
from assets.model.vocabulary import token_id
from assets.study import Study, TrackedToken


def tracked_tokens(model: LanguageModel, study: Study) -> pl.DataFrame:
    """The table `tracked_tokens`. Raises ModelError for text that is not one token, an id that does not exist, or a double."""
    ids = [_named(study, "tokens", lambda token=token: token_id(model, token)) for token in study.tokens]  # type: ignore[misc]
    for row, entry in enumerate(ids):
        if entry in ids[:row]:
            raise ModelError(
                f"study {study.name}: tokens: {study.tokens[row]!r} and {study.tokens[ids.index(entry)]!r} are both entry {entry}; keep one"
            )
    return pl.DataFrame(
        {
            "row": list(range(len(ids))),
            "given": [str(token) for token in study.tokens],
            "token_id": ids,
            "token": [model.token_texts[entry] for entry in ids],
        }
    )


def token_groups(tokens: pl.DataFrame, groups: Mapping[str, Sequence[TrackedToken]], vocabulary: int) -> pl.DataFrame:
    """The table `token_groups`. tokens: tracked_tokens; members are tracked, as the study has made sure."""
    entries = {row["given"]: (row["token_id"], row["token"]) for row in tokens.iter_rows(named=True)}
    rows = [(vocabulary + place, name, *entries[str(member)]) for place, (name, members) in enumerate(groups.items()) for member in members]
    return pl.DataFrame(rows, schema=TOKEN_GROUPS.schema, orient="row")


def try_study(model: LanguageModel, study: Study) -> None:
    """Raise ModelError if a neuron, a layer or the context length is out of the model's range."""
    facts = model.facts
    for choice in study.neurons:
        if choice.layer >= facts.layers or choice.neuron >= facts.neurons:
            raise ModelError(f"study {study.name}: neurons: layer {choice.layer} neuron {choice.neuron} does not exist; the model has layers "
                             f"0 to {facts.layers - 1} with neurons 0 to {facts.neurons - 1} each")  # fmt: skip
    layers = () if study.patching_layers == "all" else study.patching_layers
    for layer in layers:
        if not 0 <= layer < facts.layers:
            raise ModelError(
                f"study {study.name}: patching_layers: layer {layer} does not exist; the model has layers 0 to {facts.layers - 1}"
            )
    if study.corpus.context_length > facts.context_length:
        raise ModelError(f"study {study.name}: corpus.context_length {study.corpus.context_length} is more than the model's "
                         f"{facts.context_length}; choose at most that")  # fmt: skip


def _named(study: Study, field: str, resolve):  # type: ignore[no-untyped-def]
    try:
        return resolve()
    except ModelError as error:
        raise ModelError(f"study {study.name}: {field}: {error}") from None
