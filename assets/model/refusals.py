"""Models that are refused, and why: by their files before any weight is read, then by what the loaded model does.

Refused is what cannot be counted. Whether a neuron's direct effect is what its weights say is another question, of some stages alone
(direct_effect).
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.errors import InputError, NotMeasuredError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

EXPERT_FIELDS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "n_experts")
TRIAL_TOKENS = 4


class ModelError(InputError):
    """A model that cannot be read or whose neurons cannot be measured; the message says what to do."""


class UnsupportedModelError(ModelError, NotMeasuredError):
    """A model whose neurons are counted, but of which what one stage measures would be wrong; the message says why."""


def refuse_by_files(folder: Path) -> None:
    """Raise ModelError for missing, unsafe or unreadable files and for architectures that the configuration gives away."""
    config = _json(folder, "config.json", "no config.json there; give a hub id or a folder made by save_pretrained")
    if not list(folder.glob("*.safetensors")):
        raise ModelError(f"model {folder}: no .safetensors weights; only safetensors are read (pickled weights can run code). "
                         "Convert with model.save_pretrained(folder, safe_serialization=True)")  # fmt: skip
    if (folder / "model.safetensors.index.json").is_file():
        _refuse_index(folder)
    for name in ("config.json", "tokenizer_config.json"):  # without its code, another tokenizer would be taken for it
        if (folder / name).is_file() and _json(folder, name, "").get("auto_map"):
            raise ModelError(f"model {folder}: {name} asks for code of its own (auto_map); remote code is never run")
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        _refuse_architecture(folder, part)


def _refuse_architecture(folder: Path, config: dict[str, Any]) -> None:
    for field in EXPERT_FIELDS:
        if config.get(field):
            raise ModelError(f"model {folder}: {field}={config[field]}: a mixture of experts has no one list of neurons per layer; "
                             "choose a dense model")  # fmt: skip


def _refuse_index(folder: Path) -> None:
    weight_map = _json(folder, "model.safetensors.index.json", "").get("weight_map")
    files = set(weight_map.values()) if isinstance(weight_map, dict) else {"no weight_map"}
    for file in sorted(str(file) for file in files):
        if not file.endswith(".safetensors") or Path(file).name != file or not (folder / file).is_file():
            raise ModelError(f"model {folder}: model.safetensors.index.json names {file!r}, which is no .safetensors file of the folder; "
                             "download or save the model again")  # fmt: skip


def _json(folder: Path, name: str, if_missing: str) -> dict[str, Any]:
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"model {folder}: {if_missing}") from None
    except (ValueError, RecursionError, OSError) as error:
        raise ModelError(
            f"model {folder}: {name} is not readable as JSON ({' '.join(str(error).split())}); download or save the model again"
        ) from None
    if not isinstance(content, dict):
        raise ModelError(f"model {folder}: {name} holds {type(content).__name__}, not fields; download or save the model again")
    return content


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Whatever the libraries raise while they read a model's files is a fault of the files: told as ModelError in one sentence."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise ModelError(f"model {folder}: cannot be loaded ({type(error).__name__}: {first_line}); download or save it again, or choose "
                         "another architecture") from error  # fmt: skip


def refuse_weights_that_do_not_fit(folder: Path) -> None:
    """Raise ModelError where config.json and the weights speak of different models, from names and shapes alone.

    Loading would fill what the files lack with random numbers, and leave out what the configuration does not name, without a word.
    """
    from transformers import AutoModelForCausalLM

    with readable(folder):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(folder), device_map="meta", output_loading_info=True, trust_remote_code=False, use_safetensors=True,
            ignore_mismatched_sizes=True,
        )  # fmt: skip
    _, found = loaded
    for kind, told in (("missing_keys", "the weights lack"), ("unexpected_keys", "the weights hold, but config.json does not name,"),
                       ("mismatched_keys", "config.json gives another shape than the weights for")):  # fmt: skip
        names = sorted(str(name[0]) if isinstance(name, tuple) else str(name) for name in found.get(kind, ()))
        if names:
            raise ModelError(f"model {folder}: {told} {names[0]} ({len(names)} in all); config.json and weights are not of one model: "
                             "download or save it again")  # fmt: skip
    _refuse_whole_numbers(folder, loaded[0])


def _refuse_whole_numbers(folder: Path, model: Any) -> None:
    """Raise ModelError for a parameter that is stored as whole numbers: loading would turn them into weights without a word."""
    from safetensors import safe_open

    named = [name for name, _ in model.named_parameters()]
    parameters = {*named, *(name.removeprefix(f"{model.base_model_prefix}.") for name in named)}  # files leave it out, or not
    for file in sorted(folder.glob("*.safetensors")):
        with readable(folder), safe_open(str(file), framework="pt") as weights:  # type: ignore[no-untyped-call]
            for name in sorted(parameters.intersection(weights.keys())):
                kind = weights.get_slice(name).get_dtype()
                if not kind.startswith(("F", "BF")):
                    raise ModelError(f"model {folder}: {file.name} holds {name} as {kind}, whole numbers; only models with floating-point "
                                     "weights are measured: download or save the model again, unquantized")  # fmt: skip


def refuse_infinite_weights(folder: Path, loaded: Any) -> None:
    """Raise ModelError for weights that are not finite."""
    import torch

    for name, weights in loaded.named_parameters():
        if not all(torch.isfinite(extreme) for extreme in torch.aminmax(weights.detach())):
            raise ModelError(
                f"model {folder}: weights {name} hold NaN or infinity; nothing can be measured with them: download the model again"
            )


def refuse_by_trial(folder: Path, bridge: "TransformerBridge", beginning: int) -> None:
    """Raise ModelError for a model whose code does not run, and where what looks like activations is not one number a neuron."""
    import torch

    token_ids = torch.full((1, TRIAL_TOKENS), beginning, device=bridge.W_U.device)
    for layer in {0, int(bridge.cfg.n_layers) - 1}:
        neurons = bridge.blocks[layer].mlp.W_out.shape[0]
        try:
            shown = _activations(bridge, token_ids, layer)
        except Exception as error:
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            raise ModelError(f"model {folder}: its code does not run in {str(bridge.cfg.dtype).removeprefix('torch.')} under TransformerLens "
                             f"({type(error).__name__}: {first_line}); set model.dtype to float32, or choose another model") from error  # fmt: skip
        if shown != neurons:
            raise ModelError(f"model {folder}: layer {layer} shows {shown} activations for {neurons} neurons; not supported")


def _activations(bridge: "TransformerBridge", token_ids: Any, layer: int) -> int:
    """How many activations the hook of the layer's neurons shows at a position."""
    import torch

    seen: list[int] = []
    hooks = [(f"blocks.{layer}.mlp.hook_post", lambda activations, hook: seen.append(activations.shape[-1]))]
    behind = layer + 1 if layer + 1 < int(bridge.cfg.n_layers) else None
    with torch.inference_mode(), bridge.hooks(fwd_hooks=hooks):
        bridge(token_ids, use_cache=False, output_attentions=False, stop_at_layer=behind)
    return seen[-1]
