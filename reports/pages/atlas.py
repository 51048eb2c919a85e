"""The pages of the atlas: the search and the map of all neurons, one page that shows any of them, and one that shows two.

Holds what stands in the pages themselves; what they show of a neuron they load from atlas/data (reports/atlas/).
"""

from reports.pages.page import Page
from reports.report_data import ReportData

ATLAS_INDEX, ATLAS_NEURON, ATLAS_COMPARE = "atlas/index.html", "atlas/neuron.html", "atlas/compare.html"


def atlas_neuron(neuron: tuple[int, int]) -> str:
    """Address of any neuron, from a page that lies above the folder of the atlas."""
    return f"{ATLAS_NEURON}#L{neuron[0]}-N{neuron[1]}"


def atlas_pages(data: ReportData) -> list[Page]:
    """atlas/index.html, atlas/neuron.html and atlas/compare.html; none where the study has no atlas."""
    if not data.has_atlas:
        return []
    layers, neurons = data.atlas_shape
    size, gated = {"layers": layers, "neurons": neurons}, {"is_gated": bool(data.facts.get("is_gated"))}
    return [
        Page(ATLAS_INDEX, "atlas_index.html", "All neurons", size),
        Page(ATLAS_NEURON, "atlas_neuron.html", "Any neuron", gated),
        Page(ATLAS_COMPARE, "atlas_compare.html", "Two neurons", gated),
    ]
