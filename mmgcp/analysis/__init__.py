"""Measures of optimisation, representation and robustness."""
