"""Methods measured on benchmarks: metrics, runner, ablations, report."""
