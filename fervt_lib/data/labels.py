"""The one label order of the course, and the orders in which other files number the same expressions."""

EXPRESSIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""Index 0-7 everywhere in the course; FER+'s own column order (fer2013new.csv)."""

VOTE_COLUMNS = (*EXPRESSIONS, "unknown", "NF")
"""The ten vote columns of FER+; NF = not a face."""

FER2013_CODES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""FER2013's codes 0-6 (fer2013.csv, column emotion). It has no contempt."""

FER2013_FOLDERS = {name: name for name in ("disgust", "fear", "surprise", "neutral")}
FER2013_FOLDERS |= {"angry": "anger", "happy": "happiness", "sad": "sadness"}
"""The folders of Kaggle's FER2013 pictures, and what each holds."""

RAFDB_CODES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""RAF-DB's codes 1-7 (list_patition_label.txt, folder names of the Kaggle layout). It has no contempt."""

CKPLUS_CODES = ("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
"""CK+'s codes 0-7 (*_emotion.txt). No sequence is labeled neutral."""

CK48_FOLDERS = {name: name for name in CKPLUS_CODES[1:] if name != "happiness"} | {"happy": "happiness"}
"""The folders of CK+48 and what each holds. It has no neutral."""
