"""Convolutions, one class an algorithm."""
