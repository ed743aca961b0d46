"""The steps of `tools/gpu_report.py`."""
