"""Congruence of every neuron with every token, kept where it says something: the tables of the asset `congruence`.

For each convention the neurons pass by once (scan) and what was kept becomes the contract tables (frames); once more for what they read
(congruence_reads). Which weights are multiplied is in conventions, how ties are broken in ordering, what is taken from a score so that hubs
do not lead everywhere in correction.
Definition of congruence, gaps and mutual pairs: clementneo.com, "We Found An Neuron in GPT-2".
"""

from collections.abc import Sequence

import polars as pl

from assets import contracts
from assets.congruence import frames
from assets.congruence.congruence_reads import congruence_reads
from assets.congruence.conventions import CONVENTIONS
from assets.congruence.scan import CHUNK_BYTES, Wanted, scan
from assets.model.direct_effect import refuse_indirect
from assets.model.language_model import LanguageModel
from assets.model.refusals import ModelError
from assets.progress import Tally, Told

NEURONS_PER_TOKEN = 10  # ranks in congruence_tokens: 500,000 rows per convention for GPT-2's vocabulary
TOKENS_PER_END = 5  # ranks per end in congruence_neurons: 1.8 million rows per convention for GPT-2 Large


def congruence(
    model: LanguageModel,
    token_ids: Sequence[int],
    neurons: Sequence[tuple[int, int]],
    top: int = NEURONS_PER_TOKEN,
    chunk_bytes: int = CHUNK_BYTES,
    progress: Told | None = None,
) -> dict[str, pl.DataFrame]:
    """The nine congruence tables by name, each as its contract says (logits per unit of activation): five in both conventions, three that
    hold congruence as it is (convention `logits`) against congruence corrected by neuron and by token, and one of the input side alone.

    `token_ids` are the tracked tokens, `neurons` the (layer, neuron) pairs of interest, `top` how many neurons are listed per
    token and, up to TOKENS_PER_END, how many tokens per end of a neuron. Scores are computed `chunk_bytes` at a time, on the
    model's device and in float32, whatever the model's dtype. `progress` is told neurons done and in all, of both conventions and of the input side.

    Raises ModelError for a neuron or token that the model lacks, for weights that are not finite, and for architectures whose
    output weights are not the neuron's direct effect.
    """
    import torch

    _refuse_unknown(model, token_ids, neurons)
    refuse_indirect(model)
    wanted = Wanted(
        token_ids=tuple(token_ids),
        neurons=tuple(layer * model.facts.neurons + neuron for layer, neuron in neurons),
        ranked_ids=tuple(entry for entry, text in enumerate(model.token_texts) if text),
        neurons_per_token=top,
        tokens_per_end=min(top, TOKENS_PER_END),
    )
    parts, tally = [], Tally(progress, (len(CONVENTIONS) + 1) * model.facts.layers * model.facts.neurons)
    with torch.inference_mode():
        for convention in CONVENTIONS:
            kept = scan(model, convention, wanted, chunk_bytes, tally)
            names = frames.Names(convention, pl.Series(model.token_texts, dtype=pl.String), model.facts.neurons)
            parts.append({table: make(kept, wanted, names) for table, make in frames.TABLES.items()})
        reads = congruence_reads(model, wanted.ranked_ids, chunk_bytes, tally)
    both = {
        table: contracts.conform(contracts.TABLES[table], pl.concat([part[table] for part in parts], rechunk=False))
        for table in frames.TABLES
    }
    return both | {"congruence_reads": reads}


def _refuse_unknown(model: LanguageModel, token_ids: Sequence[int], neurons: Sequence[tuple[int, int]]) -> None:
    facts = model.facts
    for entry in token_ids:
        if not 0 <= entry < facts.vocabulary:
            raise ModelError(f"token {entry}: the vocabulary has entries 0 to {facts.vocabulary - 1}; track one of these")
    for layer, neuron in neurons:
        if not (0 <= layer < facts.layers and 0 <= neuron < facts.neurons):
            raise ModelError(f"layer {layer} neuron {neuron} does not exist; the model has layers 0 to {facts.layers - 1} "
                             f"with neurons 0 to {facts.neurons - 1} each")  # fmt: skip
