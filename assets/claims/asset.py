"""Dagster asset of the claims stage: replication_scorecard. A claims file with a fault is refused before anything runs."""

import dagster as dg

from assets.claims.claims import read_claims
from assets.claims.replication_scorecard import NOT_REPLICATED, NOT_RUN, REPLICATED, replication_scorecard
from assets.study import Study
from assets.wiring import study_asset
from assets.work import Work


def claims_assets(study: Study) -> list[dg.AssetsDefinition]:
    """The study's assets of this stage. Raises ClaimsError for a claims file that cannot be used."""
    read_claims(study)
    return [study_asset(study, "replication_scorecard", _replication_scorecard, page="scorecard.html")]


def _replication_scorecard(work: Work) -> None:
    tables = {read.name: work.scan(read.name) for read in work.reads}
    scorecard = replication_scorecard(read_claims(work.study), tables, work.study.count_bos, work.study.min_count)
    work.write("replication_scorecard", scorecard)
    verdicts = scorecard["verdict"].to_list()
    work.show(**{verdict.replace(" ", "_"): verdicts.count(verdict) for verdict in (REPLICATED, NOT_REPLICATED, NOT_RUN)})
