"""From a folder of files to a loaded model: the device, the tokenizer, the weights, the facts; and the study's model for a stage's work.

Which models are refused is in refusals. Does not resolve hub ids (model_snapshot does) and computes nothing over a corpus.
"""

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.heavy_imports import heavy_imports
from assets.model.block_maps import StructureError
from assets.model.found_parts import found_parts
from assets.model.freed_memory import keep_freed_memory
from assets.model.language_model import LanguageModel, ModelFacts
from assets.model.model_shape import ModelShape, shape_of_bridge, shape_of_plain_code
from assets.model.model_snapshot import snapshot_folder
from assets.model.plain_model import plain_twin
from assets.model.plain_parts import PlainParts
from assets.model.refusals import (
    ModelError,
    readable,
    refuse_by_files,
    refuse_by_trial,
    refuse_infinite_weights,
    refuse_weights_that_do_not_fit,
)
from assets.study import Study
from assets.work import Work

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

# Weights below which one thread is used: with two, threads that wait for each other made a 260,000-weight model 90 times slower
# on a machine that was also busy otherwise, and none faster on an idle one. The count of threads can change rounding, so it
# must follow from the model alone.
SMALL_MODEL = 5_000_000


def model_folder(work: Work) -> Path:
    """The files of the study's model on this machine, fetched again where another machine recorded them."""
    return snapshot_folder(work.whole_study, work.records["model_snapshot"], work.read("model_snapshot"))


def model_of(work: Work) -> LanguageModel:
    """The study's model: loaded once per process, from the files that model_snapshot verified."""
    return load_choice(model_folder(work), work.study)


def load_choice(folder: Path, study: Study) -> LanguageModel:
    """The model in a folder as the study wants it; the same call everywhere, so that a process loads it once."""
    return load(folder, study.model.dtype, study.model.device, study.model.linear_maps)


def choose_device(name: str) -> str:
    """`auto` is the first CUDA device, or the CPU where there is none. Raises ModelError for a GPU that is not there."""
    with heavy_imports("torch"):
        import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    number = int(name.partition(":")[2] or 0)
    if name != "cpu" and number >= torch.cuda.device_count():
        raise ModelError(
            f"model.device: given {name!r}; torch sees {torch.cuda.device_count()} GPUs here; give auto, cpu or one that is there"
        )
    return name


@functools.lru_cache(maxsize=1)
def load(folder: Path, dtype: str = "float32", device: str = "auto", linear_maps: str = "plain") -> LanguageModel:
    """Load the model of a `save_pretrained` folder. One model is kept per process: all shards of a run share it.

    Plain code and bridge share the weights; with `linear_maps` "prepacked", plain code holds its linear maps rearranged as well.

    Raises ModelError for weights that are not safetensors, remote code, a missing tokenizer, and models in which no one list of neurons a
    layer is found; InputError where maps cannot be prepacked. A model that TransformerLens does not know has no bridge.
    """
    refuse_by_files(folder)
    keep_freed_memory()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    with heavy_imports("torch", "transformer_lens.model_bridge"):
        import torch
        from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES
        from transformers.utils import logging

    logging.disable_progress_bar()  # loading takes seconds; its bar would cut through the run's log
    tokenizer = load_tokenizer(folder)
    refuse_weights_that_do_not_fit(folder)
    with readable(folder):
        loaded = _loaded(folder, dtype, choose_device(device))
        refuse_infinite_weights(folder, loaded)
        if sum(weights.numel() for weights in loaded.parameters()) < SMALL_MODEL:
            torch.set_num_threads(1)
        plain = plain_twin(loaded, linear_maps)
        if type(loaded).__name__ not in SUPPORTED_ARCHITECTURES:
            return _without_bridge(folder, loaded, plain, tokenizer)
        bridge = _bridged(folder, loaded, tokenizer)
        facts = _facts(folder, shape_of_bridge(folder, bridge), bridge.original_model.config, tokenizer)
    refuse_by_trial(folder, bridge, facts.beginning_token_id)
    return LanguageModel(bridge, plain, tokenizer, facts, torch.device(choose_device(device)), PlainParts.of_bridge(bridge), loaded)


def _loaded(folder: Path, dtype: str, device: str) -> Any:
    """The folder's model in plain Hugging Face code, to be run and not trained."""
    import torch
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(
        str(folder.resolve()), dtype=getattr(torch, dtype), attn_implementation="eager", trust_remote_code=False, use_safetensors=True
    )
    return loaded.to(device).requires_grad_(False)


def _bridged(folder: Path, loaded: Any, tokenizer: Any) -> "TransformerBridge":
    """The model inside TransformerLens's bridge, which changes it in place."""
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(
        str(folder.resolve()), hf_model=loaded, device=str(loaded.device), dtype=loaded.dtype, tokenizer=tokenizer
    )
    config: Any = bridge.original_model.config
    config.output_attentions = False  # boot turns it on: O(heads x positions^2) per layer
    bridge.eval().requires_grad_(False)
    return bridge


def _without_bridge(folder: Path, loaded: Any, plain: Any, tokenizer: Any) -> LanguageModel:
    """A model that TransformerLens does not know: what is counted of it needs plain code alone."""
    try:
        found = found_parts(loaded.eval())
    except StructureError as error:
        raise ModelError(f"model {folder}: TransformerLens does not know {type(loaded).__name__}, and neurons are not found in its code, for "
                         f"{error}; choose a decoder model with one list of neurons a layer") from None  # fmt: skip
    facts = _facts(folder, shape_of_plain_code(folder, loaded, found), loaded.config, tokenizer)
    return LanguageModel(None, plain, tokenizer, facts, loaded.device, found.parts, loaded)


def load_tokenizer(folder: Path | str) -> Any:
    """The folder's tokenizer. Encode with add_special_tokens=False: windows and prompts put their first token there themselves."""
    from transformers import AutoTokenizer

    with readable(Path(folder)):
        tokenizer = AutoTokenizer.from_pretrained(str(folder), add_bos_token=True, trust_remote_code=False)
    if len(tokenizer) < 2:
        raise ModelError(f"model {folder}: the folder holds no tokenizer; save one there with tokenizer.save_pretrained")
    return tokenizer


def _facts(folder: Path, shape: ModelShape, config: Any, tokenizer: Any) -> ModelFacts:
    beginning = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if beginning is None:
        raise ModelError(f"model {folder}: the tokenizer has neither a beginning nor an end token; one must start each window")
    if beginning >= shape.vocabulary:
        raise ModelError(f"model {folder}: the tokenizer begins each window with entry {beginning}, the model's vocabulary ends at "
                         f"{shape.vocabulary - 1}; the tokenizer is of another model: save the right one there")  # fmt: skip
    return ModelFacts(
        architecture=config.architectures[0],
        layers=shape.layers,
        neurons=shape.neurons,
        model_width=shape.width,
        vocabulary=shape.vocabulary,
        tokenizer_entries=len(tokenizer),
        context_length=shape.context_length,
        is_gated=shape.is_gated,
        normalization=shape.normalization,
        beginning_token_id=int(beginning),
        is_tied=bool(getattr(config, "tie_word_embeddings", False)),
    )
