"""How well a model answers on labelled pictures, uncompressed and under any number of compressions, in pairs.

In: a backbone, a dataset, specs; out: one record for each picture and spec, and a summary of records.
"""
