"""Chooses where each table lives: enumerate the candidates, estimate their costs, search."""
