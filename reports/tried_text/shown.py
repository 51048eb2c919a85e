"""A tried text as the page shows it: one JSON value whose texts are finished. The page sets them as text and computes nothing.

Holds no markup and no address; which neurons have a page is given.
"""

from collections.abc import Mapping
from typing import Any

from assets.tried_text.tried_text import Contribution, Neuron, ReadToken, TriedText
from reports.numbers import number, percent, signed
from reports.text import visible, visible_in_running_text


def neurons_named(tried: TriedText) -> set[Neuron]:
    """Every neuron that is named somewhere."""
    listed = {(one.layer, one.neuron) for token in tried.tokens for one in (*token.writes, *token.writes_against)}
    return listed | set(tried.activations)


def neuron_name(neuron: Neuron) -> str:
    """A neuron's name, as all pages and people write it."""
    return f"L{neuron[0]} N{neuron[1]}"


def shown(tried: TriedText, pages: Mapping[Neuron, str], counts_beginning: bool) -> dict[str, Any]:
    """What the page is sent. `pages` are the addresses of the neurons that have one.

    The beginning-of-sequence token has a colour only where the study counts it: many neurons are there what they are nowhere else.
    """
    return {
        "refused": tried.refused,
        "tokens": [_token(token, pages) for token in tried.tokens],
        "neurons": [
            {**_named(neuron, pages), **_along(activations, counts_beginning)} for neuron, activations in tried.activations.items()
        ],
    }


def _token(token: ReadToken, pages: Mapping[Neuron, str]) -> dict[str, Any]:
    return {
        "running": visible_in_running_text(token.token) or visible(token.token),
        "token": visible(token.token),
        "prediction": visible(token.prediction),
        "probability": percent(token.probability),
        "all_neurons": "" if token.all_neurons is None else signed(token.all_neurons),
        "writes": [_contribution(one, pages) for one in token.writes],
        "writes_against": [_contribution(one, pages) for one in token.writes_against],
    }


def _contribution(one: Contribution, pages: Mapping[Neuron, str]) -> dict[str, Any]:
    return {
        **_named((one.layer, one.neuron), pages),
        "contribution": signed(one.contribution),
        "activation": number(one.activation),
    }


def _named(neuron: Neuron, pages: Mapping[Neuron, str]) -> dict[str, Any]:
    return {"name": neuron_name(neuron), "page": pages.get(neuron, "")}


def _along(activations: tuple[float, ...], counts_beginning: bool) -> dict[str, Any]:
    """Activations as texts, and each one's share of the largest in size in percent, -100 to 100: the strength of its colour."""
    first = 0 if counts_beginning else 1
    largest = max(abs(value) for value in activations[first:]) or 1.0
    strengths = [round(100 * value / largest) for value in activations]
    return {"activations": [number(value) for value in activations], "strengths": [*[0] * first, *strengths[first:]]}
