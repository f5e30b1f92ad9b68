"""Metrics, the runner that measures methods on benchmarks, and the report that is made of its
results.
"""
