"""The norm in front of the unembedding, found in plain code by what it does, and whether a norm centres what it is given."""

from contextlib import ExitStack
from typing import Any

from assets.model.block_maps import TOKENS

SAME = 0.01  # of the largest output: epsilon and rounding move a norm's output by less where its input is doubled


def found_final_norm(model: Any, blocks: list[str]) -> str | None:
    """Name of the innermost module behind the blocks whose output is the last hidden state and does not change with its input's size;
    None where there is none."""
    import torch

    outside = {
        name: module
        for name, module in model.base_model.named_modules(prefix=model.base_model_prefix)
        if next(module.children(), None) is None and not any(name.startswith(f"{block}.") for block in blocks)
    }
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    embedding = model.get_input_embeddings().weight

    def note(name: str) -> Any:
        def hook(module: Any, given: Any, made: Any) -> None:
            if could_be_norm(module, given, made):
                seen[name] = (given[0].clone(), made.clone())

        return hook

    with torch.inference_mode(), ExitStack() as opened:
        for name, module in outside.items():
            opened.callback(module.register_forward_hook(note(name)).remove)
        token_ids = torch.arange(TOKENS, device=embedding.device)[None] % embedding.shape[0]
        last = model.base_model(token_ids, use_cache=False)[0]
        named = [name for name, (given, made) in seen.items() if _is_last(made, last) and ignores_size(outside[name], given, made)]
    return named[-1] if named else None


def is_centring(norm: Any, width: int) -> bool:
    """Whether a common part of all coordinates makes no difference to the norm's output."""
    import torch

    like = next(norm.parameters(), torch.zeros(0))
    given = torch.randn(1, width, generator=torch.Generator().manual_seed(0)).to(like)
    with torch.inference_mode():
        first, moved = norm.forward(given).float(), norm.forward(given + 4).float()
    return bool((first - moved).abs().max() < 5 * SAME * first.abs().max())


def _is_last(made: Any, last: Any) -> bool:
    return made.numel() == last.numel() and bool((made.view(last.shape) == last).all())


def could_be_norm(module: Any, given: Any, made: Any) -> bool:
    """Whether a module makes of one tensor another of its shape, by no matrix."""
    is_alone = len(given) == 1 and getattr(made, "shape", None) == getattr(given[0], "shape", ()) and made.is_floating_point()
    return is_alone and all(weights.ndim < 2 for weights in module.parameters())


def ignores_size(module: Any, given: Any, made: Any) -> bool:
    """Whether a module makes the same of twice what it was given: a norm does."""
    return bool((module.forward(given * 2).float() - made.float()).abs().max() <= SAME * made.float().abs().max())
