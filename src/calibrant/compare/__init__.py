"""Many runs side by side: planned, run in worker processes, tabulated."""
