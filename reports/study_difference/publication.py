"""The page over two studies, published in one step: kept while both studies are what they were, else made again.

No asset of either study: it waits for neither and is made when it is asked for (docs/decisions/0043-two-studies-compared.md).
"""

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from assets.contracts import STUDY_DIFFERENCE_TABLES
from assets.deployment import REPORTS, Deployment
from assets.errors import InputError
from assets.freshness import found_in, hash_of, values_of
from assets.product import PRODUCT_VERSION
from assets.publication import SHOWN_CODE, Asked, publish
from assets.quality import table_violations
from assets.quality.checks.contracts import contract_check
from assets.quality.expectations import Outcome
from assets.sources import ALWAYS, code_behind
from assets.store import Draft, Place, Record
from assets.study import STUDY_NAME, Study
from assets.study_difference.studies import READS, Compared, compared_studies
from assets.study_difference.study_difference import study_difference
from assets.study_view import EVERY_FIELD
from reports.study_difference.page import Linked
from reports.study_difference.site import build_study_difference_site

NAME = "study_difference"  # in the store the folder that a study would have; no study's name holds a "_"
SITE = f"{NAME}_site"
AND = "_and_"
CODE = (
    ("assets.study_difference.study_difference", "study_difference"),
    ("reports.study_difference.site", "build_study_difference_site"),
    *ALWAYS,
)


def pair_name(one: str, other: str) -> str:
    """What the page of two studies is called, in its address as well."""
    return f"{one}{AND}{other}"


def difference_place(name: str) -> Place | None:
    """Where the page of this name lies; None for a name that no pair of studies gives."""
    studies = name.split(AND)
    return Place(NAME, SITE, name) if len(studies) == 2 and all(map(STUDY_NAME.fullmatch, studies)) else None


def publish_study_difference(one: Study, other: Study, deployment: Deployment, tell: Callable[[str], None]) -> Record:
    """Keep or make the page of study A, the one, and study B, the other.

    Raises DifferenceError where they cannot be compared, StoreError for an output that is stale or damaged; the last good page then stays.
    """
    store, place = deployment.store, Place(NAME, SITE, pair_name(one.name, other.name))

    def ask() -> Asked:
        return _asked(place, compared_studies(one, other, store))

    def make(_: Mapping[str, Record], draft: Draft) -> None:
        _make(compared_studies(one, other, store), draft)

    compared_studies(one, other, store)  # before a folder is made for what cannot be
    made = publish(store, place, ask, make, tell)
    store.show_site(place, f"{REPORTS}/{place.shard}")
    return made


def _asked(place: Place, both: tuple[Compared, Compared]) -> Asked:
    inputs = {f"{study.name}/{asset}": record for study in both for asset, record in study.records.items()}
    found = {label: found_in(record, READS) for label, record in inputs.items()}
    parts = {
        "asset": SITE,
        "code": code_behind(CODE),
        "contract": [
            f"{table.name}.{column.name}:{column.dtype}" for table in STUDY_DIFFERENCE_TABLES.values() for column in table.columns
        ],
        "version": PRODUCT_VERSION,
        "studies": [[study.name, study.has_report, values_of(study.reading.whole_study, (EVERY_FIELD,))] for study in both],
        "inputs": found,
    }
    return Asked(place, hash_of(parts), inputs, found, {"product": PRODUCT_VERSION, "code_version": code_behind(CODE)[:SHOWN_CODE]})


def _make(both: tuple[Compared, Compared], draft: Draft) -> None:
    tables = study_difference(*both)
    build_study_difference_site(tables, (_linked(both[0]), _linked(both[1])), _judged(tables), draft.folder)
    draft.summary.update(_shown(tables))


def _shown(tables: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    neurons = tables["study_difference_neurons"]
    return {"neurons": neurons.height, "at_distance_0": neurons.filter(pl.col("distance") == 0).height}


def _linked(study: Compared) -> Linked:
    """What the study's report has pages for, as reports.report_data chooses them."""
    if not study.has_report:
        return Linked(study.name, False)
    curves, named = study.reading.read("proportion_curves").select("layer", "neuron").unique(), study.reading.study.neurons
    neurons = frozenset([*curves.iter_rows(), *((choice.layer, choice.neuron) for choice in named)])
    tokens = frozenset(study.reading.read("token_neuron_scores")["token_id"].unique().to_list())
    return Linked(study.name, True, neurons, tokens, has_atlas=study.reading.study.atlas.neurons == "all")


def _judged(tables: Mapping[str, pl.DataFrame]) -> list[Outcome]:
    """The outcomes of the contracts' checks. Raises InputError where a blocking one does not hold."""
    checks = [(contract_check(table), table_violations.of_contract(table, tables[name])) for name, table in STUDY_DIFFERENCE_TABLES.items()]
    outcomes = [outcome for check, frames in checks for outcome in check.judged(frames)]
    broken = [f"{outcome.check}: {outcome.expectation}: observed {outcome.observed}" for outcome in outcomes if outcome.is_blocking_failure]
    if broken:
        raise InputError(f"{NAME}: no page is published, the last good one stays. {'; '.join(broken)}")
    return outcomes
