"""Measures of optimization, representation and robustness, one module per question."""
