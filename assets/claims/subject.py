"""What a claim is about: a prompt, a token, a neuron, a place in the model. Holds the fields and how they read in a table."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

BEST = "best"
NamedNeuron = Literal["best", "writer", "writer_against"]
# What each of these names among all neurons, for a token.
NAMED_NEURONS: dict[NamedNeuron, str] = {
    "best": "best neuron by AUROC, in either direction",
    "writer": "neuron that writes the token most",
    "writer_against": "neuron that writes against the token most",
}
SendingLine = Literal[
    "separation",
    "average_precision",
    "contribution",
    "contribution_against",
    "congruence",
    "patching",
    "patched_together",
    "prompt_set",
    "contrast",
    "screen",
]
CardLine = Literal[
    "writes",
    "goes_along",
    "causes_on_prompts",
    "causes_over_the_corpus",
    "holds_in_the_other_half",
    "beyond_luck",
    "alone",
    "in_every_domain",
    "nothing_else",
]


def as_number(value: Any) -> Any:
    """A whole number as a float; anything else as it is."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    return float(value)


class Subject(BaseModel):
    """The fields of a claim's `of`. Each quantity needs its own few of them; what is not needed may not be given."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prompt: str | None = None
    variant: Literal["clean", "corrupt"] | None = None
    token: str | int | None = Field(None, description="As text inside running text, or as id.")
    neuron: tuple[int, int] | NamedNeuron | None = Field(
        None,
        description="[layer, neuron], or for the token best: by AUROC, in either direction; writer: by contribution; writer_against: "
        "by contribution, from the other end.",
    )
    layer: int | None = Field(None, ge=0)
    position: int | None = Field(None, ge=0, description="In the prompt; the beginning-of-sequence token is 0.")
    component: Literal["residual", "attention", "mlp"] | None = None
    head: int | None = Field(None, ge=0, description="Attention head of the layer (query head), counted from 0.")
    point: Literal["before", "attention", "mlp"] | None = None
    level: float | None = Field(None, allow_inf_nan=False, description="An activation.")
    line: SendingLine | CardLine | None = Field(
        None,
        description="A line of evidence: that sends neurons to be studied (the table candidates), or of an evidence card (evidence_cards).",
    )

    @field_validator("neuron", mode="before")
    @classmethod
    def _list_is_pair(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("level", mode="before")
    @classmethod
    def _whole_number_is_a_level(cls, value: Any) -> Any:
        return as_number(value)

    @property
    def given(self) -> frozenset[str]:
        """Names of the fields that are given."""
        return frozenset(name for name, value in self if value is not None)

    def __str__(self) -> str:
        return ", ".join(_phrase(name, value) for name, value in self if value is not None)


def _phrase(name: str, value: Any) -> str:
    if name == "neuron":
        return NAMED_NEURONS.get(value) or f"layer {value[0]} neuron {value[1]}"
    if name == "variant":
        return str(value)
    return f"{name} {value!r}" if name == "token" else f"{name} {value}"
