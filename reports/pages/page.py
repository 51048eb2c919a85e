"""What a page is before it is HTML, and the file names by which pages link to each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reports.figures.figure import Figure


@dataclass(frozen=True)
class Page:
    """One page: its file in the site's folder, its template, its title, and what the template shows."""

    file: str
    template: str
    title: str
    context: Mapping[str, Any]
    figures: tuple[Figure, ...] = field(default=())  # plotly is loaded only where there is one


def token_page(token_id: int) -> str:
    """File of a tracked token's page."""
    return f"token-{token_id}.html"


def neuron_page(neuron: tuple[int, int]) -> str:
    """File of a studied neuron's page."""
    return f"neuron-{neuron[0]}-{neuron[1]}.html"


def prompt_page(name: str) -> str:
    """File of a prompt's page; the study allows only lower-case letters, digits and hyphens in a name."""
    return f"prompt-{name}.html"


def prompt_set_page(name: str) -> str:
    """File of a prompt set's page; its names are as prompts', and may be the same."""
    return f"set-{name}.html"
