"""The plan of a run, told once the model has been loaded and the study tried: what it is made from, found in the store."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from assets.deployment import Deployment
from assets.freshness import Freshness
from assets.histograms.activation_bins import CALIBRATION_TOKENS
from assets.publication import records_of
from assets.source_files import local_files
from assets.stages import STAGES
from assets.store import Record, StoreError
from assets.study import TEXT_SUFFIXES, CalibratedBins, Study
from assets.trial.run_plan import Earlier, Planned, Sizes, estimates, plan_lines, planned
from assets.urls import is_url

BYTES_OF_TOKEN = 4.3  # of English text in a vocabulary of fifty thousand


def tell_planned_run(study: Study, deployment: Deployment, tell: Callable[[str], None]) -> None:
    """Tell the plan in one message."""
    tell("\n".join(plan_lines(*planned_run(study, deployment))))


def planned_run(study: Study, deployment: Deployment) -> tuple[list[Planned], int, Sizes, float]:
    """The stages to make, how many there are in all, the study's sizes and the measured positions a second.

    Records are read, and local source files hashed as any run does; no output's content is. `tracked_tokens` must stand.
    """
    freshness = Freshness(study, deployment.store)
    outputs = Counter(place.asset for place in freshness.stale())
    stale = {name: number / (study.shards if STAGES[name].is_sharded else 1) for name, number in outputs.items()}
    tracked = freshness.current("tracked_tokens")
    sizes, rate = sizes_of(freshness, tracked), float(tracked.summary["positions_per_second"])
    earlier = earlier_of(records_of(study, deployment.store))
    return planned(stale, earlier, sizes.positions, estimates(sizes, rate)), len(STAGES), sizes, rate


def sizes_of(freshness: Freshness, tracked: Record) -> Sizes:
    """The study's sizes, as far as its records and files tell them."""
    study, model = freshness.study, freshness.current("model_snapshot").facts
    layers = range(model["layers"]) if study.patching_layers == "all" else study.patching_layers
    return Sizes(
        layers=model["layers"],
        neurons=model["neurons"],
        width=model["model_width"],
        vocabulary=model["vocabulary"],
        told=len(study.tokens) + len(study.groups),
        outcomes=1 + len(study.further_outcomes),
        positions=positions_of(freshness),
        shards=study.shards,
        calibration=CALIBRATION_TOKENS if isinstance(study.bins, CalibratedBins) else 0,
        changed=tuple(tracked.summary["changed_positions"]),
        pairs_of_sets=int(tracked.summary["pairs_of_sets"]),
        patched_layers=tuple(layers),
        named=len(study.neurons),
        best=study.best_neurons,
        context=min(study.corpus.context_length, model["context_length"]),
        ablation=study.ablation_positions,
        kept=study.kept_positions,
        examples=study.examples,
        atlas_examples=min(study.atlas.examples, study.examples) if study.atlas.holds(model["layers"] * model["neurons"]) == "all" else 0,
    )


def positions_of(freshness: Freshness) -> int | None:
    """Positions of the corpus: counted, if its windows stand; else by the size of local text files, or by the documents asked for."""
    study = freshness.study
    try:
        return sum(int(freshness.current("token_windows", shard).summary["tokens"]) for shard in study.shard_names)
    except StoreError:
        pass
    corpus = study.corpus
    limit = corpus.documents * corpus.context_length if corpus.documents and corpus.windows == "first" else None
    files = local_files(study)
    if any(is_url(file) for file in corpus.files) or not files or not all(file.name.endswith(TEXT_SUFFIXES) for file in files):
        return limit
    tokens = round(sum(file.stat().st_size for file in files if file.is_file()) / BYTES_OF_TOKEN)
    return tokens if limit is None else min(tokens, limit)


def earlier_of(records: Mapping[str, Sequence[Record]]) -> dict[str, Earlier]:
    """How long the outputs of each stage took as they were made last, from whatever."""
    positions = sum(int(record.summary.get("tokens", 0)) for record in records.get("token_windows", ())) or None
    return {name: Earlier(sum(record.seconds for record in held), positions) for name, held in records.items()}
