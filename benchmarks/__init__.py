"""What evi-mcp costs, measured on real sockets and processes beside what people would otherwise use.

`python -m benchmarks` (`make bench`) runs every group and writes `docs/performance.md`; `--quick` prints a subset.
Nothing here is part of the package.
"""
