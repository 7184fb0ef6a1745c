"""One check per exercise of the course: `checks.folds(folds_of)` says whether your answer is right.

Every check takes the function from the exercise, tries it, and returns a sentence: "right", "not written yet"
(the function returns None), or "no: …" with the likely mistake.
"""

from fervt_course.exercises import fold_solutions

from .attribution import dark_share, grad_cam, negative_share, runner_up, staircase
from .data import accuracy_between, balanced_accuracy, folds, rafdb_labels
from .gap import changed, dead, place_share, protocol_of, siblings
from .grid import constant_weight, layout, rectangular_weights, tiles
from .head import class_row, row_entropy, telling_attention, token_read
from .photo import effective_number, reweigh, steadiness
from .training import clip, least_loss, share_of_first
from .verdict import kind

# fmt: off
__all__ = [
    "accuracy_between", "balanced_accuracy", "changed", "class_row", "clip", "constant_weight", "dark_share", "dead",
    "effective_number", "folds", "grad_cam", "layout", "least_loss", "negative_share", "place_share", "protocol_of",
    "rafdb_labels", "rectangular_weights", "reweigh", "row_entropy", "runner_up", "share_of_first", "siblings",
    "staircase", "steadiness", "telling_attention", "tiles", "token_read",
]
# fmt: on
globals().update({name: kind(globals()[name]) for name in __all__})
fold_solutions()
