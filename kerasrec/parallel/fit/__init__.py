"""Training with `fit` on several ranks."""
