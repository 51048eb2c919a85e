"""The pages of the atlas: the search and the map of all neurons, one page that shows any of them, one that shows two, and one that shows any token.

Holds what stands in the pages themselves; what they show of a neuron or a token they load from atlas/data (reports/atlas/).
"""

from reports.pages.page import Page
from reports.report_data import ReportData

ATLAS_INDEX, ATLAS_NEURON, ATLAS_COMPARE, ATLAS_TOKEN = "atlas/index.html", "atlas/neuron.html", "atlas/compare.html", "atlas/token.html"


def atlas_neuron(neuron: tuple[int, int]) -> str:
    """Address of any neuron, from a page that lies above the folder of the atlas."""
    return f"{ATLAS_NEURON}#L{neuron[0]}-N{neuron[1]}"


def atlas_token(token_id: int) -> str:
    """Address of any vocabulary entry, from a page that lies above the folder of the atlas."""
    return f"{ATLAS_TOKEN}#{token_id}"


def atlas_pages(data: ReportData) -> list[Page]:
    """The pages of the folder atlas; none where the study has no atlas."""
    if not data.has_atlas:
        return []
    layers, neurons = data.atlas_shape
    size, gated = {"layers": layers, "neurons": neurons}, {"is_gated": bool(data.facts.get("is_gated"))}
    return [
        Page(ATLAS_INDEX, "atlas_index.html", "All neurons", size),
        Page(ATLAS_NEURON, "atlas_neuron.html", "Any neuron", gated),
        Page(ATLAS_COMPARE, "atlas_compare.html", "Two neurons", gated),
        Page(ATLAS_TOKEN, "atlas_token.html", "Any token", gated),
    ]
