"""The planted GPT-2 with a final norm of which every coordinate has a gain and a bias of its own. Holds no test.

With the planted gain, one number for all coordinates, the embedding predicts what the model predicts. Here it does not: the gain,
which the code behind the post had folded into the unembedding that it did not use, mixes the words.
"""

from pathlib import Path
from typing import Any

from tests.planted import WIDTH, planted_model


def gained_model(folder: Path) -> Path:
    """Save the model and its tokenizer in `folder` and return it."""
    import torch
    from transformers import GPT2LMHeadModel

    planted_model(folder)
    model: Any = GPT2LMHeadModel.from_pretrained(str(folder))
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        model.transformer.h[-1].mlp.c_proj.bias.zero_()  # which writes the same word everywhere
        model.transformer.ln_f.weight.copy_(0.3 + torch.randn(WIDTH, generator=generator))
        model.transformer.ln_f.bias.copy_(2 * torch.randn(WIDTH, generator=generator))
        embedding = model.transformer.wte.weight
        embedding.add_(0.05 * torch.randn(embedding.shape, generator=generator) + 0.3)  # not centred over the width
    model.save_pretrained(str(folder))
    return folder
