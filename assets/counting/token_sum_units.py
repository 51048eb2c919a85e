"""The whole numbers in which activations are summed by predicted and by current token, so that sums are exact in any order.

Holds the constants alone: who reads the sums needs neither the compiled loops nor the tensor operations that make them.
"""

UNITS = 2.0**24  # of one unit of activation, and of one unit of its square: float32's own resolution between 1/2 and 1
# What lies beyond counts as it. Its square is 2^62 units, half of what an int64 holds: a sum that runs over turns negative, which
# every check refuses.
LARGEST = 2.0**19
# Of an activation over the final norm's scale, which is a hundredth of an activation as often as not. A thousand million positions of 8
# on average fit an int64.
SCALED_UNITS = 2.0**30
