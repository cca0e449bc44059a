"""Suites: what a benchmark asks, as data; and the datasets it asks it of."""
