"""The one label order of the course, and the order in which other files count the same expressions."""

EXPRESSIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""Index 0-7 everywhere in the course; FER+'s own column order (fer2013new.csv)."""

VOTE_COLUMNS = (*EXPRESSIONS, "unknown", "NF")
"""The ten vote columns of FER+; NF = not a face."""

FER2013_CODES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""FER2013's codes 0-6 (fer2013.csv, column emotion). It has no contempt."""

USAGES = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
"""Our split names and what FER2013 and FER+ call them (column Usage)."""
