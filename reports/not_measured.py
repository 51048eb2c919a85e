"""What is missing on a page because it means nothing of the study's model, and the reason: assets that were left empty, by template."""

from collections.abc import Mapping

_PROMPT = {
    "logit_lens": "the logit lens",
    "activation_patching": "activation patching",
    "neuron_patching": "neuron patching",
    "patched_neuron_sets": "neurons patched together",
    "prompt_ablation": "ablation on prompts",
}
_TOKEN = {"contributions": "contributions", "contrasts": "contrasts", "neuron_ablation": "ablation"}
_NEURON = {"congruence": "congruence", "neuron_inputs": "what feeds a neuron", "prompt_ablation": "ablation on prompts"}
SHOWN: dict[str, dict[str, str]] = {
    "index.html": {**_TOKEN, **_NEURON, **_PROMPT, "prompt_set_patching": "patching over prompt sets"},
    "screen.html": {"contributions": "contributions"},
    "congruence.html": {"congruence": "congruence"},
    "token.html": {**_TOKEN, "congruence": "congruence"},
    "neuron.html": {**_TOKEN, **_NEURON},
    "prompt.html": _PROMPT,
    "atlas_neuron.html": {"contributions": "contributions", "congruence": "congruence"},
}
"""Template -> asset -> what people call it. The index tells all, the others what they would show."""


def not_measured(template: str, refused: Mapping[str, str]) -> list[tuple[str, str]]:
    """(what, reason) of a page: what has one reason stands together, in the order in which the page names it."""
    names: dict[str, list[str]] = {}
    for asset, name in SHOWN.get(template, {}).items():
        if asset in refused:
            names.setdefault(refused[asset], []).append(name)
    return [(" and ".join([", ".join(own[:-1]), own[-1]] if own[:-1] else own), reason) for reason, own in names.items()]
