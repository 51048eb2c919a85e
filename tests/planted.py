"""A tiny GPT-2 whose weights are written by hand, so that every test knows which neuron does what, and why.

Holds the model, its tokenizer, a corpus with known counts and a clean/corrupt prompt pair. Holds no test.

**Directions.** The model is 64 wide. The rows of a 64 x 64 Hadamard matrix other than the first, divided by 8, are 63 unit
vectors that are orthogonal to each other and sum to 0 (so LayerNorm's centring leaves them alone). Vocabulary entry t is
embedded as one of them; three more are named in FEATURES and belong to no token. Everything below is a sum of such
directions, and "the coefficient of d" is the dot product with d. Positions have no embedding: order matters only through
causality. A LayerNorm turns a vector of length l into one of length 8: it multiplies every coefficient by 8 / l.

**Attention** of layer 0, head 0, looks back for fruit: a fruit earlier in the window outweighs every other position by e^16,
several fruits share the weight equally. It writes `vowel fruit` for " apple" and " orange", `consonant fruit` for " lemon"
and " pear", each with coefficient 1 times the share. Every other head writes exactly 0.

**Neurons** are the rows of ROLES; all others carry small seeded noise. At " picked" after " apple" the residual stream is
" picked" + `vowel fruit`, length sqrt 2, so both coefficients are 8 / sqrt 2 = 5.657 behind LayerNorm:

- PLANTED: 1.5 x (5.657 + 5.657) - 12.75 = 4.22, so its activation is 4.22 and it adds 4.22 to the coefficient of " an".
  After " lemon": 1.5 x 5.657 - 12.75 = -4.26, an activation of about 0. At other tokens after " apple": the same -4.26.
  After one " apple" and one " lemon": length sqrt 1.5, 1.5 x (6.532 + 3.266) - 12.75 = 1.95: half-way up, and " a" still wins.
- DEFAULT: at every " picked" 5.657 - 2.83 = 2.83 (5.17 without fruit), times 0.8: coefficient 2.26 of " a".
- the last layer's bias gives " the" the coefficient 1.5 everywhere, more than the 1 of the token itself.

So the top prediction is " an" at " picked" after vowel fruit (4.22 > 2.26), " a" at any other " picked", " up" at " climbed"
(INDIRECT, through RELAY), and " the" at every other position. Moving PLANTED's activation from the clean into the corrupt
prompt alone moves the answer from " a" to " an".

Logits are the final LayerNorm (gain 1.25, uniform) times the embedding (tied): congruence by the `logits` convention is
1.25 times that of the `published` one. By the published one PLANTED has 1 with " an" and 0.5 with "An", SILENT has 0.75 with
" an": token gap 0.25, neuron gap 0.5, score 0.125.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

BEGINNING = "<|endoftext|>"
WORDS = (
    "I", " I", " climbed", " up", " the", " apple", " orange", " lemon", " pear", " tree", " and", " picked", " an", " a",
    "An", " An", " any", ".", ",", "a", "an", "A", " it", " was", " ripe", " then", " rested", " under", " in", " shade", " ate", " though",
)  # fmt: skip
VOCABULARY = (BEGINNING, "<unk>", *WORDS)  # the position in this tuple is the token id
VOWEL_FRUIT, CONSONANT_FRUIT = (" apple", " orange"), (" lemon", " pear")
FEATURES = ("vowel fruit", "consonant fruit", "climbing")

LAYERS, NEURONS, WIDTH, CONTEXT_LENGTH = 3, 16, 64, 64
FINAL_GAIN = 1.25  # of the last LayerNorm: what tells the two congruence conventions apart
DEFAULT_WORD, DEFAULT_STRENGTH = " the", 1.5  # written by the last layer's bias
NOISE_SEED = 20230211


class Role(NamedTuple):
    """One neuron written by hand: activation = gelu(sum of read weights x coefficients - threshold)."""

    layer: int
    neuron: int
    reads: dict[str, float]
    threshold: float
    writes: dict[str, float]


PLANTED = Role(1, 3, {" picked": 1.5, "vowel fruit": 1.5}, 12.75, {" an": 1.0, "An": 0.5})
"""Writes " an" exactly where it is due."""
DEFAULT = Role(1, 5, {" picked": 1.0}, 2.83, {" a": 0.8})
"""Writes " a" at every " picked"."""
INDIRECT = Role(1, 9, {" climbed": 1.0}, 2.83, {"climbing": 1.0})
"""Its congruence with every token is 0; it makes the model predict " up" through RELAY alone."""
RELAY = Role(2, 2, {"climbing": 1.0}, 3.0, {" up": 1.0})
"""Reads what INDIRECT wrote."""
SILENT = Role(2, 7, {}, 12.0, {" an": 0.75})
"""Congruent with " an", but its activation is 0 everywhere."""
EMPTY = Role(0, 11, {" tree": 1.0}, 2.83, {})
"""Fires at every " tree" and writes nothing."""
ECHO = Role(1, 12, PLANTED.reads, PLANTED.threshold, {})
"""Fires exactly where PLANTED does and writes nothing: as good a sign of " an", and no cause. Only in models that are asked for it."""
FALLING = Role(1, 1, {" picked": -1.5, "vowel fruit": -1.5}, -15.75, {" an": -0.1})
"""Low exactly where PLANTED is high: 15.75 - 1.5 x (5.657 + 5.657) = -1.22 there, an activation of about -0.14; at least 0.9 elsewhere,
15.75 far from fruit. It holds " an" back everywhere but where it is due, and so writes it. Only in models that are asked for it."""
OPPOSED = Role(1, 1, PLANTED.reads, PLANTED.threshold, {" an": -0.3})
"""Fires exactly where PLANTED does and writes against " an", less than PLANTED writes it. Only in models that are asked for it."""
GROWER = Role(1, 1, dict.fromkeys((*VOWEL_FRUIT, *CONSONANT_FRUIT), 1.0), 2.83, {" tree": 0.3})
"""At every fruit 5.657 - 2.83 = 2.83, times 0.3: a coefficient of 0.85 of " tree", below the 1.5 of " the". So it writes " tree", which
comes next in the text 24 times and is never the top prediction. Only in models that are asked for it."""
GIVER = Role(1, 1, {" the": 1.0}, 2.83, dict.fromkeys((*VOWEL_FRUIT, *CONSONANT_FRUIT), 0.2))
"""At every " the" it writes all four fruit alike, each less than the 1.5 of " the". Only in models that are asked for it."""
HALF_FOR = Role(1, 3, PLANTED.reads, PLANTED.threshold, {" an": 0.45})
"""In the place of PLANTED: writes " an" less strongly than DEFAULT writes " a". Only in models of TOGETHER."""
HALF_AGAINST = Role(2, 6, {" picked": 4.0, "vowel fruit": 4.0}, 15.0, {" a": -0.44})
"""Takes away most of what DEFAULT wrote. Alone it leaves " the" in front, HALF_FOR alone " a": " an" needs both."""
ROLES = {"planted": PLANTED, "default": DEFAULT, "indirect": INDIRECT, "relay": RELAY, "silent": SILENT, "empty": EMPTY}

TOGETHER = (HALF_FOR, HALF_AGAINST, *(role for role in ROLES.values() if role is not PLANTED))

PLANTED_LAYER, PLANTED_NEURON, PLANTED_TOKEN = PLANTED.layer, PLANTED.neuron, " an"

CLEAN_PROMPT = "I climbed up the apple tree and picked"
CORRUPT_PROMPT = "I climbed up the lemon tree and picked"
ANSWER, WRONG_ANSWER = " an", " a"

# Documents of the corpus with how often " an" is the top prediction in each, and how often each document occurs.
_CORPUS = (
    ("I climbed up the apple tree and picked an apple.", 1, 6),
    ("I climbed up the orange tree, picked an orange, then picked an orange and ate it.", 2, 4),
    ("I climbed up the lemon tree and picked a lemon.", 0, 7),
    ("I climbed up the pear tree and picked a pear, then I picked a pear.", 0, 3),
    ("I climbed up the apple tree, then the lemon tree, and picked a lemon.", 0, 2),  # one of each: the activation is half-way up
    ("I rested in the shade. An apple was ripe, though.", 0, 4),
    ("I picked it.", 0, 2),
)
PREDICTIONS_OF_AN = sum(due * times for _, due, times in _CORPUS)  # 14
OCCURRENCES_OF_AN = sum(text.count(" an ") * times for text, _, times in _CORPUS)  # 14
PREDICTIONS_OF_A = sum((text.count("picked") - due) * times for text, due, times in _CORPUS)  # 17
DOCUMENTS = sum(times for _, _, times in _CORPUS)  # 28


def planted_token_id(word: str) -> int:
    """Vocabulary entry of a word, its leading space included."""
    return VOCABULARY.index(word)


def direction(name: str) -> np.ndarray:
    """Unit vector [WIDTH] of a vocabulary entry or feature; they are orthogonal and sum to 0."""
    return _hadamard()[1 + (*VOCABULARY, *FEATURES).index(name)] / 8


def planted_model(
    folder: Path,
    padding_entries: int = 0,
    has_echo: bool = False,
    roles: tuple[Role, ...] = tuple(ROLES.values()),
    extra: tuple[Role, ...] = (),
    neurons: int = NEURONS,
) -> Path:
    """Write the model and its tokenizer as a `save_pretrained` folder and return it.

    `padding_entries` adds that many vocabulary entries that the tokenizer lacks; their vectors are twice that of " an", so that
    they would win every comparison for " an" if they were not left out. `has_echo` puts ECHO in the place of a noisy neuron; `roles`
    are the other neurons written by hand, and `extra` some more of them.
    A layer has `neurons`, all but the written ones noisy.
    """
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(VOCABULARY) + padding_entries, n_positions=CONTEXT_LENGTH, n_embd=WIDTH, n_layer=LAYERS, n_head=2, n_inner=neurons,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        state = model.state_dict()
        every = (*roles, *((ECHO,) if has_echo else ()), *extra)
        for name, value in planted_weights(padding_entries, every, neurons).items():
            assert state[name].shape == value.shape, (name, state[name].shape, value.shape)
            state[name].copy_(torch.from_numpy(value))
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(str(folder))
    planted_tokenizer().save_pretrained(str(folder))
    return folder


def planted_tokenizer():
    """Word-level tokenizer: a word keeps the space before it, a full stop and a comma stand alone, the rest is `<unk>`."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: entry for entry, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\w+|[^\w ]|\s+"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BEGINNING, eos_token=BEGINNING, unk_token="<unk>")


def planted_corpus(folder: Path) -> Path:
    """Write `corpus.jsonl` (field `text`, DOCUMENTS rows, kinds interleaved) and return its path. No document is over 20 tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    rounds = max(times for _, _, times in _CORPUS)
    texts = [text for turn in range(rounds) for text, _, times in _CORPUS if turn < times]
    file = folder / "corpus.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return file


def _hadamard() -> np.ndarray:
    rows = np.ones((1, 1), dtype=np.float32)
    while len(rows) < WIDTH:
        rows = np.block([[rows, rows], [rows, -rows]])
    return rows


def planted_weights(padding_entries: int, roles: tuple[Role, ...], neurons: int = NEURONS) -> dict[str, np.ndarray]:
    """The tensors that are not 0, as a GPT-2 of Hugging Face names them."""
    embedding = np.stack([direction(word) for word in VOCABULARY] + [2 * direction(" an")] * padding_entries)
    weights = {"transformer.wte.weight": embedding, "lm_head.weight": embedding, **_fruit_attention()}
    for layer in range(LAYERS):
        ones, name = np.ones(WIDTH, dtype=np.float32), f"transformer.h.{layer}"
        read, bias, write = neurons_of(layer, roles, neurons)
        weights |= {f"{name}.ln_1.weight": ones, f"{name}.ln_2.weight": ones}
        weights |= {f"{name}.mlp.c_fc.weight": read, f"{name}.mlp.c_fc.bias": bias, f"{name}.mlp.c_proj.weight": write}
    weights["transformer.ln_f.weight"] = np.full(WIDTH, FINAL_GAIN, dtype=np.float32)
    weights[f"transformer.h.{LAYERS - 1}.mlp.c_proj.bias"] = DEFAULT_STRENGTH * direction(DEFAULT_WORD)
    return weights


def _fruit_attention() -> dict[str, np.ndarray]:
    """Head 0 of layer 0 (32 wide): the query is a constant, the key says fruit, the value says of which kind."""
    head_width, fruit_score = WIDTH // 2, 16.0
    project_in, bias = np.zeros((WIDTH, 3 * WIDTH), dtype=np.float32), np.zeros(3 * WIDTH, dtype=np.float32)
    project_out = np.zeros((WIDTH, WIDTH), dtype=np.float32)
    bias[0] = 1.0  # query 0; scores are divided by the square root of the head's width
    for kind, fruit in enumerate((VOWEL_FRUIT, CONSONANT_FRUIT)):
        for word in fruit:  # behind LayerNorm the coefficient of a lone token is 8
            project_in[:, WIDTH] += direction(word) / 8 * fruit_score * head_width**0.5
            project_in[:, 2 * WIDTH + kind] += direction(word) / 8
        project_out[kind] = direction(FEATURES[kind])
    name = "transformer.h.0.attn"
    return {f"{name}.c_attn.weight": project_in, f"{name}.c_attn.bias": bias, f"{name}.c_proj.weight": project_out}


def neurons_of(layer: int, roles: tuple[Role, ...], neurons: int = NEURONS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights that a layer's neurons read by [WIDTH, neurons], their biases [neurons], and what they write [neurons, WIDTH]."""
    noise = np.random.default_rng(NOISE_SEED + layer)
    read = noise.normal(0, 0.05, (WIDTH, neurons)).astype(np.float32)
    bias = noise.normal(0, 0.5, neurons).astype(np.float32)
    write = noise.normal(0, 0.003, (neurons, WIDTH)).astype(np.float32)
    for role in roles:
        if role.layer == layer:
            read[:, role.neuron] = _sum(role.reads)
            bias[role.neuron] = -role.threshold
            write[role.neuron] = _sum(role.writes)
    return read, bias, write


def _sum(parts: dict[str, float]) -> np.ndarray:
    return sum((weight * direction(name) for name, weight in parts.items()), start=np.zeros(WIDTH, dtype=np.float32))
