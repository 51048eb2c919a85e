"""A study's claims: the optional file <study>.claims.yaml beside the study, validated into frozen models.

Holds the fields and the messages that name file, field, value and what is allowed. What a claim's quantity comes to is in
replication_scorecard.
"""

import os
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from assets.claims.quantities import QUANTITIES, Convention
from assets.claims.subject import NAMED_NEURONS, CardLine, SendingLine, Subject, as_number
from assets.errors import InputError
from assets.study import Study, claims_file
from assets.yaml_files import YamlFileError, read_yaml

# Which lines of evidence a claim of the quantity may name.
LINES_OF_QUANTITY: dict[str, tuple[str, ...]] = {
    "candidate_rank": get_args(SendingLine),
    "evidence_verdict": get_args(CardLine),
    "evidence_value": get_args(CardLine),
}


class ClaimsError(InputError):
    """A claims file that cannot be used. One line a fault, each with file, field, what was given and what is allowed."""


class Claim(BaseModel):
    """One claim: `quantity` of `of` is `expected`, give or take `tolerance`, by `convention`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    claim: str = Field(min_length=1, description="A sentence.")
    source: str = Field("", description="Where it was published; the file's own source if absent.")
    quantity: str
    of: Subject = Field(default_factory=Subject.model_construct)
    expected: float = Field(allow_inf_nan=False)
    tolerance: float = Field(ge=0, allow_inf_nan=False)
    convention: Convention

    @field_validator("expected", "tolerance", mode="before")
    @classmethod
    def _whole_numbers_are_numbers(cls, value: Any) -> Any:
        return as_number(value)

    @field_validator("quantity")
    @classmethod
    def _is_on_the_list(cls, value: str) -> str:
        if value not in QUANTITIES:
            raise ValueError(f"given {value!r}; allowed are {', '.join(QUANTITIES)}")
        return value

    @model_validator(mode="after")
    def _names_a_line_of_the_quantity(self) -> "Claim":
        if self.of.line is not None and self.quantity in LINES_OF_QUANTITY:
            allowed = LINES_OF_QUANTITY[self.quantity]
            if self.of.line not in allowed:
                raise ValueError(f"quantity {self.quantity}: line: given {self.of.line!r}; allowed are {', '.join(allowed)}")
        return self

    @model_validator(mode="after")
    def _says_what_the_quantity_needs(self) -> "Claim":
        needs = QUANTITIES[self.quantity].needs
        if self.of.given != set(needs):
            raise ValueError(
                f"quantity {self.quantity} needs of: {', '.join(needs) or 'nothing'}; given {', '.join(sorted(self.of.given)) or 'nothing'}"
            )
        if isinstance(self.of.neuron, str) and self.of.token is None:
            raise ValueError(
                f"neuron: {self.of.neuron} is the {NAMED_NEURONS[self.of.neuron]}, and this quantity has no token; give [layer, neuron]"
            )
        return self


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    source: str = Field("", description="Source of every claim that names none.")
    claims: tuple[Claim, ...] = Field(min_length=1)

    @field_validator("claims", mode="before")
    @classmethod
    def _list_is_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _each_once_and_sourced(self) -> "_File":
        sentences = [claim.claim for claim in self.claims]
        doubles = sorted({sentence for sentence in sentences if sentences.count(sentence) > 1})
        if doubles:
            raise ValueError(f"claims: {doubles} given twice; word each once")
        unsourced = [claim.claim for claim in self.claims if not (claim.source or self.source)]
        if unsourced:
            raise ValueError(f"claims: {unsourced} without a source; give one to the claim, or to the file")
        return self


def read_claims(study: Study) -> tuple[Claim, ...]:
    """The study's claims, in the file's order; none if it has no file. Raises ClaimsError with one line a fault."""
    file = claims_file(study)
    if not os.path.lexists(file):  # a folder, or a link to nothing, is not "no claims"
        return ()
    return parse_claims(file)


def parse_claims(file: Path) -> tuple[Claim, ...]:
    """The claims of one file, each with its source filled in. Raises ClaimsError."""
    try:
        content = read_yaml(file)
    except FileNotFoundError:
        raise ClaimsError(f"{file}: leads to no file; mend the link or remove it") from None
    except YamlFileError as error:
        raise ClaimsError(f"{file}: {error}") from None
    if not isinstance(content, dict):
        raise ClaimsError(f"{file}: holds {type(content).__name__}, not fields; allowed are source and claims")
    try:
        parsed = _File(**content)
    except ValidationError as error:
        raise ClaimsError("\n".join(_sentence(file, fault) for fault in error.errors())) from None
    except TypeError:
        raise ClaimsError(f"{file}: fields {list(content)} must be texts; allowed are source and claims") from None
    return tuple(claim.model_copy(update={"source": claim.source or parsed.source}) for claim in parsed.claims)


def _sentence(file: Path, fault: Any) -> str:
    field = ".".join(str(part) for part in fault["loc"] if not str(part).startswith(("tuple[", "literal["))) or "claims file"
    if fault["type"] == "missing":
        return f"{file}: field {field}: missing; it must be given"
    if fault["type"] == "extra_forbidden":
        return f"{file}: field {field}: unknown (given {fault['input']!r}); see docs/claims.md for the fields"
    if fault["type"] == "value_error":
        return f"{file}: field {field}: {fault['ctx']['error']}"
    return f"{file}: field {field}: given {fault['input']!r}; {fault['msg'][0].lower()}{fault['msg'][1:]}"
