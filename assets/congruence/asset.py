"""Dagster asset of the congruence stage."""

import dagster as dg

from assets.congruence.congruence import congruence
from assets.model.loading import model_of
from assets.progress import Progress
from assets.study import Study
from assets.wiring import study_asset
from assets.work import Work


def congruence_assets(study: Study) -> list[dg.AssetsDefinition]:
    """The study's assets of this stage."""
    return [study_asset(study, "congruence", _congruence, page="congruence.html")]


def _congruence(work: Work) -> None:
    tokens = work.read("tracked_tokens").sort("row")["token_id"].to_list()
    neurons, told = [(choice.layer, choice.neuron) for choice in work.study.neurons], Progress(work.tell, "congruence", "neurons")
    for name, frame in congruence(model_of(work), tokens, neurons, progress=told).items():
        work.write(name, frame)
