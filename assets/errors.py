"""The one root of all errors that a user can mend: the message names what was given, what is allowed and what to do.

Anything else that is raised is a defect of the product and shows its traceback.
"""


class InputError(ValueError):
    """An input, a setting or a stored output that cannot be used as it is."""


class NotMeasuredError(InputError):
    """What a stage measures cannot be measured of what it is given. Its outputs are then empty and say why; the rest is made."""
