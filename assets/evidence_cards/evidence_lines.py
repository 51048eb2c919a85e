"""The lines of an evidence card and the verdicts that each can have: their names and rules, in one place for tables, claims and pages.

How each number is computed, and how it can mislead, is in docs/evidence.md. Computes nothing.
"""

from dataclasses import dataclass

from assets.statistics.luck import DISCOVERY_RATE

SUPPORTED, AGAINST, UNCLEAR, NOT_MEASURED = "supported", "against", "unclear", "not measured"
VERDICTS = (SUPPORTED, AGAINST, UNCLEAR, NOT_MEASURED)


@dataclass(frozen=True)
class EvidenceLine:
    """One line of a card. `unit` is that of its value; `rule` says when it is supported and when it is against."""

    name: str
    title: str
    unit: str
    value: str
    rule: str


WRITES, GOES_ALONG = "writes", "goes_along"
ON_PROMPTS, OVER_THE_CORPUS = "causes_on_prompts", "causes_over_the_corpus"
OTHER_HALF, BEYOND_LUCK = "holds_in_the_other_half", "beyond_luck"
ALONE, EVERY_DOMAIN, NOTHING_ELSE = "alone", "in_every_domain", "nothing_else"

SMALLEST_RESTORED = 0.05  # of a logit difference: below it, patching is said to restore next to nothing
STANDS_OUT = 0.05  # p and q of an ablation up to which it stands out among the controls
SHARE_KEPT = 0.5  # of what the discovery half found, from which on the telling half is said to hold it
ALONE_FROM, WITH_OTHERS_BELOW = 0.8, 0.5  # share of what eight neurons tell together that this one tells alone
MOSTLY, HARDLY = 0.5, 0.1  # share of a neuron's highest positions that the token explains

LINES: tuple[EvidenceLine, ...] = (
    EvidenceLine(
        WRITES, "Writes it", "logit", "contribution to the token's logit in the telling half",
        "supported: the 95 % interval lies above 0; against: below 0",
    ),
    EvidenceLine(
        GOES_ALONG, "Goes along with it", "share", "separation in the telling half, in the discovery half's direction",
        "supported: the 95 % interval lies above 0.5; against: below 0.5",
    ),
    EvidenceLine(
        ON_PROMPTS, "Causes it on prompts", "of the difference", "largest share of a logit difference that patching it alone restores at the last position",
        f"supported: at least {SMALLEST_RESTORED}; against: less on every prompt",
    ),
    EvidenceLine(
        OVER_THE_CORPUS, "Causes it over the corpus", "nat", "change of the token's log-probability when its activation is replaced by its mean",
        f"supported: lower, also where controls are compared, with p and q at most {STANDS_OUT} among them; against: higher, with the same",
    ),
    EvidenceLine(
        OTHER_HALF, "Holds in the other half", "share", "what the telling half shows over what the discovery half showed",
        f"supported: at least {SHARE_KEPT} of it, with an interval on the same side of 0; against: less, with an interval that is not",
    ),
    EvidenceLine(
        BEYOND_LUCK, "Beyond luck", "share", "false discovery rate among all pairs of tracked token and neuron, against labels moved within their windows",
        f"supported: at most {DISCOVERY_RATE}; against: above",
    ),
    EvidenceLine(
        ALONE, "Alone or with others", "share", "its average precision over that of the best eight neurons together, both in the telling half",
        f"supported: at least {ALONE_FROM} of it; against: less than {WITH_OTHERS_BELOW}",
    ),
    EvidenceLine(
        EVERY_DOMAIN, "In every domain", "share", "share of the domains in which it goes along with the token, the interval beyond 0.5",
        "supported: in all that can tell; against: in one the interval lies on the other side, or domains differ (p at most 0.05) and one shows nothing",
    ),
    EvidenceLine(
        NOTHING_ELSE, "Nothing else", "share", "share of its highest positions, in the direction of the token, that the token explains",
        f"supported: at least {MOSTLY}; against: less than {HARDLY}",
    ),
)  # fmt: skip
LINE_NAMES = tuple(line.name for line in LINES)
BY_NAME = {line.name: line for line in LINES}
