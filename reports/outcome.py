"""An outcome in words: what sentences, headings and hovers say of a token that is told by top predictions, next tokens or probabilities.

Holds words alone; which outcome leads for a token is the table token_outcomes' to say.
"""

from dataclasses import dataclass

from assets.counting.histograms import NEXT_TOKEN, PROBABILITY, TOP_PREDICTION
from reports.numbers import count, number


@dataclass(frozen=True)
class Outcome:
    """`name` of the outcome; `where` a token has it, `is_there` of the token itself, `is_there_at` of so many positions, `cases` of many."""

    name: str
    label: str
    where: str
    is_there: str
    cases: str
    whole: bool = True

    def amount(self, cases: float) -> str:
        """So many cases."""
        return count(int(cases)) if self.whole else number(cases, 4)


OUTCOMES = {
    TOP_PREDICTION: Outcome(
        TOP_PREDICTION, "top prediction", "where the model predicts it", "the model predicts it", "the token's top predictions"
    ),
    NEXT_TOKEN: Outcome(
        NEXT_TOKEN, "next token", "where it comes next in the text", "it comes next", "the positions at which it comes next"
    ),
    PROBABILITY: Outcome(
        PROBABILITY,
        "probability",
        "where the model holds it for probable",
        "the model gives it probability",
        "the probability that it is given",
        whole=False,
    ),
}


def told_by(outcome: str) -> Outcome:
    """The words of an outcome; those of top predictions where none is known."""
    return OUTCOMES.get(outcome, OUTCOMES[TOP_PREDICTION])
