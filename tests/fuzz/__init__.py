"""Coverage-guided fuzzing of what reads bytes of strangers: `tools/fuzz`.

`targets` are the functions, `seeds` what they start from (vectors, sample files, and corpus/),
`one` runs one target in its process, `__main__` runs several and counts. A target fails by raising:
whatever is not the documented error, and whatever two readers do not agree on.
"""
