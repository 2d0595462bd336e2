"""The order workload on this bus and on its peers, in one run and interleaved; see docs/performance.md."""
