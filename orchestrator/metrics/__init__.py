"""Figures for machines: what is gathered, how it is written, and where it is served."""
