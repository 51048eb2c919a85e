"""Dagster asset across_models_site: the page over all studies, published in one step, and the way in from the folder of all reports.

`from __future__ import annotations` must not be added: Dagster reads the annotation of `context`.
"""

from collections.abc import Callable, Sequence

import dagster as dg

from assets.across_models.asset import KEY, WHEN_CONTENT_CHANGED
from assets.across_models.comparison import NAME, published
from assets.across_models.publication import publish
from assets.across_models.quality import across_models_quality
from assets.deployment import Deployment
from assets.errors import InputError
from assets.product import PRODUCT_VERSION
from assets.store import Place, Record
from assets.study import Study
from assets.wiring import faults_as_failures
from reports.across_models.site import build_across_models_site

SITE = f"{NAME}_site"
CODE_VERSION = "2"  # raise it when the page's template, style or script changes


def across_models_site_assets(studies: Sequence[Study]) -> list[dg.AssetsDefinition]:
    """The asset across_models_site; `studies` are those that the page must account for."""

    @dg.asset(
        key=dg.AssetKey([NAME, SITE]),
        group_name=NAME,
        description="The comparison of all models as a static page that opens from disk, offline, linked with the studies' reports.",
        deps=[KEY],
        kinds={"html"},
        code_version=CODE_VERSION,
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
    record, tables = published(deployment.store)
    outcomes = across_models_quality(tables, [study.name for study in studies])
    broken = [f"{outcome.expectation}: observed {outcome.observed}" for outcome in outcomes if outcome.is_blocking_failure]
    if broken:
        raise InputError(f"{NAME}: no page is published, the last good one stays. {'; '.join(broken)}")
    parts = {"asset": SITE, "code_version": CODE_VERSION, "version": PRODUCT_VERSION}
    place = Place(NAME, SITE)
    made = publish(
        deployment.store, place, parts, {NAME: record}, lambda draft: build_across_models_site(tables, outcomes, draft.folder), tell
    )
    deployment.link_site(NAME, SITE)
    deployment.open_with(NAME)
    return made
