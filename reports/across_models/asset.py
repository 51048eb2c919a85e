"""Dagster asset across_models_site: the page over all studies, published in one step, and the way in from the folder of all reports.

`from __future__ import annotations` must not be added: Dagster reads the annotation of `context`.
"""

from collections.abc import Callable, Mapping, Sequence

import dagster as dg
import polars as pl

from assets.across_models.asset import KEY, WHEN_CONTENT_CHANGED
from assets.across_models.comparison import NAME, published
from assets.across_models.quality import across_models_quality
from assets.deployment import Deployment
from assets.errors import InputError
from assets.freshness import hash_of
from assets.product import PRODUCT_VERSION
from assets.publication import SHOWN_CODE, Asked, publish
from assets.quality.expectations import Outcome
from assets.sources import code_behind
from assets.store import Draft, Place, Record
from assets.study import Study
from assets.wiring import faults_as_failures
from reports.across_models.site import build_across_models_site

SITE = f"{NAME}_site"
# What makes the page, and what judges the tables that it shows.
CODE = (("reports.across_models.site", "build_across_models_site"), ("assets.across_models.quality", "across_models_quality"))


def across_models_site_assets(studies: Sequence[Study]) -> list[dg.AssetsDefinition]:
    """The asset across_models_site; `studies` are those that the page must account for."""

    @dg.asset(
        key=dg.AssetKey([NAME, SITE]),
        group_name=NAME,
        description="The comparison of all models as a static page that opens from disk, offline, linked with the studies' reports.",
        deps=[KEY],
        kinds={"html"},
        code_version=code_behind(CODE)[:SHOWN_CODE],
        automation_condition=WHEN_CONTENT_CHANGED,
    )
    def asset(context: dg.AssetExecutionContext, deployment: dg.ResourceParam[Deployment]) -> dg.MaterializeResult:
        with faults_as_failures():
            record = publish_across_models_site(studies, deployment, context.log.info)
        return dg.MaterializeResult(
            metadata={**record.summary, "report": dg.MetadataValue.url(deployment.page_url(NAME)), "fingerprint": record.fingerprint},
            data_version=dg.DataVersion(record.content[:16]),
        )

    return [asset]


def publish_across_models_site(studies: Sequence[Study], deployment: Deployment, tell: Callable[[str], None]) -> Record:
    """Keep or make the page. Raises InputError where a check of across_models does not hold; the last good page then stays."""
    store, names = deployment.store, [study.name for study in studies]

    def ask() -> Asked:
        record, found = published(store)[0], {}
        found[NAME] = record.content
        parts = {"asset": SITE, "code": code_behind(CODE), "version": PRODUCT_VERSION, "studies": names, "inputs": found}
        provenance = {"product": PRODUCT_VERSION, "code_version": code_behind(CODE)[:SHOWN_CODE]}
        return Asked(Place(NAME, SITE), hash_of(parts), {NAME: record}, found, provenance)

    def make(inputs: Mapping[str, Record], draft: Draft) -> None:
        tables = published(store)[1]
        build_across_models_site(tables, _judged(tables, names), draft.folder)

    _judged(published(store)[1], names)  # also where the page would be kept
    made = publish(store, Place(NAME, SITE), ask, make, tell)
    deployment.link_site(NAME, SITE)
    deployment.open_with(NAME)
    return made


def _judged(tables: Mapping[str, pl.DataFrame], studies: Sequence[str]) -> list[Outcome]:
    """The outcomes of all checks. Raises InputError where a blocking one does not hold."""
    outcomes = across_models_quality(tables, studies)
    broken = [f"{outcome.expectation}: observed {outcome.observed}" for outcome in outcomes if outcome.is_blocking_failure]
    if broken:
        raise InputError(f"{NAME}: no page is published, the last good one stays. {'; '.join(broken)}")
    return outcomes
