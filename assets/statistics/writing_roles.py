"""What a neuron does to a token where the model predicts it, in one word by its contribution: one rule for reports and comparisons.

Holds the rule alone; contributions are computed beside it.
"""

ALSO_WRITES = 0.5  # share of the first writer's contribution from which a neuron is said to write the token as well
HOLDS_BACK = 0.05  # share of it below zero from which a neuron is said to write against the token
WRITES_MOST, WRITES_TOO, GOES_ALONG, HOLDS = "writes it most", "writes it too", "goes along", "writes against it"


def writing_role(own: float, most: float, least: float) -> str:
    """WRITES_MOST, WRITES_TOO, GOES_ALONG or HOLDS. `own`: the neuron's contribution to the token; `most`, `least`: those of all neurons."""
    if own < 0 and (own == least or own < -HOLDS_BACK * most):
        return HOLDS
    if own <= 0 or own < ALSO_WRITES * most:
        return GOES_ALONG
    return WRITES_MOST if own == most else WRITES_TOO
