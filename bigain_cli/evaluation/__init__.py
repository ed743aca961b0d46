"""How well a model classifies labelled images, uncompressed and under any number of compressions, in pairs.

In: a backbone, a dataset, specs; out: one record for each image and spec, and a summary of records.
"""
