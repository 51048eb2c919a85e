"""Dagster assets of the model stage: model_snapshot, tracked_tokens, model_parity."""

from dataclasses import asdict
from pathlib import Path

import dagster as dg
import polars as pl

from assets.errors import NotMeasuredError
from assets.histograms.activation_bins import bins_for, slot_finder
from assets.histograms.planned_sizes import planned_model, planned_pass, tell_plan
from assets.model.loading import choose_device, load_choice, model_folder, model_of
from assets.model.model_snapshot import LOCAL, model_files, refuse_changed_files, resolve_model
from assets.prompts.prompt_runs import require_defined_improvement
from assets.prompts.prompt_sets import encode_prompt_sets, require_patchable
from assets.prompts.prompts import encode_prompts, prompt_pairs
from assets.study import Study
from assets.trial.forward_rate import forward_rate
from assets.trial.model_parity import model_parity, sample_windows
from assets.trial.planned_run import tell_planned_run
from assets.trial.tracked_tokens import token_groups, tracked_tokens, try_study
from assets.wiring import study_asset
from assets.work import Work


def model_assets(study: Study) -> list[dg.AssetsDefinition]:
    """The study's assets of this stage."""
    return [
        study_asset(study, "model_snapshot", _model_snapshot),
        study_asset(study, "tracked_tokens", _tracked_tokens, then=tell_planned_run),
        study_asset(study, "model_parity", _model_parity, page="quality.html"),
    ]


def _model_snapshot(work: Work) -> None:
    resolved = resolve_model(work.study)
    files = model_files(resolved.folder)
    refuse_what_does_not_fit(work, resolved.folder)
    model = load_choice(resolved.folder, work.study)
    work.write("model_snapshot", files)
    work.draft.provenance["model"] = f"{work.study.model.id}@{resolved.commit or 'local'}"
    work.state(commit=resolved.commit or LOCAL, device=str(model.device), dtype=work.study.model.dtype, **asdict(model.facts))
    work.show(folder=str(resolved.folder))


def refuse_what_does_not_fit(work: Work, folder: Path) -> None:
    """Plan the memory of the whole study before anything is loaded; the pass plans again with each shard's own windows."""
    study = work.whole_study  # a plan refuses or tells; nothing that is counted depends on it
    sizes = planned_model(folder, study.model)
    if sizes is not None:
        tell_plan(study, sizes, planned_pass(study, sizes, study.corpus.context_length), choose_device(study.model.device), work.tell)


def _tracked_tokens(work: Work) -> None:
    model = model_of(work)
    try_study(model, work.study)
    pairs = prompt_pairs(encode_prompts(model, work.study.prompts))
    sets = encode_prompt_sets(model, work.study.prompt_sets)
    try:
        require_defined_improvement(model, pairs)
        require_patchable(model, sets)
    except NotMeasuredError as error:  # the stages that read prompts say it again, each on its page
        work.tell(str(error))
    tokens = tracked_tokens(model, work.study)
    work.write("tracked_tokens", tokens)
    work.write("token_groups", token_groups(tokens, work.study.groups, model.facts.vocabulary))
    changed = [pair.positions - pair.first_difference for pair in pairs]
    drawn = sum(len(one.pairs) for one in sets)
    work.show(changed_positions=changed, pairs_of_sets=drawn, positions_per_second=round(forward_rate(model), 1))


def _model_parity(work: Work) -> None:
    folder = model_folder(work)
    refuse_changed_files(work.read("model_snapshot"), folder)
    windows = work.read("token_windows", *work.shards_of("token_windows"))
    model, choice = model_of(work), work.study.bins
    layers, neurons = model.facts.layers, model.facts.neurons
    is_exact = work.study.model.dtype == "float32" and work.study.model.linear_maps == "plain"
    sample = sample_windows(windows, is_exact=is_exact)
    if model.bridge_if_known is None:
        work.tell(
            f"model {model.facts.architecture}: TransformerLens does not know this class of models, so nothing runs through its bridge; what the "
            "pass runs is compared with plain Hugging Face code"
        )
    parity = model_parity(model, folder, sample, lambda largest: slot_finder(bins_for(choice, layers, neurons, largest)))
    work.write("model_parity", parity)
    work.show(
        positions=int(parity["positions"].sum()),
        prediction_disagreements=int(parity["prediction_disagreements"].sum()),
        largest_logit_difference=float(parity["largest_logit_difference"].max() or 0.0),  # type: ignore[arg-type]
        share_of_predictions_other_than_in_float32=_share(parity, "float32_prediction_disagreements", "positions"),
        share_of_bins_other_than_in_float32=_share(parity, "float32_bin_disagreements", "activations"),
    )


def _share(parity: pl.DataFrame, part: str, whole: str) -> float:
    return int(parity[part].sum()) / max(int(parity[whole].sum()), 1)
